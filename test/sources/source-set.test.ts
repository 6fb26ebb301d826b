// Goal: when a source fails, lags or forgets, the next one answers and is named; when two have different histories, nothing is read.
// Method: far networks in memory, alone and under a follower with a real database.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { createOtherSources, createSource } from '../../src/sources/create-source.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import type { SandboxOptions } from '../../src/sources/sandbox.ts';
import { createSourceSet } from '../../src/sources/source-set.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import { failureOf } from '../_util/failure-of.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import { fake, follow, numbers, reached, stateOf, stored } from '../_util/follow.ts';

const signal = new AbortController().signal;

function pair() {
  const one = fake();
  const other = Object.assign(fake({ passphrase: one.networkPassphrase }), { id: 'stellar-archive:other' });
  let now = 0;
  const switches: string[] = [];
  const set = createSourceSet({
    sources: [one, other],
    clock: () => now,
    onSwitch: ({ to }) => switches.push(to),
  });
  const read = (from: number, to: number) =>
    set.read({ range: { from, to }, layers: ['operations'], watch: WATCH_EVERYTHING }, signal);
  return { one, other, set, switches, read, pass: (ms: number) => (now += ms) };
}

describe('sources in a row', () => {
  it('read from the first that can, name it, and come back to the preferred one', async () => {
    const { one, other, switches, read, pass } = pair();
    expect((await read(1, 10)).source).toBe(one.id);
    one.faults.set(10, { reason: 'SOURCE_UNAVAILABLE', named: false });
    expect((await read(10, 20)).source).toBe(other.id);
    const asked = one.reads.length;
    expect((await read(20, 30)).source).toBe(other.id);
    expect(one.reads.length).toBe(asked);
    one.faults.clear();
    pass(60_000);
    expect((await read(20, 30)).source).toBe(one.id);
    expect(switches).toEqual([other.id, one.id]);
  });

  it('tell which of them answered last, and why each failed last', async () => {
    const { one, other, set, read, pass } = pair();
    expect(set.members().map(({ source, active, failure }) => [source.id, active, failure])).toEqual([
      [one.id, true, null],
      [other.id, false, null],
    ]);
    one.faults.set(3, { reason: 'SOURCE_TIMEOUT', named: false });
    pass(5_000);
    await read(1, 5);
    expect(set.members()).toMatchObject([
      { active: false, failure: { error: { reason: 'SOURCE_TIMEOUT' }, at: new Date(5_000) } },
      { active: true, failure: null },
    ]);
  });

  it('give the preferred failure where none can, and never an empty answer', async () => {
    const { one, other, read } = pair();
    one.faults.set(5, { reason: 'SOURCE_TIMEOUT', named: false });
    other.faults.set(5, { reason: 'LEDGER_UNAVAILABLE', named: true });
    expect(await failureOf(read(1, 10))).toMatchObject({ reason: 'SOURCE_TIMEOUT' });
  });

  it('have the highest tip of all that answer, and the oldest ledger that one of them keeps', async () => {
    const { one, other, set } = pair();
    one.tipLedger = 150;
    one.oldest = 100;
    expect(await set.tip(signal)).toMatchObject({ sequence: 200, oldest: 1 });
    other.tipFault = new TrueUpError('SOURCE_UNAVAILABLE', 'down');
    expect(await set.tip(signal)).toMatchObject({ sequence: 150, oldest: 100 });
    one.tipFault = new TrueUpError('SOURCE_TIMEOUT', 'slow');
    expect(await failureOf(set.tip(signal))).toMatchObject({ reason: 'SOURCE_TIMEOUT' });
  });

  it('are diverged where they have one ledger with two hashes, also where one of them lags', async () => {
    const { one, other, set, pass } = pair();
    await set.tip(signal);
    other.forkAt = 120;
    one.tipLedger = 180;
    pass(120_000);
    expect(await failureOf(set.tip(signal))).toMatchObject({ reason: 'SOURCE_DIVERGED' });
  });
});

describe('several addresses', () => {
  it('have names of their own though they share a host, and show nothing of what may be a secret', async () => {
    const http = createHttpClient({});
    const settings = { networkPassphrase: 'x', watch: WATCH_EVERYTHING, sandbox: {} as SandboxOptions };
    const url = (key: string) => `https://me:pw@rpc.example/${key}`;
    const followed = await createSource({ ...settings, kind: 'stellar-rpc', url: url('KEY1') }, http, signal);
    const urls = {
      'stellar-rpc': [url('KEY2'), 'https://else.example', url('KEY3')],
      'stellar-horizon': [url('KEY4')],
    };
    const others = await createOtherSources(urls, followed, settings, http);
    await http.close();
    expect([followed, ...others].map((source) => source.id)).toEqual([
      'stellar-rpc:rpc.example',
      'stellar-rpc:rpc.example#2',
      'stellar-rpc:else.example',
      'stellar-rpc:rpc.example#3',
      'stellar-horizon:rpc.example',
    ]);
  });
});

describe('a follower over two sources', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.drop());

  /** A set that is also the fake whose network is followed. */
  const asFake = (set: ReturnType<typeof pair>['set'], one: FakeSource) => ({ ...one, ...set }) as FakeSource;

  it('goes on with the second where the first lags or loses ledgers, and keeps which one gave what', async () => {
    const { one, other, set } = pair();
    one.tipLedger = 100;
    one.faults.set(101, { reason: 'LEDGER_NOT_YET_CLOSED', named: false });
    const follower = follow(test.db, asFake(set, one));
    await reached(test.db, one, 200);
    await follower.end();
    expect((await stored(test.db, one)).ledgers).toEqual(numbers({ from: 1, to: 201 }));
    const { stream } = await stateOf(test.db, one);
    const given = await sql<{ label: string }>(
      test.db.em(),
      `select distinct s.label from trueup.coverage_chunks c join trueup.sources s on s.id = c.source_id where c.stream_id = $1 order by 1`,
      [stream.id],
    );
    expect(given.map((row) => row.label)).toEqual([one.id, other.id].sort());
  });

  it('stops as diverged where the second has another history', async () => {
    const { one, other, set } = pair();
    other.forkAt = 50;
    const follower = follow(test.db, asFake(set, one));
    await eventually(async () => expect(await follower.metric('processing_errors_total')).toBeGreaterThan(0), 30_000);
    await follower.end();
    const rows = await sql(test.db.em(), 'select 1 from trueup.streams where network_passphrase = $1', [
      one.networkPassphrase,
    ]);
    expect(rows).toEqual([]);
  });
});
