// Goal: entries are written once, whoever wrote some of them before, and come back as they were. Method: batches that overlap, larger than
// one statement, inside one transaction of the caller.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Entry } from '../../src/core/entry.ts';
import { entriesOfRange, insertEntries, type EntryToStore } from '../../src/store/entries.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';

const STREAM = 1;
const SOURCE = 1;

describe('entries in bulk', () => {
  let test: TestDatabase;
  beforeAll(async () => void (test = await createTestDatabase()));
  afterAll(() => test.drop());

  const write = (rows: readonly EntryToStore[]): Promise<number> =>
    test.db.em().transactional((em) => insertEntries(em, STREAM, SOURCE, rows));

  it('are counted when they are new, and left as they are when they are there', async () => {
    expect(await write(rowsOf(0, 1_500))).toBe(1_500);
    const before = await entriesOfRange(test.db.em(), STREAM, 'operations', { from: 1, to: 2 }, null);
    // The first of them is there already, and so is one of a later statement.
    expect(await write(rowsOf(1_000, 8_000))).toBe(6_500);
    expect(await write(rowsOf(0, 8_000))).toBe(0);
    const after = await entriesOfRange(test.db.em(), STREAM, 'operations', { from: 1, to: 2 }, null);
    expect(after).toHaveLength(8_000);
    expect(sorted(after).slice(0, 1_500)).toEqual(sorted(before));
  });

  it('come back field by field, whatever a memo says', async () => {
    const odd: Entry = {
      ...entryAt(0),
      ledger: 9,
      subAccount: '{"a",\\ NULL}',
      subAccountType: 'memo_text',
      txHash: null,
    };
    const failed: Entry = {
      ...entryAt(1),
      ledger: 9,
      status: 'failed',
      resultCode: 'op_no_trust',
      amount: -(2n ** 127n),
    };
    expect(await write([odd, failed].map((entry) => ({ entry, closeTime: 0 })))).toBe(2);
    const stored = await entriesOfRange(test.db.em(), STREAM, 'operations', { from: 9, to: 10 }, null);
    expect(sorted(stored)).toEqual([odd, failed]);
  });
});

function rowsOf(from: number, to: number): EntryToStore[] {
  return Array.from({ length: to - from }, (_, i) => ({ entry: entryAt(from + i), closeTime: 1_700_000_000 }));
}

function entryAt(index: number): Entry {
  return {
    ledger: 1,
    txIndex: index,
    opIndex: 1,
    leg: 0,
    layer: 'operations',
    txHash: index.toString(16).padStart(64, '0'),
    account: `G${index}`,
    asset: 'native',
    amount: BigInt(index),
    kind: 'payment',
    counterparty: null,
    status: 'success',
    resultCode: null,
    subAccount: null,
    subAccountType: null,
  };
}

function sorted(entries: readonly Entry[]): Entry[] {
  return [...entries].sort((a, b) => a.txIndex - b.txIndex);
}
