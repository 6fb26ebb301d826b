// A job that is given up, and its end: told through the outbox in the transaction that records it.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { GivenUpJob } from '../store/job-health.ts';
import type { Queue } from '../store/queue.ts';
import { ALERT_JOB, raiseAlert } from './alerts.ts';

export interface JobAlertDeps {
  readonly queue: Pick<Queue, 'send'>;
  /** The deployment follows the sandbox: its alerts are kept and go nowhere. */
  readonly sandbox: boolean;
}

/** One message for as long as no job of that name succeeds, however many are given up meanwhile. */
export async function tellGivenUp(em: EntityManager, { queue, sandbox }: JobAlertDeps, job: GivenUpJob): Promise<void> {
  // A message that could not be delivered is not told of by another one.
  if (job.job === ALERT_JOB) return;
  const { reason, message, fix } = job.failure;
  await raiseAlert(em, queue, {
    ...about(job.healthName),
    sandbox,
    severity: 'ticket',
    summary: `${job.healthName}: a job was given up after ${job.attempts} ${job.attempts === 1 ? 'attempt' : 'attempts'}`,
    details: {
      job: job.healthName,
      ...(job.resourceId !== null && { resource: job.resourceId }),
      reason,
      error: message,
      ...(fix !== '' && { fix }),
      look: 'ListDeadLetters',
    },
  });
}

/** A job of that name has succeeded again; nothing where nobody was told. */
export async function tellRecovered(em: EntityManager, { queue, sandbox }: JobAlertDeps, name: string): Promise<void> {
  await raiseAlert(em, queue, {
    ...about(name),
    sandbox,
    severity: 'info',
    summary: `${name}: a job succeeded again`,
    details: { job: name },
    resolves: true,
  });
}

function about(name: string) {
  return { kind: 'JOB_DEAD_LETTERED', dedupeKey: `job-dead-lettered:${name}`, policy: null, stream: null } as const;
}
