// Alerts as an outbox: the row and the job that delivers it are written in the transaction of the change that they tell of.
import { randomUUID } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Alert, AlertFilter, AlertToRaise } from '../core/alert.ts';
import { TrueUpError } from '../core/errors.ts';
import type { Page, PageRequest } from '../core/page.ts';
import {
  closeAlert,
  getAlert,
  insertAlert,
  listAlerts,
  lockAlert,
  reviveAlert,
  type AlertToInsert,
} from '../store/alerts.ts';
import { findAuditEntry, writeAudit, type Caller } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
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
  const sandbox = alert.sandbox ?? (stream !== null && (await isSandboxStream(em, stream)));
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
  attempt: {
    readonly replay: number;
    readonly tries: number;
    readonly delayMs?: number;
    /** The same attempt once more, while the job of that name still runs. */
    readonly waits?: boolean;
  },
): Promise<void> {
  const { replay, tries, delayMs } = attempt;
  const singletonKey = attempt.waits === true ? `${id}/${replay}/${tries}/${randomUUID()}` : `${id}/${replay}/${tries}`;
  await queue.send(em, ALERT_JOB, { id, replay, tries }, { singletonKey, ...(delayMs !== undefined && { delayMs }) });
}

export interface ReplayCall {
  readonly id: string;
  readonly reason: string;
  /** Null: every call counts as new. */
  readonly requestId: string | null;
}

export interface AlertServiceDeps {
  readonly db: Database;
  readonly queue: Sender;
  /** Whether an alert has anywhere to go. */
  readonly hasChannels: boolean;
}

export function createAlertService({ db, queue, hasChannels }: AlertServiceDeps) {
  async function mustGet(em: EntityManager, id: string): Promise<Alert> {
    const alert = await getAlert(em, id);
    if (alert !== null) return alert;
    throw new TrueUpError('ALERT_NOT_FOUND', `there is no alert ${id}`, { fix: 'see ListAlerts for the ids' });
  }

  return {
    list: (filter: AlertFilter, page: PageRequest): Promise<Page<Alert>> => listAlerts(db.em(), filter, page),

    /** Sends an alert again, whatever became of it, with all its attempts before it. */
    async replay({ id, reason, requestId }: ReplayCall, caller: Caller): Promise<Alert> {
      return db.em().transactional(async (em) => {
        await lockAlert(em, id);
        const alert = await mustGet(em, id);
        if (requestId !== null && (await isRepeated(em, caller, requestId, id, reason))) return alert;
        if (alert.sandbox) {
          throw new TrueUpError('ALERT_SANDBOX', `alert ${id} tells of the sandbox; such alerts are never sent`);
        }
        if (!hasChannels) {
          throw new TrueUpError('CHANNEL_NOT_CONFIGURED', 'no alert channel is configured', {
            fix: 'set RECONCILIATION_ALERT_WEBHOOK_URL or SLACK_WEBHOOK_URL',
            metadata: { variable: 'RECONCILIATION_ALERT_WEBHOOK_URL' },
          });
        }
        await reviveAlert(em, alert.id);
        const revived = await mustGet(em, id);
        await enqueueDelivery(em, queue, id, { replay: revived.replayCount, tries: 0 });
        await writeAudit(
          em,
          { ...caller, requestId: requestId ?? '' },
          {
            ...{ resourceType: 'alert', resourceId: id, reason },
            ...{ before: { state: alert.state }, after: { state: revived.state, replay_count: revived.replayCount } },
          },
        );
        return revived;
      });
    },
  };
}

async function isRepeated(
  em: EntityManager,
  caller: Caller,
  requestId: string,
  id: string,
  reason: string,
): Promise<boolean> {
  const earlier = await findAuditEntry(em, caller.method, requestId);
  if (earlier === null) return false;
  if (earlier.resourceId === id && (earlier.reason ?? '') === reason) return true;
  throw new TrueUpError('REQUEST_ID_REUSED', `request id ${requestId} was used for another replay`, {
    fix: 'take a new UUID for a new request',
  });
}
