// Runs as rows: one statement a change, and a sequence number with each for those who watch.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { LedgerRange } from '../core/ledger.ts';
import type { Level, Policy } from '../core/policy.ts';
import { REASONS, type Reason } from '../core/errors.ts';
import { pageOf, type Page, type PageRequest } from '../core/page.ts';
import type { Run, RunFilter, RunProgress, RunState, RunSummary, RunTrigger, Verdict } from '../core/run.ts';
import { listOrNull, sql, sqlCount, toDate, toDateOrNull } from './database.ts';
import { fromJson, toJson } from './json.ts';

interface RunRow {
  id: string;
  request_id: string | null;
  policy: string;
  level: Level;
  trigger: RunTrigger;
  state: RunState;
  verdict: Verdict | null;
  sandbox: boolean;
  stream: string | null;
  book: string;
  requested_from: number | null;
  requested_to: number | null;
  requested_window_ms: string | null;
  requested_scope: unknown;
  summary: unknown;
  progress: unknown;
  error_reason: string | null;
  error_message: string | null;
  trace_id: string;
  actor: string;
  cancel_requested: boolean;
  attempt: number;
  sequence: string;
  created_at: string;
  started_at: string | null;
  completed_at: string | null;
}

/** What a caller narrowed; everything null is the policy as it stands. */
export interface RunRequest {
  /** Half-open. */
  readonly range: LedgerRange | null;
  readonly windowMs: number | null;
  readonly scope: Policy['scope'] | null;
}

export interface StoredRun extends Run {
  readonly request: RunRequest;
  readonly cancelRequested: boolean;
  /** How many workers have begun it; the last one's word counts, as the others were taken for dead. */
  readonly attempt: number;
  readonly sequence: bigint;
}

/** A run as one worker holds it. */
export type HeldRun = Pick<StoredRun, 'id' | 'attempt'>;

export interface RunToInsert {
  readonly id: string;
  readonly requestId: string | null;
  readonly policy: string;
  readonly level: Level;
  readonly trigger: RunTrigger;
  readonly sandbox: boolean;
  readonly stream: string | null;
  readonly book: string;
  readonly request: RunRequest;
  readonly traceId: string;
  readonly actor: string;
}

/** False where the policy has a run under way already, or the request id is known: nothing was inserted. */
export async function insertRun(em: EntityManager, run: RunToInsert): Promise<boolean> {
  const inserted = await sqlCount(
    em,
    `insert into trueup.reconciliations (id, request_id, policy, level, trigger, state, sandbox, stream, book,
       requested_from, requested_to, requested_window_ms, requested_scope, trace_id, actor)
     values ($1, $2, $3, $4, $5, 'queued', $6, $7, $8, $9, $10, $11, $12::jsonb, $13, $14)
     on conflict do nothing`,
    [
      run.id,
      run.requestId,
      run.policy,
      run.level,
      run.trigger,
      run.sandbox,
      run.stream,
      run.book,
      run.request.range?.from ?? null,
      run.request.range?.to ?? null,
      run.request.windowMs,
      run.request.scope && toJson(run.request.scope),
      run.traceId,
      run.actor,
    ],
  );
  return inserted === 1;
}

export async function getRun(em: EntityManager, id: string): Promise<StoredRun | null> {
  const rows = await sql<RunRow>(em, `select * from trueup.reconciliations where id = $1`, [id]);
  return rows[0] ? toRun(rows[0]) : null;
}

export async function getRunByRequest(em: EntityManager, requestId: string): Promise<StoredRun | null> {
  const rows = await sql<RunRow>(em, `select * from trueup.reconciliations where request_id = $1`, [requestId]);
  return rows[0] ? toRun(rows[0]) : null;
}

export async function activeRun(em: EntityManager, policy: string): Promise<StoredRun | null> {
  const rows = await sql<RunRow>(
    em,
    `select * from trueup.reconciliations where policy = $1 and state in ('queued', 'running')`,
    [policy],
  );
  return rows[0] ? toRun(rows[0]) : null;
}

/** The newest scheduled run that ended with a verdict. */
export async function latestScheduledRun(em: EntityManager, policy: string | null): Promise<StoredRun | null> {
  const rows = await sql<RunRow>(
    em,
    `select * from trueup.reconciliations where ($1::text is null or policy = $1) and trigger = 'scheduled' and state = 'succeeded'
     order by created_at desc, id limit 1`,
    [policy],
  );
  return rows[0] ? toRun(rows[0]) : null;
}

export async function listRuns(em: EntityManager, filter: RunFilter, page: PageRequest): Promise<Page<StoredRun>> {
  const rows = await sql<RunRow>(
    em,
    `select * from trueup.reconciliations
     where ($1::text is null or policy = $1) and ($2::text is null or level = $2) and ($3::text is null or trigger = $3)
       and ($4::text[] is null or state = any($4)) and ($5::text[] is null or verdict = any($5))
       and ($6::timestamptz is null or created_at >= $6) and ($7::timestamptz is null or created_at < $7)
       and ($8::timestamptz is null or (created_at, id) < ($8::timestamptz, $9::uuid))
     order by created_at desc, id desc limit $10`,
    [
      filter.policy ?? null,
      filter.level ?? null,
      filter.trigger ?? null,
      listOrNull(filter.states),
      listOrNull(filter.verdicts),
      filter.createdFrom ?? null,
      filter.createdTo ?? null,
      page.after?.createdAt ?? null,
      page.after?.id ?? null,
      page.size + 1,
    ],
  );
  return pageOf(rows, page.size, (row) => ({ createdAt: row.created_at, id: row.id }), toRun);
}

