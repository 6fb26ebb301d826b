// Goal: what a run leaves out is exactly what its seals stand for, and no chunk is sealed in which anything else than agreement was seen.
import { describe, expect, it } from 'vitest';
import type { Finding, Item } from './match.ts';
import { ChunkTallies, isSkippedLedger, isSkippedTime, skipSealed, type Seal } from './seal.ts';

/** Chunks of 64 ledgers, five seconds a ledger; a row of a chunk's time lies after the close before it, through its own last. */
const sealAt = (chunk: number, state: Seal['state'] = 'sealed'): Seal => ({
  from: chunk * 64,
  to: chunk * 64 + 64,
  fromMs: chunk * 320_000,
  toMs: (chunk + 1) * 320_000,
  state,
  fingerprint: 'f',
  tally: { ledgerRecords: 3, bookRecords: 2, matched: 1 },
  detail: null,
});

const itemAt = (given: Partial<Item>): Item => ({
  account: 'GA',
  asset: 'native',
  amount: 1n,
  kind: null,
  status: null,
  counterparty: null,
  subAccount: null,
  atMs: null,
  ledger: null,
  txHash: null,
  rowIds: [],
  ...given,
});

const findingOf = (ledger: Item | null, book: Item | null): Finding =>
  ({ occurrence: 0, kinds: [], fields: [], ledger, book, bookPending: false }) as unknown as Finding;

describe('what is left out', () => {
  it('is one stretch of neighbouring chunks, counted as often as they were sealed', () => {
    const skipped = skipSealed([sealAt(1), sealAt(2), sealAt(5)]);
    expect(skipped.ledgers).toEqual([
      { from: 64, to: 192 },
      { from: 320, to: 384 },
    ]);
    expect(skipped.tally).toEqual({ ledgerRecords: 9, bookRecords: 6, matched: 3 });
  });

  it('ends before the first ledger and after the last moment of each stretch', () => {
    const skipped = skipSealed([sealAt(1)]);
    expect([63, 64, 127, 128, null].map((ledger) => isSkippedLedger(skipped, ledger))).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
    expect([320_000, 320_001, 640_000, 640_001, null].map((atMs) => isSkippedTime(skipped, atMs))).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
  });

  it('keeps the longest stretches where there are too many, and counts no other', () => {
    const lonely = Array.from({ length: 60 }, (_, i) => sealAt(2 * i + 1));
    const skipped = skipSealed([...lonely, sealAt(200), sealAt(201)]);
    expect(skipped.ledgers).toHaveLength(50);
    expect(skipped.ledgers).toContainEqual({ from: 200 * 64, to: 202 * 64 });
    expect(skipped.tally.matched).toBe(51);
  });
});

describe('chunks that a run saw', () => {
  const pending = [sealAt(1, 'pending'), sealAt(2, 'pending'), sealAt(4, 'pending')];
  const agreed = (see: (tallies: ChunkTallies) => void): number[] => {
    const tallies = new ChunkTallies(pending);
    see(tallies);
    return tallies.agreed().map((each) => each.from);
  };

  it('are counted where the entry lies, and by the time of the row', () => {
    const tallies = new ChunkTallies(pending);
    const [leg, row] = [itemAt({ ledger: 128 }), itemAt({ atMs: 640_000 })];
    tallies.ledgerRecord(leg);
    tallies.bookRecord(row);
    tallies.matched(findingOf(leg, row));
    expect(tallies.agreed()).toMatchObject([
      { from: 64, tally: { ledgerRecords: 0, bookRecords: 1, matched: 0 } },
      { from: 128, tally: { ledgerRecords: 1, bookRecords: 0, matched: 1 } },
      { from: 256, tally: { ledgerRecords: 0, bookRecords: 0, matched: 0 } },
    ]);
  });

  it('stay open where anything but agreement lies in them, by its ledger or its time', () => {
    expect(agreed(() => undefined)).toEqual([64, 128, 256]);
    expect(agreed((t) => t.spoil(findingOf(itemAt({ ledger: 130 }), null)))).toEqual([64, 256]);
    expect(agreed((t) => t.spoil(findingOf(null, itemAt({ atMs: 320_001 }))))).toEqual([128, 256]);
    expect(agreed((t) => t.spoil(findingOf(itemAt({ ledger: 64 }), itemAt({ atMs: 1_280_001 }))))).toEqual([128]);
    expect(agreed((t) => t.spoil(findingOf(null, itemAt({ atMs: 1_000_000 }))))).toEqual([64, 128, 256]);
  });

  it('stay open where a row names a ledger of another chunk than its time does', () => {
    expect(agreed((t) => t.bookRecord(itemAt({ atMs: 320_001, ledger: 70 })))).toEqual([64, 128, 256]);
    expect(agreed((t) => t.bookRecord(itemAt({ atMs: 320_001, ledger: 130 })))).toEqual([256]);
    expect(agreed((t) => t.bookRecord(itemAt({ ledger: 130 })))).toEqual([64, 256]);
  });
});
