// Goal: a backfill reads what is missing, once, whatever its length and whatever is covered already; what can't be read is set apart and named.
// Method: the service and its workers over a network in memory, against a real database; compared with one pass of the follower's own writing.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commitBatch } from '../../src/store/coverage.ts';
import { coverageOf } from '../../src/store/coverage-read.ts';
import { sql } from '../../src/store/database.ts';
import { pruneBackfills, transitionsOf } from '../../src/store/backfills.ts';
import { ensureSource } from '../../src/store/streams.ts';
import { openBackfills, pictureOf, type BackfillHouse } from '../_util/backfill.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import { fake } from '../_util/follow.ts';
import { openTestStream } from '../_util/ledger-rows.ts';
import { testCaller } from '../_util/services.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterAll(() => test.drop());

/** What one pass over a range leaves, in a stream of its own. */
async function onePass(source: FakeSource, range: { from: number; to: number }) {
  const opened = await openTestStream(test.db, { passphrase: `one pass of ${source.networkPassphrase} ${range.from}` });
  const batch = await source.read(
    { range, layers: source.layers, watch: opened.target.watch },
    new AbortController().signal,
  );
  await test.db.em().transactional((em) => commitBatch(em, opened.target, batch));
  return pictureOf(test.db, opened.stream.id);
}

const cover = async (house: BackfillHouse, source: FakeSource, from: number, to: number): Promise<void> => {
  // Chunks of one source melt into one.
  const target = { ...house.opened.target, sourceId: await ensureSource(test.db.em(), source.id) };
  const request = { range: { from, to }, layers: source.layers, watch: target.watch };
  const batch = await source.read(request, new AbortController().signal);
  await test.db.em().transactional((em) => commitBatch(em, target, batch));
};

describe('a range', () => {
  it.each([
    ['of one ledger', { from: 70, to: 71 }],
    ['of a chunk less one', { from: 64, to: 127 }],
    ['of a chunk', { from: 64, to: 128 }],
    ['of a chunk and one', { from: 64, to: 129 }],
    ['from ledger 1 over many chunks', { from: 1, to: 1_000 }],
    ['that begins and ends inside chunks', { from: 37, to: 555 }],
  ])('%s is read whole, and as one pass leaves it', async (_name, range) => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    const done = await house.run(range);
    expect(done).toMatchObject({ state: 'succeeded', error: null });
    expect(done.progress).toMatchObject({
      totalLedgers: range.to - range.from,
      missingLedgers: range.to - range.from,
      scannedLedgers: range.to - range.from,
      insertedEntries: BigInt(range.to - range.from),
      duplicateEntries: 0n,
      contiguousThrough: range.to - 1,
      lastLedger: range.to - 1,
      percent: 100,
    });
    expect(done.progress.doneChunks).toBe(done.progress.totalChunks);
    expect(done.digest).toMatch(/^\d+:[0-9a-f]{32}$/);
    expect(await pictureOf(test.db, house.opened.stream.id)).toEqual(await onePass(source, range));
  });

  it.each([
    ['at its first ledger', 1, { from: 2, to: 300 }],
    ['at its last ledger', 299, { from: 1, to: 299 }],
  ])('with a gap of one ledger %s has that one read and nothing else', async (_name, missing, covered) => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    await cover(house, source, covered.from, covered.to);
    source.reads.length = 0;
    const done = await house.run({ from: 1, to: 300 });
    expect(done).toMatchObject({ state: 'succeeded', progress: { missingLedgers: 1, skippedLedgers: 298 } });
    expect(source.reads).toEqual([{ from: missing, to: missing + 1 }]);
    expect(await pictureOf(test.db, house.opened.stream.id)).toEqual(await onePass(source, { from: 1, to: 300 }));
  });

  it('that is covered has nothing to read and succeeds', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    await cover(house, source, 1, 200);
    source.reads.length = 0;
    expect(await house.run({ from: 10, to: 100 })).toMatchObject({
      state: 'succeeded',
      progress: { missingLedgers: 0, skippedLedgers: 90, scannedLedgers: 0, percent: 100, contiguousThrough: 99 },
    });
    expect(source.reads).toEqual([]);
  });

  it('that is covered is read again and compared where that is asked for', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    await cover(house, source, 1, 200);
    expect(await house.run({ from: 10, to: 100 }, { reread: true })).toMatchObject({
      state: 'succeeded',
      progress: {
        missingLedgers: 0,
        skippedLedgers: 0,
        scannedLedgers: 90,
        insertedEntries: 0n,
        duplicateEntries: 90n,
      },
    });
    await sql(test.db.em(), `update trueup.entries set amount = amount + 1 where stream_id = $1 and ledger = 50`, [
      house.opened.stream.id,
    ]);
    expect(await house.run({ from: 10, to: 100 }, { reread: true })).toMatchObject({
      state: 'failed',
      error: { reason: 'ENTRY_CONFLICT' },
    });
  });
});

