// Goal: a backfill stays exact while its far side changes: forgets what is still to be read, fails over to a second endpoint that lags or
// has another history, or is reset. Method: networks in memory that change while shares are read, against a real database.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { createSourceSet } from '../../src/sources/source-set.ts';
import { coverageOf } from '../../src/store/coverage-read.ts';
import { sql } from '../../src/store/database.ts';
import { ensureWatchSet, openStream } from '../../src/store/streams.ts';
import { openBackfills, type BackfillHouse } from '../_util/backfill.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { failureOf } from '../_util/failure-of.ts';
import { fake, numbers } from '../_util/follow.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterAll(() => test.drop());

const coverage = (house: BackfillHouse) => coverageOf(test.db.em(), house.opened.stream.id, 'operations', null);

/** Ledgers of the stored entries. */
async function ledgersOf(house: BackfillHouse): Promise<number[]> {
  const rows = await sql<{ ledger: number }>(
    test.db.em(),
    'select ledger from trueup.entries where stream_id = $1 order by ledger',
    [house.opened.stream.id],
  );
  return rows.map((row) => row.ledger);
}

/** The sources that gave what is stored. */
async function givers(house: BackfillHouse): Promise<string[]> {
  const rows = await sql<{ label: string }>(
    test.db.em(),
    `select distinct s.label from trueup.coverage_chunks c join trueup.sources s on s.id = c.source_id where c.stream_id = $1 order by 1`,
    [house.opened.stream.id],
  );
  return rows.map((row) => row.label);
}

describe("a source's memory that moves past where a backfill is", () => {
  it('leaves the forgotten ledgers named unavailable, has the kept ones read, and loses and doubles nothing', async () => {
    const source = fake({ tip: 2_000 });
    // After the third read the source keeps ledger 450 and later ones only.
    source.tamper = (batch) => {
      if (source.reads.length > 3) source.oldest = 450;
      if (batch.range.from >= source.oldest) return batch;
      const range = { from: batch.range.from, to: Math.min(batch.range.to, source.oldest) };
      throw new TrueUpError('LEDGER_UNAVAILABLE', `forgets before ${source.oldest}`, { range });
    };
    const house = await openBackfills(test.db, source);
    const done = await house.run({ from: 1, to: 601 });
    const { done: covered, unavailable } = await coverage(house);
    expect(done).toMatchObject({ state: 'succeeded', progress: { percent: 100, duplicateEntries: 0n } });
    expect(done.progress.unavailableLedgers).toBeGreaterThan(0);
    expect(done.progress.scannedLedgers + done.progress.unavailableLedgers).toBe(600);
    expect(covered.at(-1)).toEqual({ from: 450, to: 601 });
    expect(unavailable.every((range) => range.to <= 450)).toBe(true);
    expect(await ledgersOf(house)).toEqual(covered.flatMap(numbers));
  });
});

describe('a backfill over two endpoints', () => {
  async function openPair() {
    const one = fake({ tip: 2_000 });
    const other = Object.assign(fake({ passphrase: one.networkPassphrase, tip: 2_000 }), {
      id: 'stellar-archive:second',
    });
    const house = await openBackfills(test.db, createSourceSet({ sources: [one, other] }));
    return { one, other, house };
  }

  it('reads from the second what the first has lost, and keeps which one gave what', async () => {
    const { one, other, house } = await openPair();
    one.faults.set(200, { reason: 'SOURCE_CORRUPT', named: true });
    const done = await house.run({ from: 1, to: 601 });
    expect(done).toMatchObject({ state: 'succeeded', progress: { scannedLedgers: 600, quarantinedLedgers: 0 } });
    expect(await givers(house)).toEqual([one.id, other.id].sort());
    expect(await ledgersOf(house)).toEqual(numbers({ from: 1, to: 601 }));
  });

  it('is not held up by a second one that lags', async () => {
    const { one, other, house } = await openPair();
    other.tipLedger = 100;
    other.faults.set(101, { reason: 'LEDGER_NOT_YET_CLOSED', named: false });
    one.faults.set(300, { reason: 'SOURCE_TIMEOUT', named: false, times: 1 });
    const done = await house.run({ from: 1, to: 601 });
    expect(done).toMatchObject({ state: 'succeeded', progress: { scannedLedgers: 600 } });
    expect(await ledgersOf(house)).toEqual(numbers({ from: 1, to: 601 }));
  });

  it('ends as diverged where the second has another history, of which nothing is stored', async () => {
    const { one, other, house } = await openPair();
    await house.run({ from: 1, to: 193 });
    other.forkAt = 150;
    one.faults.set(200, { reason: 'SOURCE_UNAVAILABLE', named: false });
    const done = await house.run({ from: 193, to: 257 });
    expect(done).toMatchObject({ state: 'failed', error: { reason: 'SOURCE_DIVERGED' } });
    expect(await givers(house)).toEqual([one.id]);
    expect(await ledgersOf(house)).toEqual(numbers({ from: 1, to: 193 }));
  });
});

describe('a network that was reset', () => {
  it('is asked for before a backfill begins: one that cannot be asked blocks the job, and nothing is read until it can', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    const { header } = source;
    source.header = () => Promise.reject(new TrueUpError('SOURCE_UNAVAILABLE', 'down'));
    const { id } = await house.start({ from: 1, to: 301 });
    const worker = house.work();
    await house.reaches(id, 'blocked');
    expect(source.reads).toEqual([]);
    source.header = header;
    expect(await house.ended(id)).toMatchObject({ state: 'succeeded', progress: { scannedLedgers: 300 } });
    await worker.end();
  });

  it('ends a backfill of the old epoch before anything of the new one is stored in it', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    const { id } = await house.start({ from: 1, to: 601 });
    source.forkAt = 1;
    const worker = house.work();
    const done = await house.ended(id);
    await worker.end();
    expect(done).toMatchObject({ state: 'failed', error: { reason: 'SOURCE_DIVERGED' } });
    expect(await ledgersOf(house)).toEqual([]);
  });

  it('has its new epoch backfilled once an operator opened it, and the old one no more', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source);
    await house.run({ from: 1, to: 301 });
    const before = await ledgersOf(house);
    source.forkAt = 1;
    const anchor = await source.header(2, new AbortController().signal);
    const next = await test.db.em().transactional((em) =>
      openStream(em, {
        networkPassphrase: source.networkPassphrase,
        anchor,
        sandbox: false,
        startLedger: 1,
        watchSet: (streamId) => ensureWatchSet(em, streamId, WATCH_EVERYTHING),
      }),
    );
    const old = { stream: house.opened.stream.name };
    expect(await failureOf(house.start({ from: 301, to: 401 }, old))).toMatchObject({ reason: 'SOURCE_DIVERGED' });
    expect(await house.run({ from: 1, to: 401 })).toMatchObject({
      state: 'succeeded',
      progress: { scannedLedgers: 400 },
    });
    expect(await ledgersOf(house)).toEqual(before);
    const { done } = await coverageOf(test.db.em(), next.id, 'operations', null);
    expect(done).toEqual([{ from: 1, to: 401 }]);
  });
});
