// Opening balances as rows: the first that was taken of a pair stays.
import type { EntityManager } from '@mikro-orm/postgresql';
import { sql, sqlCount } from './database.ts';

export interface Opening {
  readonly account: string;
  readonly asset: string;
  /** Minor units at the close of `ledger`. */
  readonly amount: bigint;
  readonly ledger: number;
}

/** Of the accounts given, at most `limit` for which no opening was ever taken, in order. */
export async function accountsWithoutOpening(
  em: EntityManager,
  streamId: number,
  accounts: readonly string[],
  limit: number,
): Promise<string[]> {
  const rows = await sql<{ account: string }>(
    em,
    `select wanted.account from unnest($2::text[]) as wanted (account)
     where not exists (select 1 from trueup.opening_balances as opening
       where opening.stream_id = $1 and opening.account = wanted.account)
     order by wanted.account limit $3`,
    [streamId, accounts, limit],
  );
  return rows.map((row) => row.account);
}

/** What openings there are; none is ever changed, so that as many are the same. */
export interface OpeningsTaken {
  readonly count: number;
  /** 0: there is none. */
  readonly newestLedger: number;
}

export async function openingsTaken(em: EntityManager, streamId: number): Promise<OpeningsTaken> {
  const [row] = await sql<{ count: number; newest: number }>(
    em,
    `select count(*)::int as count, coalesce(max(ledger), 0) as newest from trueup.opening_balances where stream_id = $1`,
    [streamId],
  );
  return { count: row!.count, newestLedger: row!.newest };
}

export async function insertOpenings(
  em: EntityManager,
  streamId: number,
  sourceId: number,
  openings: readonly Opening[],
): Promise<number> {
  return sqlCount(
    em,
    `insert into trueup.opening_balances (stream_id, source_id, account, asset, amount, ledger)
     select $1, $2, * from unnest($3::text[], $4::text[], $5::numeric[], $6::int[]) on conflict do nothing`,
    [
      streamId,
      sourceId,
      openings.map((opening) => opening.account),
      openings.map((opening) => opening.asset),
      openings.map((opening) => opening.amount.toString()),
      openings.map((opening) => opening.ledger),
    ],
  );
}
