// Goal: a run whose worker dies goes on where it stopped, at the same cut, and comes to the very result of an undisturbed one.
// Method: two houses of the same rows; in one the run is broken off after each segment, or its process is killed; the book and the
// ledger go on meanwhile.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Book } from '../../src/core/book.ts';
import { runReconciliation } from '../../src/services/run-reconciliation.ts';
import { sql } from '../../src/store/database.ts';
import type { StoredRun } from '../../src/store/runs.ts';
import { cases } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openHouse, type House } from '../_util/reconcile.ts';
import { breaking, type BreakOff } from './_breaking.ts';
import { killedRun } from './_killed-run.ts';

const SHOP = 'GSHOP';
const SEGMENT_KEYS = 20;
const MAX_SILENCE_MS = 3_600_000;
const CHILD = fileURLToPath(new URL('_segment-child.ts', import.meta.url));
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

const never = new AbortController().signal;
const leg = (ledger: number) => ({ ledger, account: SHOP, amount: BigInt(ledger) });

/** 150 keys: every seventh row is off by one, every eleventh missing, and some are in the book alone. */
async function filled(book?: (recorded: Book) => Book): Promise<House> {
  // A slow machine is no silent source.
  const at = await openHouse(test.db, { maxSilenceMs: MAX_SILENCE_MS, ...(book && { book }) });
  const ledgers = Array.from({ length: 150 }, (_, i) => i + 1);
  await at.ledgers({ from: 1, to: 401 }, ledgers.map(leg));
  const rows = ledgers
    .filter((ledger) => ledger % 11 !== 0)
    .map((ledger) => rowOf(at, ledger, BigInt(ledger % 7 === 0 ? ledger + 1 : ledger)));
  await at.record([...rows, rowOf(at, 200, 5n), rowOf(at, 210, 6n)], 400);
  return at;
}

const rowOf = (at: House, ledger: number, amount: bigint) =>
  at.row(ledger, { account: SHOP, amount, rowId: `row-${ledger}` });

const checkpointOf = async (run: Pick<StoredRun, 'id'>) =>
  (
    await sql<{ phase: string; after_key: string | null; counts: { matched?: number } }>(
      test.db.em(),
      `select phase, after_key, counts from trueup.run_checkpoints where run_id = $1`,
      [run.id],
    )
  )[0];

/** The name of a house is in its digest; what two houses found is compared without it. */
async function resultOf(at: House, run: StoredRun): Promise<unknown> {
  const drifts = (await at.drifts()).map(({ matchKey, occurrence, kinds, fields, firstRunId, lastRunId }) => {
    return { matchKey, occurrence, kinds, fields, isOfThisRun: firstRunId === run.id && lastRunId === run.id };
  });
  return { verdict: run.verdict, counts: run.summary!.counts, window: run.summary!.window!.ledgers, drifts };
}

const left = async (run: Pick<StoredRun, 'id'>) =>
  (
    await sql<{ count: number }>(
      test.db.em(),
      `select ((select count(*) from trueup.run_findings where run_id = $1)
         + (select count(*) from trueup.run_checkpoints where run_id = $1))::int as count`,
      [run.id],
    )
  )[0]!.count;

