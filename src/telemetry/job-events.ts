// Jobs of the queue and ticks of the timetable.
import type { EventsDeps } from './events.ts';

export interface JobEvent {
  readonly job: string;
  readonly jobId: string;
  /** From 1. */
  readonly attempt: number;
}

export function jobEvents({ log, metrics }: EventsDeps) {
  const ended = (event: JobEvent & { readonly durationMs: number }, outcome: 'succeeded' | 'failed') => {
    metrics.jobsInFlight.dec({ job_name: event.job });
    metrics.jobRunsTotal.inc({ job_name: event.job, outcome });
    metrics.jobSeconds.observe({ job_name: event.job }, event.durationMs / 1000);
  };
  return {
    /** At start, so that every job has its samples: healthy, without dead letters. */
    jobsKnown(jobs: readonly string[]): void {
      for (const job_name of jobs) {
        metrics.deadLetters.set({ job_name }, 0);
        metrics.jobHealth.set({ job_name }, 1);
        metrics.jobsInFlight.set({ job_name }, 0);
        for (const outcome of ['succeeded', 'failed']) metrics.jobRunsTotal.inc({ job_name, outcome }, 0);
      }
    },
    jobStarted(event: JobEvent): void {
      metrics.jobsInFlight.inc({ job_name: event.job });
      log.debug({ event: 'job_started', ...event }, 'job started');
    },
    jobSucceeded(event: JobEvent & { readonly durationMs: number }): void {
      ended(event, 'succeeded');
      log.debug({ event: 'job_succeeded', ...event }, 'job succeeded');
    },
    /** `willRetry`: attempts are left. */
    jobFailed({
      error,
      ...event
    }: JobEvent & { readonly durationMs: number; readonly error: unknown; readonly willRetry: boolean }): void {
      ended(event, 'failed');
      log.warn(
        { event: 'job_failed', ...event, err: error },
        event.willRetry ? 'job failed and will be tried again' : 'job failed',
      );
    },
    /** Given up after its last attempt. */
    jobDeadLettered(event: JobEvent & { readonly reason: string }): void {
      metrics.deadLetters.inc({ job_name: event.job });
      log.error({ event: 'job_dead_lettered', ...event }, 'job was given up after its last attempt');
    },
    /** What the database knows over all replicas: dead letters, and degraded from the second one on. */
    jobHealth(event: { readonly job: string; readonly deadLetters: number; readonly healthy: boolean }): void {
      metrics.deadLetters.set({ job_name: event.job }, event.deadLetters);
      metrics.jobHealth.set({ job_name: event.job }, event.healthy ? 1 : 0);
    },
    /** Null: the schedule is switched off, and has no sample. */
    scheduleDue(event: { readonly job: string; readonly dueAt: Date | null }): void {
      if (event.dueAt === null) metrics.scheduleDue.remove({ job: event.job });
      else metrics.scheduleDue.set({ job: event.job }, event.dueAt.getTime() / 1000);
    },
  };
}
