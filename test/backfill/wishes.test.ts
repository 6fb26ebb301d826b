// Goal: pause, resume and cancel do what they say, also while a source doesn't answer; limits hold; whoever watches sees each state once and
// can go on where the stream was lost. Method: sources that are held back by the test, never by time.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BackfillEvent } from '../../src/core/backfill.ts';
import { payToll } from '../../src/sources/http/toll.ts';
import { coverageOf } from '../../src/store/coverage-read.ts';
import { sql } from '../../src/store/database.ts';
import { openBackfills, pictureOf } from '../_util/backfill.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import { failureOf } from '../_util/failure-of.ts';
import { fake } from '../_util/follow.ts';
import { testCaller } from '../_util/services.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterAll(() => test.drop());

const GENEROUS_MS = 40_000;
const wish = (id: string) => ({ id, reason: 'a test', requestId: null });
const open = async (options: Parameters<typeof fake>[0] = {}) => {
  const source = fake({ tip: 5_000, ...options });
  return { source, house: await openBackfills(test.db, source) };
};
/** A source that answers reads below a ledger, and holds back all others until it is let go. */
async function heldBack(ledger: number) {
  const { source, house } = await open();
  const gate = Promise.withResolvers<void>();
  const read = source.read.bind(source);
  let waiting = 0;
  let isOpen = false;
  void gate.promise.then(() => (isOpen = true));
  source.read = async (request, signal) => {
    if (request.range.to > ledger && !isOpen) {
      signal.throwIfAborted();
      waiting++;
      const aborted = new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      });
      await Promise.race([gate.promise, aborted]).finally(() => waiting--);
    }
    return read(request, signal);
  };
  return { source, house, letGo: () => gate.resolve(), waiting: () => waiting };
}

describe('a wish', () => {
  it('to pause is granted at once where nobody has begun, and resuming goes on', async () => {
    const { house } = await open();
    const { id } = await house.start({ from: 1, to: 100 });
    expect((await house.service.pause(wish(id), testCaller)).state).toBe('paused');
    expect((await house.service.pause(wish(id), testCaller)).state).toBe('paused');
    const worker = house.work();
    expect((await house.service.resume(wish(id), testCaller)).state).not.toBe('paused');
    expect((await house.ended(id)).state).toBe('succeeded');
    await worker.end();
    expect(await failureOf(house.service.pause(wish(id), testCaller))).toMatchObject({
      reason: 'RUN_ALREADY_FINISHED',
    });
  });

  it('to pause ends a read that never comes back; what was written stays, and nothing is lost or doubled', async () => {
    const { source, house, letGo, waiting } = await heldBack(512);
    const { id } = await house.start({ from: 1, to: 1_025 });
    const worker = house.work();
    await eventually(() => expect(waiting()).toBeGreaterThan(0), GENEROUS_MS);
    const asked = await house.service.pause(wish(id), testCaller);
    expect(['pausing', 'paused']).toContain(asked.state);
    const paused = await house.reaches(id, 'paused');
    expect(paused.progress.stall).toMatchObject({ cause: 'paused' });
    expect(paused.progress.workers).toBe(0);
    await eventually(() => expect(waiting()).toBe(0), GENEROUS_MS);
    const reads = source.reads.length;
    letGo();
    await worker.end();
    // Other workers, as after a restart, find nothing to do until somebody resumes it.
    const next = house.work();
    expect((await house.service.get(id)).state).toBe('paused');
    expect(source.reads.length).toBe(reads);
    await house.service.resume(wish(id), testCaller);
    const done = await house.ended(id);
    await next.end();
    expect(done).toMatchObject({ state: 'succeeded', progress: { scannedLedgers: 1_024, insertedEntries: 1_024n } });
  });

  it('to cancel keeps what was read, ends in that state and frees the range', async () => {
    const { house, letGo, waiting } = await heldBack(512);
    const { id } = await house.start({ from: 1, to: 1_025 });
    const worker = house.work();
    await eventually(() => expect(waiting()).toBeGreaterThan(0), GENEROUS_MS);
    await eventually(
      async () => expect((await house.service.get(id)).progress.scannedLedgers).toBeGreaterThan(0),
      GENEROUS_MS,
    );
    await house.service.cancel(wish(id), testCaller);
    const cancelled = await house.reaches(id, 'cancelled');
    expect(cancelled.completedAt).not.toBeNull();
    expect((await house.service.cancel(wish(id), testCaller)).state).toBe('cancelled');
    letGo();
    const { done } = await coverageOf(test.db.em(), house.opened.stream.id, 'operations', null);
    const covered = done.reduce((sum, range) => sum + range.to - range.from, 0);
    expect(covered).toBe(cancelled.progress.scannedLedgers);
    await worker.end();
    const again = await house.run({ from: 1, to: 1_025 });
    expect(again).toMatchObject({ state: 'succeeded', progress: { missingLedgers: 1_024 - covered } });
  });

  it('repeated with its request id is done once, and refused for another job', async () => {
    const { house } = await open();
    const [one, two] = [await house.start({ from: 1, to: 10 }), await house.start({ from: 10, to: 20 })];
    const requestId = randomUUID();
    await house.service.pause({ ...wish(one.id), requestId }, testCaller);
    await house.service.resume(wish(one.id), testCaller);
    // The pause that is repeated now was granted long ago.
    expect((await house.service.pause({ ...wish(one.id), requestId }, testCaller)).state).toBe('queued');
    expect(await failureOf(house.service.pause({ ...wish(two.id), requestId }, testCaller))).toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });

  it('for a job that there is not is refused', async () => {
    const { house } = await open();
    for (const id of [randomUUID(), 'no uuid'])
      expect(await failureOf(house.service.cancel(wish(id), testCaller))).toMatchObject({
        reason: 'BACKFILL_NOT_FOUND',
      });
  });
});

