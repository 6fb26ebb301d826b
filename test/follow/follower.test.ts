// Goal: the follower stores every ledger once and goes on past whatever the far side does, or says why it can't. Method: a far network in
// memory with faults to order, followed into a real database.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { makeWatch } from '../../src/core/watch.ts';
import type { FollowerOptions } from '../../src/services/follower.ts';
import { coverageOf, unreadableRanges } from '../../src/store/coverage-read.ts';
import { sql } from '../../src/store/database.ts';
import { currentStream } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import {
  fake,
  follow as followIn,
  numbers,
  reached as reachedIn,
  stateOf as stateIn,
  stored as storedIn,
} from '../_util/follow.ts';

let test: TestDatabase;
const stops: (() => Promise<void>)[] = [];
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});
afterAll(() => test.drop());

function follow(source: FakeSource, more: Partial<FollowerOptions> = {}) {
  const follower = followIn(test.db, source, more);
  stops.push(() => follower.end());
  return follower;
}
const stateOf = (source: FakeSource) => stateIn(test.db, source);
const reached = (source: FakeSource, ledger: number) => reachedIn(test.db, source, ledger);
const stored = (source: FakeSource) => storedIn(test.db, source);

describe('following', () => {
  it('stores every ledger up to the tip, goes on with it, and counts ledgers, not polls', async () => {
    const source = fake();
    const follower = follow(source);
    await reached(source, 200);
    const calls = source.tipCalls;
    await eventually(() => expect(source.tipCalls).toBeGreaterThan(calls + 5));
    source.tipLedger = 203;
    await reached(source, 203);
    expect(await stored(source)).toEqual({
      ledgers: numbers({ from: 1, to: 204 }),
      done: [{ from: 1, to: 204 }],
      quarantined: [],
      unavailable: [],
    });
    expect((await stateOf(source)).row.processedLedgers).toBe(203n);
    expect(await follower.metric('processed_ledgers_total')).toBe(203);
  });

  it('stops at the end that it was given', async () => {
    const source = fake();
    follow(source, { endLedger: 99 });
    await reached(source, 99);
    const calls = source.tipCalls;
    await eventually(() => expect(source.tipCalls).toBeGreaterThan(calls + 5));
    expect((await stored(source)).ledgers).toEqual(numbers({ from: 1, to: 100 }));
  });

  it('begins at the ledger closed a window ago where no start is given, and refuses a start that is not served', async () => {
    const source = fake({ tip: 2000 });
    follow(source, { start: { startLedger: null, windowHours: 1, sandbox: false } });
    await reached(source, 2000);
    expect((await stored(source)).done).toEqual([{ from: 2000 - 720, to: 2001 }]);
    const late = fake();
    late.oldest = 100;
    const follower = follow(late, { start: { startLedger: 50, windowHours: 1, sandbox: false } });
    await eventually(async () => expect(await follower.metric('processing_errors_total')).toBeGreaterThan(0));
    expect(await currentStream(test.db.em(), late.networkPassphrase)).toBeNull();
  });

  it('changes nothing in a second pass over the same ledgers', async () => {
    const source = fake();
    const first = follow(source);
    await reached(source, 200);
    await first.end();
    const { stream } = await stateOf(source);
    const picture = async () => ({
      chunks: await sql(
        test.db.em(),
        'select * from trueup.coverage_chunks where stream_id = $1 order by from_ledger',
        [stream.id],
      ),
      entries: await sql(
        test.db.em(),
        'select md5(string_agg(e::text, $2 order by ledger)) as digest from trueup.entries e where stream_id = $1',
        [stream.id, '|'],
      ),
    });
    const before = await picture();
    await sql(test.db.em(), 'update trueup.followers set next_ledger = 1, last_hash = null where stream_id = $1', [
      stream.id,
    ]);
    const second = follow(source);
    await reached(source, 200);
    expect(await picture()).toEqual(before);
    expect((await stateOf(source)).row.processedLedgers).toBe(200n);
    expect(await second.metric('processed_ledgers_total')).toBe(0);
  });

  it('starts a new watch uncovered, and covers with it from the checkpoint on', async () => {
    const source = fake();
    const first = follow(source, { watch: makeWatch(['GSHOP']) });
    await reached(source, 200);
    await first.end();
    source.tipLedger = 300;
    follow(source, { watch: makeWatch(['GSHOP', 'GNEW']) });
    await reached(source, 300);
    const { stream } = await stateOf(source);
    const of = async (accounts: string[]) => (await coverageOf(test.db.em(), stream.id, 'operations', accounts)).done;
    expect(await of(['GSHOP'])).toEqual([{ from: 1, to: 301 }]);
    expect(await of(['GSHOP', 'GNEW'])).toEqual([{ from: 201, to: 301 }]);
    expect(await of(['GNOBODY'])).toEqual([]);
  });

  it('covers by the word of a provider whose ledgers without legs are left out', async () => {
    const source = fake({
      proof: 'provider-asserted',
      maxSpanLedgers: 1000,
      entries: (ledger) => (ledger % 50 === 0 ? [{ ledger, account: 'GSHOP', amount: 1n }] : []),
    });
    follow(source);
    await reached(source, 200);
    expect(await stored(source)).toMatchObject({ ledgers: [50, 100, 150, 200], done: [{ from: 1, to: 201 }] });
  });
});

