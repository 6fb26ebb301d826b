// Goal: the built-in network is a network one can build on: the same for everybody, chained, readable anywhere at
// once, its balances true. Method: ask the source itself, and redo its sums from its legs.
import { runInNewContext } from 'node:vm';
import { setFlagsFromString } from 'node:v8';
import { StrKey } from '@stellar/stellar-sdk/base';
import { expect, test } from 'vitest';
import type { Entry, Layer } from '../../src/core/entry.ts';
import type { LedgerBatch } from '../../src/core/ledger.ts';
import { makeWatch, WATCH_EVERYTHING, type Watch } from '../../src/core/watch.ts';
import {
  createSandboxSource,
  SANDBOX_PASSPHRASE,
  SANDBOX_STARTED_AT_MS,
  sandboxStartLedger,
  type SandboxOptions,
  type SandboxSource,
} from '../../src/sources/sandbox.ts';

const signal = new AbortController().signal;
const tipLedger = 1_000_000;

/** A sandbox whose clock stands at the close of `tipLedger`, unless said otherwise. */
function sandbox(options: SandboxOptions = {}): SandboxSource {
  return createSandboxSource({ now: () => SANDBOX_STARTED_AT_MS + (tipLedger - 1) * 1000, ...options });
}

function read(
  source: SandboxSource,
  from: number,
  to: number,
  layers: readonly Layer[] = ['operations', 'token_events'],
  watch: Watch = WATCH_EVERYTHING,
): Promise<LedgerBatch> {
  return source.read({ range: { from, to }, layers, watch }, signal);
}

async function* batches(
  source: SandboxSource,
  from: number,
  to: number,
  layers: readonly Layer[],
): AsyncGenerator<LedgerBatch> {
  for (let at = from; at < to; at += source.maxSpanLedgers) {
    yield await read(source, at, Math.min(to, at + source.maxSpanLedgers), layers);
  }
}

test('gives everybody the same history for a seed, and another one for another seed', async () => {
  const [one, two] = await Promise.all([read(sandbox(), 700, 860), read(sandbox(), 700, 860)]);
  expect(two.records).toEqual(one.records);
  const other = await read(sandbox({ seed: 'other' }), 700, 860);
  expect(other.last.hash).not.toBe(one.last.hash);
  expect(sandbox({ seed: 'other' }).cast.vaults).not.toEqual(sandbox().cast.vaults);
});

test('does not depend on how a range is cut or in which order it is read', async () => {
  const whole = (await read(sandbox(), 5_000, 5_200)).records;
  const source = sandbox();
  const parts = [];
  for (let at = 5_199; at >= 5_000; at -= 1) parts.unshift(...(await read(source, at, at + 1)).records);
  expect(parts).toEqual(whole);
});

test('links every ledger to the one before, across blocks and batches, from a genesis that closed in 1970', async () => {
  const source = sandbox();
  let before = '0'.repeat(64);
  let sequence = 0;
  for await (const batch of batches(source, 1, 1_000, ['operations'])) {
    for (const record of batch.records) {
      expect(record.sequence).toBe(++sequence);
      expect(record.prevHash).toBe(before);
      expect(record.hash).toMatch(/^[0-9a-f]{64}$/);
      before = record.hash;
    }
    expect(batch.last).toMatchObject({ sequence, hash: before });
  }
  expect(sequence).toBe(999);
  expect((await source.header(1, signal)).closeTime).toBe(0);
  const { hash, prevHash, closeTime } = await source.header(640, signal);
  expect((await read(source, 640, 641)).records[0]).toMatchObject({ hash, prevHash, closeTime });
});

test('puts ledgers on the clock: the tip is a function of the time and of the rate', async () => {
  const source = sandbox({ ledgersPerSecond: 4, startedAtMs: 1_000_000_000_000, now: () => 1_000_000_010_300 });
  const tip = await source.tip(signal);
  expect(tip).toMatchObject({ sequence: 42, closeTime: 1_000_000_010, oldest: 1 });
  expect((await source.header(42, signal)).hash).toBe(tip.hash);
  expect(source.sequenceAt(1_000_000_000_000)).toBe(1);
  expect(source.sequenceAt(999_999_999_999)).toBe(0);
});

