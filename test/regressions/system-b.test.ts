// Goal: none of the defects of the ledger indexing worker that TrueUp replaces (System B) is ours, its dashboard's apart (test/console). Method:
// the whole service before a far network in memory, and the public functions where the network is not enough.
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { crossCheckSources } from '../../src/sources/cross-check.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import { restartFollower } from '../../src/services/follower-control.ts';
import { createSourceSet } from '../../src/sources/source-set.ts';
import { createRpcSource } from '../../src/sources/stellar-rpc.ts';
import { sql } from '../../src/store/database.ts';
import { startApp, type RunningApp } from '../_util/app.ts';
import { testCaller } from '../_util/services.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import { failureOf } from '../_util/failure-of.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import { fake, follow, reached, stateOf, stored } from '../_util/follow.ts';
import { loadLedgers, startRpcServer } from '../_util/rpc-server.ts';
import { hasSharedData } from '../_util/shared-data.ts';

const signal = new AbortController().signal;
const closers: (() => Promise<unknown>)[] = [];
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => test.drop());

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  closers.push(() => new Promise((done) => (server.close(done), server.closeAllConnections())));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('System B defect: a negative lag, a step back, and a /health that was always well', () => {
  let app: RunningApp;
  const source: FakeSource = fake();
  beforeAll(async () => {
    app = await startApp(
      {
        STELLAR_HORIZON_URL: 'https://horizon.invalid',
        STELLAR_NETWORK_PASSPHRASE: source.networkPassphrase,
        TRUEUP_WATCH: 'all',
        TRUEUP_START_LEDGER: '1',
        POLL_INTERVAL_SECS: '1',
      },
      { source },
    );
  });
  afterAll(() => app.close());

  const metric = async (name: string): Promise<number> => {
    const body = await (await fetch(`${app.metrics}/metrics`)).text();
    return Number(
      body
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1],
    );
  };
  const health = async () => {
    const answer = await fetch(`${app.metrics}/health`);
    return { status: answer.status, text: await answer.text() };
  };

  it('is well and has no lag at the tip', async () => {
    await eventually(async () =>
      expect([await metric('checkpoint_ledger'), await metric('latest_ledger'), await metric('ledger_lag')]).toEqual([
        200, 200, 0,
      ]),
    );
    await eventually(async () => expect((await health()).status).toBe(200));
  });

  it('answers 503 while the tip is below the checkpoint; the lag is 0 and the checkpoint stays', async () => {
    source.tipLedger = 150;
    await eventually(async () =>
      expect(await health()).toMatchObject({ status: 503, text: expect.stringContaining('SOURCE_LAGGING') as string }),
    );
    expect(await metric('ledger_lag')).toBe(0);
    expect(await metric('checkpoint_ledger')).toBe(200);
    source.tipLedger = 201;
    await eventually(async () => expect(await metric('checkpoint_ledger')).toBe(201));
    await eventually(async () => expect((await health()).status).toBe(200));
  });

  it('counts processed ledgers, not idle polls', async () => {
    const calls = source.tipCalls;
    await eventually(() => expect(source.tipCalls).toBeGreaterThan(calls + 1));
    expect(await metric('processed_ledgers_total')).toBe(201);
  });
});

describe('System B defect: the event and the checkpoint were written apart', () => {
  it('keeps neither where the second fails', async () => {
    const source = fake();
    const first = follow(test.db, source, { endLedger: 63 });
    await reached(test.db, source, 63);
    await first.end();
    await sql(
      test.db.em(),
      `create function no_checkpoint() returns trigger language plpgsql as $$ begin if old.next_ledger <> new.next_ledger then raise 'killed'; end if; return new; end $$`,
    );
    await sql(
      test.db.em(),
      'create trigger no_checkpoint before update on trueup.followers for each row execute function no_checkpoint()',
    );
    const second = follow(test.db, source);
    await eventually(async () => expect((await stateOf(test.db, source)).row.lastErrorReason).toBe('INTERNAL'));
    await second.end();
    await sql(test.db.em(), 'drop function no_checkpoint cascade');
    expect((await stored(test.db, source)).ledgers).toHaveLength(63);
    const third = follow(test.db, source);
    await reached(test.db, source, 200);
    await third.end();
    expect((await stored(test.db, source)).ledgers).toHaveLength(200);
  });
});

describe('System B defect: Retry-After was ignored, and backoff had no jitter', () => {
  it('waits as long as it is asked to, and otherwise by chance', async () => {
    let calls = 0;
    const url = await serve((_request, response) => {
      calls++;
      if (calls === 1) response.writeHead(429, { 'retry-after': '4' }).end();
      else if (calls === 2) response.writeHead(503).end();
      else response.end('{"ok":true}');
    });
    const waits: number[] = [];
    const sleep = (ms: number): Promise<void> => Promise.resolve(void waits.push(ms));
    const http = createHttpClient({
      allowPrivateAddresses: true,
      random: () => 0.25,
      clock: { now: () => 0, wallMs: () => 0, sleep },
    });
    closers.push(() => http.close());
    expect(await http.getJson(url, { signal })).toMatchObject({ status: 200, body: { ok: true } });
    expect(waits[0]).toBe(4_000);
    expect(waits[1]).toBeLessThan(500);
  });
});

