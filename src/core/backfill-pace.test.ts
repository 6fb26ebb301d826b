// Goal: shares are cut where chunks of coverage end, their size finds the second it aims at, and the estimate says how wrong it may be.
// Method: fixed cases, and ranges and speeds at random.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import {
  afterFailure,
  estimateEta,
  FIRST_PIECE_LEDGERS,
  halvedPieceSize,
  leaseEnd,
  limitedPieceSize,
  MAX_PIECE_LEDGERS,
  nextPieceSize,
  stallOf,
  unitsOf,
  type StallFacts,
} from './backfill-pace.ts';
import { splitByChunk } from './coverage.ts';
import { TrueUpError } from './errors.ts';

const ranges = fc
  .record({ from: fc.integer({ min: 1, max: 1_000_000 }), length: fc.integer({ min: 1, max: 20_000 }) })
  .map(({ from, length }) => ({ from, to: from + length }));

describe('a share', () => {
  it('ends with the range or on a multiple of 64, is never empty, and together all cover the range', () => {
    fc.assert(
      fc.property(ranges, fc.double({ min: 1, max: 9_000, noNaN: true }), (range, size) => {
        let pieces = 0;
        for (let from = range.from; from < range.to;) {
          const to = leaseEnd({ from, to: range.to }, size);
          expect(to).toBeGreaterThan(from);
          expect(to === range.to || to % 64 === 0).toBe(true);
          expect(to - from).toBeLessThanOrEqual(Math.max(64, size));
          pieces += unitsOf([{ from, to }]);
          from = to;
        }
        expect(pieces).toBe(unitsOf([range]));
      }),
      cases(60),
    );
  });

  it('counts in chunks of 64 as coverage does', () => {
    fc.assert(
      fc.property(ranges, (range) => {
        expect(unitsOf([range])).toBe(splitByChunk(range).length);
      }),
      cases(200),
    );
    expect(unitsOf([{ from: 5, to: 5 }])).toBe(0);
  });
});

describe('the size of a piece', () => {
  it('comes to about a second a commit from either side and stays there', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.5, max: 40, noNaN: true }), (msPerLedger) => {
        let size: number = FIRST_PIECE_LEDGERS;
        const seen: number[] = [];
        for (let i = 0; i < 60; i++) seen.push((size = nextPieceSize(size, size * msPerLedger)) * msPerLedger);
        for (const ms of seen.slice(-20)) {
          expect(ms).toBeGreaterThan(450);
          expect(ms).toBeLessThanOrEqual(1_200);
        }
      }),
      cases(200),
    );
  });

  it('keeps its bounds, and is halved by a timeout down to a single ledger', () => {
    let size: number = FIRST_PIECE_LEDGERS;
    for (let i = 0; i < 100; i++) size = nextPieceSize(size, 1);
    expect(size).toBe(MAX_PIECE_LEDGERS);
    for (let i = 0; i < 30; i++) size = halvedPieceSize(size);
    expect(size).toBe(1);
  });
});

describe('a job with limits of its own', () => {
  it('takes about what a second allows, and a ledger at least', () => {
    const limits = { ledgersPerSecond: null, requestsPerSecond: null, concurrency: 0, batchSize: 0 };
    expect(limitedPieceSize(limits, 64)).toBe(Infinity);
    expect(limitedPieceSize({ ...limits, ledgersPerSecond: 20 }, 64)).toBe(20);
    expect(limitedPieceSize({ ...limits, requestsPerSecond: 2, ledgersPerSecond: 500 }, 64)).toBe(128);
    expect(limitedPieceSize({ ...limits, requestsPerSecond: 0.001 }, 64)).toBe(1);
  });
});

describe('the estimate', () => {
  it('is of the last minute, and as uncertain as the spans disagree', () => {
    expect(estimateEta(6_000, { last10s: 50, last1m: 100, life: 120 })).toEqual({
      etaMs: 60_000,
      uncertaintyMs: 60_000,
    });
    expect(estimateEta(6_000, { last10s: 100, last1m: 100, life: 100 })).toEqual({
      etaMs: 60_000,
      uncertaintyMs: 3_000,
    });
    expect(estimateEta(6_000, { last10s: null, last1m: null, life: 100 })).toEqual({
      etaMs: 60_000,
      uncertaintyMs: 12_000,
    });
  });

  it('is absent where nothing was measured, and nothing where nothing is left', () => {
    expect(estimateEta(10, { last10s: null, last1m: null, life: null })).toBeNull();
    expect(estimateEta(10, { last10s: 0, last1m: 0, life: 0 })).toBeNull();
    expect(estimateEta(0, { last10s: null, last1m: null, life: null })).toEqual({ etaMs: 0, uncertaintyMs: 0 });
  });
});

describe('a stall', () => {
  const at = (seconds: number): Date => new Date(1_700_000_000_000 + seconds * 1_000);
  const facts: StallFacts = {
    state: 'running',
    now: at(100),
    stateSince: at(0),
    movedAt: at(99),
    workers: 1,
    writing: false,
    decodeShare: 0,
    sourceAsked: false,
  };

  it.each([
    ['none while something moved lately', {}, null],
    ['the source', { movedAt: at(90) }, { cause: 'fetch', since: at(90) }],
    ['decoding', { movedAt: at(90), decodeShare: 0.9 }, { cause: 'decode', since: at(90) }],
    ['the database', { movedAt: at(90), writing: true }, { cause: 'write', since: at(90) }],
    ['no worker', { movedAt: null, workers: 0 }, { cause: 'no_worker', since: at(0) }],
    ['its own limits', { state: 'throttled' as const }, { cause: 'throttled', since: at(0) }],
    ["the source's limits", { state: 'throttled' as const, sourceAsked: true }, { cause: 'rate_limit', since: at(0) }],
    ['a pause', { state: 'paused' as const }, { cause: 'paused', since: at(0) }],
    ['none at the end', { state: 'succeeded' as const, movedAt: null, workers: 0 }, null],
  ])('has a cause: %s', (_name, change, stall) => {
    expect(stallOf({ ...facts, ...change })).toEqual(stall);
  });
});

describe('a failure', () => {
  it('waits as long as the source asks for, longer each time, and says blocked after three', () => {
    const limited = new TrueUpError('SOURCE_RATE_LIMITED', 'slow down', { retryAfterMs: 7_000 });
    expect(afterFailure(limited, 0, 0)).toEqual({ kind: 'retry', delayMs: 7_000, state: 'throttled' });
    const away = new TrueUpError('SOURCE_UNAVAILABLE', 'away');
    expect([0, 1, 2, 50].map((failures) => afterFailure(away, failures, 1))).toEqual([
      { kind: 'retry', delayMs: 500, state: null },
      { kind: 'retry', delayMs: 1_000, state: null },
      { kind: 'retry', delayMs: 2_000, state: 'blocked' },
      { kind: 'retry', delayMs: 30_000, state: 'blocked' },
    ]);
  });

  it('that waiting cannot mend ends the job; a fault of our own is tried five times', () => {
    expect(afterFailure(new TrueUpError('ENTRY_CONFLICT', 'other content'), 0, 0)).toEqual({ kind: 'fail' });
    const fault = new Error('a fault');
    expect([0, 3, 4].map((failures) => afterFailure(fault, failures, 0).kind)).toEqual(['retry', 'retry', 'fail']);
  });
});
