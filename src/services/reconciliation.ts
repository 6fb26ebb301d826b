// Reconciliations as a resource: started in one transaction with its job, watched by polling its row, cancelled by asking.
import { hash, randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import type { EntryKind } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { AlertRule, PolicyView } from '../core/listing.ts';
import { pageOf, type Page, type PageRequest } from '../core/page.ts';
import { bookNameOf, type Level, type Policy } from '../core/policy.ts';
import { isFinished, type Run, type RunEvent, type RunFilter, type RunTrigger } from '../core/run.ts';
import { writeAudit, type Caller } from '../store/audit.ts';
import { answerOnce } from '../store/call-answers.ts';
import type { Database } from '../store/database.ts';
import type { Queue } from '../store/queue.ts';
import { discardIfOver } from '../store/run-checkpoints.ts';
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
  type RunToInsert,
  type StoredRun,
} from '../store/runs.ts';
import { currentStream } from '../store/streams.ts';
import type { Events } from '../telemetry/events.ts';
import { createDrifts } from './drifts.ts';
import { watchResource } from './watch-resource.ts';

export const RECONCILE_JOB = 'reconcile';

/** Identifies a tick over all its attempts and replicas. */
export function tickOf(payload: Readonly<Record<string, unknown>>): string {
  return `${String(payload.schedule)}@${String(payload.due_at)}`;
}

export interface StartCall {
  /** Null: the only policy of the level asked for. */
  readonly policy: string | null;
  readonly level: Level | null;
  /** Half-open; null: the window. */
  readonly range: LedgerRange | null;
  readonly windowMs: number | null;
  readonly scope: {
    readonly accounts: readonly string[];
    readonly assets: readonly string[];
    readonly kinds: readonly string[];
  } | null;
  readonly requestId: string | null;
}

export interface ReconciliationDeps {
  readonly db: Database;
  readonly queue: Pick<Queue, 'send'>;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly networkPassphrase: string;
  readonly sandbox: boolean;
  /** As it is shown; absent, or null: the policy alerts nobody. */
  readonly alertRuleOf?: (policy: Policy) => AlertRule | null;
  readonly events?: Pick<Events, 'driftsTransitioned'>;
}

export type ReconciliationService = ReturnType<typeof createReconciliationService>;

