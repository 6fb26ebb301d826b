// Jobs that outlive the process: sent in the sender's transaction, tried again with growing pauses, given up once.
//
// pg-boss keeps them in a schema of its own, `trueup_queue`, which it creates and migrates itself. A job
// runs at least once: it ends in a transaction of its own after its handler has returned, so handlers are idempotent.
import { randomUUID } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { PgBoss, fromKysely } from 'pg-boss';
import type { JobWithMetadata } from 'pg-boss';
import { TrueUpError, messageOf } from '../core/errors.ts';
import type { Failure } from '../core/status.ts';
import { failureOf } from '../core/status.ts';
import { sql } from './database.ts';
import type { Database } from './database.ts';
import { toTrueUpError } from './db-errors.ts';
import { readReason, recordDeadLetter, recordJobFailure, recordJobStart, recordJobSuccess } from './job-health.ts';
import type { GivenUpJob } from './job-health.ts';
import type { StoreLog } from './log.ts';
import { MIGRATION_LOCK } from './migrate.ts';

export const QUEUE_SCHEMA = 'trueup_queue';
const DEAD_LETTERS = 'dead-letters';
const QUEUE_LOCK = [MIGRATION_LOCK[0], 2] as const;

const MAX_ATTEMPTS = 5;
const RETRY_BASE_MS = 5_000;
/** A job of a killed worker is taken over when it has not been heard of for so long, plus one round of supervision. */
const HEARTBEAT_SECONDS = 10;
const SUPERVISE_SECONDS = 5;
/** New jobs wake their workers by themselves; this finds what became due by time alone, such as a retry. */
const POLL_SECONDS = 1;
const JOB_TIMEOUT_MS = 3_600_000;
const KEEP_FINISHED_SECONDS = 3_600;
const MAINTENANCE_SECONDS = 600;
const POOL_MAX = 4;
const STOP_TIMEOUT_MS = 20_000;
const SAME_ERROR_MS = 30_000;
const MAX_ERRORS_REMEMBERED = 100;

/** JSON; ids and ranges, never secrets. `id` names the resource that the job works on, `schedule` the tick it came from. */
export type JobPayload = Readonly<Record<string, unknown>>;

export interface JobDefinition {
  readonly name: string;
  /** 5 unless told. */
  readonly maxAttempts?: number;
  /** The pause before the second attempt: 5 s unless told, doubled with each attempt, plus up to as much again by chance. 0: none. */
  readonly retryBaseMs?: number;
  /** A run that takes longer counts as failed, and its signal aborts; 1 h unless told, 24 h at most. */
  readonly timeoutMs?: number;
}

export interface QueueOptions {
  readonly db: Database;
  /** Every job that may be sent or worked on; the same on all replicas. */
  readonly jobs: readonly JobDefinition[];
  readonly log?: StoreLog;
  /** Called once for each job that is given up, in the transaction that records it. */
  readonly whenGivenUp?: (em: EntityManager, job: GivenUpJob) => Promise<void>;
  /** Called with the first success after jobs of that health name were given up, in the transaction that records it. */
  readonly whenRecovered?: (em: EntityManager, name: string) => Promise<void>;
  /** Told once of each job that is given up, after that was recorded. */
  readonly onDeadLetter?: (job: GivenUpJob) => void | Promise<void>;
  /** Connections at most, beside one for wake-ups; 4 unless told. */
  readonly poolMax?: number;
}

export interface JobContext {
  /** Aborts when the queue stops (reason SHUTTING_DOWN), the job's time is over or its claim was lost. */
  readonly signal: AbortSignal;
  /** 1 for the first. */
  readonly attempt: number;
  readonly maxAttempts: number;
}

/** An attempt that failed and whose handler has arranged for what comes next: it counts as failed, and isn't tried again. */
export class SettledFailure extends Error {
  constructor(cause: unknown) {
    super(messageOf(cause), { cause });
  }
}

export type JobHandler = (payload: JobPayload, context: JobContext) => Promise<void>;

export interface SendOptions {
  /** While a job with this key waits or runs, sending another is a no-op. */
  readonly singletonKey?: string;
  /** Earliest start, milliseconds from now. */
  readonly delayMs?: number;
}

export interface Queue {
  /** Installs or migrates the schema, defines the jobs and begins to supervise. */
  start(): Promise<void>;
  /**
   * Enqueues in the transaction of `em`: the job exists when that commits, and never if it doesn't.
   * @returns the job's id, or null when one with its singleton key is there already
   */
  send(em: EntityManager, name: string, payload: JobPayload, options?: SendOptions): Promise<string | null>;
  /** Runs `handler` for each job of this name, `concurrency` at a time in this process. Only after `start`. */
  work(name: string, options: { concurrency: number }, handler: JobHandler): Promise<void>;
  /** Runs under way over all replicas, by schedule where there is one, else by job. */
  inFlight(em: EntityManager): Promise<Map<string, number>>;
  /**
   * Takes no more jobs, aborts the signals of those under way and waits for them. One that ends with an error then is
   * handed back without losing an attempt; one that hasn't ended in time is tried again by others.
   */
  stop(options?: { timeoutMs?: number }): Promise<void>;
}

