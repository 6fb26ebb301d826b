// Seals of days as rows. No trigger sees what is written into sides of the user's: only the full re-verify takes them away.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { AgreedDay } from '../core/day-seal.ts';
import { sql, sqlCount } from './database.ts';

/** The days of a policy, in order, that were sealed under this fingerprint; null: under any. */
export async function readDays(em: EntityManager, policy: string, fingerprint: string | null): Promise<AgreedDay[]> {
  const rows = await sql<{ day: number; row_count: string }>(
    em,
    `select day, row_count::text from trueup.day_seals
     where policy = $1 and ($2::text is null or fingerprint = $2) order by day`,
    [policy, fingerprint],
  );
  return rows.map(({ day, row_count }) => ({ day, rows: Number(row_count) }));
}

/** Seals days, and drops those that hold for other rules, other queries or another place. */
export async function sealDays(
  em: EntityManager,
  policy: string,
  fingerprint: string,
  days: readonly AgreedDay[],
): Promise<void> {
  await sqlCount(em, `delete from trueup.day_seals where policy = $1 and fingerprint <> $2`, [policy, fingerprint]);
  await sqlCount(
    em,
    `insert into trueup.day_seals (policy, day, row_count, fingerprint)
     select $1, day, row_count, $2 from unnest($3::int[], $4::bigint[]) as sealed (day, row_count)
     on conflict (policy, day) do update set row_count = excluded.row_count, sealed_at = now()`,
    [policy, fingerprint, days.map(({ day }) => day), days.map(({ rows }) => rows)],
  );
}

/** Opens days again: the next run reads them. */
export async function openDays(em: EntityManager, policy: string, days: readonly number[]): Promise<void> {
  await sqlCount(em, `delete from trueup.day_seals where policy = $1 and day = any($2::int[])`, [policy, days]);
}

export async function policiesWithDays(em: EntityManager): Promise<string[]> {
  const rows = await sql<{ policy: string }>(em, `select distinct policy from trueup.day_seals order by policy`);
  return rows.map(({ policy }) => policy);
}
