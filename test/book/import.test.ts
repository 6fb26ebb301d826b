// Goal: a file is in the book whole or not at all, its errors are named by line, and its size costs no memory.
// Method: the service against a real database; processes of their own where one is killed or weighed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { StrKey } from '@stellar/stellar-sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { getImport, importBook, sweepImports } from '../../src/services/imports.ts';
import type { ImportHeader } from '../../src/services/imports.ts';
import type { Caller } from '../../src/store/audit.ts';
import { listBookBalancePage, listBookRowPage } from '../../src/store/book-lists.ts';
import { findBook } from '../../src/store/books.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';

const G = StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(7) as never);
const caller: Caller = {
  actor: 'tester',
  role: 'operate',
  method: 'trueup.v1.ReconciliationService/ImportEntries',
  requestId: '',
  traceId: null,
};
const HEADER = 'key,account,asset,amount';
const line = (key: string, amount = '1') => `${key},${G},native,${amount}`;
let database: TestDatabase;

beforeAll(async () => {
  database = await createTestDatabase({ poolMax: 8 });
});
afterAll(() => database.drop());

async function* bytes(text: string, size = 1000): AsyncGenerator<Uint8Array> {
  const all = Buffer.from(text);
  for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
}

function importText(book: string, text: string, more: Partial<ImportHeader> = {}, chunkBytes = 1000) {
  const header: ImportHeader = {
    book,
    level: null,
    format: 'csv',
    fileName: null,
    fileSizeBytes: null,
    completeThrough: null,
    requestId: null,
  };
  return importBook(database, { ...header, ...more }, bytes(text, chunkBytes), caller);
}

async function stored(book: string) {
  const found = await findBook(database.db.em(), book);
  if (found === null) return [];
  const { items } = await listBookRowPage(database.db.em(), found.id, { book }, { size: 10_000, after: null });
  return items.filter((each) => !each.retracted);
}

async function stagedRows(): Promise<number> {
  const [row] = await sql<{ count: string }>(database.db.em(), 'select count(*) as count from trueup.book_import_rows');
  return Number(row!.count);
}

describe('what a file says', () => {
  test('reads byte-order mark, quoted line breaks, doubled quotes and CRLF, cut anywhere', async () => {
    const text = `\ufeffKey,Account,Asset,Amount,counterparty\r\n"k,""1""",${G},native,1.5,"two\r\nlines"\r\nk2,${G},XLM,-2,\r\n`;
    for (const size of [1, 2, 3, 7, 1000]) {
      const done = await importText(`spelling-${size}`, text, {}, size);
      expect(done).toMatchObject({ state: 'committed', level: 'entries', lineCount: 2, counts: { inserted: 2 } });
      const rows = (await stored(`spelling-${size}`)).toSorted((a, b) => (a.key < b.key ? -1 : 1));
      expect(rows).toMatchObject([
        { key: 'k,"1"', amount: 15_000_000n, counterparty: 'two\r\nlines', importId: done.id },
        { key: 'k2', amount: -20_000_000n, asset: 'native', counterparty: null },
      ]);
    }
  });

  test('reads JSON lines, keeping every digit of an integer', async () => {
    const object = (more: object) => JSON.stringify({ key: 'k', account: G, asset: 'native', ...more });
    const exact = object({ amount_minor: 0 }).replace(':0}', ':170141183460469231731687303715884105727}');
    expect(
      await importText('json', `${exact}\n\n${object({ amount: '0.5' })}`, { format: null, fileName: 'book.jsonl' }),
    ).toMatchObject({
      state: 'committed',
      counts: { inserted: 2 },
    });
    expect((await stored('json')).map((row) => row.amount).sort()).toEqual([2n ** 127n - 1n, 5_000_000n]);
    const refused = await importText(
      'json',
      `${object({ amount: 0.5 })}\n${object({ amount: 0 }).replace(':0}', ':100.0}')}`,
      { format: 'jsonl' },
    );
    expect(refused.errors.map((error) => [error.line, error.column])).toEqual([
      [1, 'amount'],
      [2, 'amount'],
    ]);
  });

  test('takes balances by their columns', async () => {
    const text = `account,asset,balance,as_of_ledger\n${G},native,12.5,100\n${G},native,13,\n`;
    expect(await importText('balances', text, { completeThrough: new Date('2026-01-01T00:00:00Z') })).toMatchObject({
      level: 'balances',
      counts: { inserted: 2 },
    });
    const book = await findBook(database.db.em(), 'balances');
    expect(book).toMatchObject({ completeThrough: null, balancesCompleteThrough: new Date('2026-01-01T00:00:00Z') });
    const { items: balances } = await listBookBalancePage(
      database.db.em(),
      book!.id,
      { book: 'balances' },
      { size: 10, after: null },
    );
    expect(balances.map((each) => [each.asOfLedger, each.amount])).toEqual([
      [0, 130_000_000n],
      [100, 125_000_000n],
    ]);
  });

  test('the same file again changes nothing; a corrected one revises what it corrects', async () => {
    const file = (amount: string) => `${HEADER}\n${line('a')}\n${line('a')}\n${line('b', amount)}\n`;
    expect((await importText('again', file('1'))).counts).toMatchObject({ inserted: 3 });
    expect((await importText('again', file('1.0'))).counts).toMatchObject({ inserted: 0, unchanged: 3, revised: 0 });
    expect((await importText('again', file('2'))).counts).toMatchObject({ inserted: 0, unchanged: 2, revised: 1 });
    expect(await stored('again')).toHaveLength(3);
  });
});

