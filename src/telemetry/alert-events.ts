// Alerts on their way out.
import type { EventsDeps } from './events.ts';

export interface AlertAttempted {
  readonly alertId: string;
  readonly kind: string;
  readonly channel: string;
  readonly policy: string | null;
  /** `failed` is tried again, `dead_lettered` isn't. */
  readonly outcome: 'delivered' | 'failed' | 'dead_lettered';
  /** From 1. */
  readonly attempt: number;
  readonly httpStatus: number | null;
  /** Null when it was delivered. */
  readonly error: unknown;
}

export function alertEvents({ log, metrics }: EventsDeps) {
  return {
    /** At start, so that every channel has its samples. */
    channelsKnown(channels: readonly string[]): void {
      for (const channel of channels) {
        for (const outcome of ['delivered', 'failed', 'dead_lettered']) metrics.alertsSent.inc({ channel, outcome }, 0);
      }
    },
    alertAttempted({ error, ...event }: AlertAttempted): void {
      metrics.alertsSent.inc({ channel: event.channel, outcome: event.outcome });
      const fields = { event: 'alert_attempted', ...event };
      if (event.outcome === 'delivered') log.info(fields, 'alert delivered');
      else log.warn({ ...fields, err: error }, 'alert was not accepted');
    },
    alertSuppressed(event: { readonly alertId: string; readonly kind: string; readonly reason: string }): void {
      log.info({ event: 'alert_suppressed', ...event }, 'alert is kept and not sent');
    },
    /** What the database knows over all replicas. */
    alertsUndelivered(event: { readonly count: number; readonly oldestSeconds: number }): void {
      metrics.alertsUndelivered.set(event.count);
      metrics.alertsOldestUndelivered.set(event.oldestSeconds);
    },
  };
}
