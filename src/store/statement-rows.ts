// What a statement is put together from: each pair's movements by day, the book's, and the open drifts by the day of their item.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { AccountAsset } from './balance-pairs.ts';
import { sql } from './database.ts';
import { LAYER_CODES } from './entries.ts';

/** Movements of one pair on one day; amounts are minor units, none is negative but a net refund of fees. */
export interface DayMovements {
  /** Index of the pair. */
  readonly pair: number;
  /** UTC, yyyy-mm-dd. */
  readonly day: string;
  readonly in: bigint;
  readonly out: bigint;
  readonly fees: bigint;
  readonly firstLedger: number;
}

/** In order of pair and day. */
export async function dayMovements(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  range: LedgerRange,
  pairs: readonly AccountAsset[],
): Promise<DayMovements[]> {
  const rows = await sql<{ pair: string; day: string; ins: string; outs: string; fees: string; first_ledger: number }>(
    em,
    // The layer is hidden in a sum for the reason that sumLegs gives in balances.ts.
    `select pair.at as pair, leg.day::text as day, leg.ins::text as ins, leg.outs::text as outs, leg.fees::text as fees, leg.first_ledger
     from unnest($5::text[], $6::text[]) with ordinality as pair (account, asset, at)
     cross join lateral (
       select (closed_at at time zone 'UTC')::date as day, min(ledger) as first_ledger,
         coalesce(sum(amount) filter (where amount > 0 and kind not in ('fee', 'fee_refund')), 0) as ins,
         coalesce(-sum(amount) filter (where amount < 0 and kind not in ('fee', 'fee_refund')), 0) as outs,
         coalesce(-sum(amount) filter (where kind in ('fee', 'fee_refund')), 0) as fees
       from trueup.entries e
       where e.stream_id = $1 and e.layer + 0 = $2 and e.account = pair.account and e.asset = pair.asset
         and e.ledger >= $3 and e.ledger < $4
       group by 1) as leg
     order by pair.at, leg.day`,
    [
      streamId,
      LAYER_CODES[layer],
      range.from,
      range.to,
      pairs.map((pair) => pair.account),
      pairs.map((pair) => pair.asset),
    ],
  );
  return rows.map((row) => ({
    pair: Number(row.pair) - 1,
    day: row.day,
    in: BigInt(row.ins),
    out: BigInt(row.outs),
    fees: BigInt(row.fees),
    firstLedger: row.first_ledger,
  }));
}

export interface BookDay {
  readonly pair: number;
  /** UTC, yyyy-mm-dd; null: the row bears no time. */
  readonly day: string | null;
  readonly amount: bigint;
}

/** What the book's rows of a time add up to, those with a failed status left out. In order of pair and day. */
export async function bookDays(
  em: EntityManager,
  bookId: number,
  time: { readonly from: Date; readonly to: Date },
  failedWords: readonly string[],
  pairs: readonly AccountAsset[],
): Promise<BookDay[]> {
  const rows = await sql<{ pair: string; day: string | null; amount: string }>(
    em,
    `select pair.at as pair, (occurred_at at time zone 'UTC')::date::text as day, sum(amount)::text as amount
     from unnest($5::text[], $6::text[]) with ordinality as pair (account, asset, at)
     join trueup.book_entries b on b.book_id = $1 and b.account = pair.account and b.asset = pair.asset
     where not retracted and not coalesce(lower(status), '') = any($4::text[])
       and (occurred_at is null or (occurred_at >= $2 and occurred_at <= $3))
     group by pair.at, 2 order by pair.at, 2 nulls last`,
    [bookId, time.from, time.to, failedWords, pairs.map((pair) => pair.account), pairs.map((pair) => pair.asset)],
  );
  return rows.map((row) => ({ pair: Number(row.pair) - 1, day: row.day, amount: BigInt(row.amount) }));
}

export interface StatedBalance {
  readonly pair: number;
  /** 0: stated without a ledger, taken as of the cut. */
  readonly asOfLedger: number;
  readonly amount: bigint;
}

/** In order of pair and ledger. */
export async function statedBalances(
  em: EntityManager,
  bookId: number,
  pairs: readonly AccountAsset[],
): Promise<StatedBalance[]> {
  const rows = await sql<{ pair: string; as_of_ledger: number; amount: string }>(
    em,
    `select pair.at as pair, b.as_of_ledger, b.amount::text as amount
     from unnest($2::text[], $3::text[]) with ordinality as pair (account, asset, at)
     join trueup.book_balances b on b.book_id = $1 and b.account = pair.account and b.asset = pair.asset
     order by pair.at, b.as_of_ledger`,
    [bookId, pairs.map((pair) => pair.account), pairs.map((pair) => pair.asset)],
  );
  return rows.map((row) => ({
    pair: Number(row.pair) - 1,
    asOfLedger: row.as_of_ledger,
    amount: BigInt(row.amount),
  }));
}

export interface UnmatchedDay {
  readonly pair: number;
  readonly day: string;
  readonly count: number;
}

/** Open and acknowledged drifts by the day of their item. */
export async function unmatchedDays(em: EntityManager, pairs: readonly AccountAsset[]): Promise<UnmatchedDay[]> {
  const rows = await sql<{ pair: string; day: string; count: number }>(
    em,
    `select pair.at as pair, (coalesce(item_at, first_seen_at) at time zone 'UTC')::date::text as day, count(*)::int as count
     from unnest($1::text[], $2::text[]) with ordinality as pair (account, asset, at)
     join trueup.drifts d on d.account = pair.account and d.asset = pair.asset and d.state in ('open', 'acknowledged')
     group by pair.at, 2 order by pair.at, 2`,
    [pairs.map((pair) => pair.account), pairs.map((pair) => pair.asset)],
  );
  return rows.map((row) => ({ pair: Number(row.pair) - 1, day: row.day, count: row.count }));
}
