// What makes two arrivals of a book row the same row.
import { hash } from 'node:crypto';

/**
 * The part of a derived row id that rows of one key, account, sub-account and asset share.
 *
 * A row that arrives without an id is the n-th of its key, account, sub-account and asset within its file, call or stream.
 * So two equal rows in one file are two rows (a duplicate can be seen), the same file read again is the same rows
 * (a no-op), and a corrected amount is a new revision of the row it corrects. The amount and its sign are left out
 * on purpose: a correction would otherwise leave the wrong row standing beside the right one. What follows: a
 * caller whose key can carry several rows of one account and asset sends them in one call, or sends row ids.
 */
export function deriveRowIdBase(row: {
  key: string;
  account: string;
  subAccount: string | null;
  asset: string;
}): string {
  const text = JSON.stringify([row.key, row.account, row.subAccount, row.asset]);
  return `~${hash('sha256', text, 'base64url').slice(0, 22)}`;
}

/** The id of the `occurrence`-th row (from 1) of a base. The SQL that commits an import builds the same text. */
export function derivedRowId(base: string, occurrence: number): string {
  return `${base}.${occurrence}`;
}

/** Counts bases in the order in which rows arrive; `full` tells when it holds as many as it may. */
export function createOccurrenceCounter(maxBases: number): { next(base: string): number; readonly full: boolean } {
  const counts = new Map<string, number>();
  return {
    next(base) {
      const occurrence = (counts.get(base) ?? 0) + 1;
      counts.set(base, occurrence);
      return occurrence;
    },
    get full() {
      return counts.size >= maxBases;
    },
  };
}
