// Goal: a backfill asked for over the wire is done by the running service, is watched and steered from outside, and outlives the process and its
// database. Method: the real service over the sandbox, with and without its own PostgreSQL; kill -9 of both at once.
import { afterAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import {
  isAlive,
  postgresPid,
  type RunningProcess,
  soon,
  startApp,
  startProcess,
  temporaryDataDir,
  trueup,
} from '../_util/app.ts';
import { describeError } from '../../src/client/index.ts';

const { PLANNED, QUEUED, RUNNING, THROTTLED, VERIFYING, SUCCEEDED, PAUSED, CANCELLED } = contract.BackfillState;
const PATIENCE_MS = 60_000;

describe('a backfill over the wire', () => {
  it('is started, watched to its end and listed, and the command says the same', async () => {
    await using app = await startApp();
    const client = app.client.backfill;
    await soon(async () => void (await client.listGaps({})), PATIENCE_MS);
    const { backfill } = await client.startBackfill({ fromLedger: 1_000, toLedger: 1_299, reason: 'older history' });
    expect([PLANNED, QUEUED, RUNNING, VERIFYING, SUCCEEDED]).toContain(backfill!.state);
    expect(backfill).toMatchObject({ fromLedger: 1_000, toLedger: 1_299, sandbox: true, reason: 'older history' });
    let last: contract.Backfill | undefined;
    for await (const message of client.watchBackfill({ backfillId: backfill!.id })) last = message.backfill ?? last;
    expect(last).toMatchObject({
      state: SUCCEEDED,
      progress: { percent: 100, totalLedgerCount: 300n, scannedLedgerCount: 300n, contiguousThrough: 1_299 },
    });
    const read = await client.getBackfill({ backfillId: backfill!.id });
    expect(read.transitions.map((each) => each.toState)).toEqual([PLANNED, QUEUED, RUNNING, VERIFYING, SUCCEEDED]);
    const { ranges } = await client.listCoverage({ range: { fromLedger: 1_000, toLedger: 1_299 } });
    expect(ranges.map(({ fromLedger, toLedger }) => [fromLedger, toLedger])).toEqual([
      [1_000, 1_299],
      [1_000, 1_299],
    ]);
    const listed = await client.listBackfills({ states: [SUCCEEDED], dryRun: false, pageSize: 1 });
    expect(listed).toMatchObject({ backfills: [{ id: backfill!.id }], totalSize: 1n, nextPageToken: '' });
    const shown = await trueup(['backfill', 'get', backfill!.id, '--server', app.grpc]);
    expect(shown.out).toMatch(/^succeeded {2}sandbox-\w+ {2}1000 to 1299 {2}SANDBOX/);
    const dry = await trueup([
      'backfill',
      'start',
      '--from',
      '1000',
      '--to',
      '1400',
      '--dry-run',
      '--watch',
      '--server',
      app.grpc,
    ]);
    expect(dry).toMatchObject({ code: 0, out: expect.stringMatching(/missing +1300-1400/) as string });
    await soon(async () => {
      const metrics = await (await fetch(`${app.metrics}/metrics`)).text();
      expect(metrics).toContain('trueup_backfill_transitions_total{state="succeeded"} 2');
    });
  }, 150_000);

  it('is paused, resumed and cancelled, and refusals name the call that works', async () => {
    await using app = await startApp();
    const client = app.client.backfill;
    await soon(async () => void (await client.listGaps({})), PATIENCE_MS);
    const { backfill } = await client.startBackfill({
      fromLedger: 1_000,
      toLedger: 9_000,
      limits: { ledgersPerSecond: 50 },
    });
    const backfillId = backfill!.id;
    const state = async () => (await client.getBackfill({ backfillId })).backfill!.state;
    await soon(async () => expect([RUNNING, THROTTLED]).toContain(await state()), PATIENCE_MS);
    await client.pauseBackfill({ backfillId, reason: 'quiet hours' });
    await soon(async () => expect(await state()).toBe(PAUSED), PATIENCE_MS);
    const refusal = describeError(
      await client.startBackfill({ fromLedger: 8_000, toLedger: 10_000 }).catch((error: unknown) => error),
    );
    expect(refusal).toMatchObject({
      reason: 'RUN_ALREADY_ACTIVE',
      fix: `trueup backfill watch ${backfillId}, or trueup backfill cancel ${backfillId} first`,
    });
    await client.resumeBackfill({ backfillId, limits: { ledgersPerSecond: 40 } });
    await soon(async () => expect([QUEUED, RUNNING, THROTTLED]).toContain(await state()), PATIENCE_MS);
    await client.cancelBackfill({ backfillId });
    await soon(async () => expect(await state()).toBe(CANCELLED), PATIENCE_MS);
  }, 150_000);
});

describe('a backfill whose process and database are killed', () => {
  const folder = temporaryDataDir();
  let service: RunningProcess | undefined;
  afterAll(async () => {
    await service?.[Symbol.asyncDispose]();
    await folder.remove();
  });

  it('goes on by itself after the next start, from what was committed', async () => {
    const env = { TRUEUP_DATA_DIR: folder.path, LOG_LEVEL: 'warn' };
    service = await startProcess(env);
    const first = service.client.backfill;
    await soon(async () => void (await first.listGaps({})), PATIENCE_MS);
    const { backfill } = await first.startBackfill({
      fromLedger: 1_000,
      toLedger: 1_399,
      limits: { ledgersPerSecond: 60 },
    });
    const progressOf = async (running: RunningProcess) =>
      (await running.client.backfill.getBackfill({ backfillId: backfill!.id })).backfill!;
    await soon(
      async () => expect((await progressOf(service!)).progress!.scannedLedgerCount).toBeGreaterThan(0n),
      PATIENCE_MS,
    );
    const before = (await progressOf(service)).progress!;
    const postgres = postgresPid(folder.path)!;
    service.kill('SIGKILL');
    process.kill(postgres, 'SIGKILL');
    await service.exited;
    await soon(() => expect(isAlive(postgres)).toBe(false));

    service = await startProcess(env);
    const after = (await progressOf(service)).progress!;
    expect(after.scannedLedgerCount).toBeGreaterThanOrEqual(before.scannedLedgerCount);
    expect(after.percent).toBeGreaterThanOrEqual(before.percent);
    let last: contract.Backfill | undefined;
    for await (const message of service.client.backfill.watchBackfill({
      backfillId: backfill!.id,
      sinceSequence: before.sequence,
    }))
      last = message.backfill ?? last;
    expect(last).toMatchObject({ state: SUCCEEDED, progress: { scannedLedgerCount: 400n, duplicateEntryCount: 0n } });
  }, 180_000);
});
