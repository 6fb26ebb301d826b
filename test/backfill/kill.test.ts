// Goal: however often the processes that work on a backfill are killed, and whenever, nothing is missing, nothing is there twice, and the
// content is that of an undisturbed run; a process that was stopped past its lease writes nothing when it wakes up. Method: real processes, SIGKILL
// and SIGSTOP at moments chosen by a seed, and the stream compared row by row with one that nobody disturbed.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isFinalState, type Backfill } from '../../src/core/backfill.ts';
import { tendBackfill } from '../../src/services/backfill-steps.ts';
import { noteFailure, sampleProgress } from '../../src/store/backfill-counts.ts';
import { claimChunk, holdChunk } from '../../src/store/backfill-chunks.ts';
import { findJob } from '../../src/store/backfills.ts';
import { sql } from '../../src/store/database.ts';
import { openBackfills, pictureOf } from '../_util/backfill.ts';
import { cases } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import { fake } from '../_util/follow.ts';
import { killEntries } from './_kill-entries.ts';

const CHILD = fileURLToPath(new URL('./_worker-child.ts', import.meta.url));
const LEASE_MS = 700;
const PATIENCE_MS = 120_000;
/** Ledgers of one job, a multiple of 64; and as many as there may be. */
const JOB_LEDGERS = 2_048;
const MAX_TIP = 10_000_000;

let test: TestDatabase;
/** Half of a child's start is compiling what the one before it has compiled. */
const cache = mkdtempSync(join(tmpdir(), 'trueup-compiled-'));
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterAll(async () => {
  await test.drop();
  rmSync(cache, { recursive: true, force: true });
});

