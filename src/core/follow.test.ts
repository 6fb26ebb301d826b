// Goal: the follower's decisions hold where networks misbehave. Method: properties for lag and ranges, a table for the status.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Entry } from './entry.ts';
import { checkBatch, lagLedgers, nextRead, syncStatus, type SyncFacts } from './follow.ts';
import type { LedgerBatch, LedgerRange, LedgerRecord } from './ledger.ts';

const ledger = fc.integer({ min: 1, max: 2 ** 31 - 1 });
const end = fc.option(ledger, { nil: null });

describe('lag', () => {
  it('is never negative, whatever the tip says', () => {
    fc.assert(fc.property(ledger, ledger, end, (tip, next, last) => lagLedgers(tip, next, last) >= 0));
    expect(lagLedgers(90, 101, null)).toBe(0);
    expect(lagLedgers(110, 101, null)).toBe(10);
    expect(lagLedgers(110, 101, 100)).toBe(0);
  });
});

describe('the next read', () => {
  it('begins at the checkpoint, stays below the tip and the end, and within one span', () => {
    fc.assert(
      fc.property(ledger, ledger, end, fc.integer({ min: 1, max: 4096 }), (next, tip, last, span) => {
        const range = nextRead(next, tip, last, span);
        const through = Math.min(tip, last ?? tip);
        if (range === null) {
          expect(next).toBeGreaterThan(through);
          return;
        }
        expect(range.from).toBe(next);
        expect(range.to).toBeGreaterThan(range.from);
        expect(range.to - range.from).toBeLessThanOrEqual(span);
        expect(range.to - 1).toBeLessThanOrEqual(through);
      }),
    );
  });

  it("meets the source's own files after the first", () => {
    expect(nextRead(1, 1000, null, 64)).toEqual({ from: 1, to: 64 });
    expect(nextRead(64, 1000, null, 64)).toEqual({ from: 64, to: 128 });
    expect(nextRead(70, 100, null, 64)).toEqual({ from: 70, to: 101 });
    expect(nextRead(101, 100, null, 64)).toBeNull();
    expect(nextRead(50, 100, 49, 64)).toBeNull();
  });
});

describe('the sync status', () => {
  const [early, late] = [new Date(1000), new Date(2000)];
  const facts = (more: Partial<SyncFacts>): SyncFacts => ({
    diverged: false,
    tip: 100,
    nextLedger: 101,
    endLedger: null,
    processedLedgers: 5n,
    unreadableRanges: 0,
    lastSuccessAt: late,
    lastErrorAt: null,
    ...more,
  });
  const table: [string, Partial<SyncFacts>, string][] = [
    ['before the source has answered', { tip: null, lastSuccessAt: null }, 'starting'],
    ['before the stream is open', { nextLedger: null }, 'starting'],
    ['before a first ledger, far from the tip', { nextLedger: 1, processedLedgers: 0n }, 'starting'],
    ['far behind the tip', { nextLedger: 50 }, 'catching_up'],
    ['three ledgers behind', { nextLedger: 98 }, 'catching_up'],
    ['two ledgers behind', { nextLedger: 99 }, 'synced'],
    ['at the tip', {}, 'synced'],
    ['at the end it was given', { nextLedger: 51, endLedger: 50 }, 'synced'],
    ['after an error that was overcome', { lastErrorAt: early }, 'synced'],
    ['while the last word is an error', { lastErrorAt: new Date(3000) }, 'degraded'],
    ['with an error and never a success', { lastErrorAt: early, lastSuccessAt: null, tip: null }, 'degraded'],
    ['with a range set apart', { unreadableRanges: 1 }, 'degraded'],
    ['on another history', { diverged: true }, 'degraded'],
  ];
  it.each(table)('%s', (_, more, expected) => {
    expect(syncStatus(facts(more))).toBe(expected);
  });
});

describe('a batch', () => {
  const record = (sequence: number, more: Partial<LedgerRecord> = {}): LedgerRecord => ({
    sequence,
    hash: `h${sequence}`,
    prevHash: `h${sequence - 1}`,
    closeTime: sequence,
    txCount: 0,
    entries: [],
    underived: [],
    ...more,
  });
  const batch = (range: LedgerRange, more: Partial<LedgerBatch> = {}): LedgerBatch => {
    const records = Array.from({ length: range.to - range.from }, (_, i) => record(range.from + i));
    return {
      range,
      layers: ['operations'],
      proof: 'chained',
      records,
      last: records.at(-1)!,
      bytesRead: 0,
      decodeMs: 0,
      ...more,
    };
  };
  const asked = { from: 10, to: 14 };
  const check =
    (given: LedgerBatch, lastHash: string | null = 'h9') =>
    () =>
      checkBatch(given, asked, lastHash);
  const records = batch(asked).records;

  it('passes when it is what was asked for and goes on from the checkpoint', () => {
    expect(check(batch(asked))).not.toThrow();
    expect(check(batch(asked), null)).not.toThrow();
    expect(check(batch(asked, { proof: 'provider-asserted', records: [record(12)] }), 'other')).not.toThrow();
  });

  const wrong: [string, LedgerBatch][] = [
    ['another range', batch({ from: 10, to: 13 })],
    ['a later range', batch({ from: 11, to: 15 })],
    ['a hole', batch(asked, { records: [records[0]!, records[2]!, records[3]!] })],
    ['no records', batch(asked, { records: [] })],
    ['an end that is missing', batch(asked, { records: records.slice(0, 3) })],
    ['a broken link', batch(asked, { records: [...records.slice(0, 2), record(12, { prevHash: 'x' }), records[3]!] })],
    ['a ledger twice', batch(asked, { proof: 'provider-asserted', records: [records[1]!, records[1]!] })],
    ['a ledger of another range', batch(asked, { proof: 'provider-asserted', records: [record(14)] })],
    ['the header of another ledger as its last', batch(asked, { last: record(14) })],
    ['another header of its last ledger', batch(asked, { last: record(13, { hash: 'x' }) })],
    [
      'an entry of another ledger',
      batch(asked, { records: [record(10, { entries: [{ ledger: 11 } as Entry] }), ...records.slice(1)] }),
    ],
  ];
  it.each(wrong)('with %s is corrupt', (_, given) => {
    expect(check(given)).toThrow(expect.objectContaining({ reason: 'SOURCE_CORRUPT' }));
  });

  it('of another history is diverged, not corrupt', () => {
    expect(check(batch(asked), 'other')).toThrow(expect.objectContaining({ reason: 'SOURCE_DIVERGED' }));
  });
});