test('reads any ledger at once, near the beginning or two thousand million ledgers later', async () => {
  const source = sandbox({ now: () => SANDBOX_STARTED_AT_MS + 2_000_000_000 * 1000 });
  const began = performance.now();
  for (let index = 0; index < 100; index++)
    await read(source, 2_000_000_000 - index * 7_919_000, 2_000_000_000 - index * 7_919_000 + 1);
  // Replaying would take hours; a hundred reads of two blocks each take a fraction of a second.
  expect(performance.now() - began).toBeLessThan(5_000);
});

test('starts a first reading on a chunk edge with forty minutes of history behind it', () => {
  const source = sandbox();
  const start = sandboxStartLedger(source, SANDBOX_STARTED_AT_MS + (tipLedger - 1) * 1000);
  expect(start % 64).toBe(0);
  expect(tipLedger - start).toBeGreaterThanOrEqual(2_400);
  expect(sandboxStartLedger(source, SANDBOX_STARTED_AT_MS)).toBe(1);
});

test('uses addresses that every Stellar tool accepts', () => {
  const { cast } = sandbox();
  for (const account of [...cast.settled, ...cast.visitors, cast.treasury, cast.issuer]) {
    expect(StrKey.isValidEd25519PublicKey(account)).toBe(true);
  }
  expect(StrKey.isValidContract(cast.contract)).toBe(true);
  expect(sandbox().networkPassphrase).toBe(SANDBOX_PASSPHRASE);
});

test('shows every kind of movement, failures as zero amounts, payments to oneself as two legs, sub-accounts of each sort', async () => {
  const entries: Entry[] = [];
  for await (const batch of batches(sandbox(), 1, 1_025, ['operations', 'token_events'])) {
    for (const record of batch.records) entries.push(...record.entries);
  }
  const kinds = (layer: Layer): Set<string> =>
    new Set(entries.filter((entry) => entry.layer === layer).map((entry) => entry.kind));
  expect([...kinds('operations')].sort()).toEqual([
    ...['account_merge', 'claim_claimable_balance', 'create_account', 'create_claimable_balance', 'fee', 'fee_refund'],
    ...['genesis', 'path_payment', 'payment', 'trade'],
  ]);
  expect([...kinds('token_events')].sort()).toEqual(['burn', 'fee', 'fee_refund', 'genesis', 'mint', 'transfer']);
  const failed = entries.filter((entry) => entry.status === 'failed');
  expect(failed.length).toBeGreaterThan(20);
  expect(
    failed.every((entry) => entry.amount === 0n && entry.resultCode !== null && entry.layer === 'operations'),
  ).toBe(true);
  const toSelf = entries.filter((entry) => entry.kind === 'payment' && entry.counterparty === entry.account);
  expect(toSelf.length).toBeGreaterThan(10);
  expect(toSelf.reduce((sum, entry) => sum + entry.amount, 0n)).toBe(0n);
  expect(new Set(entries.map((entry) => entry.subAccountType))).toEqual(
    new Set([null, 'muxed', 'memo_id', 'memo_text']),
  );
  expect(entries.some((entry) => BigInt(entry.subAccountType === 'muxed' ? entry.subAccount! : 0) > 2n ** 53n)).toBe(
    true,
  );
  const positions = entries.map((entry) => [entry.layer, entry.ledger, entry.txIndex, entry.opIndex, entry.leg].join());
  expect(new Set(positions).size).toBe(positions.length);
});