describe('a run whose worker dies', () => {
  it('goes on after its last segment, and finds what an undisturbed one finds', async () => {
    const undisturbed = await filled();
    const wanted = await resultOf(undisturbed, await undisturbed.run());
    const after: BreakOff = { rows: 30 };
    const at = await filled((recorded) => breaking(recorded, after));
    const deps = { ...at.runDeps, segmentKeys: SEGMENT_KEYS };
    const run = (await at.service.runOfTick(at.name, `${at.name} tick`))!;
    const seen: (string | null | undefined)[] = [];
    for (let attempt = 1; attempt <= 3; attempt++) {
      await expect(runReconciliation(deps, run.id, { attempt, maxAttempts: 9, signal: never })).rejects.toThrow(
        'the worker dies',
      );
      seen.push((await checkpointOf(run))?.after_key);
    }
    // Each attempt came at least a segment further than the one before it.
    expect(seen.every((key) => typeof key === 'string')).toBe(true);
    expect([...seen].sort()).toEqual(seen);
    expect(new Set(seen).size).toBe(3);
    after.rows = null;
    await runReconciliation(deps, run.id, { attempt: 4, maxAttempts: 9, signal: never });
    expect(await resultOf(at, (await at.service.get(run.id)) as StoredRun)).toEqual(wanted);
    expect(await left(run)).toBe(0);
  });

  it('reads the book as it was at the cut: what is written, corrected and retracted later is left out', async () => {
    const undisturbed = await filled();
    const wanted = await resultOf(undisturbed, await undisturbed.run());
    const after: BreakOff = { rows: 45 };
    const at = await filled((recorded) => breaking(recorded, after));
    const deps = { ...at.runDeps, segmentKeys: SEGMENT_KEYS };
    const run = (await at.service.runOfTick(at.name, `${at.name} tick`))!;
    await expect(runReconciliation(deps, run.id, { attempt: 1, maxAttempts: 9, signal: never })).rejects.toThrow(
      'the worker dies',
    );
    const all = Array.from({ length: 150 }, (_, i) => i + 1);
    await at.record([...all.map((ledger) => rowOf(at, ledger, 1_000_000n)), rowOf(at, 220, 9n)], null);
    await at.record([at.row(200, { account: SHOP, amount: null, rowId: 'row-200', retracted: true })], null);
    await at.ledgers({ from: 401, to: 801 }, [leg(500)]);
    after.rows = null;
    await runReconciliation(deps, run.id, { attempt: 2, maxAttempts: 9, signal: never });
    expect(await resultOf(at, (await at.service.get(run.id)) as StoredRun)).toEqual(wanted);
    // The next run sees all of it.
    expect((await at.run()).summary!.counts).toMatchObject({ matched: 0 });
  });

  it('leaves out ledgers that were read after the cut, also those before it', async () => {
    const after: BreakOff = { rows: 45 };
    const at = await openHouse(test.db, { book: (recorded) => breaking(recorded, after) });
    const ledgers = Array.from({ length: 100 }, (_, i) => i + 1);
    await at.ledgers({ from: 1, to: 81 }, ledgers.slice(0, 80).map(leg));
    await at.ledgers({ from: 101, to: 401 });
    await at.record(
      ledgers.map((ledger) => rowOf(at, ledger, BigInt(ledger))),
      400,
    );
    const deps = { ...at.runDeps, segmentKeys: SEGMENT_KEYS };
    const run = (await at.service.runOfTick(at.name, `${at.name} tick`))!;
    await expect(runReconciliation(deps, run.id, { attempt: 1, maxAttempts: 9, signal: never })).rejects.toThrow(
      'the worker dies',
    );
    await at.ledgers({ from: 81, to: 101 }, ledgers.slice(80).map(leg), { follow: false });
    after.rows = null;
    await runReconciliation(deps, run.id, { attempt: 2, maxAttempts: 9, signal: never });
    const resumed = await at.service.get(run.id);
    expect(resumed).toMatchObject({ verdict: 'INCONCLUSIVE', summary: { counts: { matched: 80, drifted: 0 } } });
    expect((await at.run()).summary!.counts).toMatchObject({ matched: 100, skipped: 0 });
  });

  it('begins anew, with nothing of before, where its book cannot be read again as it was', async () => {
    const after: BreakOff = { rows: 45 };
    const withoutPosition = (recorded: Book): Book => ({
      open: async (level, signal) => {
        const side = await breaking(recorded, after).open(level, signal);
        return Object.assign(side, { position: undefined });
      },
    });
    const at = await filled(withoutPosition);
    const deps = { ...at.runDeps, segmentKeys: SEGMENT_KEYS };
    const run = (await at.service.runOfTick(at.name, `${at.name} tick`))!;
    await expect(runReconciliation(deps, run.id, { attempt: 1, maxAttempts: 9, signal: never })).rejects.toThrow(
      'the worker dies',
    );
    expect(await checkpointOf(run)).toBeUndefined();
    const fixed = Array.from({ length: 150 }, (_, i) => i + 1).map((ledger) => rowOf(at, ledger, BigInt(ledger)));
    const gone = [200, 210].map((ledger) =>
      at.row(ledger, { account: SHOP, amount: null, rowId: `row-${ledger}`, retracted: true }),
    );
    await at.record([...fixed, ...gone], null);
    after.rows = null;
    await runReconciliation(deps, run.id, { attempt: 2, maxAttempts: 9, signal: never });
    expect(await at.service.get(run.id)).toMatchObject({
      verdict: 'CLEAN',
      summary: { counts: { matched: 150, drifted: 0 } },
    });
  });

  it('ends cancelled, and keeps nothing, where it was cancelled while nobody worked on it', async () => {
    const after: BreakOff = { rows: 45 };
    const at = await filled((recorded) => breaking(recorded, after));
    const deps = { ...at.runDeps, segmentKeys: SEGMENT_KEYS };
    const run = (await at.service.runOfTick(at.name, `${at.name} tick`))!;
    await expect(runReconciliation(deps, run.id, { attempt: 1, maxAttempts: 9, signal: never })).rejects.toThrow(
      'the worker dies',
    );
    await sql(test.db.em(), `update trueup.reconciliations set cancel_requested = true where id = $1`, [run.id]);
    await runReconciliation(deps, run.id, { attempt: 2, maxAttempts: 9, signal: never });
    expect(await at.service.get(run.id)).toMatchObject({ state: 'cancelled', verdict: null });
    expect([await left(run), await at.drifts()]).toEqual([0, []]);
  });
});