describe('what is wrong with a file', () => {
  test('names every bad line by number and reason, and commits none of the good ones', async () => {
    const text = [
      HEADER,
      line('a'),
      line('b', 'x'),
      `"c\nc",${G},native,1`,
      `d,${G},native`,
      `e,G123,usd,1`,
      line('f', '0.00000001'),
      line('g'),
    ].join('\n');
    const done = await importText('bad', text);
    expect(done).toMatchObject({ state: 'failed', lineCount: 7, errorCount: 5, counts: { inserted: 0 } });
    expect(done.errors.map((error) => [error.line, error.column, error.code])).toEqual([
      [3, 'amount', 'AMOUNT_INVALID'],
      [6, '', 'VALUE_INVALID'],
      [7, 'account', 'ACCOUNT_INVALID'],
      [7, 'asset', 'ASSET_INVALID'],
      [8, 'amount', 'AMOUNT_INVALID'],
    ]);
    expect(await findBook(database.db.em(), 'bad')).toBeNull();
    expect(await stagedRows()).toBe(0);
    expect(await getImport(database, done.id)).toEqual(done);
  });

  test('counts all errors and lists the first thousand', async () => {
    const text = `${HEADER}\n${Array.from({ length: 12_000 }, (_, index) => line(`k${index}`, 'x')).join('\n')}`;
    const done = await importText('many', text, {}, 100_000);
    expect(done.errorCount).toBe(12_000);
    expect(done.errors).toHaveLength(1_000);
  });

  test.each([
    ['a misspelt column', `key,acount,asset,amount\n${line('a')}`, /did you mean account/],
    ['semicolons', `key;account;asset;amount\na;b;c;d`, /commas/],
    ['no row', `${HEADER}\n`, /no row/],
    ['nothing at all', '', /no row/],
    ['a quote that never closes', `${HEADER}\n"a,${G},native,1\n${line('b')}`, /never closes/],
    ['a quote inside a bare cell', `${HEADER}\na"b,${G},native,1\n${line('b')}`, /quote in the middle/],
    ['bytes that are not UTF-8', `${HEADER}\n\ufffd,${G},native,1`, /UTF-8/],
    ['one endless line', `${HEADER}\n${'x'.repeat(70_000)}`, /longer than 65536/],
    ['endless commas', `${HEADER}\n${','.repeat(400_000)}`, /longer than 65536/],
  ])('%s is said in words', async (_, text, words) => {
    const done = await importText('words', text, {}, 50_000);
    expect(done.state).toBe('failed');
    expect(done.errors.map((error) => error.message).join('\n')).toMatch(words);
  });

  test('one row id with two contents is refused with both lines, with one content it is one row', async () => {
    const file = (amount: string) => `row_id,${HEADER}\nr1,${line('a')}\nr2,${line('b')}\nr1,${line('a', amount)}\n`;
    expect(await importText('conflict', file('2'))).toMatchObject({
      state: 'failed',
      errors: [{ line: 4, column: 'row_id', code: 'KEY_CONFLICT', message: expect.stringContaining('line 2') }],
    });
    expect(await importText('conflict', file('1.0'))).toMatchObject({
      state: 'committed',
      counts: { inserted: 2, unchanged: 1 },
    });
  });

  test('retracts by file, and refuses to retract what is not there', async () => {
    await importText('taken', `row_id,${HEADER}\nr1,${line('a')}\n`);
    const file = (id: string) => `row_id,${HEADER},retracted\n${id},a,${G},native,,true\n`;
    expect(await importText('taken', file('r9'))).toMatchObject({
      state: 'failed',
      errors: [{ line: 2, column: 'row_id' }],
    });
    expect(await importText('taken', file('r1'))).toMatchObject({ state: 'committed', counts: { retracted: 1 } });
    expect(await stored('taken')).toEqual([]);
  });

  test('a file shorter than announced counts for nothing', async () => {
    const text = `${HEADER}\n${line('a')}\n`;
    expect(await importText('short', text, { fileSizeBytes: text.length + 10 })).toMatchObject({
      state: 'failed',
      errors: [{ code: 'FILE_TRUNCATED' }],
    });
    expect(await stored('short')).toEqual([]);
  });

  test('a file above the limit is refused before it fills anything', async () => {
    const limited = importBook(
      { db: database.db, limits: { maxFileBytes: 100 } },
      {
        book: 'large',
        level: null,
        format: 'csv',
        fileName: null,
        fileSizeBytes: null,
        completeThrough: null,
        requestId: null,
      },
      bytes('x'.repeat(1000)),
      caller,
    );
    await expect(limited).rejects.toMatchObject({ reason: 'REQUEST_TOO_LARGE' });
  });
});

