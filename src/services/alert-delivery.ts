// Delivers alerts: one attempt a job, each written down with what comes next, so that a kill at any moment loses none.
//
// A message is sent at least once: killed between the far side's answer and its record, it is sent again, with the same id.
import { randomUUID } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { DELIVERY_RETRY, nextAttemptMs, type Alert, type DeliveryAttempt, type DeliveryRetry } from '../core/alert.ts';
import { noteGivenUp, noteTold, type AlertMemory } from '../core/alerting.ts';
import { isTrueUpError } from '../core/errors.ts';
import { failureOf, type Failure } from '../core/status.ts';
import type { Channel } from '../outbound/channel.ts';
import { lockAlertMemory, saveAlertMemory } from '../store/alert-states.ts';
import { copyAlert, endAlert, getAlert, messageStates, recordAttempt, setChannel } from '../store/alerts.ts';
import type { Database } from '../store/database.ts';
import { recordDeadLetter } from '../store/job-health.ts';
import { SettledFailure, type Queue } from '../store/queue.ts';
import type { Events } from '../telemetry/events.ts';
import { ALERT_JOB, enqueueDelivery } from './alerts.ts';

export interface AlertDeliveryDeps {
  readonly db: Database;
  readonly queue: Pick<Queue, 'send'>;
  /** Empty: alerts are kept, and go nowhere. */
  readonly channels: readonly Channel[];
  readonly events: Pick<Events, 'alertAttempted' | 'alertSuppressed' | 'jobDeadLettered'>;
  readonly retry?: DeliveryRetry;
}

const NO_CHANNEL = 'no channel is configured (RECONCILIATION_ALERT_WEBHOOK_URL, SLACK_WEBHOOK_URL)';
const NOT_TOLD = 'the alert whose end it tells was never delivered';
/** A message of an end waits for its beginning, which is being tried. */
const WAIT_FOR_BEGINNING_MS = 5_000;

type Payload = Readonly<Record<string, unknown>>;

export function createAlertDelivery(deps: AlertDeliveryDeps) {
  const { db } = deps;

  async function deliver(payload: Payload, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const found = await getAlert(db.em(), String(payload.id));
    // Done by another worker, or replayed meanwhile: then another job has it.
    if (found === null || !isCurrent(found, payload)) return;
    if ((await waitsForItsBeginning(found)) !== 'no') return;
    const route = await routeOf(deps, found);
    if (route === null) return;
    const { alert, channel } = route;
    const startedAt = new Date();
    const startedMs = performance.now();
    let httpStatus: number | null = null;
    let error: unknown = null;
    try {
      httpStatus = await channel.send(alert, signal);
    } catch (thrown) {
      // A shutdown is nobody's failure; the job is handed back.
      if (signal.aborted) throw thrown;
      error = thrown;
      httpStatus = httpStatusOf(thrown);
    }
    const durationMs = Math.round(performance.now() - startedMs);
    const failure = error === null ? null : failureOf(error, startedAt);
    const attempt = { attempt: attemptNumber(alert), at: startedAt, httpStatus, failure, durationMs };
    await record(alert, attempt, error);
    if (error !== null) throw new SettledFailure(error);
  }

  /** Attempt and what follows from it, in one transaction. */
  async function record(alert: Alert, attempt: DeliveryAttempt, error: unknown): Promise<void> {
    const { failure } = attempt;
    const tries = alert.tries + 1;
    const retryAfterMs = failure === null ? null : nextDelay(deps.retry ?? DELIVERY_RETRY, tries, error);
    const state = failure === null ? 'delivered' : retryAfterMs === null ? 'dead_lettered' : 'pending';
    const isRecorded = await db.em().transactional(async (em) => {
      if (!(await recordAttempt(em, alert, { state, attempt, retryAfterMs }))) return false;
      if (retryAfterMs !== null) {
        await enqueueDelivery(em, deps.queue, alert.id, { replay: alert.replayCount, tries, delayMs: retryAfterMs });
      }
      if (state === 'dead_lettered') await bury(em, alert, tries, failure!);
      await remember(em, alert, state);
      return true;
    });
    if (!isRecorded) return;
    const outcome = state === 'pending' ? ('failed' as const) : state;
    const about = { alertId: alert.id, kind: alert.kind, channel: alert.channel!, policy: alert.policy };
    deps.events.alertAttempted({ ...about, outcome, attempt: attempt.attempt, httpStatus: attempt.httpStatus, error });
    if (state === 'dead_lettered') {
      const reason = failure!.reason;
      deps.events.jobDeadLettered({ job: ALERT_JOB, jobId: alert.id, attempt: attempt.attempt, reason });
    }
  }

  async function waitsForItsBeginning(alert: Alert): Promise<'no' | 'waits' | 'never'> {
    if (alert.resolves === null) return 'no';
    const beginnings = await messageStates(db.em(), alert.resolves);
    if (beginnings.includes('delivered')) return 'no';
    if (beginnings.includes('pending')) {
      const again = { replay: alert.replayCount, tries: alert.tries, delayMs: WAIT_FOR_BEGINNING_MS };
      // Under another key than this job's own, which still runs.
      await db.em().transactional((em) => enqueueDelivery(em, deps.queue, alert.id, { ...again, waits: true }));
      return 'waits';
    }
    await suppress(deps, alert, NOT_TOLD);
    return 'never';
  }

  return {
    deliver,

    /** A job whose workers died again and again: its alert is given up, and can be replayed. */
    async abandon(payload: Payload): Promise<void> {
      const alert = await getAlert(db.em(), String(payload.id));
      if (alert === null || !isCurrent(alert, payload)) return;
      await db.em().transactional(async (em) => {
        if (await endAlert(em, alert.id, { state: 'dead_lettered', suppressReason: null })) {
          await remember(em, alert, 'dead_lettered');
        }
      });
    },
  };
}

