// When each transfer that waits for its reversal was first seen so. Its table's `updated_at` moves with every retry; the earliest
// one that any replica has read since the transfer got there doesn't.
import type { EntityManager } from '@mikro-orm/postgresql';
import { sql, sqlCount, toDate } from './database.ts';

export interface ReversalSighting {
  readonly transferId: string;
  readonly since: Date;
}

/**
 * A transfer that several replicas miss for this long has left the state. Shorter, and one that read an older snapshot could make
 * the others forget.
 */
const FORGET_AFTER_MS = 150_000;

/** Keeps what is waiting now and the earliest time that was ever read of it; forgets what waits no more. */
export async function keepReversals(em: EntityManager, waiting: readonly ReversalSighting[]): Promise<void> {
  await em.transactional(async (tx) => {
    await sqlCount(
      tx,
      `delete from trueup.reversal_sightings
       where transfer_id <> all($1::text[]) and seen_at < now() - $2 * interval '1 millisecond'`,
      [waiting.map((each) => each.transferId), FORGET_AFTER_MS],
    );
    await sqlCount(
      tx,
      `insert into trueup.reversal_sightings as kept (transfer_id, since)
       select * from unnest($1::text[], $2::timestamptz[]) order by 1
       on conflict (transfer_id) do update set since = least(kept.since, excluded.since), seen_at = now()`,
      [waiting.map((each) => each.transferId), waiting.map((each) => each.since.toISOString())],
    );
  });
}

/** Of those given, the ones that have waited for at least `ageMs`, the longest first. */
export async function longWaitingReversals(
  em: EntityManager,
  transferIds: readonly string[],
  ageMs: number,
): Promise<ReversalSighting[]> {
  const rows = await sql<{ transfer_id: string; since: string }>(
    em,
    `select transfer_id, since from trueup.reversal_sightings
     where transfer_id = any($1::text[]) and since < now() - $2 * interval '1 millisecond' order by since, transfer_id`,
    [transferIds, ageMs],
  );
  return rows.map((row) => ({ transferId: row.transfer_id, since: toDate(row.since) }));
}
