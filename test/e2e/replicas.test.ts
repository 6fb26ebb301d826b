// Goal: two replicas on one database share the work: one follows, each tick runs once, and either may die or drain.
// Method: two real processes on one cloned test database with the sandbox; one is killed, then the other is asked to stop.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { sql } from '../../src/store/database.ts';
import { complaints, type RunningProcess, soon, startProcess, temporaryDataDir } from '../_util/app.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import { checkHealth, watchHealth } from '../_util/grpc-health.ts';

const INTERVAL_MS = 1_000;
/** The follower's lease, half of it until the other looks again, and room for a busy machine. */
const TAKE_OVER_LIMIT_MS = 10_000 + 5_000 + 10_000;

describe('two replicas on one database', () => {
  const folders = [temporaryDataDir(), temporaryDataDir()];
  let test: TestDatabase;
  let replicas: RunningProcess[];

  beforeAll(async () => {
    test = await createTestDatabase();
    const env = {
      DATABASE_URL: test.url,
      TRUEUP_SOURCE: 'sandbox',
      LEDGER_RECONCILIATION_INTERVAL_MS: String(INTERVAL_MS),
      TRUEUP_DRAIN_TIMEOUT_MS: '5000',
    };
    replicas = await Promise.all(folders.map(({ path }) => startProcess({ ...env, TRUEUP_DATA_DIR: path })));
  });
  afterAll(async () => {
    await Promise.all((replicas ?? []).map((replica) => replica[Symbol.asyncDispose]()));
    await test.drop();
    for (const folder of folders) await folder.remove();
  });

  const processed = async (replica: RunningProcess): Promise<number> =>
    Number(/^processed_ledgers_total (\d+)/m.exec(await (await fetch(`${replica.metrics}/metrics`)).text())?.[1] ?? 0);
  const runsIn = (replica: RunningProcess): string[] =>
    [
      ...replica.log().matchAll(/"event":"run_finished","runId":"([^"]+)","policy":"default","trigger":"scheduled"/g),
    ].map(([, id]) => id!);
  const scheduled = async () =>
    sql<{ id: string; request_id: string; state: string }>(
      test.db.em(),
      `select id, request_id, state from trueup.reconciliations where policy = 'default' and trigger = 'scheduled'`,
    );

  it('migrates once and starts both', async () => {
    expect(await Promise.all(replicas.map(({ grpc }) => checkHealth(grpc)))).toEqual(['SERVING', 'SERVING']);
  });

  it('is followed by one of them', async () => {
    await soon(
      async () => expect((await Promise.all(replicas.map(processed))).some((count) => count > 2_000)).toBe(true),
      30_000,
    );
    const counts = await Promise.all(replicas.map(processed));
    expect(counts.filter((count) => count === 0)).toHaveLength(1);
  });

  it('runs every tick once, on whichever is free, and counts a drift once', async () => {
    await soon(() => expect(new Set(replicas.flatMap(runsIn)).size).toBeGreaterThanOrEqual(6), 45_000);
    const told = replicas.flatMap(runsIn);
    expect(new Set(told).size).toBe(told.length);
    const rows = await scheduled();
    expect(new Set(rows.map(({ request_id }) => request_id)).size).toBe(rows.length);
    // A tick a second, from the first one on: no tick was run twice, and none is missing but where a run was under way.
    const due = rows.map(({ request_id }) => Date.parse(request_id.split('@')[1]!)).sort((a, b) => a - b);
    expect(
      due.slice(1).every((at, i) => at - due[i]! >= INTERVAL_MS * 0.9),
      due.join(),
    ).toBe(true);
    const counted = await Promise.all(
      replicas.map(async ({ metrics }) =>
        [
          ...(await (await fetch(`${metrics}/metrics`)).text()).matchAll(/^reconciliation_drift_total\{.*\} (\d+)$/gm),
        ].reduce((sum, [, count]) => sum + Number(count), 0),
      ),
    );
    expect(counted[0]! + counted[1]!).toBe(5);
  }, 60_000);

  it('answers the same whichever is asked', async () => {
    const told = async ({ client }: RunningProcess) => {
      const [{ streams }, { drifts }] = await Promise.all([
        client.health.getStatus({}),
        client.reconciliation.listDrifts({ filter: { policy: 'default' } }),
      ]);
      const [stream] = streams;
      return {
        stream: [
          stream!.stream,
          stream!.epoch,
          stream!.startLedger,
          stream!.tipLedger,
          stream!.syncStatus,
          stream!.degradedReasons,
          stream!.processedLedgerCount,
        ],
        layers: stream!.layers.map((layer) => [
          layer.layer,
          layer.contiguousFrom,
          layer.contiguousThrough,
          layer.missingLedgerCount,
        ]),
        drifts: drifts.map(({ id, state, kinds }) => [id, state, kinds]),
      };
    };
    await soon(async () => {
      const [one, other] = await Promise.all(replicas.map(told));
      expect(one).toEqual(other);
    });
  });

  it('goes on when the one that follows is killed: the other takes over within the lease', async () => {
    const counts = await Promise.all(replicas.map(processed));
    const leader = counts[0]! > 0 ? 0 : 1;
    const [dead, heir] = [replicas[leader]!, replicas[1 - leader]!];
    dead.kill('SIGKILL');
    await dead.exited;
    await soon(async () => expect(await processed(heir)).toBeGreaterThan(0), TAKE_OVER_LIMIT_MS);
    const before = new Set(runsIn(heir)).size;
    await soon(() => expect(new Set(runsIn(heir)).size).toBeGreaterThan(before), 20_000);
    const [islands] = await sql<{ n: number }>(test.db.em(), 'select count(*)::int as n from trueup.coverage_islands');
    expect(islands!.n).toBe(2);
    replicas = [heir];
  }, 60_000);

  it('says NOT_SERVING before anything else when it is asked to stop, ends its streams in order, and exits 0', async () => {
    const [last] = replicas;
    const watched = watchHealth(last!.grpc);
    await eventually(() => expect(watched.heard).toEqual(['SERVING']));
    const topics: string[] = [];
    const feed = (async () => {
      try {
        for await (const { payload } of last!.client.health.watchStatus({ topics: [contract.WatchTopic.STREAMS] }))
          topics.push(payload.case ?? '');
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    })();
    // Open before the stop: a stream that comes later is refused, and rightly.
    await eventually(() => expect(topics.length).toBeGreaterThan(0));
    last!.kill('SIGTERM');
    expect(await last!.exited).toEqual({ code: 0, signal: null });
    expect(watched.heard.slice(0, 2)).toEqual(['SERVING', 'NOT_SERVING']);
    watched.close();
    expect(await feed).toMatch(/replica is stopping/);
    expect(complaints(last!)).toEqual([]);
    expect((await scheduled()).filter(({ state }) => state === 'running')).toEqual([]);
  }, 30_000);
});
