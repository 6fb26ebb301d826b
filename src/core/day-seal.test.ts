import { describe, expect, it } from 'vitest';
import { agreedDays, DAY_MS, skipDays } from './day-seal.ts';
import { POLICY_DEFAULTS } from './policy.ts';

const digest = (count: number, sum = 1n) => ({ count, sum1: sum, sum2: sum });
const agreed = (ledger: Parameters<typeof agreedDays>[0], book: typeof ledger, cutAtMs: number) =>
  agreedDays(ledger, book, POLICY_DEFAULTS, cutAtMs).map(({ day }) => day);

describe('agreedDays', () => {
  const LATE = 100 * DAY_MS;

  it('are those of which both sides have the same', () => {
    const ledger = new Map([1, 2, 3, 4].map((day) => [day, digest(5)]));
    const book = new Map([
      [1, digest(5)],
      [2, digest(5, 2n)],
      [3, digest(4)],
      [5, digest(5)],
    ]);
    expect(agreed(ledger, book, LATE)).toEqual([1]);
  });

  it('have ended longer ago than any grace and the lookaround', () => {
    const day = new Map([[1, digest(5)]]);
    const end = 2 * DAY_MS + POLICY_DEFAULTS.lookaroundMs;
    expect([agreed(day, day, end - 1), agreed(day, day, end)]).toEqual([[], [1]]);
  });
});

describe('skipDays', () => {
  it('leaves neighbours out as one stretch, from midnight to midnight, and counts each row once', () => {
    const { times, tally } = skipDays([
      { day: 3, rows: 2 },
      { day: 1, rows: 5 },
      { day: 2, rows: 1 },
    ]);
    expect(times).toEqual([{ fromMs: DAY_MS - 1, toMs: 4 * DAY_MS - 1 }]);
    expect(tally).toEqual({ ledgerRecords: 8, bookRecords: 8, matched: 8 });
  });
});