describe('a ledger that cannot be read', () => {
  it.each([
    ['SOURCE_CORRUPT', true, 'quarantined'],
    ['SOURCE_CORRUPT', false, 'quarantined'],
    ['LEDGER_UNAVAILABLE', true, 'unavailable'],
    ['LEDGER_UNAVAILABLE', false, 'unavailable'],
  ] as const)('is set apart (%s, named: %s), and the good ones around it are stored', async (reason, named, state) => {
    const source = fake();
    for (const ledger of [1, 90, 127, 128]) source.faults.set(ledger, { reason, named });
    follow(source);
    await reached(source, 200);
    const bad = [1, 90, 127, 128];
    const found = await stored(source);
    expect(found.ledgers).toEqual(numbers({ from: 1, to: 201 }).filter((ledger) => !bad.includes(ledger)));
    expect(found[state]).toEqual([
      { from: 1, to: 2 },
      { from: 90, to: 91 },
      { from: 127, to: 129 },
    ]);
    expect((await stateOf(source)).row.processedLedgers).toBe(196n);
    const listed = await unreadableRanges(test.db.em(), (await stateOf(source)).stream.id, 10);
    expect(listed[0]).toMatchObject({ reason, detail: expect.stringContaining('by order') as string });
  });

  it('is given three tries before it is quarantined', async () => {
    const source = fake();
    source.faults.set(64, { reason: 'SOURCE_CORRUPT', named: true, times: 2 });
    follow(source);
    await reached(source, 200);
    expect(await stored(source)).toMatchObject({ done: [{ from: 1, to: 201 }], quarantined: [] });
    const other = fake();
    other.faults.set(64, { reason: 'SOURCE_CORRUPT', named: true });
    follow(other);
    await reached(other, 200);
    expect(other.reads.filter((range) => range.from === 64).length).toBeGreaterThanOrEqual(3);
  });

  it("is quarantined too where it came but doesn't fit: a broken chain, another range, a hole", async () => {
    const source = fake();
    source.tamper = (batch) => {
      if (batch.range.from === 64) return { ...batch, range: { from: 64, to: 100 } };
      if (batch.range.from === 128) return { ...batch, records: batch.records.slice(1) };
      return batch;
    };
    follow(source);
    await reached(source, 200);
    expect(await stored(source)).toMatchObject({
      done: [
        { from: 1, to: 64 },
        { from: 129, to: 201 },
      ],
      quarantined: [{ from: 64, to: 129 }],
    });
  });

  it('is read after all by whoever reads it later, and the island closes', async () => {
    const source = fake();
    source.faults.set(90, { reason: 'SOURCE_CORRUPT', named: true });
    const first = follow(source);
    await reached(source, 200);
    await first.end();
    source.faults.clear();
    const { stream } = await stateOf(source);
    await sql(test.db.em(), 'update trueup.followers set next_ledger = 64, last_hash = null where stream_id = $1', [
      stream.id,
    ]);
    follow(source);
    await reached(source, 200);
    expect(await stored(source)).toEqual({
      ledgers: numbers({ from: 1, to: 201 }),
      done: [{ from: 1, to: 201 }],
      quarantined: [],
      unavailable: [],
    });
    const chunks = await sql<{ sealed: boolean }>(
      test.db.em(),
      'select sealed from trueup.coverage_chunks where stream_id = $1 order by from_ledger',
      [stream.id],
    );
    expect(chunks.map((chunk) => chunk.sealed)).toEqual([true, true, true, false]);
  });
});