function startChild(
  passphrase: string,
  tip: number,
  options: { leaseMs?: number; readMs?: number } = {},
): ChildProcess {
  const { leaseMs = LEASE_MS, readMs = 2 } = options;
  return spawn(process.execPath, [CHILD, test.url, passphrase, String(tip), String(leaseMs), String(readMs)], {
    env: { ...process.env, NODE_COMPILE_CACHE: cache },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** What an undisturbed run over the same ledgers leaves. */
async function undisturbed(tip: number) {
  const source = fake({ tip, entries: killEntries, maxSpanLedgers: 16 });
  const house = await openBackfills(test.db, source);
  const done = await house.run({ from: 1, to: tip + 1 });
  return { done, picture: await pictureOf(test.db, house.opened.stream.id) };
}

/** Hashes are of the network's name, which differs: everything else must be equal. */
function withoutHashes({ entries, chunks, islands }: Awaited<ReturnType<typeof pictureOf>>) {
  return { entries, islands, chunks: chunks.map(({ first_prev_hash: _first, last_hash: _last, ...rest }) => rest) };
}

describe('processes that are killed', () => {
  const { numRuns: kills, seed = 1 } = cases(50);

  it(
    `leave no gap and no row twice (${kills} kills)`,
    async () => {
      let state = seed;
      /** 0 to 1, the same for the same seed. */
      const dice = (): number => (state = (state * 48_271 + 11) % 2_147_483_647) / 2_147_483_647;
      const source = fake({ tip: MAX_TIP, entries: killEntries, maxSpanLedgers: 16 });
      const house = await openBackfills(test.db, source);
      const start = (): ChildProcess => startChild(source.networkPassphrase, MAX_TIP);
      const children = [start(), start(), start()];
      /** One job after the other, so that there is always one to be killed at. */
      const jobs: Backfill[] = [];
      const next = async (): Promise<void> => {
        const from = 1 + jobs.length * JOB_LEDGERS;
        jobs.push(await house.start({ from, to: from + JOB_LEDGERS }));
      };
      await next();
      let percent = 0;
      for (let dead = 0; dead < kills; dead++) {
        const n = Math.floor(dice() * children.length);
        const victim = children[n]!;
        // At work, and for a random moment: processes that are killed before they begin prove nothing.
        await once(victim.stdout!, 'data', { signal: AbortSignal.timeout(PATIENCE_MS) });
        await sleep(dice() * 150);
        victim.kill('SIGKILL');
        children[n] = start();
        const job = await house.service.get(jobs.at(-1)!.id);
        expect(job.progress.percent).toBeGreaterThanOrEqual(percent);
        percent = job.progress.percent;
        if (!isFinalState(job.state)) continue;
        expect(job).toMatchObject({ state: 'succeeded', error: null });
        percent = 0;
        await next();
      }
      const last = jobs.at(-1)!;
      await eventually(
        async () => expect(isFinalState((await house.service.get(last.id)).state)).toBe(true),
        PATIENCE_MS,
      );
      for (const child of children) child.kill('SIGKILL');
      const tip = jobs.length * JOB_LEDGERS;
      const whole = await undisturbed(tip);
      let inserted = 0n;
      for (const { id, range } of jobs) {
        const { state: end, progress } = await house.service.get(id);
        expect(end).toBe('succeeded');
        expect(progress).toMatchObject({
          scannedLedgers: JOB_LEDGERS,
          duplicateEntries: 0n,
          contiguousThrough: range.to - 1,
        });
        inserted += progress.insertedEntries;
      }
      expect(inserted).toBe(whole.done.progress.insertedEntries);
      expect(withoutHashes(await pictureOf(test.db, house.opened.stream.id))).toEqual(withoutHashes(whole.picture));
    },
    60_000 + kills * 5_000,
  );
});

describe('a process that is stopped past its lease', () => {
  it('has its share taken by another, and writes nothing when it wakes up', async () => {
    const tip = 2_000;
    const source = fake({ tip, entries: killEntries, maxSpanLedgers: 16 });
    const house = await openBackfills(test.db, source);
    const { id } = await house.start({ from: 1, to: tip + 1 });
    // Slow reads: it is in the middle of a share when it is stopped.
    const sleeper = startChild(source.networkPassphrase, tip, { readMs: 20 });
    try {
      await eventually(async () => {
        const { scannedLedgers, workers } = (await house.service.get(id)).progress;
        expect(scannedLedgers).toBeGreaterThan(0);
        expect(workers).toBeGreaterThan(0);
      }, PATIENCE_MS);
      sleeper.kill('SIGSTOP');
      const worker = house.work();
      const done = await house.ended(id);
      await worker.end();
      expect(done).toMatchObject({ state: 'succeeded', progress: { scannedLedgers: tip, duplicateEntries: 0n } });
      const before = await pictureOf(test.db, house.opened.stream.id);
      const sequence = done.progress.sequence;
      sleeper.kill('SIGCONT');
      // It has found out when it takes up new work: a second job of the same stream, all by itself.
      const next = await house.start({ from: 1, to: tip + 1 }, { reread: true });
      expect((await house.ended(next.id)).state).toBe('succeeded');
      expect(await pictureOf(test.db, house.opened.stream.id)).toEqual(before);
      expect((await house.service.get(id)).progress.sequence).toBe(sequence);
    } finally {
      sleeper.kill('SIGKILL');
    }
  }, 200_000);

  it('past the end of its job leaves the job as it ended, though its heartbeat and its failed read come late', async () => {
    const source = fake({ tip: 1_000, entries: killEntries });
    const house = await openBackfills(test.db, source);
    const { id } = await house.run({ from: 1, to: 65 });
    // As if the last sample had been long ago: another one would be due.
    await sql(test.db.em(), `update trueup.backfills set sampled_at = sampled_at - interval '1 hour' where id = $1`, [
      id,
    ]);
    const ended = await house.service.get(id);
    await sampleProgress(test.db.em(), [id]);
    await noteFailure(test.db.em(), id, { retryMs: 1_000, sourceAsked: false });
    expect(await house.service.get(id)).toEqual(ended);
  });

  it('in the middle of its claim is put out by the server, so that nobody waits for it', async () => {
    const source = fake({ tip: 1_000, entries: killEntries });
    const house = await openBackfills(test.db, source);
    const { id } = await house.start({ from: 1, to: 65 });
    const stuck = test.db.em().transactional(async (em) => {
      await findJob(em, id, true);
      await new Promise<never>(() => undefined);
    });
    stuck.catch(() => undefined);
    const worker = house.work();
    expect((await house.ended(id)).state).toBe('succeeded');
    await worker.end();
  });

  it('in the middle of its write is put out by the server, so that nobody waits for it', async () => {
    const source = fake({ tip: 1_000, entries: killEntries });
    const house = await openBackfills(test.db, source);
    const { id } = await house.start({ from: 1, to: 65 });
    await tendBackfill({ db: test.db, onMoved: () => undefined }, id);
    const claimed = (await claimChunk(test.db.em(), [source.networkPassphrase], 'stuck', 300))!;
    const woken = Promise.withResolvers<void>();
    const stuck = test.db.em().transactional(async (em) => {
      await holdChunk(em, claimed.chunk, 300);
      await sql(em, `update trueup.streams set name = name where id = $1`, [house.opened.stream.id]);
      await woken.promise;
      await sql(em, `insert into trueup.sources (label) values ('written by a stale worker')`);
    });
    stuck.catch(() => undefined);
    const worker = house.work();
    expect((await house.ended(id)).state).toBe('succeeded');
    await worker.end();
    woken.resolve();
    await expect(stuck).rejects.toThrow();
    expect(await sql(test.db.em(), `select 1 from trueup.sources where label like 'written by%'`)).toEqual([]);
  });
});