export function createReconciliationService(deps: ReconciliationDeps) {
  const { db } = deps;

  async function mustGet(id: string): Promise<NonNullable<Awaited<ReturnType<typeof getRun>>>> {
    const run = await getRun(db.em(), id);
    if (run === null) {
      throw new TrueUpError('RECONCILIATION_NOT_FOUND', `there is no reconciliation ${id}`, {
        fix: 'see ListReconciliations for the ids',
      });
    }
    return run;
  }

  async function newRun(
    em: EntityManager,
    policy: Policy,
    trigger: RunTrigger,
  ): Promise<Omit<RunToInsert, 'requestId' | 'actor'>> {
    const stream = await currentStream(em, deps.networkPassphrase);
    return {
      id: randomUUID(),
      policy: policy.name,
      level: policy.level,
      trigger,
      sandbox: deps.sandbox,
      stream: policy.ledger.kind === 'stream' ? (stream?.name ?? null) : policy.ledger.name,
      book: bookNameOf(policy),
      request: { range: null, windowMs: null, scope: null },
      traceId: randomUUID().replaceAll('-', ''),
    };
  }

  async function start(call: StartCall, caller: Caller): Promise<Run> {
    const policy = choosePolicy(deps.policies, call.policy, call.level);
    if (call.range !== null && policy.ledger.kind !== 'stream') {
      throw new TrueUpError('INVALID_REQUEST', `policy ${policy.name} compares no ledgers of a stream`, {
        fix: 'leave the range out, or narrow the run by its window',
      });
    }
    const request: RunRequest = { range: call.range, windowMs: call.windowMs, scope: scopeOf(call) };
    return db.em().transactional(async (em) => {
      const run = await newRun(em, policy, 'manual');
      const traceId = caller.traceId ?? run.traceId;
      if (!(await insertRun(em, { ...run, request, requestId: call.requestId, actor: caller.actor, traceId }))) {
        return earlierRun(em, policy.name, request, call.requestId);
      }
      // One job a run; a run that is claimed twice is begun once, as its row says.
      await deps.queue.send(em, RECONCILE_JOB, { run_id: run.id }, { singletonKey: run.id });
      await writeAudit(em, caller, {
        resourceType: 'reconciliation',
        resourceId: run.id,
        after: { policy: policy.name },
      });
      return (await getRun(em, run.id))!;
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
      return pageOf(
        rows,
        page.size,
        (policy) => ({ name: policy.name }),
        (policy) => ({
          policy,
          stream: stream?.name ?? null,
          sandbox: deps.sandbox,
          alert: deps.alertRuleOf?.(policy) ?? null,
          failure: null,
        }),
      );
    },
    start,

    /**
     * The run of one tick of the timetable: made once however often the tick's job is tried. Null where another run of the policy
     * is under way: the next tick comes.
     */
    async runOfTick(policyName: string, tick: string): Promise<Run | null> {
      const policy = choosePolicy(deps.policies, policyName, null);
      return db.em().transactional(async (em) => {
        await insertRun(em, { ...(await newRun(em, policy, 'scheduled')), requestId: tick, actor: 'trueup' });
        return getRunByRequest(em, tick);
      });
    },

    /** Ends the run of a job that was given up without its worker having said so, for the policy to be free again. */
    async abandon(payload: Readonly<Record<string, unknown>>): Promise<void> {
      const em = db.em();
      const run =
        typeof payload.run_id === 'string'
          ? await getRun(em, payload.run_id)
          : typeof payload.schedule === 'string'
            ? await getRunByRequest(em, tickOf(payload))
            : null;
      if (run === null) return;
      await endRun(em, run, 'failed', { reason: 'INTERNAL', message: 'given up after its last attempt' });
      await discardIfOver(em, run.id);
    },

    get: async (id: string): Promise<Run> => mustGet(id),

    async latest(filter: { readonly policy: string | null; readonly level: Level | null }): Promise<Run> {
      const policy = choosePolicy(deps.policies, filter.policy, filter.level);
      const run = await latestScheduledRun(db.em(), policy.name);
      if (run !== null) return run;
      throw new TrueUpError('NO_SCHEDULED_RUN_YET', `policy ${policy.name} has no finished scheduled run yet`, {
        fix: policy.schedule.enabled
          ? 'wait for its next tick (see ListSchedules)'
          : 'its schedule is off: start a run, or enable the schedule',
      });
    },

    list: (filter: RunFilter, page: PageRequest): Promise<Page<Run>> => listRuns(db.em(), filter, page),

    async *watch(id: string, since: bigint | null, signal: AbortSignal): AsyncGenerator<RunEvent> {
      const watched = {
        read: () => mustGet(id),
        sequenceOf: (run: StoredRun) => run.sequence,
        isFinished: (run: StoredRun) => isFinished(run),
      };
      for await (const { sequence, state } of watchResource(watched, since, signal)) yield { sequence, run: state };
    },

    async cancel(
      call: { readonly id: string; readonly reason: string; readonly requestId: string | null },
      caller: Caller,
    ): Promise<Run> {
      const { requestId, ...content } = call;
      const digest = hash('sha256', JSON.stringify(content));
      await db.em().transactional((em) =>
        answerOnce(em, { method: caller.method, requestId, digest }, async () => {
          await cancelRun(em, await mustGet(call.id), call.reason, caller);
          return null;
        }),
      );
      return mustGet(call.id);
    },

    drifts: createDrifts(deps),
  };
}

/** A run that is cancelled already stays so; one that has ended otherwise has nothing to cancel. */
async function cancelRun(em: EntityManager, run: StoredRun, why: string, caller: Caller): Promise<void> {
  if (run.state === 'cancelled') return;
  if (isFinished(run)) {
    throw new TrueUpError('RUN_ALREADY_FINISHED', `reconciliation ${run.id} has ${run.state} already`, {
      fix: 'there is nothing to cancel',
    });
  }
  await requestCancel(em, run.id);
  // A run that nobody has begun ends here; one that is under way sees the request at its next step.
  if (run.state === 'queued') await endRun(em, { id: run.id, attempt: run.attempt }, 'cancelled', null);
  await writeAudit(em, caller, {
    resourceType: 'reconciliation',
    resourceId: run.id,
    reason: why,
    before: { state: run.state },
  });
}

function choosePolicy(policies: ReadonlyMap<string, Policy>, name: string | null, level: Level | null): Policy {
  if (name !== null) {
    const policy = policies.get(name);
    if (policy !== undefined && (level === null || policy.level === level)) return policy;
    const known = [...policies.keys()].join(', ');
    throw new TrueUpError(
      'POLICY_NOT_FOUND',
      policy === undefined ? `there is no policy ${name}` : `policy ${name} is of level ${policy.level}`,
      {
        fix: `use one of: ${known}`,
      },
    );
  }
  const candidates = [...policies.values()].filter((policy) => policy.level === (level ?? 'entries'));
  const chosen = candidates.find((policy) => policy.name === 'default') ?? candidates[0];
  if (chosen !== undefined && (candidates.length === 1 || chosen.name === 'default')) return chosen;
  throw new TrueUpError(
    'POLICY_NOT_FOUND',
    `${candidates.length} policies are of level ${level ?? 'entries'}: say which`,
    {
      fix: `name one of: ${candidates.map((policy) => policy.name).join(', ') || [...policies.keys()].join(', ')}`,
    },
  );
}

/** A repeated request answers with its first run, unless it asks for something else under the same id. */
async function earlierRun(
  em: EntityManager,
  policy: string,
  request: RunRequest,
  requestId: string | null,
): Promise<Run> {
  const earlier = requestId === null ? null : await getRunByRequest(em, requestId);
  if (earlier !== null) {
    if (earlier.policy === policy && isDeepStrictEqual(earlier.request, request)) return earlier;
    throw new TrueUpError('REQUEST_ID_REUSED', `request id ${requestId} was used for another reconciliation`, {
      fix: 'take a new UUID for a new request',
    });
  }
  const active = await activeRun(em, policy);
  throw new TrueUpError('RUN_ALREADY_ACTIVE', `policy ${policy} is being reconciled already`, {
    fix: active === null ? 'try again' : `watch reconciliation ${active.id}, or cancel it first`,
    ...(active && { metadata: { reconciliation_id: active.id } }),
  });
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
