// Where a policy's sides live in PostgreSQL, their servers say what is equal, and only what differs is read; the rows of a file are
// hashed here meanwhile.
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
  /** What it compares and only one of them may have; see DigestRequest. */
  readonly unhashed: readonly string[];
}

export interface RowsThatDiffer {
  readonly ledger: (signal: AbortSignal) => AsyncIterable<readonly BookRow[]>;
  readonly book: (signal: AbortSignal) => AsyncIterable<readonly BookRow[]>;
  /** Rows of each side that agree and were not read, once the others were. */
  equalRows(read: { readonly ledger: number; readonly book: number }): number;
}

/** Null: the sides can't be compared by digests. */
export function digestedSides(policy: Policy, ledger: RowSide, book: RowSide): DigestedSides | null {
  if (!isDigested(ledger) || !isDigested(book)) return null;
  const shared = sharedColumns(ledger, book);
  if (shared === null) return null;
  const columns = shared.filter((name) => isCompared(policy, name));
  const unhashed = OPTIONAL_COLUMNS.filter((name) => isCompared(policy, name) && !columns.includes(name));
  return { ledger, book, columns, unhashed };
}

/** Beside the times that are left out; null where nearly everything differs: then both are read whole, in order. */
export async function rowsThatDiffer(
  { ledger, book, columns, unhashed }: DigestedSides,
  except: readonly TimeSpan[],
  signal: AbortSignal,
): Promise<RowsThatDiffer | null> {
  const seeds = drawSeeds();
  const [left, right] = [ledger, book].map((side) =>
    side.digests({ seeds, mark: drawMark(), columns, unhashed, times: { except } }),
  ) as [DigestSide, DigestSide];
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
