// Goal: replicas together use what a host permits and no more, and leave it alone for as long as it asks. Method: pacers of several
// processes over one budget and a clock of our own, against a host that closes now and then; then the real budget in a database.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import { createPacer, type Pacer, type SharedBudget } from '../../src/sources/http/pacer.ts';
import { claimRequests, deferRequests } from '../../src/store/source-budgets.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { failureOf } from '../_util/failure-of.ts';

const signal = new AbortController().signal;
const RATE = 20;
const GAP_MS = 1_000 / RATE;

/** Time that passes only when everybody waits. */
function createTime() {
  let nowMs = 0;
  const sleepers: { at: number; wake: () => void }[] = [];
  return {
    now: () => nowMs,
    sleep: (ms: number) => new Promise<void>((wake) => sleepers.push({ at: nowMs + ms, wake })),
    async runUntil(endMs: number): Promise<void> {
      for (;;) {
        // Whoever was woken goes on to its next wait first.
        await new Promise((resolve) => setImmediate(resolve));
        const next = sleepers.sort((a, b) => a.at - b.at).shift();
        if (next === undefined || next.at > endMs) return;
        nowMs = Math.max(nowMs, next.at);
        next.wake();
      }
    },
  };
}

/** The arithmetic of the budget's row. */
function sharedBudget(time: { now(): number }): SharedBudget & { claims: number } {
  let [nextAt, notBefore] = [-Infinity, -Infinity];
  return {
    claims: 0,
    claim(_host, count) {
      this.claims++;
      const start = Math.max(nextAt, notBefore, time.now());
      nextAt = start + count * GAP_MS;
      return Promise.resolve(start - time.now());
    },
    defer(_host, waitMs) {
      notBefore = Math.max(notBefore, time.now() + waitMs);
      return Promise.resolve();
    },
  };
}

describe('replicas that share a budget', () => {
  it('use at least 95 % of what a stormy host permits, never more, and send nothing before it wants them again', async () => {
    const time = createTime();
    const budget = sharedBudget(time);
    const LATENCY_MS = 30;
    const END_MS = 120_000;
    /** Open for 10 s, closed for 3 s, over and over. */
    const isClosed = (at: number): boolean => at % 13_000 >= 10_000;
    const sent: { at: number; replica: number }[] = [];
    const told = [-Infinity, -Infinity];
    const early: number[] = [];
    const worker = async (pacer: Pacer, replica: number): Promise<void> => {
      while (time.now() < END_MS) {
        await pacer.enter('host', signal);
        const at = time.now();
        // What a replica was told, it obeys without exception.
        if (at < told[replica]!) early.push(at);
        sent.push({ at, replica });
        await time.sleep(LATENCY_MS);
        if (!isClosed(at)) continue;
        const retryAfterMs = 13_000 - (time.now() % 13_000);
        told[replica] = Math.max(told[replica]!, time.now() + retryAfterMs);
        pacer.defer('host', retryAfterMs);
      }
    };
    for (const replica of [0, 1]) {
      const pacer = createPacer({ budget, requestsPerSecond: RATE, maxWaitMs: 60_000, clock: time });
      for (let each = 0; each < 4; each++) void worker(pacer, replica);
    }
    await time.runUntil(END_MS);
    expect(early).toEqual([]);
    const open = sent.filter(({ at }) => !isClosed(at));
    const openMs = Array.from({ length: END_MS }, (_, at) => at).filter((at) => !isClosed(at)).length;
    expect(open.length / ((openMs * RATE) / 1_000)).toBeGreaterThanOrEqual(0.95);
    // Over any ten seconds no more than the rate, but for what one claim may hold.
    for (let from = 0; from < END_MS; from += 1_000) {
      const count = sent.filter(({ at }) => at >= from && at < from + 10_000).length;
      expect(count).toBeLessThanOrEqual(RATE * 10 + 2 * Math.ceil(250 / GAP_MS));
    }
    // Another replica may use up what it has claimed: a quarter of a second, once each time the host closes.
    const closed = sent.filter(({ at }) => isClosed(at));
    expect(closed.every(({ at }) => (at % 13_000) - 10_000 <= 250 + LATENCY_MS)).toBe(true);
    // Not one question to the database for each request.
    expect(budget.claims).toBeLessThan(sent.length / 2);
  });

  it('hand a wait that is too long to the caller, with its time', async () => {
    const time = createTime();
    const pacer = createPacer({ budget: sharedBudget(time), requestsPerSecond: null, maxWaitMs: 1_000, clock: time });
    await pacer.enter('host', signal);
    pacer.defer('host', 60_000);
    expect(await failureOf(pacer.enter('host', signal))).toMatchObject({
      reason: 'SOURCE_RATE_LIMITED',
      details: { retryAfterMs: 60_000 },
    });
  });
});

describe('the budget in the database', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.drop());

  it('never gives two replicas the same time', async () => {
    const waits = await Promise.all(Array.from({ length: 8 }, () => claimRequests(test.db.em(), 'one', 10, 0.01)));
    // Ten requests of 100 s each: whatever their order, each claim begins where another ends.
    const starts = waits.sort((a, b) => a - b);
    for (const [i, start] of starts.entries()) if (i > 0) expect(start - starts[i - 1]!).toBeGreaterThan(900_000);
  });

  it('tells every replica that the host wants to be left alone, the longest wish counting', async () => {
    await deferRequests(test.db.em(), 'two', 3_600_000);
    await deferRequests(test.db.em(), 'two', 1_000);
    expect(await claimRequests(test.db.em(), 'two', 1, null)).toBeGreaterThan(3_500_000);
    expect(await claimRequests(test.db.em(), 'two', 1, 5)).toBeGreaterThan(3_500_000);
    expect(await claimRequests(test.db.em(), 'three', 1, null)).toBe(0);
  });

  it('keeps a second client from a host that told the first one to wait', async () => {
    let requests = 0;
    const server = createServer((_req, res) => {
      requests++;
      res.writeHead(429, { 'retry-after': '3600' }).end();
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const deferred: Promise<void>[] = [];
    const client = () =>
      createHttpClient({
        allowPrivateAddresses: true,
        pacer: createPacer({
          budget: {
            claim: (host, count) => claimRequests(test.db.em(), host, count, 100),
            defer(host, waitMs) {
              const done = deferRequests(test.db.em(), host, waitMs);
              deferred.push(done);
              return done;
            },
          },
          requestsPerSecond: 100,
          maxWaitMs: 30_000,
          clock: { now: () => performance.now(), sleep: () => Promise.resolve() },
        }),
      });
    const [first, second] = [client(), client()];
    try {
      expect(await failureOf(first.getJson(url, { signal }))).toBeInstanceOf(TrueUpError);
      await Promise.all(deferred);
      expect(await failureOf(second.getJson(url, { signal }))).toMatchObject({ reason: 'SOURCE_RATE_LIMITED' });
      expect(requests).toBe(1);
    } finally {
      await first.close();
      await second.close();
      server.close();
      server.closeAllConnections();
    }
  });
});
