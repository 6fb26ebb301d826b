// How each job is doing, over all replicas and restarts; and the jobs that were given up.
import type { EntityManager } from '@mikro-orm/postgresql';
import { REASONS, TrueUpError } from '../core/errors.ts';
import type { Reason } from '../core/errors.ts';
import { pageOf } from '../core/page.ts';
import type { Page, PageRequest } from '../core/page.ts';
import { failureOf } from '../core/status.ts';
import type { DeadLetter, Failure } from '../core/status.ts';
import { sql, toDate } from './database.ts';
import { DeadLetterEntity, JobHealthEntity } from './entities.ts';
import type { DeadLetterRow, JobHealthRow } from './entities.ts';
import { given, olderThan } from './filters.ts';

/** Given up this often in a row, a job is degraded; one success makes it healthy again. */
export const DEGRADED_AFTER_DEAD_LETTERS = 2;
const MAX_PAYLOAD_BYTES = 64 * 1024;

export interface JobHealth {
  /** The schedule's name for a scheduled job, else the job's. */
  readonly name: string;
  readonly runs: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly deadLettered: number;
  readonly lastStartedAt: Date | null;
  readonly lastSuccessAt: Date | null;
  readonly lastFailureAt: Date | null;
  readonly lastError: Failure | null;
  readonly lastDurationMs: number | null;
  readonly meanDurationMs: number | null;
  /** Null: it never ran. */
  readonly health: 'healthy' | 'degraded' | null;
}

export async function recordJobStart(em: EntityManager, name: string): Promise<void> {
  await sql(
    em,
    `insert into trueup.job_health (name, runs, last_started_at) values ($1, 1, clock_timestamp())
     on conflict (name) do update set runs = job_health.runs + 1, last_started_at = excluded.last_started_at`,
    [name],
  );
}

/** `whenRecovered` is called in the same transaction where this is the first success after jobs of that name were given up. */
export async function recordJobSuccess(
  em: EntityManager,
  name: string,
  durationMs: number,
  whenRecovered?: (em: EntityManager) => Promise<void>,
): Promise<void> {
  await em.transactional(async (tx) => {
    const [row] = await sql<{ recovered: boolean }>(
      tx,
      `with before as (select name, consecutive_dead_letters from trueup.job_health where name = $1 for update)
       update trueup.job_health as job
       set succeeded = succeeded + 1, consecutive_dead_letters = 0, last_success_at = clock_timestamp(),
           last_duration_ms = $2, total_duration_ms = total_duration_ms + $2
       from before where job.name = before.name returning before.consecutive_dead_letters > 0 as recovered`,
      [name, Math.round(durationMs)],
    );
    if (row?.recovered === true) await whenRecovered?.(tx);
  });
}

export async function recordJobFailure(
  em: EntityManager,
  name: string,
  durationMs: number,
  error: unknown,
): Promise<void> {
  const failure = failureOf(error, null);
  await sql(
    em,
    `update trueup.job_health
     set failed = failed + 1, last_failure_at = clock_timestamp(), last_error = $3, last_error_reason = $4, last_error_fix = $5,
         last_duration_ms = $2, total_duration_ms = total_duration_ms + $2
     where name = $1`,
    [name, Math.round(durationMs), failure.message, failure.reason, failure.fix],
  );
}

export interface GivenUpJob {
  /** The job's own id, by which it is recorded once however often this is called. */
  readonly id: string;
  readonly job: string;
  readonly healthName: string;
  readonly resourceId: string | null;
  readonly payload: unknown;
  readonly attempts: number;
  readonly failure: Pick<Failure, 'reason' | 'message' | 'fix'>;
  readonly sentAt: Date;
}

/**
 * Records a job that was given up, its job's health and what `also` makes of it, in one transaction.
 * @returns false when it was recorded before
 */
