// Writing into a book: rows become new ones, revisions or nothing, in one statement however many there are.
//
// Writers of one book take turns: each locks the book's row first (`lockBook`), so that revisions are numbered
// without gaps and a merge sees all that was there before it.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookBalance, BookRow } from '../core/book.ts';
import { sql, toDateOrNull } from './database.ts';

/** Rows of one UNNEST; see the measurements in store/entries.ts. */
export const BOOK_BATCH_ROWS = 5_000;

export interface BookCounts {
  readonly inserted: number;
  readonly revised: number;
  readonly unchanged: number;
  readonly retracted: number;
}

export const NO_COUNTS: BookCounts = { inserted: 0, revised: 0, unchanged: 0, retracted: 0 };

export interface LockedBook {
  readonly id: number;
  readonly completeThrough: Date | null;
  readonly balancesCompleteThrough: Date | null;
}

/** A row to merge: ids are derived by now, and a retraction of a row that is there needs no amount. */
export type BookRowToStore = Omit<BookRow, 'amount'> & { readonly amount: bigint | null };

/** The book of that name, made if it isn't there, locked until the transaction ends; its position is this transaction's. */
export async function lockBook(em: EntityManager, name: string): Promise<LockedBook> {
  await sql(em, 'insert into trueup.books (name) values ($1) on conflict (name) do nothing', [name]);
  const [row] = await sql<{ id: number; complete_through: string | null; balances_complete_through: string | null }>(
    em,
    `update trueup.books set position = position + 1 where name = $1
     returning id, complete_through, balances_complete_through`,
    [name],
  );
  return {
    id: row!.id,
    completeThrough: toDateOrNull(row!.complete_through),
    balancesCompleteThrough: toDateOrNull(row!.balances_complete_through),
  };
}

/** Moves what the book states about its completeness forward, never back; returns what it states now. */
export async function advanceCompleteness(
  em: EntityManager,
  bookId: number,
  through: { entries: Date | null; balances: Date | null },
): Promise<{ completeThrough: Date | null; balancesCompleteThrough: Date | null }> {
  const [row] = await sql<{ complete_through: string | null; balances_complete_through: string | null }>(
    em,
    `update trueup.books set updated_at = now(),
       complete_through = greatest(complete_through, $2::timestamptz),
       balances_complete_through = greatest(balances_complete_through, $3::timestamptz)
     where id = $1 returning complete_through, balances_complete_through`,
    [bookId, through.entries?.toISOString() ?? null, through.balances?.toISOString() ?? null],
  );
  return {
    completeThrough: toDateOrNull(row!.complete_through),
    balancesCompleteThrough: toDateOrNull(row!.balances_complete_through),
  };
}

/** Merges at most BOOK_BATCH_ROWS rows with distinct row ids. */
export async function mergeBookRows(
  em: EntityManager,
  bookId: number,
  rows: readonly BookRowToStore[],
): Promise<BookCounts> {
  if (rows.length === 0) return NO_COUNTS;
  const columns = [
    ...[rows.map((row) => row.rowId), rows.map((row) => row.key), rows.map((row) => row.account)],
    ...[rows.map((row) => row.asset), rows.map((row) => row.amount?.toString() ?? null), rows.map((row) => row.kind)],
    ...[rows.map((row) => row.counterparty), rows.map((row) => row.status), rows.map((row) => row.subAccount)],
    ...[rows.map((row) => row.occurredAt?.toISOString() ?? null), rows.map((row) => row.ledger)],
    rows.map((row) => row.retracted),
  ];
  return countsOf(
    await sql<CountsRow>(
      em,
      mergeRowsSql(`select * from unnest($3::text[], $4::text[], $5::text[],
    $6::text[], $7::numeric[], $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::int[],
    $14::boolean[]) as given (${CONTENT_COLUMNS})`),
      [bookId, null, ...columns],
    ),
  );
}

/** The id of a staged row, in the SQL of its table: its own, or the derived one, as core/book-identity.ts makes it. */
export const STAGED_ROW_ID = `coalesce(row_id, row_id_base || '.' || row_number() over (partition by row_id_base order by line))`;

/** Merges every staged row of an import, deriving the ids of rows that came without one. */
export async function mergeStagedRows(em: EntityManager, bookId: number, importId: string): Promise<BookCounts> {
  const incoming = `select ${STAGED_ROW_ID} as row_id, ${CONTENT_COLUMNS.replace('row_id, ', '')}
    from trueup.book_import_rows where import_id = $2`;
  return countsOf(await sql<CountsRow>(em, mergeRowsSql(incoming), [bookId, importId]));
}

/** Merges balances with distinct account, asset and ledger. */
export async function mergeBookBalances(
  em: EntityManager,
  bookId: number,
  balances: readonly BookBalance[],
): Promise<BookCounts> {
  if (balances.length === 0) return NO_COUNTS;
  const incoming = `select * from unnest($2::text[], $3::text[], $4::int[], $5::numeric[])
    as given (account, asset, as_of_ledger, amount)`;
  const columns = [
    ...[balances.map((each) => each.account), balances.map((each) => each.asset)],
    ...[balances.map((each) => each.asOfLedger), balances.map((each) => each.amount.toString())],
  ];
  return countsOf(await sql<CountsRow>(em, mergeBalancesSql(incoming), [bookId, ...columns]));
}

