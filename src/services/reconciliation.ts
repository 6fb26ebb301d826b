// Reconciliations as a resource: started in one transaction with its job, watched by polling its row, cancelled by asking.
import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { TrueUpError } from '../core/errors.ts';
import type { Drift, DriftFilter, DriftTransitionRecord } from '../core/drift.ts';
import type { EntryKind } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { PolicyView } from '../core/listing.ts';
import { pageOf, type Page, type PagePosition, type PageRequest } from '../core/page.ts';
import type { Level, Policy } from '../core/policy.ts';
import { isFinished, type Run, type RunEvent, type RunFilter } from '../core/run.ts';
import { writeAudit, type Caller } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import { getDrift, listDrifts } from '../store/drifts.ts';
import type { Queue } from '../store/queue.ts';
import {
  activeRun,
  endRun,
  getRun,
  getRunByRequest,
  insertRun,
  latestScheduledRun,
  listRuns,
  requestCancel,
  type RunRequest,
} from '../store/runs.ts';
import { currentStream } from '../store/streams.ts';

export const RECONCILE_JOB = 'reconcile';

export interface StartCall {
  /** Null: the only policy of the level asked for. */
  readonly policy: string | null;
  readonly level: Level | null;
  /** Half-open; null: the window. */
  readonly range: LedgerRange | null;
  readonly windowMs: number | null;
  readonly scope: { readonly accounts: readonly string[]; readonly assets: readonly string[]; readonly kinds: readonly string[] } | null;
  readonly requestId: string | null;
}

export interface ReconciliationDeps {
  readonly db: Database;
  readonly queue: Pick<Queue, 'send'>;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly networkPassphrase: string;
  readonly sandbox: boolean;
}

const WATCH_POLL_MS = 250;
/** Drifts of one message of a stream. */
const STREAM_BATCH_ROWS = 500;

export type ReconciliationService = ReturnType<typeof createReconciliationService>;

