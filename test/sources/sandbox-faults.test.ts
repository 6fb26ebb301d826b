// Goal: the faults of a far system, dialled into the sandbox, are refused or shown as a real one would, and go away
// again. Method: dial, ask, and compare with a source that is well.
import { expect, test } from 'vitest';
import type { LedgerBatch } from '../../src/core/ledger.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import {
  createSandboxSource,
  SANDBOX_STARTED_AT_MS,
  type SandboxOptions,
  type SandboxSource,
} from '../../src/sources/sandbox.ts';
import { faultsNamed } from '../../src/sources/sandbox/faults.ts';

const signal = new AbortController().signal;
const tipLedger = 1_000_000;

function sandbox(options: SandboxOptions = {}): SandboxSource {
  return createSandboxSource({ now: () => SANDBOX_STARTED_AT_MS + (tipLedger - 1) * 1000, ...options });
}

function read(source: SandboxSource, from: number, to: number): Promise<LedgerBatch> {
  return source.read({ range: { from, to }, layers: ['operations'], watch: WATCH_EVERYTHING }, signal);
}

test('refuses what it was told to refuse, and names the ledgers', async () => {
  const source = sandbox({ faults: { gaps: [{ from: 100, to: 121 }], corruptLedgers: [177] } });
  await expect(read(source, 90, 110)).rejects.toMatchObject({
    reason: 'LEDGER_UNAVAILABLE',
    details: { range: { from: 100, to: 110 } },
  });
  await expect(read(source, 90, 100)).resolves.toMatchObject({ range: { from: 90, to: 100 } });
  await expect(read(source, 170, 180)).rejects.toMatchObject({
    reason: 'SOURCE_CORRUPT',
    details: { range: { from: 177, to: 178 } },
  });
  await expect(read(source, tipLedger - 1, tipLedger + 3)).rejects.toMatchObject({
    reason: 'LEDGER_NOT_YET_CLOSED',
    details: { range: { from: tipLedger + 1, to: tipLedger + 3 } },
  });
  await expect(read(source, 10, 10)).rejects.toMatchObject({ reason: 'INVALID_REQUEST' });
  await expect(read(source, 1, 1 + source.maxSpanLedgers + 1)).rejects.toMatchObject({ reason: 'INVALID_REQUEST' });
  source.setFaults({ gaps: [], corruptLedgers: [] });
  await expect(read(source, 90, 180)).resolves.toMatchObject({ range: { from: 90, to: 180 } });
});

test('lags, forgets, refuses and goes down as dialled in, and recovers', async () => {
  const source = sandbox({ faults: { lagLedgers: 7, retentionLedgers: 1_000 } });
  expect(await source.tip(signal)).toMatchObject({ sequence: tipLedger - 7, oldest: tipLedger - 1_006 });
  await expect(read(source, tipLedger - 1_008, tipLedger - 1_000)).rejects.toMatchObject({
    reason: 'LEDGER_UNAVAILABLE',
    details: { range: { from: tipLedger - 1_008, to: tipLedger - 1_006 } },
  });
  source.setFaults({ rateLimitEvery: 1, retryAfterMs: 250 });
  await expect(source.tip(signal)).rejects.toMatchObject({
    reason: 'SOURCE_RATE_LIMITED',
    retryable: true,
    details: { retryAfterMs: 250 },
  });
  source.setFaults({ rateLimitEvery: 0, down: true });
  await expect(source.tip(signal)).rejects.toMatchObject({ reason: 'SOURCE_UNAVAILABLE' });
  source.setFaults({ down: false, lagLedgers: 0 });
  expect(await source.tip(signal)).toMatchObject({ sequence: tipLedger });
  source.setFaults({ latencyMs: 60_000 });
  const controller = new AbortController();
  const waiting = source.tip(controller.signal);
  controller.abort(new Error('enough'));
  await expect(waiting).rejects.toThrow('enough');
});

test('diverges from a ledger on: the same history before it, another one after it', async () => {
  const [honest, forked] = [sandbox(), sandbox({ faults: { divergeFromLedger: 5_000 } })];
  expect(await forked.header(4_999, signal)).toEqual(await honest.header(4_999, signal));
  const [ours, theirs] = [await honest.header(5_000, signal), await forked.header(5_000, signal)];
  expect(theirs.prevHash).toBe(ours.prevHash);
  expect(theirs.hash).not.toBe(ours.hash);
  const [before, after] = [await read(honest, 5_000, 5_100), await read(forked, 5_000, 5_100)];
  expect(after.records.flatMap((record) => record.entries)).not.toEqual(
    before.records.flatMap((record) => record.entries),
  );
  forked.setFaults({ divergeFromLedger: null });
  expect(await forked.header(5_000, signal)).toEqual(ours);
});

test('dials the faults that the environment names to sizes that show', () => {
  expect(faultsNamed([], 1_000)).toEqual({});
  expect(faultsNamed(['gap', 'poison', 'lag', 'rate-limit', 'retention', 'divergence'], 1_000)).toEqual({
    gaps: [{ from: 1_300, to: 1_310 }],
    corruptLedgers: [1_500],
    lagLedgers: 20,
    rateLimitEvery: 5,
    retryAfterMs: 500,
    retentionLedgers: 5_000,
    divergeFromLedger: 2,
  });
});
