// Where two sides of a policy live in PostgreSQL, their servers say what is equal, and only what differs is read.
//
// Equal hashes mean equal columns, and equal columns agree by every rule. What differs is compared by the policy's own rules, so a
// tolerance or a status map costs reading, never an answer.
import type { BookRow } from '../core/book.ts';
import type { Policy } from '../core/policy.ts';
import type { RowSide } from '../core/row-side.ts';
import type { TimeSpan } from '../core/seal.ts';
import { isDigested, type DigestedSide, type DigestSide } from '../sources/side-digest.ts';
import { compareDigests, drawMark, drawSeeds, equalRowsOf } from './run-digest.ts';

export interface DigestedSides {
  readonly ledger: DigestedSide;
  readonly book: DigestedSide;
  /** What the policy compares of both. */
  readonly columns: readonly string[];
}

export interface RowsThatDiffer {
  readonly ledger: (signal: AbortSignal) => AsyncIterable<readonly BookRow[]>;
  readonly book: (signal: AbortSignal) => AsyncIterable<readonly BookRow[]>;
  /** Rows of each side that agree and were not read, once the others were. */
  equalRows(read: { readonly ledger: number; readonly book: number }): number;
}

/** Null: the sides can't be compared by digests. */
export function digestedSides(policy: Policy, ledger: RowSide, book: RowSide): DigestedSides | null {
  if (!isDigested(ledger) || !isDigested(book) || ledger.hashable.join() !== book.hashable.join()) return null;
  return { ledger, book, columns: ledger.hashable.filter((name) => isCompared(policy, name)) };
}

/** Beside the times that are left out; null where nearly everything differs: then both are read whole, in order. */
export async function rowsThatDiffer(
  { ledger, book, columns }: DigestedSides,
  except: readonly TimeSpan[],
  signal: AbortSignal,
): Promise<RowsThatDiffer | null> {
  const seeds = drawSeeds();
  const [left, right] = [ledger, book].map((side) => side.digests(seeds, drawMark(), columns, { except })) as [
    DigestSide,
    DigestSide,
  ];
  const outcome = await compareDigests({ left, right }, signal);
  if (outcome.kind === 'most') return null;
  if (outcome.kind === 'equal') return { ledger: noRows, book: noRows, equalRows: () => outcome.rows };
  const { all, choice } = outcome;
  const chosen = (side: DigestedSide, digests: DigestSide) => (ending: AbortSignal) =>
    side.chosen(digests, choice, ending);
  return {
    ledger: chosen(ledger, left),
    book: chosen(book, right),
    equalRows: (read) => equalRowsOf(all, { left: read.ledger, right: read.book }),
  };
}

/** What no rule asks for may differ. Account, asset and amount also say which rows belong together. */
function isCompared({ exact, timeToleranceMs }: Policy, column: string): boolean {
  if (column === 'occurred_at') return timeToleranceMs !== null;
  const isOptional = ['kind', 'counterparty', 'status', 'sub_account'].includes(column);
  return !isOptional || exact.some((field) => field === column);
}

async function* noRows(): AsyncGenerator<readonly BookRow[]> {}
