// Goal: the sandbox's book is a correct business's book but for five planted mistakes, whatever happens to the keeper.
// Method: a book in memory that merges rows as the real one does, compared with the ledger leg by leg.
import { expect, test } from 'vitest';
import type { BookBalance, BookRowInput } from '../../src/core/book.ts';
import type { Entry } from '../../src/core/entry.ts';
import { makeWatch } from '../../src/core/watch.ts';
import {
  createSandboxBookKeeper,
  missingRowRepairMs,
  type SandboxBookKeeper,
  type SandboxBookWriter,
} from '../../src/services/sandbox-book.ts';
import { correctRow, MISTAKES, type Mistake } from '../../src/services/sandbox-rows.ts';
import {
  createSandboxSource,
  SANDBOX_STARTED_AT_MS,
  sandboxStartLedger,
  type SandboxOptions,
} from '../../src/sources/sandbox.ts';

const signal = new AbortController().signal;
const firstStartMs = SANDBOX_STARTED_AT_MS + 3_000_000_000;

class MemoryBook implements SandboxBookWriter {
  readonly rows = new Map<string, BookRowInput>();
  readonly balances = new Map<string, BookBalance>();
  through: Date | null = null;
  failAfterCalls = Number.POSITIVE_INFINITY;

  async completeThrough(): Promise<Date | null> {
    return this.through;
  }

  async record(write: Parameters<SandboxBookWriter['record']>[0]): Promise<void> {
    if (this.failAfterCalls-- <= 0) throw new Error('the database went away');
    for (const row of write.rows) this.rows.set(row.rowId!, row);
    for (const balance of write.balances)
      this.balances.set(`${balance.account} ${balance.asset} ${balance.asOfLedger}`, balance);
    if (write.completeThrough && write.completeThrough > (this.through ?? 0)) this.through = write.completeThrough;
  }
}

function setUp(sandbox: Omit<SandboxOptions, 'faults' | 'now'> = {}) {
  const clock = { ms: firstStartMs };
  const now = (): number => clock.ms;
  const source = createSandboxSource({ ...sandbox, now });
  const startLedger = sandboxStartLedger(source, clock.ms);
  const book = new MemoryBook();
  const keeper = (): Promise<SandboxBookKeeper> => createSandboxBookKeeper({ sandbox, startLedger, writer: book, now });
  return { clock, source, startLedger, book, keeper };
}

/** The rows that a correct business would have, by row id. */
async function correctRows(
  source: ReturnType<typeof setUp>['source'],
  from: number,
  to: number,
): Promise<Map<string, BookRowInput>> {
  const rows = new Map<string, BookRowInput>();
  for (let at = from; at < to; at += 256) {
    const watch = makeWatch(source.cast.vaults);
    const batch = await source.read(
      { range: { from: at, to: Math.min(to, at + 256) }, layers: ['operations'], watch },
      signal,
    );
    for (const { entries, closeTime } of batch.records) {
      const kept = (entry: Entry): boolean =>
        entry.kind !== 'fee' && entry.kind !== 'fee_refund' && entry.kind !== 'genesis';
      for (const entry of entries.filter(kept)) {
        const row = correctRow(entry, closeTime);
        rows.set(row.rowId!, row);
      }
    }
  }
  return rows;
}

/** What differs between a book and the correct rows, in words. */
function differences(book: MemoryBook, correct: Map<string, BookRowInput>): string[] {
  const found: string[] = [];
  for (const [id, row] of correct) {
    const kept = book.rows.get(id);
    if (!kept) found.push('missing');
    else if (kept.amount !== row.amount) found.push('amount');
    else if (kept.status !== row.status) found.push('status');
    else expect(kept).toEqual(row);
  }
  for (const id of book.rows.keys()) if (!correct.has(id)) found.push(id.endsWith('-again') ? 'duplicate' : 'phantom');
  return found.sort();
}

