// Goal: what was stored is delivered, once it is accepted it is not sent again, and what is never accepted is seen. Method: a far side
// that answers as told, a real database, and jobs that the test works off itself; the real queue where a process must die.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AlertToRaise } from '../../src/core/alert.ts';
import { DELIVERY_RETRY, nextAttemptMs } from '../../src/core/alert.ts';
import { signatureOf } from '../../src/outbound/webhook.ts';
import { ALERT_JOB, raiseAlert } from '../../src/services/alerts.ts';
import { listAudit } from '../../src/store/audit.ts';
import { listDeadLetters, listJobHealth } from '../../src/store/job-health.ts';
import { createQueue, SettledFailure } from '../../src/store/queue.ts';
import { channelTo, openOutbox, type OutboxOptions } from '../_util/alerts.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import { failureOf } from '../_util/failure-of.ts';
import { testCaller } from '../_util/services.ts';
import { HOOK_KEY, startWebhookReceiver, type WebhookReceiver } from '../_util/webhook-receiver.ts';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

let test: TestDatabase;
let receiver: WebhookReceiver;
beforeAll(async () => {
  test = await createTestDatabase();
  receiver = await startWebhookReceiver();
});
afterAll(async () => {
  await receiver[Symbol.asyncDispose]();
  await test.drop();
});

let raised = 0;
const somethingHappened = (more: Partial<AlertToRaise> = {}): AlertToRaise => ({
  kind: 'STREAM_DEGRADED',
  dedupeKey: `thing-${++raised}`,
  policy: null,
  stream: null,
  severity: 'ticket',
  summary: 'a stream is degraded',
  details: { look: 'trueup status' },
  ...more,
});

async function raised1(options: OutboxOptions & { more?: Partial<AlertToRaise> } = {}) {
  const channel = options.channels?.[0] ?? channelTo(receiver.url, { signingSecret: SECRET });
  const outbox = openOutbox(test.db, { channels: [channel], ...options });
  await test.db.em().transactional((em) => raiseAlert(em, outbox.queue, somethingHappened(options.more)));
  const [alert] = await outbox.alerts();
  receiver.received.length = 0;
  return {
    ...outbox,
    id: alert!.id,
    alert: async () => (await outbox.alerts()).find((each) => each.id === alert!.id)!,
  };
}

