// Reading a book that TrueUp keeps: by pair, by key, in order, at one moment.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookBalance, BookLevel, BookPair, BookRow } from '../core/book.ts';
import { TrueUpError } from '../core/errors.ts';
import { ALL_KEYS, timeCondition, type RowQuery } from '../core/row-side.ts';
import { sql, toDate, toDateOrNull } from './database.ts';
import { BookEntity } from './entities.ts';

/** Rows of one FETCH: few enough to be dead before the young generation is collected twice. */
const FETCH_ROWS = 1_000;

export interface StoredBook {
  readonly id: number;
  readonly name: string;
  readonly completeThrough: Date | null;
  readonly balancesCompleteThrough: Date | null;
}

/** A row with what the store added to it. */
export interface StoredBookRow extends BookRow {
  /** From 1. */
  readonly revision: number;
  readonly recordedAt: Date;
  /** The import that brought this revision; null: it was pushed. */
  readonly importId: string | null;
}

export interface StoredBookBalance extends BookBalance {
  readonly revision: number;
  readonly recordedAt: Date;
}

/** The book of that name; null where nothing was ever recorded or imported into it. */
export async function findBook(em: EntityManager, name: string): Promise<StoredBook | null> {
  return em.findOne(BookEntity, { name });
}

/** @throws TrueUpError BOOK_NOT_FOUND */
export function requireBook(book: StoredBook | null, name: string): StoredBook {
  if (book !== null) return book;
  throw new TrueUpError('BOOK_NOT_FOUND', `there is no book ${JSON.stringify(name)}; record or import into it first`);
}

/** Begins a transaction in which every read sees the same moment and nothing can be written. */
export async function beginSnapshot(em: EntityManager): Promise<void> {
  await em.begin();
  try {
    await sql(em, 'set transaction isolation level repeatable read, read only');
    // A snapshot is taken by the first statement that reads, not by BEGIN.
    await sql(em, 'select 1');
  } catch (error) {
    await em.rollback();
    throw error;
  }
}

/** Distinct pairs in byte order, at most `limit`. Skips through the index: 10,000 pairs among 10 M rows are 10,000 steps. */
export async function bookPairs(
  em: EntityManager,
  bookId: number,
  level: BookLevel,
  limit: number,
): Promise<BookPair[]> {
  const from = level === 'entries' ? 'trueup.book_entries where not retracted and' : 'trueup.book_balances where';
  return await sql<BookPair & Record<string, unknown>>(
    em,
    `with recursive pair as (
       (select account, asset from ${from} book_id = $1 order by account, asset limit 1)
       union all
       select next.account, next.asset from pair cross join lateral
         (select account, asset from ${from} book_id = $1 and (account, asset) > (pair.account, pair.asset)
          order by account, asset limit 1) next)
     select account, asset from pair limit $2`,
    [bookId, limit],
  );
}

/** How many commits the book has seen; writers of one book take turns, so that this orders them. */
export async function bookPosition(em: EntityManager, bookId: number): Promise<bigint> {
  const rows = await sql<{ position: string }>(
    em,
    `select position::text as position from trueup.books where id = $1`,
    [bookId],
  );
  return BigInt(rows[0]?.position ?? 0);
}

/**
 * The book's rows (`$1` its id) now or, with a position, as they were at it: those not written since, and of the few that were,
 * the revision that stood then.
 */
function rowsOfBook(asOf: bigint | null): string {
  const now = `select ${STORED_COLUMNS} from trueup.book_entries where book_id = $1`;
  if (asOf === null) return `(${now}) as book_row`;
  return `(${now} and position <= ${asOf} union all
    select ${STORED_COLUMNS.replaceAll(/\w+/g, 'old.$&')} from trueup.book_entries as entry cross join lateral
      (select * from trueup.book_entry_revisions as revision where revision.book_id = entry.book_id
         and revision.row_id = entry.row_id and revision.position <= ${asOf} order by revision.revision desc limit 1) as old
    where entry.book_id = $1 and entry.position > ${asOf}) as book_row`;
}

/** Rows in byte order of key, then row id, in batches; inside a transaction. `asOf` null: as they are. */
export async function* readBookEntries(
  em: EntityManager,
  bookId: number,
  { keys = ALL_KEYS, ...times }: RowQuery,
  asOf: bigint | null,
  signal: AbortSignal,
): AsyncGenerator<StoredBookRow[]> {
  const statement = `select ${ROW_COLUMNS} from ${rowsOfBook(asOf)}
    where not retracted and ($2::text is null or key >= $2) and ($3::text is null or key < $3)
      and ${timeCondition('occurred_at', times)} order by key, row_id`;
  for await (const rows of cursor<RowRow>(em, statement, signal, [bookId, keys.from, keys.to])) yield rows.map(toRow);
}

