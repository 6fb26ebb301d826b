// Listing single movements: what the ledger side has stored, and what the book says.
import { TrueUpError } from '../core/errors.ts';
import type { BookRowFilter, EntryFilter, ListedBookRow, ListedEntry } from '../core/listing.ts';
import type { Page, PageRequest } from '../core/page.ts';
import { listBookRowPage } from '../store/book-lists.ts';
import { findBook, requireBook } from '../store/books.ts';
import type { Database } from '../store/database.ts';
import { listEntryRows } from '../store/entry-lists.ts';
import { LIST_STATEMENT_TIMEOUT_MS, withinListLimit } from '../store/query-limit.ts';
import { chooseStream, provenanceOf } from './stream-choice.ts';

export interface EntryListsOptions {
  readonly db: Database;
  /** Of the source that is configured; null: the newest stream is meant where none is named. */
  readonly networkPassphrase: string | null;
  readonly statementTimeoutMs?: number;
}

export interface EntryLists {
  /** In the order of the ledger. Errors: STREAM_NOT_FOUND, INVALID_LEDGER_RANGE, INVALID_PAGE_TOKEN, DEADLINE_EXCEEDED. */
  listEntries(filter: EntryFilter, page: PageRequest): Promise<Page<ListedEntry>>;
  /** In order of the row ids, retracted rows too. Errors: BOOK_NOT_FOUND, INVALID_PAGE_TOKEN, DEADLINE_EXCEEDED. */
  listRows(filter: BookRowFilter, page: PageRequest): Promise<Page<ListedBookRow>>;
}

export const DEFAULT_BOOK = 'default';

export function createEntryLists(options: EntryListsOptions): EntryLists {
  const { db, networkPassphrase, statementTimeoutMs = LIST_STATEMENT_TIMEOUT_MS } = options;
  return {
    async listEntries(filter, page) {
      requireRange(filter);
      const fix =
        'narrow it by ledgers, accounts with their assets, or a transaction hash: these are found by an index';
      return withinListLimit(
        db.em(),
        fix,
        async (em) => {
          const stream = await chooseStream(em, filter.stream, networkPassphrase);
          const { items, ...rest } = await listEntryRows(em, stream.id, filter, page);
          return {
            ...rest,
            items: items.map((row): ListedEntry => ({
              ...row,
              stream: stream.name,
              source: provenanceOf(row.source, null),
            })),
          };
        },
        statementTimeoutMs,
      );
    },
    async listRows(filter, page) {
      requireRange(filter);
      const name = filter.book === '' ? DEFAULT_BOOK : filter.book;
      const fix = 'narrow it by key or transaction hash: these are found by an index';
      return withinListLimit(
        db.em(),
        fix,
        async (em) => {
          const book = requireBook(await findBook(em, name), name);
          const { items, ...rest } = await listBookRowPage(em, book.id, filter, page);
          return { ...rest, items: items.map((row): ListedBookRow => ({ ...row, book: book.name })) };
        },
        statementTimeoutMs,
      );
    },
  };
}

function requireRange({ ledgers, from, to }: Pick<EntryFilter, 'ledgers' | 'from' | 'to'>): void {
  if (ledgers !== undefined && ledgers.from >= ledgers.to) {
    throw new TrueUpError(
      'INVALID_LEDGER_RANGE',
      `ledgers ${ledgers.from}-${ledgers.to - 1} are no range: the first is above the last`,
    );
  }
  if (from !== undefined && to !== undefined && from >= to) {
    throw new TrueUpError('INVALID_REQUEST', 'start_time must be before end_time', {
      fields: [{ field: 'end_time', description: 'must be after start_time' }],
    });
  }
}
