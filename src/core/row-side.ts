// A side that can be asked for its rows: in order of their key, for a range of keys, or by key. A book is one, and so is
// what a policy names in place of the stream.
import type { BookRow } from './book.ts';
import type { HashSeeds } from './row-hash.ts';
import type { TimeSpan } from './seal.ts';

/** Keys in byte order, from the first (inclusive) to the last (exclusive); null: no bound. */
export interface KeyRange {
  readonly from: string | null;
  readonly to: string | null;
}

export const ALL_KEYS: KeyRange = { from: null, to: null };

/** Those after one: keys hold no zero byte, so that the next one there can be ends in a one. */
export function keysAfter(key: string): KeyRange {
  return { from: `${key}\u0001`, to: null };
}

export interface RowQuery {
  /** Absent: every key. */
  readonly keys?: KeyRange;
  /** Inclusive. Rows without a time of their own are always included. */
  readonly occurredFrom?: Date;
  /** Exclusive. */
  readonly occurredTo?: Date;
  /** Times left out, in order and apart from each other; only of a side whose chunks can be sealed. */
  readonly except?: readonly TimeSpan[];
}

/** The rows that a query asks for, as a condition on their time: each stretch is a step along an index of it. */
export function timeCondition(column: string, { occurredFrom, occurredTo, except = [] }: RowQuery): string {
  if (occurredFrom === undefined && occurredTo === undefined && except.length === 0) return 'true';
  const afterEach = except.map((span) => new Date(span.toMs + 1));
  const atEach = except.map((span) => new Date(span.fromMs + 1));
  const stretches = [occurredFrom, ...afterEach].flatMap((from, i) => {
    const to = atEach[i] ?? occurredTo;
    if (from !== undefined && to !== undefined && from >= to) return [];
    const bounds = [from && `${column} >= '${from.toISOString()}'`, to && `${column} < '${to.toISOString()}'`];
    return [`(${bounds.filter((bound) => bound !== undefined).join(' and ') || 'true'})`];
  });
  return `(${[`${column} is null`, ...stretches].join(' or ')})`;
}

/**
 * Rows at one moment: everything read through it comes from one snapshot. Every method answers completely or throws
 * a TrueUpError (BOOK_UNREADABLE for whatever is wrong on the side); none turns a failure into emptiness.
 * Retracted rows are never handed over. "Byte order" is the order of UTF-8 bytes, PostgreSQL's collation "C".
 */
export interface RowSide extends AsyncDisposable {
  /** For people: which side, without credentials. */
  describe(): string;
  /** Another where other rows are asked for: the query, and where it is asked. Absent: the side's name says it all. */
  readonly identity?: string;
  /** Up to when the side states it is complete; null: it never did. */
  completeThrough(signal: AbortSignal): Promise<Date | null>;
  /** Rows in byte order of key, then of row id where the side gives ids of its own, in batches. */
  entries(query: RowQuery, signal: AbortSignal): AsyncIterable<readonly BookRow[]>;
  /** All rows with one of the keys, in the order of `entries`, whatever their time. */
  entriesByKeys(keys: readonly string[], signal: AbortSignal): Promise<readonly BookRow[]>;
  /** A digest of all its rows: a later snapshot with the same one has exactly the same rows. Absent: the side can't say. */
  content?(seeds: HashSeeds): Promise<string>;
  /** As `content`, of the rows of each span by their own time; spans are in order and apart. Absent: rows tell no time. */
  contentOfSpans?(seeds: HashSeeds, spans: readonly TimeSpan[]): Promise<readonly string[]>;
  /** Ends the snapshot. */
  close(): Promise<void>;
}
