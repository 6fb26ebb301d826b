// JSON signed as Standard Webhooks (https://www.standardwebhooks.com) has it.
import { createHmac } from 'node:crypto';
import type { Alert } from '../core/alert.ts';
import type { OutgoingMessage } from './channel.ts';

const SECRET_PREFIX = 'whsec_';

/** `at`: the time of this attempt; the id stays the same at every one, so that a receiver can drop a repetition. */
export function webhookMessage(alert: Alert, secret: string | null, at: Date): OutgoingMessage {
  const body = JSON.stringify(payloadOf(alert));
  const timestamp = Math.floor(at.getTime() / 1_000);
  const headers = { 'webhook-id': alert.id, 'webhook-timestamp': String(timestamp) };
  return {
    body,
    headers:
      secret === null ? headers : { ...headers, 'webhook-signature': signatureOf(secret, alert.id, timestamp, body) },
  };
}

/** `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64. */
export function signatureOf(secret: string, id: string, timestampSeconds: number, body: string): string {
  const key = Buffer.from(secret.startsWith(SECRET_PREFIX) ? secret.slice(SECRET_PREFIX.length) : secret, 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestampSeconds}.${body}`).digest('base64')}`;
}

function payloadOf(alert: Alert) {
  const { kind, severity, policy, stream, runId, episode, title, details, replayCount } = alert;
  return {
    type: `alert.${kind.toLowerCase()}`,
    // When it happened, not when it is sent: that is the header's.
    timestamp: alert.createdAt.toISOString(),
    data: {
      ...{ id: alert.id, kind, severity, policy, stream, reconciliation_id: runId, episode, title, details },
      ...{ replay_count: replayCount },
    },
  };
}