describe('a ledger that cannot be decoded', () => {
  it.each([
    ['first, named by the source', 1, true],
    ['last, named by the source', 300, true],
    ['first, to be searched for', 1, false],
    ['last, to be searched for', 300, false],
  ])('%s, is tried three times and set apart; everything else is read', async (_name, ledger, named) => {
    const source = fake({ tip: 2_000 });
    source.faults.set(ledger, { reason: 'SOURCE_CORRUPT', named });
    const house = await openBackfills(test.db, source);
    const done = await house.run({ from: 1, to: 301 });
    expect(done).toMatchObject({
      state: 'succeeded',
      progress: { scannedLedgers: 299, quarantinedLedgers: 1, percent: 100 },
    });
    expect(done.progress.retries).toBeGreaterThanOrEqual(2n);
    const { stream } = house.opened;
    const { done: covered, quarantined } = await coverageOf(test.db.em(), stream.id, 'operations', null);
    expect(quarantined).toEqual([{ from: ledger, to: ledger + 1 }]);
    expect(covered).toEqual([ledger === 1 ? { from: 2, to: 301 } : { from: 1, to: 300 }]);
    // It can be read later, by another backfill of the same ledgers.
    source.faults.clear();
    expect(await house.run({ from: 1, to: 301 })).toMatchObject({
      state: 'succeeded',
      progress: { missingLedgers: 1, scannedLedgers: 1, quarantinedLedgers: 0 },
    });
  });

  it('shows once and is good at the second look', async () => {
    const source = fake({ tip: 2_000 });
    source.faults.set(100, { reason: 'SOURCE_CORRUPT', named: true, times: 2 });
    const house = await openBackfills(test.db, source);
    expect(await house.run({ from: 1, to: 301 })).toMatchObject({
      state: 'succeeded',
      progress: { scannedLedgers: 300, quarantinedLedgers: 0 },
    });
  });

  it('that no source keeps is unavailable, never skipped without a word', async () => {
    const source = fake({ tip: 2_000 });
    source.faults.set(65, { reason: 'LEDGER_UNAVAILABLE', named: true });
    const house = await openBackfills(test.db, source);
    expect(await house.run({ from: 1, to: 201 })).toMatchObject({
      state: 'succeeded',
      progress: { scannedLedgers: 199, unavailableLedgers: 1 },
    });
  });
});

