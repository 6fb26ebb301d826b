// A book's rows and balances as lists, retracted rows too.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookBalanceFilter, BookRowFilter } from '../core/listing.ts';
import { TrueUpError } from '../core/errors.ts';
import { pageOf, type Page, type PagePosition, type PageRequest } from '../core/page.ts';
import { DEFAULT_STATUS_MAP } from '../core/policy.ts';
import type { StoredBookBalance, StoredBookRow } from './books.ts';
import { listOrNull, sql, toDate, toDateOrNull } from './database.ts';

const FILTER_SQL = `book_id = $1
  and ($2::text[] is null or account = any($2)) and ($3::text[] is null or asset = any($3))
  and ($4::text[] is null or kind = any($4)) and ($5::text[] is null or coalesce(status, 'success') = any($5))
  and ($6::text is null or key = $6) and ($7::text is null or (key >= $7 and key < $7 || ';'))
  and ($8::text is null or sub_account = $8) and ($9::int is null or ledger >= $9) and ($10::int is null or ledger < $10)
  and ($11::timestamptz is null or occurred_at >= $11) and ($12::timestamptz is null or occurred_at < $12)`;

/** A page in byte order of the row ids, each row in its latest revision. */
export async function listBookRowPage(
  em: EntityManager,
  bookId: number,
  filter: BookRowFilter,
  page: PageRequest,
): Promise<Page<StoredBookRow>> {
  const rows = await sql<BookRowRecord>(
    em,
    `select row_id, key, account, asset, amount::text as amount, kind, counterparty, status, sub_account, occurred_at, ledger,
       retracted, revision, recorded_at, import_id
     from trueup.book_entries where ${FILTER_SQL} and ($13::text is null or row_id > $13) order by row_id limit $14`,
    [
      bookId,
      listOrNull(filter.accounts),
      listOrNull(filter.assets),
      listOrNull(filter.kinds),
      filter.status === undefined ? null : wordsOf(filter.status),
      filter.key ?? null,
      // `hash` and `hash:operation` stand next to each other in byte order, and ';' follows ':'.
      filter.txHash ?? null,
      filter.subAccount ?? null,
      filter.ledgers?.from ?? null,
      filter.ledgers?.to ?? null,
      filter.from ?? null,
      filter.to ?? null,
      page.after === null ? null : text(page.after, 'r'),
      page.size + 1,
    ],
  );
  return pageOf(rows, page.size, (row) => ({ r: row.row_id }), toStoredRow);
}

/** A page in byte order of account and asset, then of the ledger for which it was stated. */
export async function listBookBalancePage(
  em: EntityManager,
  bookId: number,
  filter: BookBalanceFilter,
  page: PageRequest,
): Promise<Page<StoredBookBalance>> {
  const rows = await sql<{
    account: string;
    asset: string;
    amount: string;
    as_of_ledger: number;
    revision: number;
    recorded_at: string;
  }>(
    em,
    `select account, asset, amount::text as amount, as_of_ledger, revision, recorded_at from trueup.book_balances
     where book_id = $1 and ($2::text[] is null or account = any($2)) and ($3::text[] is null or asset = any($3))
       and ($4::text is null or (account, asset, as_of_ledger) > ($4, $5, $6))
     order by account, asset, as_of_ledger limit $7`,
    [
      bookId,
      listOrNull(filter.accounts),
      listOrNull(filter.assets),
      ...(page.after === null
        ? [null, null, null]
        : [text(page.after, 'c'), text(page.after, 'a'), Number(page.after['l'])]),
      page.size + 1,
    ],
  );
  return pageOf(
    rows,
    page.size,
    (row) => ({ c: row.account, a: row.asset, l: row.as_of_ledger }),
    (row) => ({
      account: row.account,
      asset: row.asset,
      amount: BigInt(row.amount),
      asOfLedger: row.as_of_ledger,
      revision: row.revision,
      recordedAt: toDate(row.recorded_at),
    }),
  );
}

/** The book's words for a status; a row that says nothing believes in success. */
function wordsOf(status: 'success' | 'failed'): string[] {
  return Object.keys(DEFAULT_STATUS_MAP).filter((word) => DEFAULT_STATUS_MAP[word] === status);
}

function text(position: PagePosition, key: string): string {
  const value = position[key];
  if (typeof value === 'string') return value;
  throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
}

interface BookRowRecord {
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

function toStoredRow(row: BookRowRecord): StoredBookRow {
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
