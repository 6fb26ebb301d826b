// The timetable on one screen: what runs by the clock, how often, and which service it calls.
import type { Config } from './config/config.ts';
import type { Book } from './core/book.ts';
import { isTrueUpError } from './core/errors.ts';
import type { Policy } from './core/policy.ts';
import type { Job, JobContext, JobPayload, JobSchedule } from './scheduler/scheduler.ts';
import { sweepImports } from './services/imports.ts';
import { takeOpenings } from './services/openings.ts';
import { RECONCILE_JOB, type ReconciliationService } from './services/reconciliation.ts';
import { runReconciliation, type RunDeps } from './services/run-reconciliation.ts';
import type { Source } from './sources/source.ts';
import type { Database } from './store/database.ts';
import type { JobDefinition } from './store/queue.ts';
import { pruneRuns } from './store/runs.ts';
import type { Events } from './telemetry/events.ts';

const OPENINGS_JOB = 'openings';
const HOUSEKEEPING_JOB = 'housekeeping';

/** Every job that may be sent; the same on all replicas. */
export const JOB_DEFINITIONS: readonly JobDefinition[] = [{ name: RECONCILE_JOB }, { name: OPENINGS_JOB }, { name: HOUSEKEEPING_JOB }];

/** Runs at once in one process: a slow policy doesn't hold up the others. */
const RECONCILE_CONCURRENCY = 2;
/** A first tick waits for the follower to have something to compare. */
const FIRST_RUN_DELAY_MS = 10_000;
/** The sandbox shows in a minute what a business sees in hours. */
const SANDBOX_INTERVAL_MS = 15_000;
const OPENINGS_INTERVAL_MS = 60_000;
const HOUSEKEEPING_INTERVAL_MS = 3_600_000;
/** Finished runs are kept for this long; each policy's latest one for ever. */
const RUN_RETENTION_DAYS = 90;

export interface TimetableDeps {
  readonly config: Config;
  readonly db: Database;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly reconciliation: ReconciliationService;
  readonly runDeps: RunDeps;
  readonly source: Source;
  readonly books: (policy: Policy) => Book;
  readonly events: Events;
}

export function createJobs(deps: TimetableDeps): Job[] {
  const jobs: Job[] = [
    {
      name: RECONCILE_JOB,
      schedules: [...deps.policies.values()].map((policy) => scheduleOf(policy, deps.config)),
      concurrency: RECONCILE_CONCURRENCY,
      run: (payload, context) => reconcile(deps, payload, context),
    },
    {
      name: OPENINGS_JOB,
      schedules: [{ name: OPENINGS_JOB, intervalMs: OPENINGS_INTERVAL_MS, enabled: deps.source.openingBalances !== undefined }],
      run: async (_payload, { signal }) => {
        await takeOpenings({ ...deps, watch: deps.config.source.watch, bookPairs: (end) => bookPairs(deps, end) }, signal);
      },
    },
    {
      name: HOUSEKEEPING_JOB,
      schedules: [{ name: HOUSEKEEPING_JOB, intervalMs: HOUSEKEEPING_INTERVAL_MS, enabled: true }],
      run: async () => {
        await sweepImports(deps);
        await pruneRuns(deps.db.em(), RUN_RETENTION_DAYS);
      },
    },
  ];
  deps.events.jobsKnown(jobs.flatMap((job) => [job.name, ...(job.schedules ?? []).map((schedule) => schedule.name)]));
  return jobs.map((job) => ({ ...job, run: observed(job, deps.events) }));
}

function scheduleOf(policy: Policy, config: Config): JobSchedule {
  const isSandbox = config.source.kind === 'sandbox';
  return {
    name: `${RECONCILE_JOB}:${policy.name}`,
    policy: policy.name,
    intervalMs: isSandbox ? Math.min(SANDBOX_INTERVAL_MS, policy.schedule.intervalMs) : policy.schedule.intervalMs,
    enabled: config.reconciliation.enabled && (policy.schedule.enabled || (isSandbox && policy.book.kind === 'recorded')),
    firstDelayMs: FIRST_RUN_DELAY_MS,
  };
}

/** A run that somebody started, or the run of a tick. */
async function reconcile(deps: TimetableDeps, payload: JobPayload, context: JobContext): Promise<void> {
  if (typeof payload.run_id === 'string') return runReconciliation(deps.runDeps, payload.run_id, context);
  if (typeof payload.policy !== 'string' || !deps.policies.has(payload.policy)) return;
  const tick = `${String(payload.schedule)}@${String(payload.due_at)}`;
  const run = await deps.reconciliation.runOfTick(payload.policy, tick);
  if (run !== null) await runReconciliation(deps.runDeps, run.id, context);
}

/** Pairs of the books that balance policies compare; a book that can't be read now is asked again at the next tick. */
async function bookPairs(deps: TimetableDeps, signal: AbortSignal) {
  const pairs = [];
  for (const policy of deps.policies.values()) {
    if (policy.level !== 'balances') continue;
    try {
      await using book = await deps.books(policy).open('balances', signal);
      pairs.push(...(await book.pairs(signal)));
    } catch (error) {
      if (!isTrueUpError(error)) throw error;
    }
  }
  return pairs;
}

function observed(job: Job, events: Events): Job['run'] {
  return async (payload, context) => {
    const name = typeof payload.schedule === 'string' ? payload.schedule : job.name;
    const event = { job: name, jobId: String(payload.run_id ?? payload.due_at ?? ''), attempt: context.attempt };
    const startedMs = performance.now();
    events.jobStarted(event);
    try {
      await job.run(payload, context);
    } catch (error) {
      const willRetry = context.attempt < context.maxAttempts;
      events.jobFailed({ ...event, durationMs: performance.now() - startedMs, error, willRetry });
      throw error;
    }
    events.jobSucceeded({ ...event, durationMs: performance.now() - startedMs });
  };
}
