// Alerts, composed: where they go, when each policy alerts, and who delivers.
import type { Config } from './config/config.ts';
import type { AlertRule } from './core/alerting.ts';
import type { AlertRule as ShownAlertRule } from './core/listing.ts';
import type { Policy } from './core/policy.ts';
import { createChannel, type Channel } from './outbound/channel.ts';
import { createAlertDelivery } from './services/alert-delivery.ts';
import { createAlertService } from './services/alerts.ts';
import { createRunAlerts } from './services/run-alerts.ts';
import { createHttpClient } from './sources/http/client.ts';
import type { HttpClient } from './sources/http/types.ts';
import type { Database } from './store/database.ts';
import type { Queue } from './store/queue.ts';
import type { Events } from './telemetry/events.ts';
import { VERSION } from './version.ts';

export interface AlertsDeps {
  readonly config: Config;
  readonly db: Database;
  readonly queue: Queue;
  readonly events: Events;
}

/** One attempt at a channel. */
const ALERT_HTTP_LIMITS = { requestTimeoutMs: 10_000, connectTimeoutMs: 5_000, maxConnectionsPerHost: 2 } as const;

export function composeAlerts({ config, db, queue, events }: AlertsDeps) {
  const http = createAlertHttp(config, events);
  const channels = channelsOf(config, http);
  events.channelsKnown(channels.map((channel) => channel.name));
  const ruleOf = (policy: Policy) => alertRuleOf(config, policy);
  return {
    service: createAlertService({ db, queue, hasChannels: channels.length > 0 }),
    runs: createRunAlerts({ queue, ruleOf }),
    delivery: createAlertDelivery({ db, queue, channels, events }),
    /** As ListPolicies shows it; null: it doesn't alert. */
    shownRuleOf(policy: Policy): ShownAlertRule | null {
      const { enabled, threshold, cooldownMs } = ruleOf(policy);
      return enabled ? { driftThreshold: threshold, cooldownMs, channels: [], alertInconclusive: true } : null;
    },
    close: () => http.close(),
  };
}

/** Attempts are the queue's, so that they outlive the process; a far side that fails is asked again in its time, without a circuit. */
function createAlertHttp(config: Config, events: Events): HttpClient {
  return createHttpClient({
    ...ALERT_HTTP_LIMITS,
    maxAttempts: 1,
    breaker: { failureThreshold: Number.MAX_SAFE_INTEGER },
    allowPrivateAddresses: config.source.allowPrivateAddresses,
    operatorUrls: [config.secrets.alertWebhookUrl].filter((url) => url !== null),
    userAgent: `trueup/${VERSION}`,
    onEvent: (event) => events.httpClient('alerts', event),
  });
}

function channelsOf(config: Config, http: HttpClient): Channel[] {
  const { channel: kind } = config.reconciliation.alerts;
  const { alertWebhookUrl: url, alertWebhookSecret: signingSecret } = config.secrets;
  return kind === null || url === null ? [] : [createChannel({ name: kind, kind, url, signingSecret }, http)];
}

/** The policy's own, else the environment's. */
function alertRuleOf(config: Config, { alert }: Policy): AlertRule {
  const { driftThreshold, cooldownMs } = config.reconciliation.alerts;
  return {
    enabled: alert.enabled,
    threshold: alert.threshold ?? driftThreshold,
    cooldownMs: alert.cooldownMs ?? cooldownMs,
  };
}
