// Byte order: how PostgreSQL's collation "C" sorts text, and so how both sides of a merge are ordered.
import { TrueUpError } from './errors.ts';

/** More of one key is no movement of money; they would all be held at once. */
export const MAX_ITEMS_PER_KEY = 10_000;

/** Negative, zero or positive, by the bytes of the UTF-8 text. */
export function compareBytes(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x === y) continue;
    // UTF-16 units order as UTF-8 bytes do, but that halves of characters above U+FFFF stand below U+E000.
    if (isSurrogate(x) !== isSurrogate(y)) return isSurrogate(x) ? 1 : -1;
    return x - y;
  }
  return a.length - b.length;
}

function isSurrogate(unit: number): boolean {
  return (unit & 0xf800) === 0xd800;
}

/** Keys handed over at once, so that one wait serves many of them. */
const MEETINGS_PER_BATCH = 1024;

/** A key with what either side has of it; at least one of them has something. */
export interface Meeting<L, R> {
  readonly key: string;
  readonly left: readonly L[];
  readonly right: readonly R[];
}

/** Batches of rows in byte order of their key. */
export interface Ordered<T> {
  readonly batches: AsyncIterable<readonly T[]>;
  readonly keyOf: (item: T) => string;
}

/**
 * Walks two ordered sides side by side: each key once, in order, with what either side has of it; in batches, as the rows come.
 *
 * @throws TrueUpError BOOK_UNREADABLE where a side isn't in order (a merge over it would miss matches), TOO_MANY_ROWS for more than
 *   MAX_ITEMS_PER_KEY of one key.
 */
export async function* mergeInOrder<L, R>(
  left: Ordered<L>,
  right: Ordered<R>,
): AsyncGenerator<readonly Meeting<L, R>[]> {
  const [lefts, rights] = [new Groups(left), new Groups(right)];
  let met: Meeting<L, R>[] = [];
  try {
    for (;;) {
      if (!lefts.isWhole() || !rights.isWhole()) {
        // What is known goes out before anything is waited for.
        if (met.length > 0) yield met;
        met = [];
        // Each waits for a server of its own.
        await Promise.all([lefts.fill(), rights.fill()]);
      }
      if (lefts.key === null && rights.key === null) break;
      const order = lefts.key === null ? 1 : rights.key === null ? -1 : compareBytes(lefts.key, rights.key);
      met.push({
        key: (order <= 0 ? lefts.key : rights.key)!,
        left: order <= 0 ? lefts.take() : NONE,
        right: order >= 0 ? rights.take() : NONE,
      });
      if (met.length < MEETINGS_PER_BATCH) continue;
      yield met;
      met = [];
    }
    if (met.length > 0) yield met;
  } finally {
    await lefts.close();
    await rights.close();
  }
}

const NONE: readonly never[] = [];

/** One side's rows key by key. */
class Groups<T> {
  /** The key whose rows are at hand; null: there is none, and once it is whole there will be none. */
  key: string | null = null;
  readonly #iterator: AsyncIterator<readonly T[]>;
  readonly #keyOf: (item: T) => string;
  #items: T[] = [];
  /** A key's rows are whole only once the next key, or the end, was seen. */
  #whole = false;
  #batch: readonly T[] = NONE;
  #at = 0;
  /** Key of the row at `#at`, asked for once. */
  #next = '';
  #ended = false;

  constructor({ batches, keyOf }: Ordered<T>) {
    this.#iterator = batches[Symbol.asyncIterator]();
    this.#keyOf = keyOf;
  }

  isWhole(): boolean {
    return this.#whole || this.#collect();
  }

  /** Reads on until the rows at hand are whole. */
  async fill(): Promise<void> {
    while (!this.isWhole()) {
      const { done, value } = await this.#iterator.next();
      this.#ended = done === true;
      this.#batch = done === true ? NONE : value;
      this.#at = 0;
      if (this.#batch.length > 0) this.#next = this.#keyOf(this.#batch[0]!);
    }
  }

  take(): readonly T[] {
    this.key = null;
    this.#whole = false;
    return this.#items;
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }

  #collect(): boolean {
    const batch = this.#batch;
    while (this.#at < batch.length) {
      const next = this.#next;
      const order = this.key === null ? 0 : compareBytes(this.key, next);
      if (order > 0) throw outOfOrder(this.key!, next);
      if (order < 0) {
        this.#whole = true;
        return true;
      }
      // A list made with its one row takes a tenth of the memory of one that grows, and nearly all have one.
      if (this.key === null) this.#items = [batch[this.#at]!];
      else if (this.#items.length < MAX_ITEMS_PER_KEY) this.#items.push(batch[this.#at]!);
      else throw tooMany(next);
      this.key = next;
      if (++this.#at < batch.length) this.#next = this.#keyOf(batch[this.#at]!);
    }
    this.#whole = this.#ended;
    return this.#whole;
  }
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