test('writes what a correct business would have, with one mistake of each sort, all older than their grace', async () => {
  const { clock, source, startLedger, book, keeper } = setUp();
  const it = await keeper();
  const tick = await it.tick(signal);
  const tip = source.sequenceAt(clock.ms);
  expect(tick).toMatchObject({ ledgers: tip - startLedger + 1, repaired: false });
  expect(tick.rows).toBe(book.rows.size);
  expect(book.rows.size).toBeGreaterThan(3_000);
  expect(differences(book, await correctRows(source, startLedger, tip + 1))).toEqual([...MISTAKES].sort());
  expect(it.plants.map((plant) => plant.mistake)).toEqual(MISTAKES);
  for (const plant of it.plants) expect(clock.ms - plant.row.occurredAt!.getTime()).toBeGreaterThan(16 * 60_000);
  expect(book.through).toEqual(new Date((await source.header(tip, signal)).closeTime * 1000));
});

test('repairs the missing row after a minute, and leaves the other four', async () => {
  const { clock, source, startLedger, book, keeper } = setUp();
  const it = await keeper();
  await it.tick(signal);
  clock.ms += missingRowRepairMs - 1_000;
  expect((await it.tick(signal)).repaired).toBe(false);
  clock.ms += 1_000;
  expect((await it.tick(signal)).repaired).toBe(true);
  expect((await it.tick(signal)).repaired).toBe(false);
  const left: Mistake[] = ['amount', 'duplicate', 'phantom', 'status'];
  expect(differences(book, await correctRows(source, startLedger, source.sequenceAt(clock.ms) + 1))).toEqual(left);
});

test('goes on where the book ends after a restart, plants nothing anew and takes nothing back', async () => {
  const { clock, source, startLedger, book, keeper } = setUp();
  const first = await keeper();
  await first.tick(signal);
  clock.ms += missingRowRepairMs;
  await first.tick(signal);
  const before = new Map(book.rows);
  clock.ms += 3 * 3_600_000;
  const second = await keeper();
  expect(second.plants).toEqual(first.plants);
  expect((await second.tick(signal)).ledgers).toBe(3 * 3_600);
  clock.ms += missingRowRepairMs;
  await second.tick(signal);
  for (const [id, row] of before) expect(book.rows.get(id)).toEqual(row);
  const correct = await correctRows(source, startLedger, source.sequenceAt(clock.ms) + 1);
  expect(differences(book, correct)).toEqual(['amount', 'duplicate', 'phantom', 'status']);
});

test('loses nothing and doubles nothing when a write fails in the middle', async () => {
  const { clock, source, startLedger, book, keeper } = setUp();
  book.failAfterCalls = 3;
  const it = await keeper();
  await expect(it.tick(signal)).rejects.toThrow('the database went away');
  book.failAfterCalls = Number.POSITIVE_INFINITY;
  await it.tick(signal);
  expect(differences(book, await correctRows(source, startLedger, source.sequenceAt(clock.ms) + 1))).toEqual(
    [...MISTAKES].sort(),
  );
});

test('states balances that the ledger confirms, once a block', async () => {
  const { source, book, keeper } = setUp();
  await (await keeper()).tick(signal);
  const ledgers = new Set([...book.balances.values()].map((balance) => balance.asOfLedger));
  expect(ledgers.size).toBeGreaterThanOrEqual(37);
  for (const { account, asset, amount, asOfLedger } of book.balances.values()) {
    expect(asOfLedger % 64).toBe(63);
    expect(source.balancesAt([account], asOfLedger)).toContainEqual({ account, asset, amount, ledger: asOfLedger });
  }
});

test.each([0.01, 7])('plants its mistakes at %d ledgers a second too', async (ledgersPerSecond) => {
  const sandbox = { ledgersPerSecond, startedAtMs: firstStartMs - 86_400_000 };
  const { clock, source, startLedger, book, keeper } = setUp(sandbox);
  const it = await keeper();
  clock.ms += ledgersPerSecond < 1 ? 7_200_000 : 1_000;
  await it.tick(signal);
  await it.tick(signal);
  const expected = it.plants.map((plant) => plant.mistake).sort();
  expect(expected).toContain('phantom');
  if (ledgersPerSecond >= 1) expect(expected).toEqual([...MISTAKES].sort());
  expect(differences(book, await correctRows(source, startLedger, source.sequenceAt(clock.ms) + 1))).toEqual(expected);
});

test('finds movements to be wrong about even where nothing but settlements happens', async () => {
  const { source, startLedger, clock, book, keeper } = setUp({ opsPerLedger: 0 });
  await (await keeper()).tick(signal);
  expect(differences(book, await correctRows(source, startLedger, source.sequenceAt(clock.ms) + 1))).toEqual(
    [...MISTAKES].sort(),
  );
});