export async function recordDeadLetter(
  em: EntityManager,
  given: GivenUpJob,
  also?: (em: EntityManager) => Promise<void>,
): Promise<boolean> {
  return em.transactional(async (tx) => {
    const { reason, message, fix } = given.failure;
    const inserted = await sql(
      tx,
      `insert into trueup.dead_letters (id, job, payload, attempts, error, reason, fix, resource_id, sent_at)
       values ($1, $2, $3::jsonb, $4, $5, $6, $7, $8, $9) on conflict (id) do nothing returning id`,
      [
        given.id,
        given.job,
        payloadJson(given.payload),
        given.attempts,
        message,
        reason,
        fix,
        given.resourceId,
        given.sentAt,
      ],
    );
    if (inserted.length === 0) return false;
    await sql(
      tx,
      `insert into trueup.job_health (name, dead_lettered, consecutive_dead_letters, last_failure_at, last_error, last_error_reason, last_error_fix)
       values ($1, 1, 1, clock_timestamp(), $2, $3, $4)
       on conflict (name) do update
       set dead_lettered = job_health.dead_lettered + 1, consecutive_dead_letters = job_health.consecutive_dead_letters + 1,
           last_failure_at = excluded.last_failure_at, last_error = excluded.last_error,
           last_error_reason = excluded.last_error_reason, last_error_fix = excluded.last_error_fix`,
      [given.healthName, message, reason, fix],
    );
    await also?.(tx);
    return true;
  });
}

/** Every job that ever ran, by name: what `job_health_status` and `job_dead_letter_count` are read from. */
export async function listJobHealth(em: EntityManager): Promise<JobHealth[]> {
  return (await em.find(JobHealthEntity, {}, { orderBy: { name: 'asc' } })).map(toJobHealth);
}

/** Newest first. */
export async function listDeadLetters(
  em: EntityManager,
  page: PageRequest,
  filter: { job?: string } = {},
): Promise<Page<DeadLetter>> {
  const after = page.after === null ? {} : readPosition(page.after);
  const rows = await em.find(
    DeadLetterEntity,
    { $and: [given(filter), after] },
    { orderBy: { createdAt: 'desc', id: 'desc' }, limit: page.size + 1 },
  );
  return pageOf(rows, page.size, (last) => ({ at: last.createdAt, id: last.id }), toDeadLetter);
}

/** Jobs that were given up; of one name where one is named. */
export async function countDeadLetters(em: EntityManager, filter: { job?: string } = {}): Promise<number> {
  return em.count(DeadLetterEntity, given(filter));
}

function toJobHealth(row: JobHealthRow): JobHealth {
  const { name, runs, succeeded, failed, deadLettered, lastStartedAt, lastSuccessAt, lastFailureAt, lastDurationMs } =
    row;
  const finished = succeeded + failed;
  return {
    ...{ name, runs, succeeded, failed, deadLettered, lastStartedAt, lastSuccessAt, lastFailureAt, lastDurationMs },
    lastError:
      row.lastError === null ? null : toFailure(row.lastErrorReason, row.lastError, row.lastErrorFix, lastFailureAt),
    meanDurationMs: finished === 0 ? null : Math.round(row.totalDurationMs / finished),
    health:
      row.consecutiveDeadLetters >= DEGRADED_AFTER_DEAD_LETTERS
        ? 'degraded'
        : runs === 0 && row.consecutiveDeadLetters === 0
          ? null
          : 'healthy',
  };
}

function toDeadLetter(row: DeadLetterRow): DeadLetter {
  const deadAt = toDate(row.createdAt);
  return {
    id: row.id,
    job: row.job,
    resourceId: row.resourceId,
    attempts: row.attempts,
    lastError: toFailure(row.reason, row.error, row.fix, deadAt),
    createdAt: row.sentAt,
    deadAt,
    payloadJson: row.payload,
  };
}

function toFailure(reason: string | null, message: string, fix: string | null, at: Date | null): Failure {
  const known = readReason(reason);
  return { reason: known, message, fix: fix ?? '', retryable: REASONS[known].retryable, at };
}

/** A row may come from a version that knew more reasons. */
export function readReason(reason: unknown): Reason {
  return typeof reason === 'string' && Object.hasOwn(REASONS, reason) ? (reason as Reason) : 'INTERNAL';
}

function payloadJson(payload: unknown): string {
  const text = JSON.stringify(payload ?? null);
  const bytes = Buffer.byteLength(text);
  return bytes <= MAX_PAYLOAD_BYTES ? text : JSON.stringify({ omitted_bytes: bytes });
}

function readPosition(position: Readonly<Record<string, unknown>>): ReturnType<typeof olderThan> {
  const { at, id } = position;
  if (typeof at === 'string' && typeof id === 'string' && /^[0-9a-f-]{36}$/.test(id) && !Number.isNaN(Date.parse(at)))
    return olderThan(at, id);
  throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
}