/** Builds the queue; `start` opens it. */
export function createQueue(options: QueueOptions): Queue {
  const { db, log } = options;
  const stopping = new AbortController();
  const boss = new PgBoss({
    connectionString: db.url,
    application_name: 'trueup-queue',
    schema: QUEUE_SCHEMA,
    max: options.poolMax ?? POOL_MAX,
    // The schema itself is created by us where it is missing: asking for it needs rights that a prepared database doesn't give.
    createSchema: false,
    useListenNotify: true,
    schedule: false,
    superviseIntervalSeconds: SUPERVISE_SECONDS,
    monitorIntervalSeconds: SUPERVISE_SECONDS,
    maintenanceIntervalSeconds: MAINTENANCE_SECONDS,
  });
  // Every worker says so on every look while the database is away; the same words are worth a line now and then.
  const said = new Map<string, number>();
  boss.on('error', (error) => {
    const words = messageOf(error);
    const nowMs = performance.now();
    if (nowMs - (said.get(words) ?? -Infinity) < SAME_ERROR_MS) return;
    if (said.size >= MAX_ERRORS_REMEMBERED) said.clear();
    said.set(words, nowMs);
    log?.warn({ err: words }, 'the job queue met an error and goes on');
  });
  boss.on('warning', (warning) => log?.warn({ warning: warning.message }, 'the job queue warns'));

  return {
    async start() {
      try {
        await install(boss, options);
      } catch (error) {
        await boss.stop({ graceful: false });
        throw toTrueUpError(error);
      }
      await boss.work(DEAD_LETTERS, WORK_OPTIONS, async ([job]: JobWithMetadata<JobPayload>[]) => {
        if (job !== undefined) await bury(options, job);
      });
    },

    async send(em, name, payload, { singletonKey, delayMs } = {}) {
      try {
        return await boss.send(name, payload, {
          db: fromKysely(em.getKysely()),
          // Without a key of its own every job would be the one job that may wait or run.
          singletonKey: singletonKey ?? randomUUID(),
          ...(delayMs === undefined ? {} : { startAfter: new Date(Date.now() + delayMs) }),
        });
      } catch (error) {
        throw toTrueUpError(error);
      }
    },

    async work(name, { concurrency }, handler) {
      for (let worker = 0; worker < concurrency; worker++) {
        const id: string = await boss.work(name, WORK_OPTIONS, async ([job]: JobWithMetadata<JobPayload>[]) => {
          if (job === undefined) return;
          try {
            await runJob(boss, options, job, handler, stopping.signal);
          } finally {
            // There may be a next one: look at once instead of after the pause between two looks.
            boss.notifyWorker(id);
          }
        });
      }
    },

    async inFlight(em) {
      const rows = await sql<{ name: string; n: string }>(
        em,
        `select coalesce(data ->> 'schedule', name) as name, count(*) as n from ${QUEUE_SCHEMA}.job where state = 'active' group by 1`,
      );
      return new Map(rows.map((row) => [row.name, Number(row.n)]));
    },

    async stop({ timeoutMs = STOP_TIMEOUT_MS } = {}) {
      stopping.abort(
        new TrueUpError(
          'SHUTTING_DOWN',
          'this process is shutting down; another one, or this one after its restart, goes on',
        ),
      );
      await boss.stop({ graceful: true, timeout: timeoutMs });
    },
  };
}

const WORK_OPTIONS = {
  includeMetadata: true,
  batchSize: 1,
  pollingIntervalSeconds: POLL_SECONDS,
  notifyPollingIntervalSeconds: POLL_SECONDS,
} as const;

/** Under a lock: several replicas start at once, and creating the same table twice fails one of them. */
async function install(boss: PgBoss, { db, jobs }: QueueOptions): Promise<void> {
  await db.em().transactional(async (locked) => {
    await sql(locked, 'select pg_advisory_xact_lock($1, $2)', QUEUE_LOCK);
    const [schema] = await sql(db.em(), 'select 1 from pg_namespace where nspname = $1', [QUEUE_SCHEMA]);
    if (schema === undefined) await sql(db.em(), `create schema ${QUEUE_SCHEMA}`);
    await boss.start();
    await define(boss, DEAD_LETTERS, { name: DEAD_LETTERS, retryBaseMs: 1_000 });
    for (const job of jobs) await define(boss, job.name, job, DEAD_LETTERS);
  });
}

