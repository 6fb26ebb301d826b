// Keys that a run could not judge, because what could hold their other half was not read: each later run reads them again.
import type { EntityManager } from '@mikro-orm/postgresql';
import { sql, sqlCount } from './database.ts';
import type { HeldRun } from './runs.ts';

/** Keys that wait for one policy; what is skipped beyond that is counted on its run, and not read again by name. */
export const MAX_SKIPPED_KEYS = 100_000;

export async function noteSkipped(em: EntityManager, policy: string, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await sqlCount(
    em,
    `insert into trueup.skipped_keys (policy, match_key)
     select distinct $1, skipped.match_key from unnest($2::text[]) as skipped (match_key)
     where not exists (select 1 from trueup.skipped_keys as known
       where known.policy = $1 and known.match_key = skipped.match_key)
     limit greatest(0, ${MAX_SKIPPED_KEYS} - (select count(*) from trueup.skipped_keys where policy = $1))
     on conflict do nothing`,
    [policy, keys],
  );
}

/** In byte order, after one (null: from the first). */
export async function skippedKeys(
  em: EntityManager,
  policy: string,
  after: string | null,
  limit: number,
): Promise<string[]> {
  const rows = await sql<{ match_key: string }>(
    em,
    `select match_key from trueup.skipped_keys where policy = $1 and ($2::text is null or match_key > $2)
     order by match_key limit $3`,
    [policy, after, limit],
  );
  return rows.map((row) => row.match_key);
}

/** Marks keys as verified by an attempt that has not concluded yet. */
export async function markVerified(
  em: EntityManager,
  policy: string,
  run: HeldRun,
  keys: readonly string[],
): Promise<void> {
  if (keys.length === 0) return;
  await sqlCount(
    em,
    `update trueup.skipped_keys set verified_by = $3 where policy = $1 and match_key = any($2::text[])`,
    [policy, keys, attemptOf(run)],
  );
}

/** Forgets what the attempt verified; inside the transaction that stores what it found. */
export async function forgetVerified(em: EntityManager, policy: string, run: HeldRun): Promise<void> {
  await sqlCount(em, `delete from trueup.skipped_keys where policy = $1 and verified_by = $2`, [
    policy,
    attemptOf(run),
  ]);
}

function attemptOf(run: HeldRun): string {
  return `${run.id} ${run.attempt}`;
}
