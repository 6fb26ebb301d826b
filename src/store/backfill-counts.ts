// The numbers of a backfill beside its state: its plan, its budget, its digest, and how fast it goes.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Digest } from '../core/digest.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { sql, sqlCount } from './database.ts';

/** Samples older than this tell nothing of the last minute. */
const KEEP_SAMPLES_MS = 120_000;
const SAMPLE_EVERY_MS = 1_000;
/** A longer silence than this was no work. */
const MAX_GAP_MS = 5_000;

export interface Plan {
  /** What wasn't covered. */
  readonly missing: readonly LedgerRange[];
  readonly missingLedgers: number;
  /** What will be read: the same, or everything where covered ledgers are read again. */
  readonly plannedLedgers: number;
  readonly chunks: number;
}

export async function savePlan(em: EntityManager, id: string, plan: Plan): Promise<void> {
  await sqlCount(
    em,
    `update trueup.backfills set missing_ledgers = $2, planned_ledgers = $3, total_chunks = $4,
       missing_ranges = (select coalesce(range_agg(int4range(f, t)), '{}') from unnest($5::int[], $6::int[]) as missing (f, t)) where id = $1`,
    [
      id,
      plan.missingLedgers,
      plan.plannedLedgers,
      plan.chunks,
      plan.missing.map((range) => range.from),
      plan.missing.map((range) => range.to),
    ],
  );
}

/** More to read than was planned: holes that the check at the end has found. */
export async function growPlan(em: EntityManager, id: string, ledgers: number, chunks: number): Promise<void> {
  await sqlCount(
    em,
    `update trueup.backfills set planned_ledgers = planned_ledgers + $2, total_chunks = total_chunks + $3 where id = $1`,
    [id, ledgers, chunks],
  );
}

/**
 * Takes one request and its ledgers out of the job's own limits, over all replicas; a further request of a read brings no ledgers
 * and waits for none.
 *
 * @returns how long to wait before reading, milliseconds
 */
export async function takeBudget(em: EntityManager, id: string, ledgers: number): Promise<number> {
  const rows = await sql<{ wait_ms: number }>(
    em,
    `with cost as (select id, $2 > 0 and ledgers_per_second is not null as takes_ledgers,
         greatest(clock_timestamp(), coalesce(budget_at, '-infinity')) as ledgers_at,
         greatest(clock_timestamp(), coalesce(requests_at, '-infinity')) as requests_at
       from trueup.backfills where id = $1 for no key update)
     update trueup.backfills b set
       budget_at = case when takes_ledgers then cost.ledgers_at + $2 / ledgers_per_second * interval '1 second' else b.budget_at end,
       requests_at = cost.requests_at + 1 / requests_per_second * interval '1 second'
     from cost where b.id = cost.id
     returning (extract(epoch from greatest(case when takes_ledgers then cost.ledgers_at end,
       case when requests_per_second is not null then cost.requests_at end) - clock_timestamp()) * 1000)::float8 as wait_ms`,
    [id, ledgers],
  );
  return Math.max(0, rows[0]?.wait_ms ?? 0);
}

/** A read that failed for a reason that may pass: no chunk is handed out before `retryMs` from now. @returns failures in a row, 0 of a job that has ended */
export async function noteFailure(
  em: EntityManager,
  id: string,
  failure: { readonly retryMs: number; readonly sourceAsked: boolean },
): Promise<number> {
  const rows = await sql<{ failures: number }>(
    em,
    `update trueup.backfills set failures = failures + 1, retries = retries + 1, source_asked = $3,
       retry_at = greatest(coalesce(retry_at, '-infinity'), clock_timestamp() + $2 * interval '1 millisecond'),
       sequence = nextval('trueup.change_sequence'), updated_at = clock_timestamp()
     where id = $1 and completed_at is null returning failures`,
    [id, failure.retryMs, failure.sourceAsked],
  );
  return rows[0]?.failures ?? 0;
}

/** Smaller pieces from now on. */
export async function shrinkPieces(em: EntityManager, id: string, pieceLedgers: number): Promise<void> {
  await sqlCount(em, `update trueup.backfills set piece_ledgers = least(piece_ledgers, $2) where id = $1`, [
    id,
    pieceLedgers,
  ]);
}

/** Adds the digest of ledgers that were checked; the sums are of 64 bits. */
export async function addToDigest(em: EntityManager, id: string, digest: Digest): Promise<void> {
  await sqlCount(
    em,
    `update trueup.backfills set digest_count = digest_count + $2, digest_sum1 = mod(digest_sum1 + $3::numeric, 18446744073709551616),
       digest_sum2 = mod(digest_sum2 + $4::numeric, 18446744073709551616) where id = $1`,
    [id, digest.count, digest.sum1.toString(), digest.sum2.toString()],
  );
}

export async function digestOf(em: EntityManager, id: string): Promise<Digest> {
  const [row] = await sql<{ count: string; sum1: string; sum2: string }>(
    em,
    `select digest_count::text as count, digest_sum1::text as sum1, digest_sum2::text as sum2 from trueup.backfills where id = $1`,
    [id],
  );
  return { count: Number(row!.count), sum1: BigInt(row!.sum1), sum2: BigInt(row!.sum2) };
}

export async function saveDigest(em: EntityManager, id: string, digest: string): Promise<void> {
  await sqlCount(em, `update trueup.backfills set digest = $2 where id = $1`, [id, digest]);
}

/**
 * A sample of each job, once a second whoever asks, for its rates and for those who watch. Of one that has ended meanwhile none is
 * taken: who was stopped past its end would otherwise move what had its last message.
 */
export async function sampleProgress(em: EntityManager, ids: readonly string[]): Promise<void> {
  await sqlCount(
    em,
    `with due as (select id, sampled_at from trueup.backfills
       where id = any($1::uuid[]) and completed_at is null and (sampled_at is null or sampled_at <= clock_timestamp() - $2 * interval '1 millisecond')
       for no key update skip locked),
     sampled as (update trueup.backfills b set sampled_at = clock_timestamp(), sequence = nextval('trueup.change_sequence'),
         running_ms = running_ms + least($3, extract(epoch from clock_timestamp() - coalesce(due.sampled_at, b.started_at)) * 1000)
       from due where b.id = due.id and b.started_at is not null
       returning b.id, b.sampled_at, b.scanned_ledgers, b.inserted_entries + b.duplicate_entries as entries),
     old as (delete from trueup.backfill_samples s using sampled
       where s.backfill_id = sampled.id and s.at < clock_timestamp() - $4 * interval '1 millisecond')
     insert into trueup.backfill_samples (backfill_id, at, ledgers, entries)
     select id, sampled_at, scanned_ledgers, entries from sampled`,
    [ids, SAMPLE_EVERY_MS, MAX_GAP_MS, KEEP_SAMPLES_MS],
  );
}