describe('kill -9', () => {
  it('of one worker after the other leads to the digest of an undisturbed run', async () => {
    const at = await filled();
    const wanted = (await at.run()).summary!.resultDigest;
    // As the first run found it: no drift is known, so that both compare the same.
    await sql(test.db.em(), `delete from trueup.drifts where policy = $1`, [at.name]);
    const run = (await at.service.runOfTick(at.name, `${at.name} killed`))!;
    for (let kill = 0; kill < cases(6).numRuns; kill++) await killedChild(at, run.id, 40 * (kill % 12));
    await runReconciliation({ ...at.runDeps, segmentKeys: 5 }, run.id, { attempt: 9, maxAttempts: 9, signal: never });
    // One that was quicker than its killer has ended the run already, with the same result.
    expect(await at.service.get(run.id)).toMatchObject({ state: 'succeeded', summary: { resultDigest: wanted } });
  }, 600_000);

  it('of one that leaves sealed chunks out leads there too, and the seals stay what they were', async () => {
    const at = await openHouse(test.db, { maxSilenceMs: MAX_SILENCE_MS });
    const ledgers = Array.from({ length: 500 }, (_, i) => i + 1);
    await at.ledgers({ from: 1, to: 513 }, ledgers.map(leg));
    // One chunk in the middle differs, and so do the newest ledgers.
    const isOff = (ledger: number): boolean => (ledger > 200 && ledger < 240) || ledger > 480;
    await at.record(
      ledgers.map((ledger) => rowOf(at, ledger, BigInt(isOff(ledger) ? ledger + 1 : ledger))),
      512,
    );
    await at.run();
    const sealed = await sealsOf(at);
    expect(sealed.length).toBe(3);
    const undisturbed = await at.run();
    expect(undisturbed.summary!.counts).toMatchObject({ matched: 441, drifted: 59 });
    const { policy } = at;
    const run = (await at.service.runOfTick(at.name, `${at.name} killed`))!;
    // Each dies as it is about to keep its third segment.
    const order = {
      url: test.url,
      policy,
      runId: run.id,
      segmentKeys: 5,
      killAt: 3,
      counted: 'update trueup.run_checkpoints',
    };
    for (let kill = 0; kill < 2; kill++)
      expect((await killedRun({ ...order, following: at.runDeps.following, afterSending: false })).signal).toBe(
        'SIGKILL',
      );
    expect((await checkpointOf(run))?.after_key).not.toBeNull();
    await runReconciliation(at.runDeps, run.id, { attempt: 9, maxAttempts: 9, signal: never });
    const resumed = (await at.service.get(run.id)) as StoredRun;
    expect(resumed.summary!.counts).toEqual(undisturbed.summary!.counts);
    expect(resumed.summary!.resultDigest).toBe(undisturbed.summary!.resultDigest);
    expect(await sealsOf(at)).toEqual(sealed);
  }, 300_000);
});

const sealsOf = (at: House) =>
  sql(
    test.db.em(),
    `select from_ledger, state, fingerprint, matched, ledger_digest, book_digest from trueup.chunk_seals where policy = $1
     order by from_ledger`,
    [at.name],
  );

/** Ends a worker by SIGKILL so many milliseconds after it has begun the run. */
async function killedChild(at: House, runId: string, afterMs: number): Promise<void> {
  const { attempt } = (await at.service.get(runId)) as StoredRun;
  const child = spawn(process.execPath, [CHILD, test.url, JSON.stringify(at.policy), runId, '5'], { stdio: 'ignore' });
  const gone = once(child, 'exit');
  const ended = gone.then(() => true);
  const begun = async (): Promise<boolean> => {
    for (;;) {
      const run = (await at.service.get(runId)) as StoredRun;
      if (run.attempt > attempt || run.state === 'succeeded') return false;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  if (!(await Promise.race([begun(), ended]))) await new Promise((resolve) => setTimeout(resolve, afterMs));
  child.kill('SIGKILL');
  await gone;
}
