// What the book says of a statement's accounts, wherever it is kept: page by page of pairs, so that memory doesn't grow with the book.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Book, BookBalance, BookRow, BookSide } from '../core/book.ts';
import type { ExportFilter } from '../core/export.ts';
import { compareBytes } from '../core/order.ts';
import { DEFAULT_STATUS_MAP, type Policy } from '../core/policy.ts';
import { sortRows } from '../sources/sorted-rows.ts';
import type { AccountAsset } from '../store/balance-pairs.ts';
import { findBook, requireBook } from '../store/books.ts';
import { bookDays, statedBalances, type BookDay, type StatedBalance } from '../store/statement-rows.ts';
import { DEFAULT_BOOK } from './ledger-entries.ts';

export interface StatementBookDeps {
  readonly policies: ReadonlyMap<string, Policy>;
  readonly bookOf: (policy: Policy) => Book;
  /** Where rows are put in order that are too many to hold. */
  readonly spillFolder: string;
}

interface Cut {
  /** Inclusive. */
  readonly time: { readonly from: Date; readonly to: Date };
  readonly cutLedger: number;
}

export interface StatementBook extends AsyncDisposable {
  /** In order of pair. Pages come in byte order of account and asset, each once. */
  read(pairs: readonly AccountAsset[]): Promise<{ stated: StatedBalance[]; days: BookDay[] }>;
}

const DEFAULT_POLICY = 'default';

/**
 * The book of that name: one that TrueUp keeps, `postgres`, or a side of trueup.yaml; without a name that of the policy `default`.
 * Null: none was named and there is none. @throws BOOK_NOT_FOUND, BOOK_UNREADABLE
 */
export async function openStatementBook(
  em: EntityManager,
  deps: StatementBookDeps,
  filter: ExportFilter,
  cut: Cut,
  signal: AbortSignal,
): Promise<StatementBook | null> {
  const { book: name } = filter;
  const policy =
    name === undefined
      ? deps.policies.get(DEFAULT_POLICY)
      : [...deps.policies.values()].find(({ book }) => nameOf(book) === name);
  const failedWords = failedWordsOf(policy?.statusMap ?? DEFAULT_STATUS_MAP);
  if (policy !== undefined && policy.book.kind !== 'recorded') {
    const side = await deps.bookOf(policy).open(policy.level, signal);
    return policy.level === 'balances'
      ? statedElsewhere(side, cut, signal)
      : rowsElsewhere(side, { filter, cut, failedWords, spillFolder: deps.spillFolder }, signal);
  }
  const recorded = name ?? (policy === undefined ? DEFAULT_BOOK : nameOf(policy.book));
  const book = await findBook(em, recorded);
  if (book === null && name === undefined) return null;
  const { id } = requireBook(book, recorded);
  return {
    read: async (pairs) => ({
      stated: await statedBalances(em, id, pairs),
      days: await bookDays(em, id, cut.time, failedWords, pairs),
    }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function nameOf(book: Policy['book']): string {
  return book.kind === 'postgres' ? 'postgres' : book.name;
}

function failedWordsOf(statusMap: Policy['statusMap']): string[] {
  return Object.entries(statusMap).flatMap(([word, status]) => (status === 'failed' ? [word] : []));
}

/** Its balances come in byte order already. */
function statedElsewhere(side: BookSide, { cutLedger }: Cut, signal: AbortSignal): StatementBook {
  const balances = new InStep(side.balances({ cutLedger }, signal), pairKey);
  return {
    async read(pairs) {
      const stated: StatedBalance[] = [];
      await balances.pass(pairs, ({ asOfLedger, amount }: BookBalance, pair) =>
        stated.push({ pair, asOfLedger, amount }),
      );
      return { stated, days: [] };
    },
    [Symbol.asyncDispose]: () => side.close(),
  };
}

/** Its rows come in the order of their keys, so they are put into that of their pairs first. */
async function rowsElsewhere(
  side: BookSide,
  {
    filter,
    cut,
    failedWords,
    spillFolder,
  }: { filter: ExportFilter; cut: Cut; failedWords: readonly string[]; spillFolder: string },
  signal: AbortSignal,
): Promise<StatementBook> {
  const isWanted = ({ account, asset, status }: BookRow): boolean =>
    (!filter.accounts?.length || filter.accounts.includes(account)) &&
    (!filter.assets?.length || filter.assets.includes(asset)) &&
    (status === null || !failedWords.includes(status));
  const { from, to } = cut.time;
  async function* byPair(): AsyncGenerator<BookRow[]> {
    const query = { occurredFrom: from, occurredTo: new Date(to.getTime() + 1) };
    for await (const rows of side.entries(query, signal))
      yield rows.filter(isWanted).map((row) => ({ ...row, key: pairKey(row) }));
  }
  try {
    const sorted = await sortRows(byPair(), spillFolder);
    const rows = new InStep(sorted.rows(), ({ key }) => key);
    return {
      async read(pairs) {
        const sums = pairs.map(() => new Map<string | null, bigint>());
        await rows.pass(pairs, ({ occurredAt, amount }, pair) => {
          const day = occurredAt === null ? null : occurredAt.toISOString().slice(0, 10);
          sums[pair]!.set(day, (sums[pair]!.get(day) ?? 0n) + amount);
        });
        const days = sums.flatMap((ofPair, pair) => [...ofPair].map(([day, amount]) => ({ pair, day, amount })));
        return { stated: [], days };
      },
      async [Symbol.asyncDispose]() {
        await sorted.close();
        await side.close();
      },
    };
  } catch (error) {
    await side.close();
    throw error;
  }
}

/** Addresses and assets hold no blank, and sort above it: byte order of these is that of account, then asset. */
function pairKey({ account, asset }: AccountAsset): string {
  return `${account} ${asset}`;
}

/** Rows in the order of their pair's key, handed out as pages of pairs pass by; those of no pair are passed over. */
class InStep<Row> {
  readonly #batches: AsyncIterator<readonly Row[]>;
  readonly #keyOf: (row: Row) => string;
  #batch: readonly Row[] = [];
  #at = 0;

  constructor(batches: AsyncIterable<readonly Row[]>, keyOf: (row: Row) => string) {
    this.#batches = batches[Symbol.asyncIterator]();
    this.#keyOf = keyOf;
  }

  async pass(pairs: readonly AccountAsset[], take: (row: Row, pair: number) => void): Promise<void> {
    for (const [pair, each] of pairs.entries()) {
      const key = pairKey(each);
      for (let row = await this.#peek(); row !== null; row = await this.#peek()) {
        const order = compareBytes(this.#keyOf(row), key);
        if (order > 0) break;
        this.#at++;
        if (order === 0) take(row, pair);
      }
    }
  }

  async #peek(): Promise<Row | null> {
    while (this.#at === this.#batch.length) {
      const { done, value } = await this.#batches.next();
      if (done === true) return null;
      [this.#batch, this.#at] = [value, 0];
    }
    return this.#batch[this.#at]!;
  }
}
