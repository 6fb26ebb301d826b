// A side that breaks off while it is read, as if its worker had died.
import type { Book } from '../../src/core/book.ts';

export interface BreakOff {
  /** Rows or balances after which it breaks; null: never. */
  rows: number | null;
}

/** `asked`: the first key of each reading in order; null: from the beginning. */
export function breaking(book: Book, after: BreakOff, asked: (string | null)[] = []): Book {
  async function* broken<T>(batches: AsyncIterable<readonly T[]>): AsyncGenerator<readonly T[]> {
    let given = 0;
    for await (const batch of batches) {
      for (const row of batch) {
        if (after.rows !== null && given++ >= after.rows) throw new Error('the worker dies');
        yield [row];
      }
    }
  }
  return {
    async open(level, signal, position) {
      const side = await book.open(level, signal, position);
      const { entries, balances } = side;
      return Object.assign(side, {
        entries(...call: Parameters<typeof entries>) {
          asked.push(call[0].keys?.from ?? null);
          return broken(entries(...call));
        },
        balances: (...call: Parameters<typeof balances>) => broken(balances(...call)),
      });
    },
  };
}
