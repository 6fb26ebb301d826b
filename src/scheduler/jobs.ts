// The timetable on one screen: what runs by the clock, how often, and which service it calls.
import type { Policy } from '../core/policy.ts';
import { ALERT_JOB } from '../services/alerts.ts';
import { RECHECK_JOB } from '../services/rechecks.ts';
import { EXPORT_JOB } from '../services/exports.ts';
import { RECONCILE_JOB } from '../services/reconciliation.ts';
import type { Job, JobContext, JobPayload, JobSchedule } from './scheduler.ts';

const OPENINGS_JOB = 'openings';
const HOUSEKEEPING_JOB = 'housekeeping';
const REVERIFY_JOB = 'reverify';
const EVIDENCE_JOB = 'evidence';
const RETENTION_JOB = 'retention';
const NEW_MEMBERS_JOB = 'new-members';
/** Every job that may be sent; the same on all replicas. */
export const JOB_NAMES = [
  RECONCILE_JOB,
  RECHECK_JOB,
  OPENINGS_JOB,
  HOUSEKEEPING_JOB,
  REVERIFY_JOB,
  ALERT_JOB,
  EXPORT_JOB,
  EVIDENCE_JOB,
  RETENTION_JOB,
  NEW_MEMBERS_JOB,
] as const;

/** Runs at once in one process: a slow policy doesn't hold up the others. */
const RECONCILE_CONCURRENCY = 2;
/** A far side that hangs until its time is over doesn't hold up all others. */
const ALERT_CONCURRENCY = 2;
/** A first tick waits for the follower to have something to compare. */
const FIRST_RUN_DELAY_MS = 10_000;
const OPENINGS_INTERVAL_MS = 20_000;
const HOUSEKEEPING_INTERVAL_MS = 3_600_000;
const RETENTION_INTERVAL_MS = 60_000;
const NEW_MEMBERS_INTERVAL_MS = 60_000;

type Work = (payload: JobPayload, context: JobContext) => Promise<void>;

export interface JobsOptions {
  readonly policies: Iterable<Policy>;
  /** False: no policy runs by the clock, whatever its own schedule says. */
  readonly reconciliationEnabled: boolean;
  /** Whether the source can be asked for balances. */
  readonly hasOpenings: boolean;
  readonly reconcile: Work;
  readonly recheck: Work;
  readonly takeOpenings: Work;
  readonly deliverAlert: Work;
  readonly keepHouse: Work;
  readonly runExport: Work;
  readonly tendEvidence: Work;
  /** Null: the timetable has nothing to seal. */
  readonly sealIntervalMs: number | null;
  readonly reverify: Work;
  readonly reverifyIntervalMs: number;
  readonly watchRetention: Work;
  readonly backfillNewMembers: Work;
  readonly events: JobEvents;
}

export interface JobEvents {
  jobsKnown(names: readonly string[]): void;
  jobStarted(event: JobEvent): void;
  jobSucceeded(event: JobEvent & { durationMs: number }): void;
  jobFailed(event: JobEvent & { durationMs: number; error: unknown; willRetry: boolean }): void;
}

interface JobEvent {
  readonly job: string;
  readonly jobId: string;
  readonly attempt: number;
}

export function createJobs(options: JobsOptions): Job[] {
  const jobs: Job[] = [
    {
      name: RECONCILE_JOB,
      schedules: Array.from(options.policies, (policy) => scheduleOf(policy, options)),
      concurrency: RECONCILE_CONCURRENCY,
      run: options.reconcile,
    },
    { name: RECHECK_JOB, run: options.recheck },
    {
      name: OPENINGS_JOB,
      schedules: [{ name: OPENINGS_JOB, intervalMs: OPENINGS_INTERVAL_MS, enabled: options.hasOpenings }],
      run: options.takeOpenings,
    },
    { name: EXPORT_JOB, run: options.runExport },
    { name: ALERT_JOB, concurrency: ALERT_CONCURRENCY, run: options.deliverAlert },
    {
      name: HOUSEKEEPING_JOB,
      schedules: [{ name: HOUSEKEEPING_JOB, intervalMs: HOUSEKEEPING_INTERVAL_MS, enabled: true }],
      run: options.keepHouse,
    },
    {
      name: EVIDENCE_JOB,
      schedules: [
        {
          name: EVIDENCE_JOB,
          intervalMs: options.sealIntervalMs ?? HOUSEKEEPING_INTERVAL_MS,
          enabled: options.sealIntervalMs !== null,
        },
      ],
      run: options.tendEvidence,
    },
    {
      name: REVERIFY_JOB,
      schedules: [
        {
          name: REVERIFY_JOB,
          intervalMs: options.reverifyIntervalMs,
          enabled: true,
          firstDelayMs: options.reverifyIntervalMs,
        },
      ],
      run: options.reverify,
    },
    {
      name: RETENTION_JOB,
      schedules: [{ name: RETENTION_JOB, intervalMs: RETENTION_INTERVAL_MS, enabled: true }],
      run: options.watchRetention,
    },
    {
      name: NEW_MEMBERS_JOB,
      schedules: [{ name: NEW_MEMBERS_JOB, intervalMs: NEW_MEMBERS_INTERVAL_MS, enabled: true }],
      run: options.backfillNewMembers,
    },
  ];
  options.events.jobsKnown(
    jobs.flatMap((job) => [job.name, ...(job.schedules ?? []).map((schedule) => schedule.name)]),
  );
  return jobs.map((job) => ({ ...job, run: observed(job, options.events) }));
}

function scheduleOf(policy: Policy, { reconciliationEnabled }: JobsOptions): JobSchedule {
  return {
    name: `${RECONCILE_JOB}:${policy.name}`,
    policy: policy.name,
    intervalMs: policy.schedule.intervalMs,
    enabled: reconciliationEnabled && policy.schedule.enabled,
    firstDelayMs: FIRST_RUN_DELAY_MS,
  };
}

function observed(job: Job, events: JobEvents): Work {
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
