// Alerts as the composition root would build them: a real channel, and an outbox whose jobs the test works off itself.
import type { AlertRule } from '../../src/core/alerting.ts';
import { DELIVERY_RETRY, type Alert } from '../../src/core/alert.ts';
import { createChannel, type Channel, type ChannelTarget } from '../../src/outbound/channel.ts';
import { createAlertDelivery } from '../../src/services/alert-delivery.ts';
import { createAlertService } from '../../src/services/alerts.ts';
import { createRunAlerts } from '../../src/services/run-alerts.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import type { HttpClientOptions } from '../../src/sources/http/types.ts';
import { listAlerts } from '../../src/store/alerts.ts';
import type { Database } from '../../src/store/database.ts';
import { quietEvents } from './services.ts';

export interface OutboxJob {
  readonly payload: Readonly<Record<string, unknown>>;
  readonly delayMs: number;
}

export interface OutboxOptions {
  readonly rule?: Partial<AlertRule>;
  readonly channels?: readonly Channel[];
  readonly maxAttempts?: number;
}

export function openOutbox(db: Database, options: OutboxOptions = {}) {
  const jobs: OutboxJob[] = [];
  const queue = {
    send: (_em: unknown, _name: string, payload: OutboxJob['payload'], more: { delayMs?: number } = {}) => {
      jobs.push({ payload, delayMs: more.delayMs ?? 0 });
      return Promise.resolve('job');
    },
  };
  const rule = { enabled: true, threshold: 1, cooldownMs: 900_000, ...options.rule };
  const { events, metrics } = quietEvents();
  const channels = options.channels ?? [];
  const delivery = createAlertDelivery({
    ...{ db, queue, channels, events },
    retry: { ...DELIVERY_RETRY, maxAttempts: options.maxAttempts ?? DELIVERY_RETRY.maxAttempts },
  });
  return {
    jobs,
    queue,
    delivery,
    runs: createRunAlerts({ queue, ruleOf: () => rule }),
    service: createAlertService({ db, queue, hasChannels: channels.length > 0 }),

    /** Works off what is queued now, and returns what it met. Each job's delay is left for the test to look at. */
    async deliver(signal: AbortSignal = new AbortController().signal): Promise<unknown[]> {
      const failures: unknown[] = [];
      for (const job of jobs.splice(0)) {
        await delivery.deliver(job.payload, { signal }).catch((error: unknown) => failures.push(error));
      }
      return failures;
    },

    /** Newest first. */
    async alerts(policy?: string): Promise<readonly Alert[]> {
      return (await listAlerts(db.em(), policy === undefined ? {} : { policy }, { size: 200, after: null })).items;
    },

    async metric(name: string): Promise<string | undefined> {
      return (await metrics.render()).body.split('\n').find((line) => line.startsWith(name));
    },
  };
}

/** A channel to a URL that its operator configured. */
export function channelTo(
  url: string,
  more: Partial<ChannelTarget> & { readonly http?: HttpClientOptions } = {},
): Channel & AsyncDisposable {
  const { http: httpOptions, ...target } = more;
  const http = createHttpClient({
    ...{ maxAttempts: 1, requestTimeoutMs: 20_000, operatorUrls: [url] },
    breaker: { failureThreshold: Number.MAX_SAFE_INTEGER },
    ...httpOptions,
  });
  const channel = createChannel({ name: 'webhook', kind: 'webhook', url, signingSecret: null, ...target }, http);
  return { ...channel, [Symbol.asyncDispose]: () => http.close() };
}
