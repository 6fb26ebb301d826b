// Goal: a statement says of a book the same wherever it is kept: with us, behind a query or in a file; and says so where it can't be read.
// Method: the same rows in each, over two days and more pairs than a page; the statements must be equal line by line.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Book } from '../../src/core/book.ts';
import { POLICY_DEFAULTS, type Policy } from '../../src/core/policy.ts';
import { createPostgresBook } from '../../src/sources/book-postgres.ts';
import { createFileSide } from '../../src/sources/side-file.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openExportHouse } from '../_util/exports.ts';
import { openHouse, type House } from '../_util/reconcile.ts';

/** Pools, whose addresses have no checksum; digits that base32 has. */
const poolOf = (number: number): string =>
  `L${number
    .toString(4)
    .replace(/[01]/g, (digit) => 'AZ'[Number(digit)]!)
    .padStart(55, 'M')}`;
/** More than one page of pairs. */
const ACCOUNTS = Array.from({ length: 620 }, (_, i) => poolOf(i));
const DAY_LEDGERS = 17_280;

let database: TestDatabase;
let house: House;
let folder: string;
let rows: { id: number; account: string; amount: number; at: Date; status: string }[];

beforeAll(async () => {
  database = await createTestDatabase();
  folder = mkdtempSync(join(tmpdir(), 'trueup-statement-'));
  house = await openHouse(database.db);
  const last = 2 * DAY_LEDGERS;
  await house.ledgers(
    { from: 1, to: last + 1 },
    ACCOUNTS.flatMap((account, i) => [
      { ledger: 10, txIndex: i + 1, account, amount: 7n },
      { ledger: last - 5, txIndex: i + 1, account, amount: -3n },
    ]),
  );
  rows = [poolOf(700), ...ACCOUNTS, poolOf(701)].flatMap((account, i) => [
    { id: 4 * i, account, amount: 7, at: house.timeOf(10), status: 'paid' },
    { id: 4 * i + 1, account, amount: -2, at: house.timeOf(last - 5), status: 'paid' },
    { id: 4 * i + 2, account, amount: 500, at: house.timeOf(11), status: 'FAILED' },
    { id: 4 * i + 3, account, amount: 900, at: new Date(house.timeOf(1).getTime() - 1), status: 'paid' },
  ]);
  await sql(
    database.db.em(),
    'create table public.book_rows (row_id text, key text, account text, asset text, amount_minor bigint, occurred_at timestamptz, status text)',
  );
  await sql(
    database.db.em(),
    `insert into public.book_rows select id, 'k' || id, account, 'native', amount, at, status
     from json_to_recordset($1) as r (id bigint, account text, amount bigint, at timestamptz, status text)`,
    [JSON.stringify(rows)],
  );
});
afterAll(async () => {
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

const ELSEWHERE: Policy['book'] = { kind: 'external', name: 'shop', type: 'postgres', immutable: false };

function statementWith(book: Book, policy: Partial<Policy> = {}) {
  const shown = { ...POLICY_DEFAULTS, name: 'default', level: 'entries', book: ELSEWHERE, ...policy } as const;
  return openExportHouse({
    db: database.db,
    folder,
    networkPassphrase: house.name,
    books: { policies: new Map([['default', shown]]), bookOf: () => book, spillFolder: folder },
  });
}

async function closings(house: ReturnType<typeof openExportHouse>, book?: string) {
  const { bytes } = await house.exported({ kind: 'statement', ...(book !== undefined && { filter: { book } }) });
  const lines = parse<Record<string, string>>(bytes, { columns: true });
  return lines.map((line) => [line.account, line.day, line.closing_minor, line.book_closing_minor]);
}

const query = (select: string) => createPostgresBook({ url: database.url, query: select });

test('of a query and of a file, as of the same rows that we keep', async () => {
  await house.record(
    rows.map(({ id, account, amount, at, status }) =>
      house.row(10, { rowId: String(id), key: `k${id}`, account, amount: BigInt(amount), occurredAt: at, status }),
    ),
    null,
  );
  const kept = await closings(openExportHouse({ db: database.db, folder, networkPassphrase: house.name }), house.name);
  expect(kept).toHaveLength(2 * ACCOUNTS.length);
  expect(kept.slice(0, 2).map((line) => line.slice(2))).toEqual([
    ['7', '7'],
    ['4', '5'],
  ]);

  expect(await closings(statementWith(query('select * from public.book_rows')))).toEqual(kept);
  expect(await closings(statementWith(query('select * from public.book_rows')), 'shop')).toEqual(kept);

  const path = join(folder, 'book.csv');
  const line = ({ id, account, amount, at, status }: (typeof rows)[number]) =>
    [id, `k${id}`, account, 'native', amount, at.toISOString(), status].join(',');
  writeFileSync(path, ['row_id,key,account,asset,amount_minor,occurred_at,status', ...rows.map(line), ''].join('\n'));
  const file = createFileSide({
    ...{ path, format: 'csv', spillFolder: folder },
    spillLimits: { maxRowsInMemory: 300, maxRunFiles: 100, maxSpillBytes: 1e9 },
  });
  expect(await closings(statementWith(file))).toEqual(kept);
}, 120_000);

test('of a query that states balances, each as of its ledger', async () => {
  const stated = `select account, 'native' as asset, count(*) as balance_minor from public.book_rows group by account`;
  const lines = await closings(statementWith(query(stated), { level: 'balances' }));
  expect(new Set(lines.filter((_, i) => i % 2 === 1).map((line) => line[3]))).toEqual(new Set(['4']));
});

test('that can not be read is no statement', async () => {
  const broken = statementWith(query('select account from public.book_rows'));
  const { id } = await broken.start({ kind: 'statement' });
  await expect(broken.work(id)).rejects.toMatchObject({ reason: 'BOOK_UNREADABLE' });
  expect(await broken.service.get(id)).toMatchObject({ state: 'failed', error: { reason: 'BOOK_UNREADABLE' } });
});
