// Goal: a far side can read and check what it gets. Method: the specification's own vector, and messages with bad contents.
import { describe, expect, it } from 'vitest';
import type { Alert } from '../core/alert.ts';
import { slackMessage } from './slack.ts';
import { signatureOf, webhookMessage } from './webhook.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const alert: Alert = {
  ...{ id: '0c7e0ed2-6c1c-4b7e-8a7e-30d5fd0e4b6f', messageId: '0c7e0ed2-6c1c-4b7e-8a7e-30d5fd0e4b6f' },
  ...{ dedupeKey: 'drift/1/1', kind: 'DRIFT_DETECTED', severity: 'page', state: 'pending' },
  ...{ channel: 'webhook', channelKind: 'webhook', policy: 'p', stream: 's', runId: null, episode: 'p/drift/1' },
  ...{ title: 'p: drift detected, 1 drift open', details: { drifts: '1', 'oldest 1': '<!channel> & co' } },
  ...{ sandbox: false, resolves: null, suppressReason: null, attempts: [], tries: 0, replayCount: 0 },
  ...{ createdAt: new Date('2026-01-01T00:00:00Z'), nextAttemptAt: null, deliveredAt: null },
};

describe('a signed webhook', () => {
  it("has the signature of Standard Webhooks' own example", () => {
    const signature = signatureOf(SECRET, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1_614_265_330, '{"test": 2432232314}');
    expect(signature).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });

  it('keeps its id at every attempt, while its time and signature are of the attempt', () => {
    const [first, second] = [1_000, 61_000].map((ms) => webhookMessage(alert, SECRET, new Date(ms)));
    expect(first!.headers).toMatchObject({ 'webhook-id': alert.id, 'webhook-timestamp': '1' });
    expect(second!.headers).toMatchObject({ 'webhook-id': alert.id, 'webhook-timestamp': '61' });
    expect(second!.headers['webhook-signature']).not.toBe(first!.headers['webhook-signature']);
    expect(second!.body).toBe(first!.body);
  });

  it('says what happened, of what, and how bad it is', () => {
    expect(JSON.parse(webhookMessage(alert, null, new Date()).body)).toEqual({
      type: 'alert.drift_detected',
      timestamp: '2026-01-01T00:00:00.000Z',
      data: {
        ...{ id: alert.id, kind: 'DRIFT_DETECTED', severity: 'page', policy: 'p', stream: 's' },
        ...{ reconciliation_id: null, episode: 'p/drift/1', title: alert.title, details: alert.details },
        replay_count: 0,
      },
    });
  });

  it('without a secret has no signature', () => {
    expect(webhookMessage(alert, null, new Date()).headers['webhook-signature']).toBeUndefined();
  });
});

describe('a message to Slack', () => {
  it('can not ping anybody by the contents of a book', () => {
    const { text } = JSON.parse(slackMessage(alert).body) as { text: string };
    expect(text).toContain('*p: drift detected, 1 drift open*\ndrifts: 1\noldest 1: &lt;!channel&gt; &amp; co');
    expect(text).not.toContain('<');
  });

  it('has an end, however long its contents', () => {
    const { text } = JSON.parse(slackMessage({ ...alert, details: { x: 'y'.repeat(100_000) } }).body) as {
      text: string;
    };
    expect(text.length).toBeLessThanOrEqual(3_000);
    expect(text).toContain(alert.title);
  });
});