describe('an alert', () => {
  it('is delivered signed, and only once however often its job runs', async () => {
    const one = await raised1();
    const [job] = one.jobs;
    await one.deliver();
    await one.delivery.deliver(job!.payload, { signal: AbortSignal.timeout(60_000) });
    const hook = receiver.received[0]!;
    expect(receiver.received).toHaveLength(1);
    expect(hook.headers['webhook-id']).toBe(one.id);
    expect(hook.headers['webhook-signature']).toBe(
      signatureOf(SECRET, one.id, Number(hook.headers['webhook-timestamp']), hook.body),
    );
    const alert = await one.alert();
    expect(alert).toMatchObject({ state: 'delivered', channel: 'webhook', suppressReason: null });
    expect(alert.attempts).toMatchObject([{ attempt: 1, httpStatus: 200, failure: null }]);
    expect(await one.metric('trueup_alerts_sent_total{channel="webhook",outcome="delivered"}')).toMatch(/ 1$/);
  });

  it('that the far side can not take is tried again, with the same id, after a pause that grows', async () => {
    const one = await raised1();
    receiver.answer(500, 503, 'cut');
    const delays = [];
    for (let attempt = 1; attempt <= 3; attempt++) {
      const [failure] = await one.deliver();
      expect(failure).toBeInstanceOf(SettledFailure);
      delays.push(one.jobs[0]!.delayMs);
    }
    expect(delays).toEqual([5_000, 10_000, 20_000]);
    expect(await one.alert()).toMatchObject({ state: 'pending', tries: 3 });
    await one.deliver();
    expect((await one.alert()).attempts.map((each) => each.httpStatus)).toEqual([500, 503, null, 200]);
    expect(new Set(receiver.received.map((hook) => hook.headers['webhook-id']))).toEqual(new Set([one.id]));
  });

  it('waits as long as the far side asked', async () => {
    const one = await raised1();
    receiver.answer({ status: 429, headers: { 'retry-after': '77' } });
    await one.deliver();
    expect(one.jobs[0]!.delayMs).toBe(77_000);
    expect((await one.alert()).nextAttemptAt).not.toBeNull();
  });

  it('is not kept waiting by a far side that never answers', async () => {
    await using slow = channelTo(receiver.url, { http: { requestTimeoutMs: 300 } });
    const one = await raised1({ channels: [slow] });
    receiver.answer('hang');
    await one.deliver();
    expect((await one.alert()).attempts).toMatchObject([{ httpStatus: null, failure: { reason: 'CHANNEL_FAILED' } }]);
  });

  it('never accepted is a dead letter that can be seen, and is sent again by hand', async () => {
    const one = await raised1({ maxAttempts: 2 });
    receiver.answer(404, 404);
    await one.deliver();
    await one.deliver();
    expect(one.jobs).toEqual([]);
    expect(await one.alert()).toMatchObject({ state: 'dead_lettered', nextAttemptAt: null });
    const { items } = await listDeadLetters(test.db.em(), { size: 10, after: null }, { job: ALERT_JOB });
    expect(items[0]).toMatchObject({ resourceId: one.id, attempts: 2, lastError: { reason: 'CHANNEL_FAILED' } });
    expect(await one.metric('job_dead_letter_count{job_name="alerts"}')).toMatch(/ 1$/);

    const call = { id: one.id, reason: 'mended', requestId: '5a2f6f5c-6a52-4b2c-9f11-0d4a35b2e6aa' };
    expect(await one.service.replay(call, testCaller)).toMatchObject({ state: 'pending', replayCount: 1 });
    await one.service.replay(call, testCaller);
    expect(one.jobs).toHaveLength(1);
    expect((await failureOf(one.service.replay({ ...call, reason: 'else' }, testCaller))).reason).toBe(
      'REQUEST_ID_REUSED',
    );
    await one.deliver();
    const alert = await one.alert();
    expect(alert).toMatchObject({ state: 'delivered', replayCount: 1 });
    expect(alert.attempts.map((each) => each.attempt)).toEqual([1, 2, 3]);
    const audit = await listAudit(
      test.db.em(),
      { size: 5, after: null },
      { resourceType: 'alert', resourceId: one.id },
    );
    expect(audit.items).toMatchObject([{ actor: 'test', reason: 'mended' }]);
  });

  it('is not sent where its far side redirects to', async () => {
    const one = await raised1();
    receiver.answer({ status: 307, headers: { location: 'http://169.254.169.254/latest/meta-data' } });
    receiver.answer({ status: 302, headers: { location: receiver.url } });
    await one.deliver();
    await one.deliver();
    expect(receiver.received).toHaveLength(2);
    expect((await one.alert()).attempts.map((each) => each.httpStatus)).toEqual([307, 302]);
  });

  it('goes to no private address that its operator did not name, and is given up at once', async () => {
    const port = new URL(receiver.url).port;
    for (const url of [`http://127.0.0.1:${port}/x`, 'http://169.254.169.254/x', 'http://[::1]:1/x']) {
      await using channel = channelTo(url, { http: { operatorUrls: [] } });
      const one = await raised1({ channels: [channel] });
      await one.deliver();
      const alert = await one.alert();
      expect(alert).toMatchObject({ state: 'dead_lettered', tries: 1 });
      expect(alert.attempts[0]!.failure!.reason).toBe('SOURCE_ADDRESS_FORBIDDEN');
    }
    expect(receiver.received).toEqual([]);
  });

  it('shows its URL nowhere, whatever goes wrong', async () => {
    const one = await raised1({ maxAttempts: 1 });
    receiver.answer('cut');
    const failures = await one.deliver();
    const { items } = await listDeadLetters(test.db.em(), { size: 100, after: null });
    const shown = JSON.stringify([await one.alert(), items, failures.map((each) => String(each))]);
    expect(shown).toContain('127.0.0.1');
    expect(shown).not.toContain(HOOK_KEY);
  });

  it('without a channel is kept with the reason, and costs no attempt', async () => {
    const one = await raised1({ channels: [] });
    await one.deliver();
    expect(await one.alert()).toMatchObject({ state: 'suppressed', attempts: [] });
    const refused = failureOf(one.service.replay({ id: one.id, reason: '', requestId: null }, testCaller));
    expect((await refused).reason).toBe('CHANNEL_NOT_CONFIGURED');
  });

  it('goes to every channel, each with attempts of its own', async () => {
    await using first = channelTo(receiver.url);
    await using second = channelTo(receiver.url, { name: 'slack', kind: 'slack' });
    const one = await raised1({ channels: [first, second] });
    receiver.answer(500);
    await one.deliver();
    await one.deliver();
    const alerts = (await one.alerts()).filter((each) => each.messageId === one.id);
    expect(alerts.map((each) => [each.channel, each.state, each.tries]).sort()).toEqual([
      ['slack', 'delivered', 1],
      ['webhook', 'delivered', 2],
    ]);
    expect(JSON.parse(receiver.received.find((hook) => !hook.headers['webhook-id'])!.body)).toEqual({
      text: expect.stringContaining('a stream is degraded') as string,
    });
  });

  it('of a shutdown in its middle loses no attempt', async () => {
    const one = await raised1();
    receiver.answer('hang');
    const stop = new AbortController();
    const job = one.jobs[0]!.payload;
    const ended = one.delivery.deliver(job, { signal: stop.signal }).catch((error: unknown) => error);
    await eventually(() => expect(receiver.received).toHaveLength(1));
    stop.abort(new Error('stopping'));
    expect(await ended).toEqual(new Error('stopping'));
    expect(await one.alert()).toMatchObject({ state: 'pending', tries: 0, attempts: [] });
    await one.deliver();
    expect(await one.alert()).toMatchObject({ state: 'delivered' });
  });
});

