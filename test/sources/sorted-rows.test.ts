// Goal: rows sorted on disk are the rows that came, in order, and leave nothing behind. Method: against sorting in memory, with runs of
// a few rows; and a folder that is looked at.
import fc from 'fast-check';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { BookRow } from '../../src/core/book.ts';
import { compareBytes } from '../../src/core/order.ts';
import { sortRows, type SortedRows } from '../../src/sources/sorted-rows.ts';
import { cases } from '../_util/cases.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trueup-sort-'));
});
afterEach(async () => expect(await readdir(folder)).toEqual([]));
afterAll(() => rm(folder, { recursive: true }));

const word = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 4 }),
  fc.constantFrom('', '|', '\n', '\u001f', 'é', '\u{1f600}'),
);
const text = word.filter((each) => !each.includes('\0') && each.isWellFormed());
const absent = fc.option(text.filter((each) => each !== ''));
const row: fc.Arbitrary<BookRow> = fc.record({
  rowId: text,
  key: text,
  account: text,
  asset: text,
  amount: fc.bigInt({ min: -(2n ** 127n), max: 2n ** 127n - 1n }),
  kind: absent,
  counterparty: absent,
  status: absent,
  subAccount: absent,
  occurredAt: fc.option(fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('2100-01-01') })),
  ledger: fc.option(fc.nat(2 ** 31 - 1)),
  retracted: fc.constant(false),
});

async function* batchesOf(rows: readonly BookRow[], size = 3): AsyncGenerator<BookRow[]> {
  for (let at = 0; at < rows.length; at += size) yield rows.slice(at, at + size);
}
async function all(sorted: SortedRows, keys?: { from: string | null; to: string | null }): Promise<BookRow[]> {
  const found: BookRow[] = [];
  for await (const rows of sorted.rows(keys)) found.push(...rows);
  return found;
}
const inOrder = (rows: readonly BookRow[]): BookRow[] =>
  rows.toSorted((a, b) => compareBytes(a.key, b.key) || compareBytes(a.rowId, b.rowId));

test('rows come back as they were, in byte order, whatever their texts, ranges and the size of a run', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { maxLength: 40 }),
      fc.integer({ min: 1, max: 9 }),
      fc.option(text),
      fc.option(text),
      async (rows, maxRowsInMemory, from, to) => {
        const sorted = await sortRows(batchesOf(rows), folder, {
          maxRowsInMemory,
          maxRunFiles: 50,
          maxSpillBytes: 1e9,
        });
        try {
          expect(await all(sorted)).toEqual(inOrder(rows));
          const isInside = ({ key }: BookRow): boolean =>
            (from === null || compareBytes(key, from) >= 0) && (to === null || compareBytes(key, to) < 0);
          expect(await all(sorted, { from, to })).toEqual(inOrder(rows.filter(isInside)));
          const wanted = [...new Set(rows.slice(0, 5).map((each) => each.key)), 'nowhere'].sort(compareBytes);
          expect(await sorted.rowsByKeys(wanted)).toEqual(inOrder(rows.filter(({ key }) => wanted.includes(key))));
        } finally {
          await sorted.close();
        }
      },
    ),
    cases(150),
  );
});

test('many rows are found by key across blocks and runs', async () => {
  const rows = Array.from({ length: 5_000 }, (_, i): BookRow => ({
    rowId: `r${i}`,
    key: `key-${(i * 7919) % 2_500}`,
    account: 'GA',
    asset: 'native',
    amount: BigInt(i),
    kind: null,
    counterparty: null,
    status: null,
    subAccount: null,
    occurredAt: null,
    ledger: null,
    retracted: false,
  }));
  const sorted = await sortRows(batchesOf(rows, 100), folder, {
    maxRowsInMemory: 700,
    maxRunFiles: 50,
    maxSpillBytes: 1e9,
  });
  // A file that is open has no name any more: a process that is killed leaves nothing.
  expect(await readdir(folder)).toEqual([]);
  expect(await all(sorted)).toEqual(inOrder(rows));
  const wanted = ['key-0', 'key-1249', 'key-2499', 'key-9999'];
  expect(await sorted.rowsByKeys(wanted)).toEqual(inOrder(rows.filter(({ key }) => wanted.includes(key))));
  await sorted.close();
});

test('too many runs or bytes are refused by name, not taken', async () => {
  const rows = Array.from({ length: 100 }, (_, i) => ({
    ...fc.sample(row, { numRuns: 1, seed: i })[0]!,
    key: String(i),
  }));
  const limits = { maxRowsInMemory: 10, maxRunFiles: 50, maxSpillBytes: 1e9 };
  await expect(sortRows(batchesOf(rows), folder, { ...limits, maxRunFiles: 4 })).rejects.toMatchObject({
    reason: 'TOO_MANY_ROWS',
    message: expect.stringContaining('more than 4 run files') as string,
  });
  await expect(sortRows(batchesOf(rows), folder, { ...limits, maxSpillBytes: 100 })).rejects.toMatchObject({
    message: expect.stringContaining('more than 100 bytes') as string,
  });
});
