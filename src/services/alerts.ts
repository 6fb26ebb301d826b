// Alerts as an outbox: the row and the job that delivers it are written in the transaction of the change that they tell of.
import { randomUUID } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { AlertToRaise } from '../core/alert.ts';
import { closeAlert, insertAlert, type AlertToInsert } from '../store/alerts.ts';
import type { Queue } from '../store/queue.ts';
import { isSandboxStream } from '../store/streams.ts';

export const ALERT_JOB = 'alerts';
export const SANDBOX_SUPPRESSED = 'alerts of the sandbox are never sent';

type Sender = Pick<Queue, 'send'>;

/**
 * Tells once of something that lasts: the same `dedupeKey` again is a no-op until a call with `resolves` has ended it. Call it
 * with the `em` of the transaction that makes the change; what is rolled back was never told.
 */
export async function raiseAlert(em: EntityManager, queue: Sender, alert: AlertToRaise): Promise<void> {
  const ended = alert.resolves === true ? await closeAlert(em, alert.dedupeKey) : null;
  if (alert.resolves === true && ended === null) return;
  const { kind, dedupeKey, policy, stream, severity, summary, details } = alert;
  const sandbox = stream !== null && (await isSandboxStream(em, stream));
  await sendAlert(em, queue, {
    ...{ dedupeKey, policy, stream, details, sandbox, title: summary, runId: null, episode: dedupeKey },
    kind: ended === null ? kind : 'RESOLVED',
    severity: ended === null ? severity : 'info',
    openKey: ended === null ? dedupeKey : null,
    resolves: ended?.messageId ?? null,
  });
}

export type AlertToSend = Omit<AlertToInsert, 'id' | 'messageId' | 'suppressReason'>;

/** Writes the row and sends its job; one of the sandbox is written and goes nowhere. @returns whether it is to be delivered */
export async function sendAlert(em: EntityManager, queue: Sender, alert: AlertToSend): Promise<boolean> {
  const id = randomUUID();
  const suppressReason = alert.sandbox ? SANDBOX_SUPPRESSED : null;
  const inserted = await insertAlert(em, { ...alert, id, messageId: id, suppressReason });
  if (!inserted || suppressReason !== null) return false;
  await enqueueDelivery(em, queue, id, { replay: 0, tries: 0 });
  return true;
}

/** One job an attempt, so that the time of the next one can be what the far side asked for. */
export async function enqueueDelivery(
  em: EntityManager,
  queue: Sender,
  id: string,
  attempt: { readonly replay: number; readonly tries: number; readonly delayMs?: number },
): Promise<void> {
  const { replay, tries, delayMs } = attempt;
  const singletonKey = `${id}/${replay}/${tries}`;
  await queue.send(em, ALERT_JOB, { id, replay, tries }, { singletonKey, ...(delayMs !== undefined && { delayMs }) });
}