describe('what lasts', () => {
  it('is told once until it ends, and its end once', async () => {
    await using channel = channelTo(receiver.url);
    const outbox = openOutbox(test.db, { channels: [channel] });
    const alert = somethingHappened();
    const tell = (more: Partial<AlertToRaise> = {}) =>
      test.db.em().transactional((em) => raiseAlert(em, outbox.queue, { ...alert, ...more }));
    receiver.received.length = 0;
    for (let n = 0; n < 3; n++) await tell();
    await outbox.deliver();
    for (let n = 0; n < 3; n++) await tell({ resolves: true, summary: 'it is well again' });
    await outbox.deliver();
    await tell();
    await outbox.deliver();
    expect(receiver.received.map(({ body }) => (JSON.parse(body) as { type: string }).type)).toEqual([
      'alert.stream_degraded',
      'alert.resolved',
      'alert.stream_degraded',
    ]);
  });

  it('has no end told whose beginning never arrived, and waits for one that may', async () => {
    const one = await raised1({ maxAttempts: 2, more: { dedupeKey: 'late' } });
    await test.db
      .em()
      .transactional((em) => raiseAlert(em, one.queue, somethingHappened({ dedupeKey: 'late', resolves: true })));
    const [, end] = one.jobs.splice(0);
    const signal = AbortSignal.timeout(60_000);
    await one.delivery.deliver(end!.payload, { signal });
    expect(one.jobs).toHaveLength(1);
    expect(receiver.received).toEqual([]);
    receiver.answer(500, 500);
    const payload = { id: one.id, replay: 0, tries: 0 };
    await one.delivery.deliver(payload, { signal }).catch(() => undefined);
    await one.delivery.deliver({ ...payload, tries: 1 }, { signal }).catch(() => undefined);
    one.jobs.length = 0;
    await one.delivery.deliver(end!.payload, { signal });
    const last = (await one.alerts()).find((each) => each.kind === 'RESOLVED' && each.resolves === one.id)!;
    expect(last).toMatchObject({
      state: 'suppressed',
      suppressReason: expect.stringContaining('never delivered') as string,
    });
    expect(receiver.received).toHaveLength(2);
  });

  it('that is rolled back was never told', async () => {
    const outbox = openOutbox(test.db);
    const before = (await outbox.alerts()).length;
    const work = test.db.em().transactional(async (em) => {
      await raiseAlert(em, outbox.queue, somethingHappened());
      throw new Error('no');
    });
    await expect(work).rejects.toThrow('no');
    expect(await outbox.alerts()).toHaveLength(before);
  });
});

describe('on the real queue', () => {
  it('an alert outlives the process that stored it, is tried again by another one, and its failures count', async () => {
    const newQueue = () => createQueue({ db: test.db, jobs: [{ name: ALERT_JOB }] });
    const first = newQueue();
    await first.start();
    const alert = somethingHappened();
    await test.db.em().transactional((em) => raiseAlert(em, first, alert));
    await first.stop({ timeoutMs: 1_000 });

    await using channel = channelTo(receiver.url);
    receiver.received.length = 0;
    receiver.answer(500);
    const outbox = openOutbox(test.db, { channels: [channel] });
    const second = newQueue();
    await second.start();
    const jobs = outbox.queue;
    // The first pause is cut short: what is asked of it is that the job comes back.
    jobs.send = ((em, name, payload) => second.send(em as never, name, payload, { delayMs: 10 })) as typeof jobs.send;
    await second.work(ALERT_JOB, { concurrency: 2 }, (payload, context) => outbox.delivery.deliver(payload, context));
    try {
      const states = async () =>
        (await outbox.alerts()).filter((each) => each.dedupeKey === alert.dedupeKey).map((each) => each.state);
      await eventually(async () => expect(await states()).toEqual(['delivered']), 60_000);
      expect(receiver.received).toHaveLength(2);
      const health = (await listJobHealth(test.db.em())).find((each) => each.name === ALERT_JOB)!;
      expect(health.failed).toBeGreaterThanOrEqual(1);
      expect(health.lastError).toMatchObject({ reason: 'CHANNEL_FAILED' });
    } finally {
      await second.stop({ timeoutMs: 5_000 });
    }
  });
});

describe('the pauses', () => {
  it('grow to a quarter of an hour, ten attempts in all, and give no far side more than an hour', () => {
    const pauses = Array.from({ length: 10 }, (_, i) => nextAttemptMs(DELIVERY_RETRY, i + 1, undefined));
    expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 320, 640, 900].map((s) => s * 1_000).concat(null as never));
    expect(nextAttemptMs(DELIVERY_RETRY, 1, 60_000)).toBe(60_000);
    expect(nextAttemptMs(DELIVERY_RETRY, 1, 1)).toBe(5_000);
    expect(nextAttemptMs(DELIVERY_RETRY, 1, 1e12)).toBe(3_600_000);
  });
});
