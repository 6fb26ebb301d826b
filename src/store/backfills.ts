// Backfills as rows: started, moved from state to state with who and why, counted, pruned.
import type { EntityManager } from '@mikro-orm/postgresql';
import { isFinalState, statesBefore, type BackfillLimits, type BackfillState } from '../core/backfill.ts';
import type { Layer } from '../core/entry.ts';
import type { Reason } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { sql, sqlCount, toDate } from './database.ts';
import { LAYER_CODES, LAYER_OF_CODE } from './entries.ts';

/** What a caller asked for, as far as a repetition of the call must equal it. */
export interface BackfillRequest {
  readonly streamId: number;
  readonly layers: readonly Layer[];
  readonly range: LedgerRange;
  readonly source: string | null;
  readonly watch: readonly string[] | null;
  readonly dryRun: boolean;
  readonly reread: boolean;
  readonly planOf: string | null;
  readonly limits: BackfillLimits;
  readonly reason: string | null;
}

export interface BackfillToInsert extends BackfillRequest {
  readonly id: string;
  readonly requestId: string | null;
  readonly watchSetId: number;
  readonly sandbox: boolean;
  readonly actor: string;
  readonly pieceLedgers: number;
}

/** A job as its workers need it. */
export interface BackfillJob extends BackfillRequest {
  readonly id: string;
  readonly watchSetId: number;
  readonly state: BackfillState;
  readonly failures: number;
  readonly pieceLedgers: number;
  readonly missingRanges: readonly LedgerRange[];
}

/** Starts of one stream come one after the other, so that of two that overlap one is refused. */
export async function lockStarts(em: EntityManager, streamId: number): Promise<void> {
  await sql(em, `select pg_advisory_xact_lock(hashtext('trueup.backfills'), $1)`, [streamId]);
}

export async function insertBackfill(em: EntityManager, job: BackfillToInsert): Promise<void> {
  const { limits, range } = job;
  await sqlCount(
    em,
    `insert into trueup.backfills (id, request_id, stream_id, watch_set_id, layers, from_ledger, to_ledger, source, watch, dry_run,
       reread, plan_of, ledgers_per_second, requests_per_second, concurrency, batch_size, sandbox, reason, actor, state, piece_ledgers)
     values ($1, $2, $3, $4, $5::smallint[], $6, $7, $8, $9::text[], $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, 'planned', $20)`,
    [
      job.id,
      job.requestId,
      job.streamId,
      job.watchSetId,
      job.layers.map((layer) => LAYER_CODES[layer]),
      range.from,
      range.to,
      job.source,
      job.watch,
      job.dryRun,
      job.reread,
      job.planOf,
      limits.ledgersPerSecond,
      limits.requestsPerSecond,
      limits.concurrency,
      limits.batchSize,
      job.sandbox,
      job.reason,
      job.actor,
      job.pieceLedgers,
    ],
  );
  await sqlCount(
    em,
    `insert into trueup.backfill_transitions (backfill_id, to_state, actor, reason) values ($1, 'planned', $2, $3)`,
    [job.id, job.actor, job.reason],
  );
}

export interface TransitionCause {
  /** The token's name, or `trueup`. */
  readonly actor: string;
  readonly reason?: string | null;
  readonly error?: { readonly reason: Reason; readonly message: string; readonly fix: string } | null;
}

/**
 * Moves a job, where the table of transitions allows it from the state that it is in; the row of the change is written with it.
 *
 * @returns the state before, or null where the job was not in one from which this may follow
 */
export async function moveBackfill(
  em: EntityManager,
  id: string,
  to: BackfillState,
  cause: TransitionCause,
  onlyFrom: readonly BackfillState[] = statesBefore(to),
): Promise<BackfillState | null> {
  const allowed = statesBefore(to).filter((state) => onlyFrom.includes(state));
  const error = cause.error ?? null;
  const rows = await sql<{ state: BackfillState }>(
    em,
    `with before as (select id, state from trueup.backfills where id = $1 and state = any($2::text[]) for no key update),
     moved as (update trueup.backfills b set state = $3, state_at = clock_timestamp(), sequence = nextval('trueup.change_sequence'),
         started_at = case when $3 = 'running' then coalesce(b.started_at, clock_timestamp()) else b.started_at end,
         completed_at = case when $4 then clock_timestamp() end,
         retry_at = case when $3 in ('throttled', 'blocked') then b.retry_at end,
         error_reason = $7, error_message = $8, error_fix = $9, error_at = case when $7::text is not null then clock_timestamp() end,
         updated_at = clock_timestamp()
       from before where b.id = before.id),
     noted as (insert into trueup.backfill_transitions (backfill_id, from_state, to_state, actor, reason, error_reason)
       select id, state, $3, $5, $6, $7 from before)
     select state from before`,
    [
      id,
      allowed,
      to,
      isFinalState(to),
      cause.actor,
      cause.reason ?? null,
      error?.reason ?? null,
      error?.message ?? null,
      error?.fix ?? null,
    ],
  );
  return rows[0]?.state ?? null;
}

export interface BackfillTransition {
  readonly at: Date;
  /** Null: it was started. */
  readonly from: BackfillState | null;
  readonly to: BackfillState;
  readonly actor: string;
  readonly reason: string | null;
  readonly errorReason: string | null;
}

