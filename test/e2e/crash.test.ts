// Goal: the process may be killed at any instruction, and its database with it: nothing is doubled, nothing is lost, the last verdict is still told.
// Method: kill -9 a fast sandbox and its PostgreSQL when its checkpoint has come to places chosen by a seed, start again, and compare
// what is stored with the ledgers themselves, read anew from the source.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { createSandboxSource, SANDBOX_STARTED_AT_MS } from '../../src/sources/sandbox.ts';
import { contract } from '../../src/client/index.ts';
import { LAYER_CODES } from '../../src/store/entries.ts';
import {
  complaints,
  isAlive,
  postgresPid,
  type RunningProcess,
  soon,
  startProcess,
  temporaryDataDir,
  trueup,
} from '../_util/app.ts';
import { onAdminConnection } from '../_util/database.ts';
import { randomFrom } from '../_util/random.ts';

const SEED = 7;
const ROUNDS = 4;
const LEDGERS_PER_SECOND = 5;

describe('killed again and again', () => {
  const folder = temporaryDataDir();
  const env = {
    TRUEUP_DATA_DIR: folder.path,
    TRUEUP_SANDBOX_LEDGERS_PER_SECOND: String(LEDGERS_PER_SECOND),
    LEDGER_RECONCILIATION_INTERVAL_MS: '5000',
    LOG_LEVEL: 'warn',
  };
  const source = createSandboxSource({
    seed: '1',
    ledgersPerSecond: LEDGERS_PER_SECOND,
    startedAtMs: SANDBOX_STARTED_AT_MS,
  });
  const random = randomFrom(SEED);
  let service: RunningProcess | undefined;
  afterAll(async () => {
    await service?.[Symbol.asyncDispose]();
    await folder.remove();
  });

  const through = async (running: RunningProcess): Promise<number> =>
    (await running.client.health.getStatus({})).streams[0]?.layers[0]?.contiguousThrough ?? 0;
  const dead = (pid: number) => soon(() => expect(isAlive(pid)).toBe(false));

  it(`agrees with the ledger itself after each of ${ROUNDS} kills, of both processes or of one`, async () => {
    let first = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const running = (service = await startProcess(env));
      const reached = await through(running);
      // While it catches up in the first round, at the tip later; now and then at once.
      const target = reached + Math.floor(random() * (round === 0 ? 3_000 : 60));
      await soon(async () => expect(await through(running), `round ${round}`).toBeGreaterThanOrEqual(target));
      const postgres = postgresPid(folder.path)!;
      const both = random() < 0.6;
      running.kill('SIGKILL');
      if (both) process.kill(postgres, 'SIGKILL');
      expect(await running.exited).toEqual({ code: null, signal: 'SIGKILL' });
      if (both) await dead(postgres);

      service = await startProcess(env);
      const state = await stored();
      first ||= state.start;
      expect(state.start, `round ${round}`).toBe(first);
      expect(state.next - 1, `round ${round}`).toBeGreaterThanOrEqual(reached);
      expect(state.islands, `round ${round}`).toEqual(
        source.layers.map((layer) => `${LAYER_CODES[layer]} ${first}-${state.next} done`),
      );
      expect(state.entries, `round ${round}`).toEqual(await expected(first, state.next));
      expect(state.counted, `round ${round}`).toEqual(state.entries);
      await stop(service);
    }
  }, 120_000);

  it('still tells the latest verdict after it was killed, before any new run, and then goes on', async () => {
    const running = (service = await startProcess(env));
    const latest = async (of: RunningProcess) =>
      (await of.client.reconciliation.getLatestReconciliation({ policy: 'default' })).reconciliation!;
    await soon(async () => expect((await latest(running)).verdict).toBe(contract.Verdict.DRIFT_DETECTED), 30_000);
    running.kill('SIGKILL');
    process.kill(postgresPid(folder.path)!, 'SIGKILL');
    await running.exited;
    service = await startProcess({ ...env, LEDGER_RECONCILIATION_ENABLED: 'false' });
    const kept = await latest(service);
    expect(kept.verdict).toBe(contract.Verdict.DRIFT_DETECTED);
    expect(Number(kept.counts!.driftedCount)).toBeGreaterThan(0);
    await stop(service);
    service = await startProcess(env);
    await soon(
      async () => expect((await latest(service!)).createTime!.seconds).toBeGreaterThan(kept.createTime!.seconds),
      40_000,
    );
  }, 120_000);

  it('refuses a second process on its folder, naming the first', async () => {
    const { code, err } = await trueup(['serve'], env);
    expect(code).toBe(1);
    expect(err).toMatch(new RegExp(`another TrueUp \\(pid ${service!.pid}\\).*TRUEUP_DATA_DIR`, 's'));
  });

  it('goes on by itself when one of its database connections is killed', async () => {
    const before = await through(service!);
    const [victim] = await ask<{ pid: number }>(
      `select pid from pg_stat_activity where application_name = 'trueup' and pid <> pg_backend_pid() limit 1`,
    );
    process.kill(victim!.pid, 'SIGKILL');
    await soon(async () => expect(await through(service!)).toBeGreaterThan(before + 2 * LEDGERS_PER_SECOND), 30_000);
    await soon(async () => expect((await fetch(`${service!.metrics}/health`)).status).toBe(200));
  }, 60_000);

  async function stop(running: RunningProcess): Promise<void> {
    await running[Symbol.asyncDispose]();
    expect(complaints(running)).toEqual([]);
  }

  async function ask<T extends object>(sql: string): Promise<T[]> {
    const { port, password } = JSON.parse(readFileSync(join(folder.path, 'embedded.json'), 'utf8')) as {
      port: number;
      password: string;
    };
    return onAdminConnection(
      `postgresql://trueup:${password}@127.0.0.1:${port}/trueup`,
      async (client) => (await client.query<T>(sql)).rows,
    );
  }

  /** One statement, so one moment: entries, coverage and checkpoint as they were together. */
  async function stored() {
    const [row] = await ask<{ start: number; next: number; islands: string[]; entries: Counts; counted: Counts }>(`
      select f.start_ledger::int as start, f.next_ledger::int as next,
        (select array_agg(layer || ' ' || from_ledger || '-' || to_ledger || ' ' || state order by layer) from trueup.coverage_islands) as islands,
        (select json_object_agg(layer, n) from (select layer, count(*)::int as n from trueup.entries group by layer) e) as entries,
        (select json_object_agg(layer, n) from (select layer, sum(entry_count)::int as n from trueup.coverage_chunks group by layer) c) as counted
      from trueup.followers f`);
    return row!;
  }

  async function expected(from: number, to: number): Promise<Counts> {
    const counts: Counts = {};
    for (let start = from; start < to; start += source.maxSpanLedgers) {
      const range = { from: start, to: Math.min(to, start + source.maxSpanLedgers) };
      const { records } = await source.read(
        { range, layers: source.layers, watch: WATCH_EVERYTHING },
        AbortSignal.timeout(30_000),
      );
      for (const { entries } of records)
        for (const { layer } of entries) counts[LAYER_CODES[layer]] = (counts[LAYER_CODES[layer]] ?? 0) + 1;
    }
    return counts;
  }
});

/** Entries by the layer's code. */
type Counts = Record<string, number>;
