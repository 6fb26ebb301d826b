// A side made of sorted rows: for whatever can't give its rows in the order of the key that they are joined on.
import { createOccurrenceCounter, deriveRowIdBase, derivedRowId, type BookRow } from '../core/book.ts';
import type { RowQuery, RowSide } from '../core/row-side.ts';
import { subAccountKey } from '../core/sub-account-key.ts';
import { sortRows, type SortedRows, type SpillLimits } from './sorted-rows.ts';

/** What a side is beside its rows. */
export interface SideWords {
  readonly describe: string;
  readonly completeThrough: Date | null;
}

export function sortedSide(sorted: Pick<SortedRows, 'rows' | 'rowsByKeys' | 'close'>, words: SideWords): RowSide {
  let closed: Promise<void> | null = null;
  const close = (): Promise<void> => (closed ??= sorted.close());
  return {
    describe: () => words.describe,
    completeThrough: () => Promise.resolve(words.completeThrough),
    async *entries(query, signal) {
      const withId = createIdGiver();
      for await (const rows of sorted.rows(query.keys)) {
        signal.throwIfAborted();
        // Ids are counted over all rows of a key, so that a row has the same one whatever was asked for.
        yield rows.map(withId).filter((row) => isAsked(row, query));
      }
    },
    async entriesByKeys(keys, signal) {
      signal.throwIfAborted();
      return (await sorted.rowsByKeys(keys)).map(createIdGiver());
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The same rows under the key of a join by sub-account; the side itself stays open until this one is closed. */
export async function bySubAccount(
  side: RowSide,
  folder: string,
  signal: AbortSignal,
  limits?: SpillLimits,
): Promise<RowSide> {
  async function* rekeyed(): AsyncGenerator<BookRow[]> {
    for await (const rows of side.entries({}, signal)) yield rows.map((row) => ({ ...row, key: subAccountKey(row) }));
  }
  const words = { describe: side.describe(), completeThrough: await side.completeThrough(signal) };
  return sortedSide(await sortRows(rekeyed(), folder, limits), words);
}

/** Gives ids to rows without one. They come key by key, so occurrences are only counted within the present key. */
export function createIdGiver(): (row: BookRow) => BookRow {
  let key: string | null = null;
  let occurrences = createOccurrenceCounter(Infinity);
  return (row) => {
    if (row.rowId !== '') return row;
    if (row.key !== key) [key, occurrences] = [row.key, createOccurrenceCounter(Infinity)];
    const base = deriveRowIdBase(row);
    return { ...row, rowId: derivedRowId(base, occurrences.next(base)) };
  };
}

/** Whether a row is of the times that are asked for. */
export function isAsked(
  row: Pick<BookRow, 'occurredAt'>,
  { occurredFrom, occurredTo, except = [] }: RowQuery,
): boolean {
  if (row.occurredAt === null) return true;
  const atMs = row.occurredAt.getTime();
  if (except.some((span) => span.fromMs < atMs && atMs <= span.toMs)) return false;
  return (!occurredFrom || row.occurredAt >= occurredFrom) && (!occurredTo || row.occurredAt < occurredTo);
}