export async function readBookEntriesByKeys(
  em: EntityManager,
  bookId: number,
  keys: readonly string[],
  asOf: bigint | null,
): Promise<StoredBookRow[]> {
  const rows = await sql<RowRow>(
    em,
    `select ${ROW_COLUMNS} from ${rowsOfBook(asOf)}
     where not retracted and key = any($2::text[]) order by key, row_id`,
    [bookId, keys],
  );
  return rows.map(toRow);
}

/** For each pair the balance of the newest ledger at or below the cut, else the one without a ledger; in byte order. */
export async function* readBookBalances(
  em: EntityManager,
  bookId: number,
  cutLedger: number,
  signal: AbortSignal,
): AsyncGenerator<BookBalance[]> {
  const statement = `select distinct on (account, asset) account, asset, amount::text as amount, as_of_ledger
    from trueup.book_balances where book_id = ${bookId} and as_of_ledger <= ${Math.trunc(cutLedger)}
    order by account, asset, as_of_ledger desc`;
  for await (const rows of cursor<BalanceRow>(em, statement, signal)) yield rows.map(toBalance);
}

/** Distinct keys, of the rows with the latest times first. */
export async function sampleBookKeys(em: EntityManager, bookId: number, count: number): Promise<string[]> {
  const rows = await sql<{ key: string }>(
    em,
    `select key from (
       (select key, occurred_at from trueup.book_entries
        where book_id = $1 and not retracted and key <> '' and occurred_at is not null order by occurred_at desc limit $2)
       union all
       (select key, null from trueup.book_entries
        where book_id = $1 and not retracted and key <> '' and occurred_at is null limit $2)) latest
     group by key order by max(occurred_at) desc nulls last, key limit $3`,
    // A key may carry several legs: look at more rows than keys.
    [bookId, count * 4, count],
  );
  return rows.map((row) => row.key);
}

let cursors = 0;

/** Rows of a statement by a server-side cursor. */
async function* cursor<Row>(
  em: EntityManager,
  statement: string,
  signal: AbortSignal,
  values: readonly unknown[] = [],
): AsyncGenerator<Row[]> {
  const name = `book_${++cursors}`;
  signal.throwIfAborted();
  await sql(em, `declare ${name} no scroll cursor for ${statement}`, values);
  for (;;) {
    signal.throwIfAborted();
    const rows = await sql<Row>(em, `fetch ${FETCH_ROWS} from ${name}`);
    if (rows.length > 0) yield rows;
    if (rows.length < FETCH_ROWS) break;
  }
  await sql(em, `close ${name}`);
}

const STORED_COLUMNS = `row_id, key, account, asset, amount, kind, counterparty, status, sub_account, occurred_at, ledger, retracted,
  revision, recorded_at, import_id`;
const ROW_COLUMNS = `row_id, key, account, asset, amount::text as amount, kind, counterparty, status, sub_account, occurred_at,
  ledger, retracted, revision, recorded_at, import_id`;

interface RowRow {
  row_id: string;
  key: string;
  account: string;
  asset: string;
  amount: string;
  kind: string | null;
  counterparty: string | null;
  status: string | null;
  sub_account: string | null;
  occurred_at: string | null;
  ledger: number | null;
  retracted: boolean;
  revision: number;
  recorded_at: string;
  import_id: string | null;
}

interface BalanceRow {
  account: string;
  asset: string;
  amount: string;
  as_of_ledger: number;
}

function toRow(row: RowRow): StoredBookRow {
  return {
    rowId: row.row_id,
    key: row.key,
    account: row.account,
    asset: row.asset,
    amount: BigInt(row.amount),
    kind: row.kind,
    counterparty: row.counterparty,
    status: row.status,
    subAccount: row.sub_account,
    occurredAt: toDateOrNull(row.occurred_at),
    ledger: row.ledger,
    retracted: row.retracted,
    revision: row.revision,
    recordedAt: toDate(row.recorded_at),
    importId: row.import_id,
  };
}

function toBalance(row: BalanceRow): BookBalance {
  return { account: row.account, asset: row.asset, amount: BigInt(row.amount), asOfLedger: row.as_of_ledger };
}
