// Runs as rows: one statement a change, and a sequence number with each for those who watch.
import type { FilterQuery } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { isUuid } from '../core/ids.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { Level, Policy } from '../core/policy.ts';
import { REASONS, TrueUpError, type Reason } from '../core/errors.ts';
import { pageOf, type Page, type PageRequest } from '../core/page.ts';
import type { Run, RunFilter, RunProgress, RunSummary, RunTrigger, Verdict } from '../core/run.ts';
import { sql, sqlCount, toDate } from './database.ts';
import { RunEntity } from './entities.ts';
import type { RunRow } from './entities.ts';
import { given, olderThan } from './filters.ts';
import { toJson } from './json.ts';

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
  const { request, ...columns } = run;
  const row = {
    ...columns,
    state: 'queued' as const,
    requestedFrom: request.range?.from ?? null,
    requestedTo: request.range?.to ?? null,
    requestedWindowMs: request.windowMs,
    requestedScope: request.scope,
  };
  const inserted = await em.createQueryBuilder(RunEntity).insert(row).onConflict().ignore().execute('run', false);
  return inserted.affectedRows === 1;
}

export async function getRun(em: EntityManager, id: string): Promise<StoredRun | null> {
  return isUuid(id) ? orNull(await em.findOne(RunEntity, { id })) : null;
}

export async function getRunByRequest(em: EntityManager, requestId: string): Promise<StoredRun | null> {
  return orNull(await em.findOne(RunEntity, { requestId }));
}

export async function activeRun(em: EntityManager, policy: string): Promise<StoredRun | null> {
  return orNull(await em.findOne(RunEntity, { policy, state: ['queued', 'running'] }));
}

/** The newest scheduled run that ended with a verdict; with one of the given ones. */
export async function latestScheduledRun(
  em: EntityManager,
  policy: string | null,
  verdicts?: readonly Verdict[],
): Promise<StoredRun | null> {
  const of = given({ policy: policy ?? undefined, verdict: verdicts?.slice() });
  return orNull(
    await em.findOne(
      RunEntity,
      { ...of, trigger: 'scheduled', state: 'succeeded' },
      { orderBy: { createdAt: 'desc', id: 'asc' } },
    ),
  );
}

export async function listRuns(em: EntityManager, filter: RunFilter, page: PageRequest): Promise<Page<StoredRun>> {
  const { policy, level, trigger, states, verdicts, createdFrom, createdTo } = filter;
  const where: FilterQuery<RunRow>[] = [
    given({ policy, level, trigger, state: states?.slice(), verdict: verdicts?.slice() }),
  ];
  if (createdFrom !== undefined) where.push({ createdAt: { $gte: createdFrom.toISOString() } });
  if (createdTo !== undefined) where.push({ createdAt: { $lt: createdTo.toISOString() } });
  if (page.after !== null) where.push(olderThan(String(page.after.createdAt), String(page.after.id)));
  const rows = await em.find(
    RunEntity,
    { $and: where },
    { orderBy: { createdAt: 'desc', id: 'desc' }, limit: page.size + 1 },
  );
  return pageOf(rows, page.size, (row) => ({ createdAt: row.createdAt, id: row.id }), toRun);
}

/** Takes a queued run, or one whose worker died, for this attempt; null where it is over or was cancelled meanwhile. */
export async function beginRun(em: EntityManager, id: string): Promise<StoredRun | null> {
  const rows = await sql(
    em,
    `update trueup.reconciliations set state = 'running', started_at = coalesce(started_at, now()), heartbeat_at = now(),
       attempt = attempt + 1, sequence = nextval('trueup.change_sequence')
     where id = $1 and state in ('queued', 'running') returning *`,
    [id],
  );
  return rows[0] ? toRun(em.map(RunEntity, rows[0])) : null;
}

/** Whether the run is still this worker's. */
export async function isHeld(em: EntityManager, run: HeldRun): Promise<boolean> {
  const held = await sql(
    em,
    `select 1 from trueup.reconciliations where id = $1 and attempt = $2 and state = 'running' and not cancel_requested`,
    [run.id, run.attempt],
  );
  return held.length === 1;
}

export function lostRun(run: Pick<HeldRun, 'id'>): TrueUpError {
  return new TrueUpError(
    'RUN_ALREADY_FINISHED',
    `reconciliation ${run.id} was cancelled, or another worker has it now`,
  );
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

function orNull(row: RunRow | null): StoredRun | null {
  return row === null ? null : toRun(row);
}

function toRun(row: RunRow): StoredRun {
  const reason = row.errorReason as Reason | null;
  const { message, at } = { message: row.errorMessage ?? '', at: row.completedAt };
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
    summary: row.summary,
    traceId: row.traceId,
    actor: row.actor,
    requestId: row.requestId,
    createdAt: toDate(row.createdAt),
    startedAt: row.startedAt,
    completedAt: row.completedAt,
    error: reason === null ? null : { reason, message, fix: '', retryable: REASONS[reason].retryable, at },
    progress: row.progress,
    request: {
      range:
        row.requestedFrom === null || row.requestedTo === null
          ? null
          : { from: row.requestedFrom, to: row.requestedTo },
      windowMs: row.requestedWindowMs,
      scope: row.requestedScope,
    },
    cancelRequested: row.cancelRequested,
    attempt: row.attempt,
    sequence: row.sequence,
  };
}

/** Rows of one statement, so that pruning never holds locks for long. */
const PRUNE_BATCH_ROWS = 1000;

/** Deletes runs that ended more than `days` ago, but for each policy's latest; returns how many. */
export async function pruneRuns(em: EntityManager, days: number): Promise<number> {
  for (let pruned = 0; ;) {
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
