// What all replicas together may ask of a host: one row a host, by the database's clock.
import type { EntityManager } from '@mikro-orm/postgresql';
import { sql, sqlCount } from './database.ts';

/**
 * Reserves the next `count` requests to a host, one after the other at the rate. One statement, so replicas never get the same.
 *
 * @param requestsPerSecond null: no rate, only the host's own wish to be left alone counts
 * @returns milliseconds from now until the first of them may be sent
 */
export async function claimRequests(
  em: EntityManager,
  host: string,
  count: number,
  requestsPerSecond: number | null,
): Promise<number> {
  const spanMs = requestsPerSecond === null ? 0 : (count * 1_000) / requestsPerSecond;
  const rows = await sql<{ wait_ms: number }>(
    em,
    `insert into trueup.source_budgets as budget (host, next_at)
     values ($1, clock_timestamp() + $2 * interval '1 millisecond')
     on conflict (host) do update set updated_at = now(),
       next_at = greatest(budget.next_at, budget.not_before, clock_timestamp()) + $2 * interval '1 millisecond'
     returning (extract(epoch from next_at - clock_timestamp()) * 1000)::float8 - $2::float8 as wait_ms`,
    [host, spanMs],
  );
  return Math.max(0, rows[0]!.wait_ms);
}

/** The host asked every one of us to wait (Retry-After). A later wish never shortens an earlier one. */
export async function deferRequests(em: EntityManager, host: string, waitMs: number): Promise<void> {
  await sqlCount(
    em,
    `insert into trueup.source_budgets as budget (host, not_before)
     values ($1, clock_timestamp() + $2 * interval '1 millisecond')
     on conflict (host) do update set updated_at = now(), not_before = greatest(budget.not_before, excluded.not_before)`,
    [host, waitMs],
  );
}