describe('a far side that changes', () => {
  it('is degraded where its tip goes back, and the checkpoint never does', async () => {
    const source = fake();
    follow(source);
    await reached(source, 200);
    source.tipLedger = 150;
    await eventually(async () => expect((await stateOf(source)).row.lastErrorReason).toBe('SOURCE_LAGGING'));
    expect((await stateOf(source)).row).toMatchObject({ nextLedger: 201, tipLedger: 200 });
    source.tipLedger = 210;
    await reached(source, 210);
    const { row, stream } = await stateOf(source);
    expect([stream.state, row.lastSuccessAt! > row.lastErrorAt!]).toEqual(['active', true]);
  });

  it('stops at another history with SOURCE_DIVERGED, writes nothing of it, and says so until it is the same again', async () => {
    const source = fake();
    const first = follow(source);
    await reached(source, 200);
    source.forkAt = 201;
    source.tipLedger = 230;
    await reached(source, 230);
    // What followed was linked. Now the past itself is another.
    source.forkAt = 100;
    source.tipLedger = 260;
    const tamper = source.tamper;
    source.tamper = (batch) => ({
      ...batch,
      records: batch.records.map((record, i) => (i === 0 ? { ...record, prevHash: 'f'.repeat(64) } : record)),
    });
    await eventually(async () => expect((await stateOf(source)).stream.state).toBe('diverged'));
    await first.end();
    source.tamper = tamper;
    source.forkAt = Infinity;
    follow(source);
    await eventually(async () => expect((await stateOf(source)).row.lastErrorReason).toBe('SOURCE_DIVERGED'));
    const calls = source.tipCalls;
    await eventually(() => expect(source.tipCalls).toBeGreaterThan(calls + 1));
    expect(await stateOf(source)).toMatchObject({ stream: { state: 'diverged' }, row: { nextLedger: 231 } });
    expect((await stored(source)).ledgers.at(-1)).toBe(230);
    source.forkAt = 201;
    await reached(source, 260);
    expect((await stateOf(source)).stream.state).toBe('active');
  });

  it('is recognised as another network at the first look, also where the checkpoint is ahead of it', async () => {
    const source = fake();
    const first = follow(source);
    await reached(source, 200);
    await first.end();
    source.forkAt = 1;
    source.tipLedger = 50;
    follow(source);
    await eventually(async () => expect((await stateOf(source)).stream.state).toBe('diverged'));
    expect((await stateOf(source)).row).toMatchObject({ nextLedger: 201, lastErrorReason: 'SOURCE_DIVERGED' });
  });

  it('has its outage noted also where it was down before we started, and its recovery', async () => {
    const source = fake();
    const first = follow(source);
    await reached(source, 200);
    await first.end();
    await sql(
      test.db.em(),
      `update trueup.followers set last_error_at = null, last_error_reason = null where stream_id = $1`,
      [(await stateOf(source)).stream.id],
    );
    source.tipFault = new TrueUpError('SOURCE_UNAVAILABLE', 'connection refused');
    follow(source);
    await eventually(async () => expect((await stateOf(source)).row.lastErrorReason).toBe('SOURCE_UNAVAILABLE'));
    source.tipFault = null;
    source.tipLedger = 205;
    await reached(source, 205);
  });

  it('is left alone for as long as it asks, and tried again after that', async () => {
    const source = fake();
    source.faults.set(64, { reason: 'SOURCE_RATE_LIMITED', named: false, details: { retryAfterMs: 1_500 } });
    follow(source);
    await eventually(async () => expect((await stateOf(source)).row.lastErrorReason).toBe('SOURCE_RATE_LIMITED'));
    const refusedAt = (await stateOf(source)).row.lastErrorAt!.getTime();
    source.faults.clear();
    const reads = source.reads.length;
    await eventually(() => expect(source.reads.length).toBeGreaterThan(reads));
    expect(Date.now() - refusedAt).toBeGreaterThanOrEqual(1_400);
    await reached(source, 200);
    expect((await stored(source)).quarantined).toEqual([]);
  });

  it('that gives a ledger with other content than before is a conflict: nothing is written, the stream waits', async () => {
    const source = fake();
    const first = follow(source);
    await reached(source, 200);
    await first.end();
    const { stream } = await stateOf(source);
    const before = await stored(source);
    await sql(test.db.em(), 'update trueup.followers set next_ledger = 65, last_hash = null where stream_id = $1', [
      stream.id,
    ]);
    source.tamper = (batch) => ({
      ...batch,
      records: batch.records.map((record) => ({
        ...record,
        entries: record.entries.map((entry) => (entry.ledger === 70 ? { ...entry, amount: 1n } : entry)),
      })),
    });
    follow(source);
    await eventually(async () => expect((await stateOf(source)).row.lastErrorReason).toBe('ENTRY_CONFLICT'));
    expect(await stored(source)).toEqual(before);
    expect((await stateOf(source)).row.nextLedger).toBe(65);
  });
});