async function define(boss: PgBoss, name: string, job: JobDefinition, deadLetter?: string): Promise<void> {
  const retryBaseMs = job.retryBaseMs ?? RETRY_BASE_MS;
  const settings = {
    retryLimit: (job.maxAttempts ?? MAX_ATTEMPTS) - 1,
    retryDelay: Math.ceil(retryBaseMs / 1000),
    retryBackoff: retryBaseMs > 0,
    expireInSeconds: Math.ceil((job.timeoutMs ?? JOB_TIMEOUT_MS) / 1000),
    heartbeatSeconds: HEARTBEAT_SECONDS,
    deleteAfterSeconds: KEEP_FINISHED_SECONDS,
    notify: true,
    ...(deadLetter === undefined ? {} : { deadLetter }),
  };
  await boss.createQueue(name, { ...settings, policy: deadLetter === undefined ? 'standard' : 'exclusive' });
  // Creating leaves one that exists as it is, with the settings of an older version.
  await boss.updateQueue(name, settings);
}

async function runJob(
  boss: PgBoss,
  { db, log, whenRecovered }: QueueOptions,
  job: JobWithMetadata<JobPayload>,
  handler: JobHandler,
  stopping: AbortSignal,
): Promise<void> {
  const payload = job.data ?? {};
  const name = healthName(job.name, payload);
  const started = performance.now();
  // A record that can't be written is a line in the log; it neither costs the job an attempt nor runs it twice.
  const record = (write: Promise<void>): Promise<void> =>
    write.catch((error: unknown) =>
      log?.warn({ job: name, err: messageOf(error) }, "the job's record couldn't be written"),
    );
  await record(recordJobStart(db.em(), name));
  try {
    await handler(payload, {
      signal: AbortSignal.any([job.signal, stopping]),
      attempt: job.retryCount + 1,
      maxAttempts: job.retryLimit + 1,
    });
  } catch (error) {
    if (stopping.aborted) return handBack(boss, db, job);
    log?.warn(
      { job: job.name, jobId: job.id, attempt: job.retryCount + 1, maxAttempts: job.retryLimit + 1, err: error },
      'job failed',
    );
    const settled = error instanceof SettledFailure;
    const cause = settled ? error.cause : error;
    await record(recordJobFailure(db.em(), name, performance.now() - started, cause));
    if (settled) return;
    throw new JobFailure(failureOf(cause, null));
  }
  await record(recordJobSuccess(db.em(), name, performance.now() - started, async (em) => whenRecovered?.(em, name)));
}

/** Ends this job and sends its like in one transaction, so that a shutdown costs no attempt. */
async function handBack(boss: PgBoss, db: Database, job: JobWithMetadata<JobPayload>): Promise<void> {
  await db.em().transactional(async (em) => {
    const tx = fromKysely(em.getKysely());
    await boss.complete(job.name, job.id, { handedBack: true }, { db: tx });
    await boss.send(job.name, job.data, { db: tx, singletonKey: job.singletonKey ?? randomUUID() });
  });
}

/** What the queue keeps of a failed attempt, and hands to the dead letter: no stack, no words of an unknown fault. */
class JobFailure extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.message);
    this.failure = failure;
    delete this.stack;
  }
}

async function bury(
  { db, log, whenGivenUp, onDeadLetter }: QueueOptions,
  letter: JobWithMetadata<JobPayload>,
): Promise<void> {
  const job = letter.sourceName ?? letter.name;
  const payload = letter.data ?? {};
  const resourceId = payload['id'];
  const given: GivenUpJob = {
    id: letter.sourceId ?? letter.id,
    job,
    healthName: healthName(job, payload),
    resourceId: typeof resourceId === 'string' ? resourceId : null,
    payload,
    attempts: (letter.sourceRetryCount ?? 0) + 1,
    failure: readFailure(letter.sourceOutput),
    sentAt: letter.sourceCreatedOn ?? letter.createdOn,
  };
  if (!(await recordDeadLetter(db.em(), given, async (em) => whenGivenUp?.(em, given)))) return;
  log?.error(
    { job, jobId: given.id, attempts: given.attempts, reason: given.failure.reason, message: given.failure.message },
    'job given up after its last attempt',
  );
  await onDeadLetter?.(given);
}

function readFailure(output: unknown): GivenUpJob['failure'] {
  const { failure, value, message } = (output ?? {}) as {
    failure?: Partial<Failure>;
    value?: unknown;
    message?: unknown;
  };
  if (failure !== undefined && typeof failure.message === 'string') {
    return { reason: readReason(failure.reason), message: failure.message, fix: failure.fix ?? '' };
  }
  // The queue's own words for an attempt that ended without its handler: killed, or out of time.
  const words = typeof value === 'string' ? value : ((value as { message?: unknown } | undefined)?.message ?? message);
  return {
    reason: 'INTERNAL',
    message: typeof words === 'string' ? words : 'the attempt ended without an answer',
    fix: '',
  };
}

function healthName(job: string, payload: JobPayload): string {
  const schedule = payload['schedule'];
  return typeof schedule === 'string' ? schedule : job;
}