describe('interruptions and repetitions', () => {
  test('a repeated request gets the first answer, another file under its id is refused', async () => {
    const requestId = crypto.randomUUID();
    const text = `${HEADER}\n${line('a')}\n`;
    const first = await importText('repeat', text, { requestId });
    expect(await importText('repeat', text, { requestId })).toEqual(first);
    await expect(importText('repeat', `${text}\n${line('b')}`, { requestId })).rejects.toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });

  test('a transfer that breaks leaves a failed import, and the same request may be sent again', async () => {
    const requestId = crypto.randomUUID();
    const text = `${HEADER}\n${Array.from({ length: 20_000 }, (_, index) => line(`k${index}`)).join('\n')}`;
    async function* broken() {
      yield* bytes(text.slice(0, text.length / 2), 64_000);
      throw new Error('connection reset');
    }
    const header: ImportHeader = {
      book: 'broken',
      level: null,
      format: 'csv',
      fileName: null,
      fileSizeBytes: null,
      completeThrough: null,
      requestId,
    };
    await expect(importBook(database, header, broken(), caller)).rejects.toThrow('connection reset');
    expect(await stored('broken')).toEqual([]);
    expect(await stagedRows()).toBe(0);
    expect(await importText('broken', text, { requestId }, 64_000)).toMatchObject({
      state: 'committed',
      counts: { inserted: 20_000 },
    });
  });

  test('a killed import leaves nothing but staged rows, which the sweep removes', { timeout: 180_000 }, async () => {
    const requestId = crypto.randomUUID();
    const child = runChild('killed', 20_000, requestId, 12_000);
    await once(child.stdout!, 'data');
    await waitUntil(async () => (await stagedRows()) >= 10_000);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await stored('killed')).toEqual([]);
    expect(await sweepImports({ db: database.db })).toBe(0);
    expect(await sweepImports({ db: database.db, staleMs: 0 })).toBe(1);
    expect(await stagedRows()).toBe(0);
    expect(await findBook(database.db.em(), 'killed')).toBeNull();
    const again = JSON.parse(await outputOf(runChild('killed', 20_000, requestId, 0)));
    expect(again).toMatchObject({ state: 'committed', counts: { inserted: 20_000 } });
  });

  test('an import that was swept while it slept commits nothing', async () => {
    async function* slow() {
      yield Buffer.from(`${HEADER}\n${line('a')}\n`);
      await sweepImports({ db: database.db, staleMs: -60_000 });
      yield Buffer.from(`${line('b')}\n`);
    }
    const header: ImportHeader = {
      book: 'slept',
      level: null,
      format: 'csv',
      fileName: null,
      fileSizeBytes: null,
      completeThrough: null,
      requestId: null,
    };
    await expect(importBook(database, header, slow(), caller)).rejects.toMatchObject({ reason: 'LEASE_LOST' });
    expect(await stored('slept')).toEqual([]);
  });
});

test('300,000 rows pass through a small heap in flat memory', { timeout: 300_000 }, async () => {
  const done = JSON.parse(await outputOf(runChild('flat', 300_000, '', 0, ['--max-old-space-size=80'])));
  expect(done).toMatchObject({ state: 'committed', counts: { inserted: 300_000 } });
  expect(done.peakRssBytes - done.startRssBytes).toBeLessThan(200 * 1024 ** 2);
});

function runChild(book: string, rows: number, requestId: string, waitAfter: number, flags: string[] = []) {
  const script = fileURLToPath(new URL('./_import-child.ts', import.meta.url));
  return spawn(process.execPath, [...flags, script, database.url, book, String(rows), requestId, String(waitAfter)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function outputOf(child: ReturnType<typeof runChild>): Promise<string> {
  let text = '';
  child.stdout!.on('data', (data: Buffer) => (text += data.toString()));
  const [code] = (await once(child, 'exit')) as [number];
  expect(code).toBe(0);
  return text;
}

async function waitUntil(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve));
}
