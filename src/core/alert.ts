// An alert: one message to one channel, from the change that made it necessary to the answer of the far side.
import type { Failure } from './status.ts';

export const ALERT_KINDS = [
  'DRIFT_DETECTED',
  'DRIFT_RISING',
  'RESOLVED',
  'INCONCLUSIVE',
  'STREAM_DEGRADED',
  'SLO_BREACH',
  'JOB_DEAD_LETTERED',
  'LEDGER_HEALTH',
  'SWEEP_REFUSED',
] as const;
export type AlertKind = (typeof ALERT_KINDS)[number];

export const ALERT_STATES = ['pending', 'delivered', 'suppressed', 'dead_lettered'] as const;
export type AlertState = (typeof ALERT_STATES)[number];

/** `page` wakes somebody now, `ticket` waits for the morning, `info` is good news. */
export type AlertSeverity = 'page' | 'ticket' | 'info';

/** What somebody wants told. Its words carry no secrets. */
export interface AlertToRaise {
  readonly kind: AlertKind;
  /** What it is about, such as `stream-degraded:testnet`: while one with this key is open, there is no second message. */
  readonly dedupeKey: string;
  readonly policy: string | null;
  readonly stream: string | null;
  readonly severity: AlertSeverity;
  /** One sentence. */
  readonly summary: string;
  /** Shown as `name: value` lines, in this order. */
  readonly details: Readonly<Record<string, string>>;
  /** The open alert with this key is over: told as RESOLVED where it was delivered, and not at all where none is open. */
  readonly resolves?: boolean;
  /** It tells of a deployment that follows the sandbox, and goes nowhere; absent: its stream says so. */
  readonly sandbox?: boolean;
}

export interface DeliveryAttempt {
  /** From 1. */
  readonly attempt: number;
  readonly at: Date;
  /** Null: there was no answer. */
  readonly httpStatus: number | null;
  /** Null: it was accepted. */
  readonly failure: Failure | null;
  readonly durationMs: number;
}

export interface Alert {
  /** UUID; receivers see it as the message id, the same at every attempt. */
  readonly id: string;
  /** Shared by the alerts that tell the same to several channels. */
  readonly messageId: string;
  readonly dedupeKey: string;
  readonly kind: AlertKind;
  readonly severity: AlertSeverity;
  readonly state: AlertState;
  /** Null before a worker has chosen it. */
  readonly channel: string | null;
  readonly channelKind: string | null;
  readonly policy: string | null;
  readonly stream: string | null;
  readonly runId: string | null;
  /** '' where it belongs to none. */
  readonly episode: string;
  readonly title: string;
  readonly details: Readonly<Record<string, string>>;
  readonly sandbox: boolean;
  /** The message whose end it tells, and for whose delivery it waits; null: none. */
  readonly resolves: string | null;
  readonly suppressReason: string | null;
  /** Oldest first, at most MAX_ATTEMPTS_KEPT. */
  readonly attempts: readonly DeliveryAttempt[];
  /** Attempts since it was raised, or last replayed. */
  readonly tries: number;
  readonly replayCount: number;
  readonly createdAt: Date;
  readonly nextAttemptAt: Date | null;
  readonly deliveredAt: Date | null;
}

export const MAX_ATTEMPTS_KEPT = 100;

/** Absent fields, and empty lists, select everything. */
export interface AlertFilter {
  readonly states?: readonly AlertState[];
  readonly kinds?: readonly AlertKind[];
  readonly policy?: string;
  readonly channel?: string;
  /** Inclusive. */
  readonly createdFrom?: Date;
  /** Exclusive. */
  readonly createdTo?: Date;
}

/** The text under the title, one detail a line. */
export function alertBody(alert: Pick<Alert, 'details'>): string {
  return Object.entries(alert.details)
    .map(([name, value]) => `${name}: ${value}`)
    .join('\n');
}

export interface DeliveryRetry {
  readonly maxAttempts: number;
  /** Before the second attempt; doubled with each. */
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  /** No far side may put an alert off for longer than this. */
  readonly maxRetryAfterMs: number;
}

export const DELIVERY_RETRY: DeliveryRetry = {
  maxAttempts: 10,
  baseDelayMs: 5_000,
  maxDelayMs: 900_000,
  maxRetryAfterMs: 3_600_000,
};

/** How long to wait after that many failed attempts, never less than the far side asked for; null: give up. */
export function nextAttemptMs(
  retry: DeliveryRetry,
  failedAttempts: number,
  retryAfterMs: number | undefined,
): number | null {
  if (failedAttempts >= retry.maxAttempts) return null;
  const backoffMs = Math.min(retry.maxDelayMs, retry.baseDelayMs * 2 ** (failedAttempts - 1));
  return Math.max(backoffMs, Math.min(retryAfterMs ?? 0, retry.maxRetryAfterMs));
}
