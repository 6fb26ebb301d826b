// A book that TrueUp keeps, as a side of a reconciliation.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Book, BookLevel, BookSide } from '../core/book.ts';
import { TrueUpError } from '../core/errors.ts';
import {
  beginSnapshot,
  bookPairs,
  bookPosition,
  findBook,
  readBookBalances,
  readBookEntries,
  readBookEntriesByKeys,
  sampleBookKeys,
} from '../store/books.ts';
import type { StoredBook } from '../store/books.ts';
import type { Database } from '../store/database.ts';

export const BOOK_SIDE_LIMITS = { maxScopePairs: 100_000, maxKeysPerRead: 5_000 } as const;

/** The recorded book of that name. One that nobody ever wrote to is empty and states nothing: that is no failure of reading. */
export function createRecordedBook(deps: { db: Database; maxScopePairs?: number }, name: string): Book {
  const maxScopePairs = deps.maxScopePairs ?? BOOK_SIDE_LIMITS.maxScopePairs;
  return {
    async open(level, signal, position) {
      signal.throwIfAborted();
      const em = deps.db.em();
      await beginSnapshot(em);
      try {
        const book = await findBook(em, name);
        const now = book === null ? 0n : await bookPosition(em, book.id);
        const at = position === undefined ? now : BigInt(position);
        return createSide(em, book, name, level, maxScopePairs, { position: at, isPast: at < now });
      } catch (error) {
        await em.rollback();
        throw error;
      }
    },
  };
}

function createSide(
  em: EntityManager,
  book: StoredBook | null,
  name: string,
  level: BookLevel,
  maxScopePairs: number,
  moment: { readonly position: bigint; readonly isPast: boolean },
): BookSide {
  // No book has this id, so that a book nobody wrote to reads as empty.
  const id = book?.id ?? 0;
  const asOf = moment.isPast ? moment.position : null;
  let closed: Promise<void> | null = null;
  const close = () => (closed ??= em.rollback());
  return {
    describe: () => `book ${name}`,
    position: String(moment.position),
    async pairs() {
      const pairs = await bookPairs(em, id, level, maxScopePairs + 1);
      if (pairs.length <= maxScopePairs) return pairs;
      throw new TrueUpError(
        'BOOK_UNREADABLE',
        `book ${name} has more than ${maxScopePairs} account and asset pairs; name accounts in the policy's scope`,
      );
    },
    async completeThrough() {
      return (level === 'entries' ? book?.completeThrough : book?.balancesCompleteThrough) ?? null;
    },
    entries: (query, signal) => readBookEntries(em, id, query, asOf, signal),
    async entriesByKeys(keys, signal) {
      const rows = [];
      for (let at = 0; at < keys.length; at += BOOK_SIDE_LIMITS.maxKeysPerRead) {
        signal.throwIfAborted();
        rows.push(...(await readBookEntriesByKeys(em, id, keys.slice(at, at + BOOK_SIDE_LIMITS.maxKeysPerRead), asOf)));
      }
      return keys.length <= BOOK_SIDE_LIMITS.maxKeysPerRead ? rows : rows.sort(inByteOrder);
    },
    balances: ({ cutLedger }, signal) => readBookBalances(em, id, cutLedger, signal),
    sampleKeys: (count) => sampleBookKeys(em, id, count),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function inByteOrder(a: { key: string; rowId: string }, b: { key: string; rowId: string }): number {
  return (
    Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)) || Buffer.compare(Buffer.from(a.rowId), Buffer.from(b.rowId))
  );
}