describe('limits of a job', () => {
  it('hold it back, which it says, and can be changed when it is resumed', async () => {
    const { source, house } = await open();
    const limits = { ledgersPerSecond: 20, requestsPerSecond: null, concurrency: 1, batchSize: 10 };
    const { id } = await house.start({ from: 1, to: 641 }, { limits });
    const worker = house.work();
    const throttled = await house.reaches(id, 'throttled');
    expect(throttled.progress.stall).toMatchObject({ cause: 'throttled' });
    expect(Math.max(...source.reads.map(({ from, to }) => to - from))).toBe(10);
    await house.service.pause(wish(id), testCaller);
    await house.reaches(id, 'paused');
    const free = { ledgersPerSecond: null, requestsPerSecond: null, concurrency: 0, batchSize: 0 };
    await house.service.resume({ ...wish(id), limits: free }, testCaller);
    expect(await house.ended(id)).toMatchObject({ state: 'succeeded', limits: free });
    await worker.end();
  });

  it('count every request that a read sends, and hold each back', async () => {
    const { source, house } = await open();
    const read = source.read.bind(source);
    source.read = async (request, signal) => {
      for (let page = 0; page < 3; page++) await payToll(signal);
      return read(request, signal);
    };
    const limits = { ledgersPerSecond: 1_000_000, requestsPerSecond: 50, concurrency: 1, batchSize: 64 };
    const startedMs = performance.now();
    const { id, progress } = await house.run({ from: 64, to: 384 }, { limits });
    expect(progress.scannedLedgers).toBe(320);
    expect(await sql(test.db.em(), `select requests::int from trueup.backfills where id = $1`, [id])).toEqual([
      { requests: 15 },
    ]);
    // The fifteenth may go fourteen gaps after the first.
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(14 * 20);
  });

  it('of its workers are exact over any number of replicas', async () => {
    const { house, letGo, waiting } = await heldBack(0);
    const limits = { ledgersPerSecond: null, requestsPerSecond: null, concurrency: 2, batchSize: 64 };
    const { id } = await house.start({ from: 1, to: 4_097 }, { limits });
    const workers = [1, 2, 3].map((n) => house.work({ holder: `replica ${n}`, workers: 4 }));
    // Each share has one read and two ahead of it at most, so more than six would be a third share.
    await eventually(async () => expect((await house.service.get(id)).progress.workers).toBe(2), GENEROUS_MS);
    await eventually(() => expect(waiting()).toBe(6), GENEROUS_MS);
    const [row] = await sql<{ held: number }>(
      test.db.em(),
      `select count(*)::int as held from trueup.backfill_chunks where backfill_id = $1 and token is not null`,
      [id],
    );
    expect(row!.held).toBe(2);
    letGo();
    expect((await house.ended(id)).state).toBe('succeeded');
    for (const worker of workers) await worker.end();
  });
});