export async function mergeStagedBalances(em: EntityManager, bookId: number, importId: string): Promise<BookCounts> {
  const incoming = `select account, asset, as_of_ledger, amount from trueup.book_import_rows where import_id = $2`;
  return countsOf(await sql<CountsRow>(em, mergeBalancesSql(incoming), [bookId, importId]));
}

/** Row ids among these that the book doesn't have: they can't be retracted without an amount. */
export async function unknownRowIds(em: EntityManager, bookId: number, rowIds: readonly string[]): Promise<string[]> {
  if (rowIds.length === 0) return [];
  const rows = await sql<{ row_id: string }>(
    em,
    `select row_id from unnest($2::text[]) as given (row_id)
     where not exists (select from trueup.book_entries b where b.book_id = $1 and b.row_id = given.row_id)`,
    [bookId, rowIds],
  );
  return rows.map((row) => row.row_id);
}

const CONTENT_COLUMNS =
  'row_id, key, account, asset, amount, kind, counterparty, status, sub_account, occurred_at, ledger, retracted';
const STORED_COLUMNS = `book_id, revision, import_id, position, recorded_at, ${CONTENT_COLUMNS}`;
/** The transaction's own, as `lockBook` counted it. */
const POSITION = '(select position from trueup.books where id = $1)';

/**
 * `$1` the book, `$2` the import (or null). The book's lock keeps other writers out, so what isn't there can be inserted
 * without asking again. A retraction keeps the stored content and only says that it no longer
 * counts. Rows are written in the order of their ids, so that the primary key's pages are touched once each.
 */
function mergeRowsSql(incoming: string): string {
  const kept = (column: string) =>
    `case when given.retracted and old.row_id is not null then old.${column} else given.${column} end as ${column}`;
  const content = CONTENT_COLUMNS.split(', ').filter((column) => column !== 'row_id' && column !== 'retracted');
  const list = (alias: string) => [...content, 'retracted'].map((column) => `${alias}.${column}`).join(', ');
  return `
    with given as materialized (${incoming}),
    next as materialized (
      select given.row_id, given.retracted, ${content.map(kept).join(', ')}, old.revision as old_revision,
        old.retracted as old_retracted,
        old.row_id is not null and (${list('old')}) is distinct from (${content
          .map((column) => `case when given.retracted then old.${column} else given.${column} end`)
          .join(', ')}, given.retracted) as changed
      from given left join trueup.book_entries old on old.book_id = $1 and old.row_id = given.row_id),
    archived as (
      insert into trueup.book_entry_revisions (${STORED_COLUMNS})
      select ${STORED_COLUMNS.split(', ')
        .map((column) => `old.${column}`)
        .join(', ')}
      from next join trueup.book_entries old on old.book_id = $1 and old.row_id = next.row_id
      where next.changed),
    added as (
      insert into trueup.book_entries (${STORED_COLUMNS})
      select $1, 1, $2::uuid, ${POSITION}, now(), ${CONTENT_COLUMNS} from next where old_revision is null order by row_id),
    rewritten as (
      update trueup.book_entries old set revision = next.old_revision + 1, import_id = $2::uuid, position = ${POSITION},
        recorded_at = now(),
        ${[...content, 'retracted'].map((column) => `${column} = next.${column}`).join(', ')}
      from next where next.changed and old.book_id = $1 and old.row_id = next.row_id)
    select count(*) filter (where old_revision is null and not retracted) as inserted,
      count(*) filter (where changed and not (retracted and not old_retracted)) as revised,
      count(*) filter (where not changed and old_revision is not null) as unchanged,
      count(*) filter (where retracted and (old_revision is null or not old_retracted)) as retracted
    from next`;
}

function mergeBalancesSql(incoming: string): string {
  const same =
    'old.book_id = $1 and old.account = given.account and old.asset = given.asset and old.as_of_ledger = given.as_of_ledger';
  return `
    with given as materialized (${incoming}),
    next as materialized (
      select given.*, old.revision as old_revision, coalesce(old.amount <> given.amount, false) as changed
      from given left join trueup.book_balances old on ${same}),
    archived as (
      insert into trueup.book_balance_revisions (book_id, account, asset, as_of_ledger, revision, amount, recorded_at)
      select old.book_id, old.account, old.asset, old.as_of_ledger, old.revision, old.amount, old.recorded_at
      from next given join trueup.book_balances old on ${same} where given.changed),
    added as (
      insert into trueup.book_balances (book_id, account, asset, as_of_ledger, revision, amount, recorded_at)
      select $1, account, asset, as_of_ledger, 1, amount, now()
      from next where old_revision is null order by account, asset, as_of_ledger),
    rewritten as (
      update trueup.book_balances old set revision = given.old_revision + 1, amount = given.amount, recorded_at = now()
      from next given where given.changed and ${same})
    select count(*) filter (where old_revision is null) as inserted, count(*) filter (where changed) as revised,
      count(*) filter (where not changed and old_revision is not null) as unchanged, 0 as retracted
    from next`;
}

interface CountsRow {
  inserted: string;
  revised: string;
  unchanged: string;
  retracted: string;
}

function countsOf(rows: readonly CountsRow[]): BookCounts {
  const row = rows[0]!;
  return {
    inserted: Number(row.inserted),
    revised: Number(row.revised),
    unchanged: Number(row.unchanged),
    retracted: Number(row.retracted),
  };
}
