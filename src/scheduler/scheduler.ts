// The door of time: claims what is due, and runs each job through one service function.
//
// It knows neither the database nor the queue, only what it is given of them: a timetable of which every replica
// claims each tick once, and a runner that tries again and keeps the record.
import { TrueUpError, messageOf } from '../core/errors.ts';

const TICK_MS = 1_000;

export interface JobSchedule {
  /** Unique over all jobs; its health is kept under this name. */
  readonly name: string;
  readonly intervalMs: number;
  readonly enabled: boolean;
  /** Handed to `run` as `payload.policy`. */
  readonly policy?: string | null;
  readonly firstDelayMs?: number;
}

export type JobPayload = Readonly<Record<string, unknown>>;

export interface JobContext {
  readonly signal: AbortSignal;
  /** 1 for the first. */
  readonly attempt: number;
  readonly maxAttempts: number;
}

export interface Job {
  readonly name: string;
  /** When it runs by itself; a job without schedules runs only when it is sent. */
  readonly schedules?: readonly JobSchedule[];
  /** Runs at once in this process; 1 unless told. */
  readonly concurrency?: number;
  /** Calls a service function and nothing else. A tick brings `schedule`, `policy` and `due_at` (ISO 8601). */
  readonly run: (payload: JobPayload, context: JobContext) => Promise<void>;
}

export interface Timetable {
  /** Makes these the schedules that run, and switches off all others. */
  declare(schedules: readonly (JobSchedule & { job: string })[]): Promise<void>;
  /** Claims and enqueues what is due. @returns how many ticks that were */
  claimDue(): Promise<number>;
}

export interface JobRunner {
  work(name: string, options: { concurrency: number }, handler: Job['run']): Promise<void>;
}

export interface SchedulerOptions {
  readonly timetable: Timetable;
  /** Started before and stopped after the scheduler. */
  readonly queue: JobRunner;
  readonly jobs: readonly Job[];
  /** Between two looks at the timetable; 1 s unless told. */
  readonly tickMs?: number;
  readonly log?: { warn(fields: object, message: string): void };
}

export interface Scheduler {
  start(): Promise<void>;
  /** Claims no more; jobs under way are the queue's to wait for. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Builds the scheduler; `start` declares the timetable, takes up work and begins to look for due ticks. */
export function createScheduler(options: SchedulerOptions): Scheduler {
  const tickMs = options.tickMs ?? TICK_MS;
  refuseDuplicates(options.jobs);
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> = Promise.resolve();
  let stopped = false;
  let failing = false;

  async function look(): Promise<void> {
    try {
      await options.timetable.claimDue();
      failing = false;
    } catch (error) {
      // A database that is away for a minute is said once, and the ticks are still due when it is back.
      if (!failing) options.log?.warn({ err: messageOf(error) }, "the timetable can't be read; trying on");
      failing = true;
    }
  }

  function next(lookAt: number): void {
    if (stopped) return;
    timer = setTimeout(
      () => {
        looking = look().finally(() => {
          // From the time it should have been, so that looks don't drift; what was missed is not made up for.
          const now = performance.now();
          next(lookAt + tickMs * Math.max(1, Math.ceil((now - lookAt) / tickMs)));
        });
      },
      Math.max(0, lookAt - performance.now()),
    );
  }

  async function stop(): Promise<void> {
    stopped = true;
    clearTimeout(timer);
    await looking;
  }

  return {
    async start() {
      await options.timetable.declare(
        options.jobs.flatMap((job) => (job.schedules ?? []).map((schedule) => ({ ...schedule, job: job.name }))),
      );
      for (const job of options.jobs)
        await options.queue.work(job.name, { concurrency: job.concurrency ?? 1 }, job.run);
      next(performance.now());
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function refuseDuplicates(jobs: readonly Job[]): void {
  for (const names of [
    jobs.map((job) => job.name),
    jobs.flatMap((job) => job.schedules ?? []).map((schedule) => schedule.name),
  ]) {
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined)
      throw new TrueUpError(
        'INVALID_CONFIGURATION',
        `${twice} is in the timetable twice; give each job and each schedule a name of its own`,
      );
  }
}