/** Takes a queued run, or one whose worker died, for this attempt; null where it is over or was cancelled meanwhile. */
export async function beginRun(em: EntityManager, id: string): Promise<StoredRun | null> {
  const rows = await sql<RunRow>(
    em,
    `update trueup.reconciliations set state = 'running', started_at = coalesce(started_at, now()), heartbeat_at = now(),
       attempt = attempt + 1, sequence = nextval('trueup.change_sequence')
     where id = $1 and state in ('queued', 'running') returning *`,
    [id],
  );
  return rows[0] ? toRun(rows[0]) : null;
}

/** Returns whether the worker may go on: nobody asked for the run to be cancelled, and no other worker has it. */
export async function noteProgress(em: EntityManager, run: HeldRun, progress: RunProgress): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.reconciliations set progress = $3::jsonb, heartbeat_at = now(), sequence = nextval('trueup.change_sequence')
     where id = $1 and attempt = $2 and state = 'running' and not cancel_requested`,
    [run.id, run.attempt, toJson(progress)],
  );
  return changed === 1;
}

/** False where the run isn't this worker's any more, or was cancelled: then nothing that it found may be kept. */
export async function finishRun(
  em: EntityManager,
  run: HeldRun,
  outcome: { readonly verdict: Verdict; readonly stream: string | null; readonly summary: RunSummary },
): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.reconciliations set state = 'succeeded', verdict = $3, stream = coalesce($4, stream), summary = $5::jsonb,
       progress = null, completed_at = now(), sequence = nextval('trueup.change_sequence')
     where id = $1 and attempt = $2 and state = 'running' and not cancel_requested`,
    [run.id, run.attempt, outcome.verdict, outcome.stream, toJson(outcome.summary)],
  );
  return changed === 1;
}

/** Ends a run without a verdict; with an attempt, only while that worker has it. */
export async function endRun(
  em: EntityManager,
  run: { readonly id: string; readonly attempt?: number },
  state: 'failed' | 'cancelled',
  error: { readonly reason: Reason; readonly message: string } | null,
): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.reconciliations set state = $2, error_reason = $3, error_message = $4, progress = null,
       completed_at = now(), sequence = nextval('trueup.change_sequence')
     where id = $1 and state in ('queued', 'running') and ($5::int is null or attempt = $5)`,
    [run.id, state, error?.reason ?? null, error?.message ?? null, run.attempt ?? null],
  );
  return changed === 1;
}

export async function requestCancel(em: EntityManager, id: string): Promise<void> {
  await sqlCount(
    em,
    `update trueup.reconciliations set cancel_requested = true, sequence = nextval('trueup.change_sequence')
     where id = $1 and state in ('queued', 'running')`,
    [id],
  );
}

function toRun(row: RunRow): StoredRun {
  const reason = row.error_reason === null ? null : (row.error_reason as Reason);
  return {
    id: row.id,
    policy: row.policy,
    level: row.level,
    trigger: row.trigger,
    state: row.state,
    verdict: row.verdict,
    sandbox: row.sandbox,
    stream: row.stream,
    book: row.book,
    summary: row.summary === null ? null : fromJson<RunSummary>(row.summary),
    traceId: row.trace_id,
    actor: row.actor,
    requestId: row.request_id,
    createdAt: toDate(row.created_at),
    startedAt: toDateOrNull(row.started_at),
    completedAt: toDateOrNull(row.completed_at),
    error:
      reason === null
        ? null
        : {
            reason,
            message: row.error_message ?? '',
            fix: '',
            retryable: REASONS[reason].retryable,
            at: toDateOrNull(row.completed_at),
          },
    progress: row.progress === null ? null : fromJson<RunProgress>(row.progress),
    request: {
      range: row.requested_from === null || row.requested_to === null ? null : { from: row.requested_from, to: row.requested_to },
      windowMs: row.requested_window_ms === null ? null : Number(row.requested_window_ms),
      scope: row.requested_scope === null ? null : fromJson<Policy['scope']>(row.requested_scope),
    },
    cancelRequested: row.cancel_requested,
    attempt: row.attempt,
    sequence: BigInt(row.sequence),
  };
}

/** Rows of one statement, so that pruning never holds locks for long. */
const PRUNE_BATCH_ROWS = 1000;

/** Deletes runs that ended more than `days` ago, but for each policy's latest; returns how many. */
export async function pruneRuns(em: EntityManager, days: number): Promise<number> {
  for (let pruned = 0; ; ) {
    const deleted = await sqlCount(
      em,
      `delete from trueup.reconciliations where id in (
         select old.id from trueup.reconciliations as old
         where old.completed_at < now() - $1 * interval '1 day'
           and exists (select 1 from trueup.reconciliations as newer
             where newer.policy = old.policy and newer.trigger = old.trigger and newer.state = 'succeeded'
               and newer.created_at > old.created_at)
         limit ${PRUNE_BATCH_ROWS})`,
      [days],
    );
    pruned += deleted;
    if (deleted < PRUNE_BATCH_ROWS) return pruned;
  }
}
