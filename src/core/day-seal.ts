// Seals of two sides that both are immutable: a day of UTC on which their rows are the same is not read again. Pure.
//
// Rows belong to the day of their own time on either side; those without a time belong to none, and are read by each run.
import { equalDigests, type Digest } from './digest.ts';
import type { Policy } from './policy.ts';
import { skipSealed, type Skipped, type TimeSpan } from './seal.ts';

export const DAY_MS = 86_400_000;

export interface AgreedDay {
  /** Since 1970-01-01. */
  readonly day: number;
  /** On each side. */
  readonly rows: number;
}

export function spanOfDay(day: number): TimeSpan {
  return { fromMs: day * DAY_MS - 1, toMs: (day + 1) * DAY_MS - 1 };
}

/** Days that have ended, and on which neither side may still be missing anything. */
export function agreedDays(
  ledger: ReadonlyMap<number, Digest>,
  book: ReadonlyMap<number, Digest>,
  { grace, lookaroundMs }: Pick<Policy, 'grace' | 'lookaroundMs'>,
  cutAtMs: number,
): AgreedDay[] {
  const closedMs = cutAtMs - Math.max(grace.missingInDbMs, grace.missingOnLedgerMs, lookaroundMs);
  return [...ledger].flatMap(([day, digest]) => {
    const other = book.get(day);
    const agrees = other !== undefined && equalDigests(digest, other) && spanOfDay(day).toMs < closedMs;
    return agrees ? [{ day, rows: digest.count }] : [];
  });
}

/** What is left out of both sides, and counted for it. */
export function skipDays(days: readonly AgreedDay[]): Skipped {
  const seals = days.map(({ day, rows }) => ({
    ...spanOfDay(day),
    from: day,
    to: day + 1,
    state: 'sealed' as const,
    fingerprint: '',
    tally: { ledgerRecords: rows, bookRecords: rows, matched: rows },
    detail: null,
  }));
  return { ...skipSealed(seals.sort((a, b) => a.from - b.from)), ledgers: [] };
}