/** The newest changes of state, oldest of them first. */
export async function transitionsOf(em: EntityManager, id: string, limit: number): Promise<BackfillTransition[]> {
  const rows = await sql<{
    at: string;
    from_state: BackfillState | null;
    to_state: BackfillState;
    actor: string;
    reason: string | null;
    error_reason: string | null;
  }>(
    em,
    `select at, from_state, to_state, actor, reason, error_reason from trueup.backfill_transitions
     where backfill_id = $1 order by id desc limit $2`,
    [id, limit],
  );
  return rows.reverse().map((row) => ({
    at: toDate(row.at),
    from: row.from_state,
    to: row.to_state,
    actor: row.actor,
    reason: row.reason,
    errorReason: row.error_reason,
  }));
}

/**
 * A process that stands still with a job's row locked would hold up all others: the server ends its transaction after this. Part of
 * the statement that takes the lock.
 */
export const FREE_WHEN_IDLE = `set_config('idle_in_transaction_session_timeout', '3000', true)`;

/** One job; with `lock`, nobody else changes it until the transaction ends. */
export async function findJob(em: EntityManager, id: string, lock = false): Promise<BackfillJob | null> {
  const rows = await sql<JobRow>(
    em,
    lock
      ? `select ${JOB_COLUMNS}, ${FREE_WHEN_IDLE} from trueup.backfills where id = $1 for no key update`
      : `select ${JOB_COLUMNS} from trueup.backfills where id = $1`,
    [id],
  );
  return rows[0] ? toJob(rows[0]) : null;
}

export async function jobOfRequest(em: EntityManager, requestId: string): Promise<BackfillJob | null> {
  const rows = await sql<JobRow>(em, `select ${JOB_COLUMNS} from trueup.backfills where request_id = $1`, [requestId]);
  return rows[0] ? toJob(rows[0]) : null;
}

/** Live jobs that are not over and have ledgers of the range in hand. */
export async function overlappingJobs(
  em: EntityManager,
  streamId: number,
  range: LedgerRange,
): Promise<{ id: string; range: LedgerRange }[]> {
  const rows = await sql<{ id: string; from_ledger: number; to_ledger: number }>(
    em,
    `select id, from_ledger, to_ledger from trueup.backfills
     where completed_at is null and stream_id = $1 and not dry_run and from_ledger < $3 and to_ledger > $2
     order by from_ledger limit 100`,
    [streamId, range.from, range.to],
  );
  return rows.map((row) => ({ id: row.id, range: { from: row.from_ledger, to: row.to_ledger } }));
}

/** Jobs that are not over, with what their workers watch for. */
export async function activeJobs(em: EntityManager): Promise<{ id: string; state: BackfillState }[]> {
  return sql(em, `select id, state from trueup.backfills where completed_at is null order by created_at limit 1000`);
}

export async function statesOf(
  em: EntityManager,
  ids: readonly string[],
): Promise<{ id: string; state: BackfillState }[]> {
  return sql(em, `select id, state from trueup.backfills where id = any($1::uuid[])`, [ids]);
}

export async function changeLimits(em: EntityManager, id: string, limits: BackfillLimits): Promise<void> {
  await sqlCount(
    em,
    `update trueup.backfills set ledgers_per_second = $2, requests_per_second = $3, concurrency = $4, batch_size = $5,
       budget_at = null where id = $1`,
    [id, limits.ledgersPerSecond, limits.requestsPerSecond, limits.concurrency, limits.batchSize],
  );
}

/** Deletes jobs that ended more than `days` ago, chunks and transitions with them; returns how many. */
export async function pruneBackfills(em: EntityManager, days: number): Promise<number> {
  return sqlCount(em, `delete from trueup.backfills where completed_at < now() - $1 * interval '1 day'`, [days]);
}

const JOB_COLUMNS = `id, stream_id, watch_set_id, layers, from_ledger, to_ledger, source, watch, dry_run, reread, plan_of,
  ledgers_per_second, requests_per_second, concurrency, batch_size, reason, state, failures, piece_ledgers,
  array(select array[lower(r), upper(r)] from unnest(missing_ranges) as r order by lower(r)) as missing_ranges`;

interface JobRow {
  id: string;
  stream_id: number;
  watch_set_id: number;
  layers: number[];
  from_ledger: number;
  to_ledger: number;
  source: string | null;
  watch: string[] | null;
  dry_run: boolean;
  reread: boolean;
  plan_of: string | null;
  ledgers_per_second: number | null;
  requests_per_second: number | null;
  concurrency: number;
  batch_size: number;
  reason: string | null;
  state: BackfillState;
  failures: number;
  piece_ledgers: number;
  missing_ranges: [number, number][];
}

function toJob(row: JobRow): BackfillJob {
  return {
    id: row.id,
    streamId: row.stream_id,
    watchSetId: row.watch_set_id,
    layers: row.layers.map((code) => LAYER_OF_CODE[code]!),
    range: { from: row.from_ledger, to: row.to_ledger },
    source: row.source,
    watch: row.watch,
    dryRun: row.dry_run,
    reread: row.reread,
    planOf: row.plan_of,
    limits: {
      ledgersPerSecond: row.ledgers_per_second,
      requestsPerSecond: row.requests_per_second,
      concurrency: row.concurrency,
      batchSize: row.batch_size,
    },
    reason: row.reason,
    state: row.state,
    failures: row.failures,
    pieceLedgers: row.piece_ledgers,
    missingRanges: row.missing_ranges.map(([from, to]) => ({ from, to })),
  };
}