describe('System B defect: an error in the body of a 200 was no error', () => {
  it('is one, with its code', async () => {
    const url = await serve((request, response) => {
      request.resume();
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ jsonrpc: '2.0', id: 1, error: { code: -32601, message: 'method not found' } }));
    });
    const http = createHttpClient({ allowPrivateAddresses: true, maxAttempts: 1 });
    closers.push(() => http.close());
    const source = createRpcSource({ url, networkPassphrase: 'any', http });
    for (const call of [
      source.tip(signal),
      source.read({ range: { from: 1, to: 2 }, layers: ['operations'], watch: WATCH_EVERYTHING }, signal),
    ]) {
      expect(await failureOf(call)).toBeInstanceOf(TrueUpError);
    }
  });
});

describe('System B defect: timers outlived what had set them', () => {
  it('leaves none behind when a follower ends, whatever it was waiting for', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((each) => each === 'Timeout').length;
    const [idle, failing] = [fake(), fake()];
    failing.tipFault = new TrueUpError('SOURCE_UNAVAILABLE', 'down', { retryAfterMs: 3_600_000 });
    // Every connection of the pool has a timer of its own while it is idle: open them all first.
    await Promise.all(Array.from({ length: 8 }, () => sql(test.db.em(), 'select pg_sleep(0.1)')));
    const before = timers();
    const followers = [
      follow(test.db, idle, { pollIntervalMs: 3_600_000 }),
      follow(test.db, failing),
      follow(test.db, idle, { holder: 'waits', leaseTtlMs: 7_200_000 }),
    ];
    await reached(test.db, idle, 200);
    await eventually(async () => expect(await followers[1]!.metric('processing_errors_total')).toBeGreaterThan(0));
    for (const follower of followers) await follower.end();
    await eventually(() => expect(timers()).toBeLessThanOrEqual(before));
  });
});

describe.skipIf(!hasSharedData)('System B defect: the test double matched text, so that a space broke it', () => {
  it('answers the same request however it is written', async () => {
    const server = await startRpcServer(loadLedgers('loadtest-v26'), 'load test network');
    closers.push(() => server.close());
    const ask = async (body: string) =>
      (await fetch(server.url, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json();
    const request = { jsonrpc: '2.0', id: 7, method: 'getLatestLedger' };
    const plain = await ask(JSON.stringify(request));
    expect(plain).toHaveProperty('result');
    expect(await ask(JSON.stringify(request, null, 4))).toEqual(plain);
    expect(await ask('{ "method":"getLatestLedger",\n"id" : 7, "jsonrpc":"2.0" }')).toEqual(plain);
  });
});

describe("System B defect: the dashboard's Restart did nothing", () => {
  it('ends the term of the follower that runs, and the next one goes on from the checkpoint', async () => {
    const source = fake();
    const terms: Date[] = [];
    const follower = follow(test.db, source, { onTerm: (since) => void (since && terms.push(since)) });
    await reached(test.db, source, 200);
    const before = terms.length;
    const call = { stream: null, reason: 'the button', openNewEpoch: false, requestId: null };
    await restartFollower({ db: test.db, networkPassphrase: source.networkPassphrase }, call, testCaller);
    await eventually(() => expect(terms.length).toBeGreaterThan(before), 30_000);
    source.tipLedger = 210;
    await reached(test.db, source, 210);
    await follower.end();
  });
});

describe('System B defect: the second source was never compared', () => {
  it('stops what would be read from two sources that differ', async () => {
    const one = fake();
    const other = fake({ passphrase: one.networkPassphrase });
    const set = createSourceSet({ sources: [one, other] });
    expect(await set.tip(signal)).toMatchObject({ sequence: 200 });
    other.forkAt = 150;
    expect(await failureOf(createSourceSet({ sources: [one, other] }).tip(signal))).toMatchObject({
      reason: 'SOURCE_DIVERGED',
    });
  });

  it('is asked for every ledger, and a ledger that it has otherwise is named', async () => {
    const one = fake();
    const other = fake({ passphrase: one.networkPassphrase });
    expect((await crossCheckSources(one, other, [10, 20, 30], signal)).equal).toEqual([10, 20, 30]);
    other.forkAt = 25;
    const checked = await crossCheckSources(one, other, [10, 20, 30], signal);
    expect(checked.equal).toEqual([10, 20]);
    expect(checked.conflicts).toHaveLength(1);
  });
});
