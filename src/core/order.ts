// Byte order: how PostgreSQL's collation "C" sorts text, and so how both sides of a merge are ordered.

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
 * @throws RangeError where they are not in that order: a merge over them would miss matches.
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
        items.push(item);
        continue;
      }
      if (key !== null) {
        if (compareBytes(key, next) > 0) throw new RangeError(`keys out of byte order: ${key} before ${next}`);
        yield { key, items };
      }
      key = next;
      items = [item];
    }
  }
  if (key !== null) yield { key, items };
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