export function createReconciliationService(deps: ReconciliationDeps) {
  const { db } = deps;

  async function mustGet(id: string): Promise<NonNullable<Awaited<ReturnType<typeof getRun>>>> {
    const run = await getRun(db.em(), id);
    if (run === null) {
      throw new TrueUpError('RECONCILIATION_NOT_FOUND', `there is no reconciliation ${id}`, { fix: 'see ListReconciliations for the ids' });
    }
    return run;
  }

  async function start(call: StartCall, caller: Caller, trigger: 'manual' | 'scheduled' = 'manual'): Promise<Run> {
    const policy = choosePolicy(deps.policies, call.policy, call.level);
    const request: RunRequest = { range: call.range, windowMs: call.windowMs, scope: scopeOf(call) };
    return db.em().transactional(async (em) => {
      const stream = await currentStream(em, deps.networkPassphrase);
      const id = randomUUID();
      const inserted = await insertRun(em, {
        id,
        requestId: call.requestId,
        policy: policy.name,
        level: policy.level,
        trigger,
        sandbox: deps.sandbox,
        stream: stream?.name ?? null,
        book: policy.book.kind === 'postgres' ? 'postgres' : policy.book.name,
        request,
        traceId: caller.traceId ?? randomUUID().replaceAll('-', ''),
        actor: caller.actor,
      });
      if (!inserted) {
        const earlier = call.requestId === null ? null : await getRunByRequest(em, call.requestId);
        if (earlier !== null) return sameRequest(earlier, policy.name, request, call.requestId!);
        const active = await activeRun(em, policy.name);
        throw new TrueUpError('RUN_ALREADY_ACTIVE', `policy ${policy.name} is being reconciled already`, {
          fix: active === null ? 'try again' : `watch reconciliation ${active.id}, or cancel it first`,
          ...(active && { metadata: { reconciliation_id: active.id } }),
        });
      }
      // One job a run; a run that is claimed twice is begun once, as its row says.
      await deps.queue.send(em, RECONCILE_JOB, { run_id: id }, { singletonKey: id });
      await writeAudit(em, caller, { resourceType: 'reconciliation', resourceId: id, after: { policy: policy.name, trigger } });
      return (await getRun(em, id))!;
    });
  }

  return {
    async listPolicies(page: PageRequest): Promise<Page<PolicyView>> {
      const after = typeof page.after?.name === 'string' ? page.after.name : '';
      const stream = await currentStream(db.em(), deps.networkPassphrase);
      const rows = [...deps.policies.values()]
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .filter((policy) => policy.name > after)
        .slice(0, page.size + 1);
      return pageOf(rows, page.size, (policy) => ({ name: policy.name }), (policy) => ({
        policy,
        stream: stream?.name ?? null,
        sandbox: deps.sandbox,
        alert: null,
        failure: null,
      }));
    },
    start: (call: StartCall, caller: Caller) => start(call, caller),

    /** A tick of the timetable. A run that is still under way is left alone: the next tick comes. */
    async startScheduled(policyName: string, caller: Caller): Promise<Run | null> {
      try {
        const nothing = { level: null, range: null, windowMs: null, scope: null, requestId: null };
        return await start({ policy: policyName, ...nothing }, caller, 'scheduled');
      } catch (error) {
        if (error instanceof TrueUpError && error.reason === 'RUN_ALREADY_ACTIVE') return null;
        throw error;
      }
    },

    get: async (id: string): Promise<Run> => mustGet(id),

    async latest(filter: { readonly policy: string | null; readonly level: Level | null }): Promise<Run> {
      const policy = choosePolicy(deps.policies, filter.policy, filter.level);
      const run = await latestScheduledRun(db.em(), policy.name);
      if (run !== null) return run;
      throw new TrueUpError('NO_SCHEDULED_RUN_YET', `policy ${policy.name} has no finished scheduled run yet`, {
        fix: policy.schedule.enabled ? 'wait for its next tick (see ListSchedules)' : 'its schedule is off: start a run, or enable the schedule',
      });
    },

    list: (filter: RunFilter, page: PageRequest): Promise<Page<Run>> => listRuns(db.em(), filter, page),

    async *watch(id: string, since: bigint | null, signal: AbortSignal): AsyncGenerator<RunEvent> {
      for (let shown = since; ; ) {
        signal.throwIfAborted();
        const run = await mustGet(id);
        if (shown === null || run.sequence > shown) {
          shown = run.sequence;
          yield { sequence: run.sequence, run };
        }
        if (isFinished(run)) return;
        await sleep(WATCH_POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    },

    async cancel(call: { readonly id: string; readonly reason: string; readonly requestId: string | null }, caller: Caller): Promise<Run> {
      const run = await mustGet(call.id);
      if (run.state === 'cancelled') return run;
      if (isFinished(run)) {
        throw new TrueUpError('RUN_ALREADY_FINISHED', `reconciliation ${call.id} has ${run.state} already`, { fix: 'there is nothing to cancel' });
      }
      await db.em().transactional(async (em) => {
        await requestCancel(em, call.id);
        // A run that nobody has begun ends here; one that is under way sees the request at its next step.
        if (run.state === 'queued') await endRun(em, call.id, 'cancelled', null);
        await writeAudit(em, caller, { resourceType: 'reconciliation', resourceId: call.id, reason: call.reason, before: { state: run.state } });
      });
      return mustGet(call.id);
    },

    drifts: {
      list: (filter: DriftFilter, page: PageRequest): Promise<Page<Drift>> => listDrifts(db.em(), filter, page),

      async *stream(
        filter: DriftFilter,
        after: PagePosition | null,
        signal: AbortSignal,
      ): AsyncGenerator<{ items: readonly Drift[]; position: PagePosition }> {
        for (let position = after; ; ) {
          signal.throwIfAborted();
          const page = await listDrifts(db.em(), filter, { size: STREAM_BATCH_ROWS, after: position });
          const last = page.items.at(-1);
          if (last === undefined) return;
          position = page.next ?? { firstSeenAt: last.firstSeenAt.toISOString(), id: last.id };
          yield { items: page.items, position };
          if (page.next === null) return;
        }
      },

      async get(id: string): Promise<{ drift: Drift; transitions: readonly DriftTransitionRecord[] }> {
        const drift = await getDrift(db.em(), id);
        if (drift === null) throw new TrueUpError('DRIFT_NOT_FOUND', `there is no drift ${id}`, { fix: 'see ListDrifts for the ids' });
        return { drift, transitions: [] };
      },
    },
  };
}

function choosePolicy(policies: ReadonlyMap<string, Policy>, name: string | null, level: Level | null): Policy {
  if (name !== null) {
    const policy = policies.get(name);
    if (policy !== undefined && (level === null || policy.level === level)) return policy;
    const known = [...policies.keys()].join(', ');
    throw new TrueUpError('POLICY_NOT_FOUND', policy === undefined ? `there is no policy ${name}` : `policy ${name} is of level ${policy.level}`, {
      fix: `use one of: ${known}`,
    });
  }
  const candidates = [...policies.values()].filter((policy) => policy.level === (level ?? 'entries'));
  const chosen = candidates.find((policy) => policy.name === 'default') ?? candidates[0];
  if (chosen !== undefined && (candidates.length === 1 || chosen.name === 'default')) return chosen;
  throw new TrueUpError('POLICY_NOT_FOUND', `${candidates.length} policies are of level ${level ?? 'entries'}: say which`, {
    fix: `name one of: ${candidates.map((policy) => policy.name).join(', ') || [...policies.keys()].join(', ')}`,
  });
}

/** A repeated request answers with its first run, unless it asks for something else under the same id. */
function sameRequest(earlier: Run & { readonly request: RunRequest }, policy: string, request: RunRequest, requestId: string): Run {
  const fingerprint = (of: unknown): string => createHash('sha256').update(JSON.stringify(of)).digest('hex');
  if (earlier.policy === policy && fingerprint(earlier.request) === fingerprint(request)) return earlier;
  throw new TrueUpError('REQUEST_ID_REUSED', `request id ${requestId} was used for another reconciliation`, { fix: 'take a new UUID for a new request' });
}

function scopeOf(call: StartCall): Policy['scope'] | null {
  if (call.scope === null) return null;
  const { accounts, assets, kinds } = call.scope;
  const scope = {
    ...(accounts.length > 0 && { accounts }),
    ...(assets.length > 0 && { assets }),
    ...(kinds.length > 0 && { kinds: kinds as readonly EntryKind[] }),
  };
  return Object.keys(scope).length > 0 ? scope : null;
}
