// Where a policy's sides live in PostgreSQL, their servers say what is equal, and only what differs is read; the rows of a file are
// hashed here meanwhile.
//
// Equal hashes mean equal columns, and equal columns agree by every rule. What differs is compared by the policy's own rules, so a
// tolerance or a status map costs reading, never an answer.
import type { BookRow } from '../core/book.ts';
import type { Policy } from '../core/policy.ts';
import type { RowSide } from '../core/row-side.ts';
import { isDigested, type DigestedSide, type DigestSide } from '../sources/side-digest.ts';
import { compareDigests, drawMark, drawSeeds, equalRowsOf } from './run-digest.ts';

export interface RowsThatDiffer {
  readonly ledger: (signal: AbortSignal) => AsyncIterable<readonly BookRow[]>;
  readonly book: (signal: AbortSignal) => AsyncIterable<readonly BookRow[]>;
  /** Rows of each side that agree and were not read, once the others were. */
  equalRows(read: { readonly ledger: number; readonly book: number }): number;
}

/** Null: the sides can't say, or nearly everything differs: then both are read whole, in order. */
export async function rowsThatDiffer(
  policy: Policy,
  ledger: RowSide,
  book: RowSide,
  signal: AbortSignal,
): Promise<RowsThatDiffer | null> {
  if (!isDigested(ledger) || !isDigested(book)) return null;
  const shared = sharedColumns(ledger, book);
  if (shared === null) return null;
  const columns = shared.filter((name) => isCompared(policy, name));
  const unhashed = OPTIONAL_COLUMNS.filter((name) => isCompared(policy, name) && !columns.includes(name));
  const seeds = drawSeeds();
  const [left, right] = [ledger, book].map((side) => side.digests(seeds, drawMark(), columns, unhashed)) as [
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

/** Null: both sides' rows would be hashed here, or they don't have the same columns. */
function sharedColumns({ hashable: left }: DigestedSide, { hashable: right }: DigestedSide): readonly string[] | null {
  if (left === 'any') return right === 'any' ? null : right;
  return right === 'any' || left.join() === right.join() ? left : null;
}

const OPTIONAL_COLUMNS = ['kind', 'counterparty', 'status', 'sub_account', 'occurred_at'];

/** What no rule asks for may differ. Account, asset and amount also say which rows belong together. */
function isCompared({ exact, timeToleranceMs }: Policy, column: string): boolean {
  if (column === 'occurred_at') return timeToleranceMs !== null;
  return !OPTIONAL_COLUMNS.includes(column) || exact.some((field) => field === column);
}

async function* noRows(): AsyncGenerator<readonly BookRow[]> {}