test('keeps balances that its own legs add up to, at block edges and in between, without replaying them', async () => {
  const source = sandbox();
  const held = new Map<string, bigint>();
  const everybody = [
    ...source.cast.settled,
    ...source.cast.visitors,
    source.cast.treasury,
    source.cast.issuer,
    source.cast.contract,
  ];
  let fees = 0n;
  for (let sequence = 1; sequence <= 400; sequence++) {
    const [record] = (await read(source, sequence, sequence + 1, ['token_events'])).records;
    for (const entry of record!.entries) {
      const key = `${entry.account} ${entry.asset}`;
      held.set(key, (held.get(key) ?? 0n) + entry.amount);
      if (entry.kind === 'fee' || entry.kind === 'fee_refund') fees -= entry.amount;
      // An issuer's balance of its own asset is what it has issued, below zero.
      if (!entry.asset.endsWith(entry.account))
        expect(held.get(key), `${key} at ${sequence}`).toBeGreaterThanOrEqual(0n);
    }
    if (![1, 3, 62, 63, 64, 100, 127, 128, 255, 300, 400].includes(sequence)) continue;
    const at = sandbox({ now: () => SANDBOX_STARTED_AT_MS + (sequence - 1) * 1000 });
    const stated = await at.openingBalances!(everybody, signal);
    // A claimable balance is nobody's account, and events say nothing of an issuer's own asset.
    const derived = [...held].filter(([key, amount]) => amount !== 0n && !key.startsWith('B'));
    const others = stated.filter((row) => !row.asset.endsWith(row.account));
    expect(new Map(others.map((row) => [`${row.account} ${row.asset}`, row.amount]))).toEqual(new Map(derived));
    expect(stated.every((row) => row.ledger === sequence)).toBe(true);
    const native = [...held].reduce((sum, [key, amount]) => (key.endsWith(' native') ? sum + amount : sum), 0n);
    expect(native).toBe(10n ** 18n - fees);
  }
});

test('shows in both layers the same balances for accounts that no contract touched, and names those it did touch', async () => {
  const sums = { operations: new Map<string, bigint>(), token_events: new Map<string, bigint>() };
  const touched = new Set<string>();
  const source = sandbox();
  for await (const batch of batches(source, 1, 385, ['operations', 'token_events'])) {
    for (const record of batch.records) {
      for (const touch of record.underived) touched.add(touch.account);
      for (const { layer, account, asset, amount } of record.entries) {
        sums[layer].set(`${account} ${asset}`, (sums[layer].get(`${account} ${asset}`) ?? 0n) + amount);
      }
    }
  }
  expect(touched).toContain(source.cast.contract);
  expect(source.cast.vaults.some((vault) => touched.has(vault))).toBe(false);
  for (const [key, amount] of sums.operations) {
    const [account, asset] = key.split(' ') as [string, string];
    if (!touched.has(account) && !asset.endsWith(account)) expect(sums.token_events.get(key) ?? 0n, key).toBe(amount);
  }
});

test('narrows a read to the watch and to the layers asked for, exactly as filtering would', async () => {
  const source = sandbox();
  const vault = source.cast.vaults[0]!;
  const all = (await read(source, 128, 300)).records;
  const some = (await read(source, 128, 300, ['operations'], makeWatch([vault]))).records;
  expect(some.map((record) => record.hash)).toEqual(all.map((record) => record.hash));
  expect(some.flatMap((record) => record.entries)).toEqual(
    all.flatMap((record) => record.entries.filter((entry) => entry.layer === 'operations' && entry.account === vault)),
  );
  expect(some.every((record) => record.underived.length === 0)).toBe(true);
});

test('refuses options that make no network', () => {
  for (const options of [
    { ledgersPerSecond: 0 },
    { ledgersPerSecond: Number.NaN },
    { opsPerLedger: 1.5 },
    { opsPerLedger: -1 },
    { startedAtMs: Number.NaN },
  ]) {
    expect(() => createSandboxSource(options), JSON.stringify(options)).toThrow(
      expect.objectContaining({ reason: 'INVALID_CONFIGURATION' }),
    );
  }
});

test('needs no more memory after 50,000 ledgers than after 5,000', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const source = sandbox();
  const heapAfter = async (from: number, to: number): Promise<number> => {
    for await (const batch of batches(source, from, to, ['operations']))
      expect(batch.records).toHaveLength(batch.range.to - batch.range.from);
    collect();
    return process.memoryUsage().heapUsed;
  };
  const early = await heapAfter(1, 5_001);
  const late = await heapAfter(5_001, 50_001);
  expect(late - early).toBeLessThan(8 * 1024 * 1024);
}, 60_000);