describe('a source that fails', () => {
  it('for a while blocks the job, which goes on by itself', async () => {
    const source = fake({ tip: 2_000 });
    source.faults.set(100, { reason: 'SOURCE_UNAVAILABLE', named: false, times: 3 });
    const house = await openBackfills(test.db, source);
    const { id } = await house.start({ from: 1, to: 301 });
    // One worker: another's success would say that the source is well.
    const worker = house.work({ workers: 1 });
    const done = await house.ended(id);
    await worker.end();
    expect(done).toMatchObject({ state: 'succeeded', error: null, progress: { scannedLedgers: 300 } });
    expect(done.progress.retries).toBeGreaterThanOrEqual(3n);
    const path = (await transitionsOf(test.db.em(), done.id, 100)).map((each) => each.to);
    expect(path).toContain('blocked');
    expect(path.slice(-2)).toEqual(['verifying', 'succeeded']);
  });

  it('that asks for less is obeyed, and the job says so', async () => {
    const source = fake({ tip: 2_000 });
    source.faults.set(100, {
      reason: 'SOURCE_RATE_LIMITED',
      named: false,
      times: 1,
      details: { retryAfterMs: 900 },
    });
    const house = await openBackfills(test.db, source);
    const { id } = await house.start({ from: 1, to: 301 });
    const worker = house.work({ workers: 1 });
    const throttled = await house.reaches(id, 'throttled');
    expect(throttled.progress.stall).toMatchObject({ cause: 'rate_limit' });
    expect(throttled.error).toMatchObject({ reason: 'SOURCE_RATE_LIMITED' });
    expect(await house.ended(id)).toMatchObject({ state: 'succeeded' });
    await worker.end();
  });

  it('of another history ends the job, and what was read stays', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    await cover(house, source, 257, 300);
    source.forkAt = 257;
    const done = await house.run({ from: 1, to: 600 });
    expect(done).toMatchObject({ state: 'failed', error: { reason: 'SOURCE_DIVERGED' } });
  });
});

describe('the rows of a job', () => {
  it('tell every change of its state with who and why', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    const done = await house.run({ from: 1, to: 100 }, { reason: 'an outage' });
    const rows = await house.service.transitions(done.id);
    expect(rows.map(({ from, to, actor, reason }) => [from, to, actor, reason])).toEqual([
      [null, 'planned', 'test', 'an outage'],
      ['planned', 'queued', 'trueup', null],
      ['queued', 'running', 'trueup', null],
      ['running', 'verifying', 'trueup', null],
      ['verifying', 'succeeded', 'trueup', null],
    ]);
  });

  it('fail the job where a stored row was changed behind its back', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    const { id } = await house.start({ from: 1, to: 100 });
    await sql(
      test.db.em(),
      `create function tamper() returns trigger language plpgsql as $$
       begin update trueup.entries set amount = amount + 1 where stream_id = ${house.opened.stream.id} and ledger = 50; return new; end $$`,
    );
    await sql(
      test.db.em(),
      `create trigger tamper after update of state on trueup.backfills for each row
       when (new.state = 'verifying' and new.id = '${id}') execute function tamper()`,
    );
    const worker = house.work();
    expect(await house.ended(id)).toMatchObject({
      state: 'failed',
      error: { reason: 'SEAL_BROKEN', message: expect.stringContaining('ledgers 1-63') as string },
    });
    await worker.end();
    await sql(test.db.em(), 'drop function tamper cascade');
  });

  it('go when the job ended long enough ago, and not before', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    const [old, fresh] = [await house.run({ from: 1, to: 10 }), await house.run({ from: 1, to: 10 })];
    const active = await house.start({ from: 20, to: 30 });
    await sql(
      test.db.em(),
      `update trueup.backfills set created_at = created_at - interval '40 days', completed_at = completed_at - interval '31 days' where id = any($1::uuid[])`,
      [[old.id, active.id]],
    );
    expect(await pruneBackfills(test.db.em(), 30)).toBe(1);
    await expect(house.service.get(old.id)).rejects.toMatchObject({ reason: 'BACKFILL_NOT_FOUND' });
    expect((await house.service.get(fresh.id)).state).toBe('succeeded');
    expect((await house.service.get(active.id)).state).toBe('planned');
    await house.service.cancel({ id: active.id, reason: null, requestId: null }, testCaller);
  });
});
