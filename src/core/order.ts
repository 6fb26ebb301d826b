// Byte order: how PostgreSQL's collation "C" sorts text, and so how both sides of a merge are ordered.
import { TrueUpError } from './errors.ts';

/** More of one key is no movement of money; they would all be held at once. */
export const MAX_ITEMS_PER_KEY = 10_000;

/** Negative, zero or positive, by the bytes of the UTF-8 text. */
export function compareBytes(a: string, b: string): number {
  if (a === b) return 0;
  // UTF-16 units order as UTF-8 bytes do, unless one of the texts has surrogates.
  if (!SURROGATES.test(a) && !SURROGATES.test(b)) return a < b ? -1 : 1;
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

const SURROGATES = /[\ud800-\udfff]/;

export interface Group<T> {
  readonly key: string;
  readonly items: readonly T[];
}

/**
 * Items of one key together, from batches that are in byte order of the key.
 *
 * @throws TrueUpError BOOK_UNREADABLE where they are not in that order (a merge over them would miss matches; our own side always
 *   is), TOO_MANY_ROWS for more than MAX_ITEMS_PER_KEY of one key.
 */
export async function* groupsInOrder<T>(
  batches: AsyncIterable<readonly T[]>,
  keyOf: (item: T) => string,
): AsyncGenerator<Group<T>> {
  let key: string | null = null;
  let items: T[] = [];
  for await (const batch of batches) {
    for (const item of batch) {
      const next = keyOf(item);
      if (next === key) {
        if (items.length === MAX_ITEMS_PER_KEY) throw tooMany(key);
        items.push(item);
        continue;
      }
      if (key !== null) {
        if (compareBytes(key, next) > 0) throw outOfOrder(key, next);
        yield { key, items };
      }
      key = next;
      items = [item];
    }
  }
  if (key !== null) yield { key, items };
}

function tooMany(key: string): TrueUpError {
  const named = key === '' ? 'no key' : `the key ${key.slice(0, 80)}`;
  return new TrueUpError('TOO_MANY_ROWS', `more than ${MAX_ITEMS_PER_KEY} rows have ${named}`, {
    fix: 'give every row the key of its own movement: the transaction hash, hash:operation or the Horizon operation id',
  });
}

function outOfOrder(key: string, next: string): TrueUpError {
  return new TrueUpError('BOOK_UNREADABLE', `keys out of byte order: ${key.slice(0, 80)} before ${next.slice(0, 80)}`, {
    fix: 'order the book by key collate "C"',
  });
}

/** Walks two ordered sides side by side: each key once, with what either side has of it. */
export async function* mergeGroups<L, R>(
  left: AsyncIterable<Group<L>>,
  right: AsyncIterable<Group<R>>,
): AsyncGenerator<{ readonly key: string; readonly left: readonly L[]; readonly right: readonly R[] }> {
  const [lefts, rights] = [left[Symbol.asyncIterator](), right[Symbol.asyncIterator]()];
  try {
    let [l, r] = [await lefts.next(), await rights.next()];
    while (!l.done || !r.done) {
      const order = l.done ? 1 : r.done ? -1 : compareBytes(l.value.key, r.value.key);
      yield {
        key: order <= 0 ? (l.value as Group<L>).key : (r.value as Group<R>).key,
        left: order <= 0 ? (l.value as Group<L>).items : [],
        right: order >= 0 ? (r.value as Group<R>).items : [],
      };
      if (order <= 0) l = await lefts.next();
      if (order >= 0) r = await rights.next();
    }
  } finally {
    await lefts.return?.();
    await rights.return?.();
  }
}
