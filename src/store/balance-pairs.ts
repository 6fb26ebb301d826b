// The account and asset pairs that the ledger side knows something of: legs, or an opening.
import type { EntityManager } from '@mikro-orm/postgresql';
import { listOrNull, sql } from './database.ts';

export interface AccountAsset {
  readonly account: string;
  readonly asset: string;
}

export interface PairFilter {
  readonly accounts?: readonly string[];
  readonly assets?: readonly string[];
}

/** At most `limit` distinct pairs after one, in byte order. Skips through the index: a pair costs one step however many legs it has. */
export async function listLedgerPairs(
  em: EntityManager,
  streamId: number,
  filter: PairFilter,
  after: AccountAsset | null,
  limit: number,
): Promise<AccountAsset[]> {
  const accounts = listOrNull(filter.accounts);
  const values = [streamId, after?.account ?? '', after?.asset ?? '', listOrNull(filter.assets), limit, accounts];
  const withLegs = await sql<Pair>(
    em,
    accounts === null ? ALL_PAIRS_SQL : PAIRS_OF_ACCOUNTS_SQL,
    accounts === null ? values.slice(0, 5) : values,
  );
  const withOpening = await sql<Pair>(em, OPENING_PAIRS_SQL, values);
  const pairs = new Map([...withLegs, ...withOpening].map((pair) => [`${pair.account} ${pair.asset}`, pair]));
  return [...pairs.values()].sort(byPair).slice(0, limit);
}

type Pair = AccountAsset & Record<string, unknown>;

const ALL_PAIRS_SQL = `
  with recursive pair as (
    (select account, asset from trueup.entries
     where stream_id = $1 and (account, asset) > ($2, $3) order by account, asset limit 1)
    union all
    select next.account, next.asset from pair cross join lateral
      (select account, asset from trueup.entries
       where stream_id = $1 and (account, asset) > (pair.account, pair.asset) order by account, asset limit 1) as next)
  select account, asset from pair where $4::text[] is null or asset = any($4) limit $5`;

const PAIRS_OF_ACCOUNTS_SQL = `
  with recursive pair as (
    select first.account, first.asset
    from (select distinct wanted from unnest($6::text[]) as wanted) as list cross join lateral
      (select account, asset from trueup.entries
       where stream_id = $1 and account = wanted and (account, asset) > ($2, $3) order by asset limit 1) as first
    union all
    select next.account, next.asset from pair cross join lateral
      (select account, asset from trueup.entries
       where stream_id = $1 and account = pair.account and asset > pair.asset order by asset limit 1) as next)
  select account, asset from pair where $4::text[] is null or asset = any($4) order by account, asset limit $5`;

const OPENING_PAIRS_SQL = `
  select account, asset from trueup.opening_balances
  where stream_id = $1 and (account, asset) > ($2, $3) and ($4::text[] is null or asset = any($4))
    and ($6::text[] is null or account = any($6))
  order by account, asset limit $5`;

/** Addresses and assets are ASCII, whose order is that of their bytes. */
function byPair(a: AccountAsset, b: AccountAsset): number {
  if (a.account !== b.account) return a.account < b.account ? -1 : 1;
  return a.asset < b.asset ? -1 : a.asset > b.asset ? 1 : 0;
}