function isCurrent(alert: Alert, payload: Payload): boolean {
  return alert.state === 'pending' && alert.replayCount === payload.replay && alert.tries === payload.tries;
}

/** Numbered through all replays; the oldest attempts may have been dropped. */
function attemptNumber({ attempts }: Alert): number {
  return (attempts.at(-1)?.attempt ?? 0) + 1;
}

function nextDelay(retry: DeliveryRetry, tries: number, error: unknown): number | null {
  // An address that may not be called stays one.
  if (isTrueUpError(error, 'SOURCE_ADDRESS_FORBIDDEN')) return null;
  return nextAttemptMs(retry, tries, isTrueUpError(error) ? error.details.retryAfterMs : undefined);
}

function httpStatusOf(error: unknown): number | null {
  const status = isTrueUpError(error) ? error.details.metadata?.['http_status'] : undefined;
  return status === undefined ? null : Number(status);
}

/** Where the alert goes; at its first attempt it is copied for every further channel. Null: nowhere. */
async function routeOf(deps: AlertDeliveryDeps, alert: Alert): Promise<{ alert: Alert; channel: Channel } | null> {
  const [first, ...others] = deps.channels;
  if (first === undefined) {
    await suppress(deps, alert, NO_CHANNEL);
    return null;
  }
  // A channel that was taken out of the configuration hands what it still had to the first one.
  const channel = deps.channels.find((each) => each.name === alert.channel) ?? first;
  if (channel.name === alert.channel) return { alert, channel };
  const isFirstAttempt = alert.channel === null;
  await deps.db.em().transactional(async (em) => {
    if (!(await setChannel(em, alert, channel)) || !isFirstAttempt) return;
    for (const other of others) {
      const id = randomUUID();
      await copyAlert(em, alert.id, { id, channel: other.name, kind: other.kind });
      await enqueueDelivery(em, deps.queue, id, { replay: 0, tries: 0 });
    }
  });
  return { alert: { ...alert, channel: channel.name, channelKind: channel.kind }, channel };
}

async function suppress(deps: AlertDeliveryDeps, alert: Alert, suppressReason: string): Promise<void> {
  const isEnded = await deps.db.em().transactional(async (em) => {
    if (!(await endAlert(em, alert.id, { state: 'suppressed', suppressReason }))) return false;
    await remember(em, alert, 'suppressed');
    return true;
  });
  if (isEnded) deps.events.alertSuppressed({ alertId: alert.id, kind: alert.kind, reason: suppressReason });
}

/** What the policy was told, so that its next run knows: on a delivery, or when every channel has given up. */
async function remember(em: EntityManager, alert: Alert, state: Alert['state']): Promise<void> {
  if (state === 'pending' || alert.runId === null || alert.policy === null) return;
  const { memory, now } = await lockAlertMemory(em, alert.policy);
  const next = await remembered(em, memory, alert, state, now);
  if (next !== memory) await saveAlertMemory(em, alert.policy, next);
}

async function remembered(
  em: EntityManager,
  memory: AlertMemory,
  alert: Alert,
  state: Alert['state'],
  now: Date,
): Promise<AlertMemory> {
  // Where there is nobody to tell, telling is done; else it would be raised anew by every run.
  if (state !== 'dead_lettered') return noteTold(memory, alert.dedupeKey, now);
  const states = await messageStates(em, alert.messageId);
  return states.every((each) => each === 'dead_lettered') ? noteGivenUp(memory, alert.dedupeKey) : memory;
}

async function bury(em: EntityManager, alert: Alert, attempts: number, failure: Failure): Promise<void> {
  await recordDeadLetter(em, {
    ...{ id: randomUUID(), job: ALERT_JOB, healthName: ALERT_JOB, resourceId: alert.id },
    ...{ payload: { id: alert.id }, attempts, failure, sentAt: alert.createdAt },
  });
}
