// The book: the internal side. What a row is, and how the reconciliation reads it wherever it is kept.
import type { RowSide } from './row-side.ts';

export { bookLevelOf, bookProblemsOf, checkBookColumns, parseBookBalance, parseBookRow } from './book-columns.ts';
export type { BookProblem, BookProblemCode } from './book-fields.ts';
export { formatBookRow } from './book-format.ts';
export { createOccurrenceCounter, deriveRowIdBase, derivedRowId } from './book-identity.ts';
export { inferJoin } from './book-join.ts';
export type { InferredJoin } from './book-join.ts';

/** A movement as the business wrote it. */
export interface BookRow {
  /** The book's own id of the row, or one derived by core/book-identity.ts. */
  readonly rowId: string;
  /** Transaction hash, hash:operation, Horizon operation id, or an id of the business's own; '' only with a sub-account. */
  readonly key: string;
  /** G..., C..., B... or L...; an M... address was split into G... and its sub-account. */
  readonly account: string;
  /** `native`, CODE:ISSUER or C.... */
  readonly asset: string;
  /** Minor units, signed from the account's point of view: a credit is above 0, a debit below. */
  readonly amount: bigint;
  /** Lower case; null: not said, and not compared. So for all that follow. */
  readonly kind: string | null;
  readonly counterparty: string | null;
  /** The book's own word in lower case; a policy's statusMap gives it a meaning. */
  readonly status: string | null;
  readonly subAccount: string | null;
  readonly occurredAt: Date | null;
  readonly ledger: number | null;
  /** Taken back; never handed to a reconciliation. */
  readonly retracted: boolean;
}

/** A row as it arrives: its id may still have to be derived, and a retraction needs no amount. */
export interface BookRowInput extends Omit<BookRow, 'rowId' | 'amount'> {
  readonly rowId: string | null;
  /** Null only where `retracted`. */
  readonly amount: bigint | null;
}

export interface BookBalance {
  readonly account: string;
  readonly asset: string;
  /** Minor units. */
  readonly amount: bigint;
  /** Ledger at whose close the balance held; 0: not said, and taken as of the cut. */
  readonly asOfLedger: number;
}

export interface BookPair {
  readonly account: string;
  readonly asset: string;
}

export type BookLevel = 'entries' | 'balances';

/** A book at one moment: a side whose rows can be told by account and asset, and that may state balances. */
export interface BookSide extends RowSide {
  /** The moment of this snapshot, for `open`; absent where the book can't be read again as it is now. */
  readonly position?: string;
  /** The distinct account and asset pairs, in byte order; more than maxScopePairs is an error that names the fix. */
  pairs(signal: AbortSignal): Promise<readonly BookPair[]>;
  /**
   * One balance for each pair, in byte order of account, then asset: the one stated as of the newest ledger that is
   * at or below the cut, else the one stated without a ledger.
   */
  balances(query: { cutLedger: number }, signal: AbortSignal): AsyncIterable<readonly BookBalance[]>;
  /** Up to `count` distinct non-empty keys, the latest rows first where the book tells time. */
  sampleKeys(count: number, signal: AbortSignal): Promise<readonly string[]>;
}

/** A book that can be opened: once for each run. */
export interface Book {
  /** `position`: rows of entries as they were at that moment, which a snapshot of this book had. */
  open(level: BookLevel, signal: AbortSignal, position?: string): Promise<BookSide>;
}