describe('watching', () => {
  const collect = async (events: AsyncIterable<BackfillEvent>): Promise<BackfillEvent[]> => {
    const all: BackfillEvent[] = [];
    for await (const event of events) all.push(event);
    return all;
  };

  it('begins with the present state, never goes back, and ends with the end', async () => {
    const { house } = await open();
    const { id } = await house.start({ from: 1, to: 3_001 });
    const watched = collect(house.service.watch(id, null, new AbortController().signal));
    const worker = house.work();
    const events = await watched;
    await worker.end();
    expect(events[0]!.backfill.id).toBe(id);
    expect(events.at(-1)!.backfill).toMatchObject({ state: 'succeeded', progress: { percent: 100 } });
    for (const [i, event] of events.entries()) {
      const before = events[i - 1];
      if (before === undefined) continue;
      expect(event.sequence).toBeGreaterThan(before.sequence);
      const [was, is] = [before.backfill.progress, event.backfill.progress];
      expect(is.percent).toBeGreaterThanOrEqual(was.percent);
      expect(is.scannedLedgers).toBeGreaterThanOrEqual(was.scannedLedgers);
      expect(is.doneChunks).toBeGreaterThanOrEqual(was.doneChunks);
      expect(is.contiguousThrough ?? 0).toBeGreaterThanOrEqual(was.contiguousThrough ?? 0);
    }
  });

  it('is taken up after any number, sends nothing twice, and always the end', async () => {
    const { house } = await open();
    const { id } = await house.start({ from: 1, to: 2_001 });
    const first = house.service.watch(id, null, new AbortController().signal);
    const { sequence } = (await first.next()).value!;
    await first.return(undefined);
    const worker = house.work();
    await house.ended(id);
    await worker.end();
    const rest = await collect(house.service.watch(id, sequence, new AbortController().signal));
    expect(rest.map((event) => event.backfill.state)).toEqual(['succeeded']);
    expect(rest[0]!.sequence).toBeGreaterThan(sequence);
    expect(await collect(house.service.watch(id, rest[0]!.sequence, new AbortController().signal))).toEqual([]);
  });

  it('by somebody who reads nothing holds up neither the job nor the others', async () => {
    const { house } = await open();
    const { id } = await house.start({ from: 1, to: 1_001 });
    const lost = house.service.watch(id, null, new AbortController().signal);
    await lost.next();
    const worker = house.work();
    expect((await house.ended(id)).state).toBe('succeeded');
    await worker.end();
    expect((await lost.next()).value).toMatchObject({ backfill: { state: 'succeeded' } });
  });

  it('tells the rates and the time left from samples that outlive the process', async () => {
    const { house } = await open();
    const { id } = await house.start({ from: 1, to: 101 });
    await sql(
      test.db.em(),
      `update trueup.backfills set state = 'running', started_at = now() - interval '100 seconds', sampled_at = now(), running_ms = 100000,
         planned_ledgers = 3000, missing_ledgers = 3000, scanned_ledgers = 1000, percent = 33.3 where id = $1`,
      [id],
    );
    await sql(
      test.db.em(),
      `insert into trueup.backfill_samples values ($1, now() - interval '10 seconds', 800, 0), ($1, now() - interval '60 seconds', 400, 0)`,
      [id],
    );
    const { progress } = await house.service.get(id);
    expect(progress.ledgerRates.last10s).toBeCloseTo(20, 0);
    expect(progress.ledgerRates.last1m).toBeCloseTo(10, 0);
    expect(progress.ledgerRates.life).toBeCloseTo(10, 0);
    expect(progress.etaMs! / 1_000).toBeGreaterThan(150);
    expect(progress.etaUncertaintyMs).toBeGreaterThan(0);
    await sql(test.db.em(), `update trueup.backfills set state = 'failed', completed_at = now() where id = $1`, [id]);
  });
});

describe('a job that outlives its process', () => {
  it('is gone on with from what was committed, by whoever comes', async () => {
    const { source, house, letGo, waiting } = await heldBack(512);
    const { id } = await house.start({ from: 1, to: 1_025 });
    const worker = house.work();
    await eventually(() => expect(waiting()).toBeGreaterThan(0), GENEROUS_MS);
    await eventually(
      async () => expect((await house.service.get(id)).progress.scannedLedgers).toBeGreaterThanOrEqual(255),
      GENEROUS_MS,
    );
    await worker.end();
    const before = await house.service.get(id);
    expect(before.progress.workers).toBe(0);
    letGo();
    source.reads.length = 0;
    const next = house.work({ holder: 'another' });
    const done = await house.ended(id);
    await next.end();
    expect(done).toMatchObject({ state: 'succeeded', progress: { scannedLedgers: 1_024, insertedEntries: 1_024n } });
    const { entries } = await pictureOf(test.db, house.opened.stream.id);
    expect(entries).toHaveLength(1_024);
    const committed = before.progress.contiguousThrough!;
    expect(source.reads.some((range) => range.to <= committed)).toBe(false);
  });
});
