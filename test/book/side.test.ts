// Goal: both kinds of book read alike: whole, in order, at one moment, and never empty for a failure.
// Method: the same rows in TrueUp's own book and in a database of the user's, read through the same interface.
import { StrKey } from '@stellar/stellar-sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseBookRow } from '../../src/core/book.ts';
import type { Book, BookBalance, BookRow } from '../../src/core/book.ts';
import { recordEntries } from '../../src/services/book.ts';
import { createRecordedBook } from '../../src/services/book-side.ts';
import { doctorBook } from '../../src/services/doctor-book.ts';
import { createPostgresBook } from '../../src/sources/book-postgres.ts';
import type { Caller } from '../../src/store/audit.ts';
import { createTestDatabase, onAdminConnection } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';

const accountOf = (byte: number) => StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(byte) as never);
const [A, B] = [accountOf(1), accountOf(2)];
const caller: Caller = {
  actor: 'tester',
  role: 'operate',
  method: 'trueup.v1.ReconciliationService/RecordEntries',
  requestId: '',
  traceId: null,
};
const signal = new AbortController().signal;
const hash = (n: number) => n.toString(16).padStart(64, '0');
let own: TestDatabase;
let users: TestDatabase;
let readerUrl: string;

beforeAll(async () => {
  own = await createTestDatabase();
  users = await createTestDatabase({ migrated: false });
  await onAdminConnection(users.url, async (client) => {
    await client.query(`create table payments (id bigserial primary key, tx_hash text, account text, asset text, amount numeric(30,7),
      approx double precision, state text, created_at timestamptz, local_time timestamp, cancelled boolean not null default false)`);
    await client.query(`create table holdings (account text, asset text, balance numeric, ledger int)`);
    const role = `reader_${process.pid}_${Date.now()}`;
    await client.query(`create role ${role} login password 'reader'; grant select on payments, holdings to ${role}`);
    const url = new URL(users.url);
    [url.username, url.password] = [role, 'reader'];
    readerUrl = url.href;
  });
});
afterAll(async () => {
  await own.drop();
  await onAdminConnection(users.url, (client) =>
    client.query(`drop owned by ${new URL(readerUrl).username}; drop role ${new URL(readerUrl).username}`),
  );
  await users.drop();
});

const QUERY = `select id as row_id, tx_hash as key, account, asset, amount, state as status, created_at as occurred_at, cancelled as retracted
  from payments -- the last line of a query may be a comment;`;

function postgresBook(query = QUERY, more: object = {}) {
  return createPostgresBook({ url: readerUrl, query, ...more });
}

/** Puts the same rows into both books; returns them. */
async function fill(
  name: string,
  rows: readonly Record<string, unknown>[],
): Promise<{ recorded: Book; postgres: Book }> {
  for (let at = 0; at < rows.length; at += 5000) {
    const slice = rows.slice(at, at + 5000).map((row) => parseBookRow(row));
    await recordEntries(
      own,
      { book: name, rows: slice, balances: [], completeThrough: new Date('2026-01-02T00:00:00Z'), requestId: null },
      caller,
    );
  }
  await onAdminConnection(users.url, async (client) => {
    await client.query('truncate payments');
    await client.query(
      `insert into payments (id, tx_hash, account, asset, amount, state, created_at, cancelled)
       select (r->>'row_id')::bigint, r->>'key', r->>'account', r->>'asset', (r->>'amount')::numeric, r->>'status',
         (r->>'occurred_at')::timestamptz, coalesce((r->>'retracted')::boolean, false) from jsonb_array_elements($1::jsonb) r`,
      [JSON.stringify(rows)],
    );
  });
  return { recorded: createRecordedBook(own, name), postgres: postgresBook() };
}

async function collect<T>(batches: AsyncIterable<readonly T[]>): Promise<T[]> {
  const all: T[] = [];
  for await (const batch of batches) all.push(...batch);
  return all;
}

function plain(rows: readonly BookRow[]) {
  return rows.map(({ rowId, key, account, asset, amount, status, occurredAt }) => ({
    rowId,
    key,
    account,
    asset,
    amount,
    status,
    occurredAt,
  }));
}

describe('both books', () => {
  test('hand over every row in byte order, more than 5,000 too, from the window and those without a time', async () => {
    const rows = Array.from({ length: 12_000 }, (_, index) => ({
      row_id: String(100_000 + index),
      key: index % 3 === 0 ? hash((index * 7919) % 4000).toUpperCase() : `Ärger-${(index * 31) % 5000}`,
      account: index % 2 === 0 ? A : B,
      asset: index % 5 === 0 ? 'XLM' : `USDC:${B}`,
      amount: `${index % 2 === 0 ? '-' : ''}${index}.5`,
      status: 'Paid',
      occurred_at: index % 100 === 0 ? null : new Date(Date.UTC(2026, 0, 1) + index * 1000).toISOString(),
      retracted: index === 77,
    }));
    const books = await fill('order', rows);
    const read = async (book: Book) => {
      await using side = await book.open('entries', signal);
      const whole = await collect(side.entries({}, signal));
      const from = new Date(Date.UTC(2026, 0, 1) + 6_000_000);
      const windowed = await collect(
        side.entries({ occurredFrom: from, occurredTo: new Date(from.getTime() + 1_000_000) }, signal),
      );
      const keys = { from: hash(300), to: 'Ärger-31' };
      const ranged = await collect(side.entries({ keys }, signal));
      const byKeys = await side.entriesByKeys([hash(0), 'Ärger-31', 'nowhere'], signal);
      return {
        whole,
        windowed,
        ranged,
        byKeys,
        pairs: await side.pairs(signal),
        sample: await side.sampleKeys(20, signal),
      };
    };
    const [recorded, postgres] = [await read(books.recorded), await read(books.postgres)];
    expect(recorded.whole).toHaveLength(11_999);
    expect(plain(postgres.whole)).toEqual(plain(recorded.whole));
    expect(plain(postgres.windowed)).toEqual(plain(recorded.windowed));
    expect(recorded.windowed.filter((row) => row.occurredAt !== null)).toHaveLength(990);
    expect(recorded.windowed.filter((row) => row.occurredAt === null)).toHaveLength(120);
    const inRange = (row: BookRow) => {
      const key = Buffer.from(row.key);
      return Buffer.compare(key, Buffer.from(hash(300))) >= 0 && Buffer.compare(key, Buffer.from('Ärger-31')) < 0;
    };
    expect(plain(recorded.ranged)).toEqual(plain(recorded.whole.filter(inRange)));
    expect(plain(postgres.ranged)).toEqual(plain(recorded.ranged));
    expect(recorded.ranged.length).toBeGreaterThan(1000);
    expect(plain(postgres.byKeys)).toEqual(plain(recorded.byKeys));
    expect(recorded.byKeys.length).toBeGreaterThan(2);
    expect(postgres.pairs).toEqual(recorded.pairs);
    expect(recorded.pairs).toHaveLength(4);
    expect(postgres.sample).toEqual(recorded.sample);
    const order = recorded.whole.map((row) => Buffer.from(`${row.key}\0${row.rowId}`));
    expect(order.every((each, index) => index === 0 || Buffer.compare(order[index - 1]!, each) < 0)).toBe(true);
    expect(recorded.whole[0]).toMatchObject({ status: 'paid' });
  });

  test('hold one moment: what is written meanwhile is not seen', async () => {
    const books = await fill('moment', [{ row_id: '1', key: 'k', account: A, asset: 'native', amount: '1' }]);
    await using recorded = await books.recorded.open('entries', signal);
    await using postgres = await books.postgres.open('entries', signal);
    const late = parseBookRow({ row_id: '2', key: 'k2', account: A, asset: 'native', amount: '1' });
    await recordEntries(
      own,
      { book: 'moment', rows: [late], balances: [], completeThrough: null, requestId: null },
      caller,
    );
    await onAdminConnection(users.url, (client) =>
      client.query(`insert into payments (id, tx_hash, account, asset, amount) values (99, 'k2', $1, 'native', 1)`, [
        A,
      ]),
    );
    for (const side of [recorded, postgres]) {
      expect(await collect(side.entries({}, signal))).toHaveLength(1);
      expect(await side.entriesByKeys(['k2'], signal)).toEqual([]);
    }
  });

  test('give one balance a pair: the newest at or below the cut, else the one without a ledger', async () => {
    const balances: BookBalance[] = [
      { account: B, asset: 'native', amount: 1n, asOfLedger: 0 },
      { account: A, asset: 'native', amount: 2n, asOfLedger: 100 },
      { account: A, asset: 'native', amount: 3n, asOfLedger: 200 },
      { account: A, asset: `USDC:${B}`, amount: 4n, asOfLedger: 300 },
    ];
    await recordEntries(
      own,
      { book: 'held', rows: [], balances, completeThrough: new Date('2026-01-03T00:00:00Z'), requestId: null },
      caller,
    );
    await onAdminConnection(users.url, async (client) => {
      await client.query('truncate holdings');
      for (const each of balances) {
        const asset = each.asset === 'native' ? 'XLM' : each.asset;
        await client.query('insert into holdings values ($1, $2, $3, $4)', [
          each.account,
          asset,
          `0.000000${each.amount}`,
          each.asOfLedger || null,
        ]);
      }
    });
    const query = 'select account, asset, balance, ledger as as_of_ledger from holdings';
    for (const book of [createRecordedBook(own, 'held'), postgresBook(query)]) {
      await using side = await book.open('balances', signal);
      const at = async (cutLedger: number) =>
        (await collect(side.balances({ cutLedger }, signal))).map((each) => [each.account, each.asset, each.amount]);
      const sorted = [
        [A, 'native', 2n],
        [B, 'native', 1n],
      ].sort((x, y) => (x[0]! < y[0]! ? -1 : 1));
      expect(await at(150)).toEqual(sorted);
      expect((await at(300)).filter(([account]) => account === A)).toEqual([
        [A, `USDC:${B}`, 4n],
        [A, 'native', 3n],
      ]);
      expect(await at(50)).toEqual([[B, 'native', 1n]]);
      expect(await side.completeThrough(signal)).not.toBeNull();
    }
  });
});

describe('a recorded book', () => {
  test('states nothing where nobody wrote, and its own completeness per level', async () => {
    await using nobody = await createRecordedBook(own, 'never').open('entries', signal);
    expect(await nobody.completeThrough(signal)).toBeNull();
    expect(await collect(nobody.entries({}, signal))).toEqual([]);
    expect(await nobody.pairs(signal)).toEqual([]);
    await using held = await createRecordedBook(own, 'held').open('entries', signal);
    expect(await held.completeThrough(signal)).toBeNull();
  });

  test('refuses a scope that is too wide, with the fix', async () => {
    await using side = await createRecordedBook({ db: own.db, maxScopePairs: 3 }, 'order').open('entries', signal);
    await expect(side.pairs(signal)).rejects.toMatchObject({
      reason: 'BOOK_UNREADABLE',
      message: expect.stringContaining('scope'),
    });
  });
});

describe("a book in the user's database", () => {
  const columns = `tx_hash as key, account, asset`;
  test.each([
    ['money as a float', `select ${columns}, approx as amount from payments`, /float8.*numeric/],
    [
      'a time without a zone',
      `select ${columns}, amount, local_time as occurred_at from payments`,
      /no zone.*at time zone 'UTC'/,
    ],
    [
      'a misspelt column',
      `select ${columns}, amount, created_at as ocurred_at from payments`,
      /did you mean occurred_at/,
    ],
    ['a missing column', `select tx_hash as key, asset, amount from payments`, /account is missing/],
    [
      'a hash as bytes',
      `select decode(tx_hash, 'hex') as key, account, asset, amount from payments`,
      /encode\(key, 'hex'\)/,
    ],
    ['a table that is not there', `select ${columns}, amount from nowhere`, /nowhere.*correct the table/],
    [
      'a table that may not be read',
      'select rolpassword as key, rolname as account, rolname as asset, 1 as amount from pg_authid',
      /permission denied.*grant/,
    ],
    [
      'a hidden write',
      `with gone as (delete from payments returning *) select ${columns}, amount from gone`,
      /top level|read-only/,
    ],
  ])('%s is refused with the fix, never read as empty', async (_, query, words) => {
    await expect(postgresBook(query).open('entries', signal)).rejects.toMatchObject({
      reason: 'BOOK_UNREADABLE',
      message: expect.stringMatching(words),
    });
  });

  test.each([
    ['two statements', 'select 1; drop table payments'],
    ['an update', 'update payments set amount = 0'],
  ])('%s is not even connected', (_, query) => {
    expect(() => postgresBook(query)).toThrow(expect.objectContaining({ reason: 'INVALID_CONFIGURATION' }));
  });

  test('a semicolon inside a literal is no second statement', async () => {
    await using side = await postgresBook(
      `select ';' || tx_hash as key, account, asset, amount from payments where state is distinct from 'a;b';`,
    ).open('entries', signal);
    await collect(side.entries({}, signal));
  });

  test('a bad row fails the reading by name', async () => {
    const books = await fill('bad', [{ row_id: '1', key: hash(1), account: A, asset: 'native', amount: '1' }]);
    await onAdminConnection(users.url, (client) => client.query(`update payments set account = 'GABC'`));
    await using side = await books.postgres.open('entries', signal);
    await expect(collect(side.entries({}, signal))).rejects.toMatchObject({
      reason: 'BOOK_UNREADABLE',
      message: expect.stringMatching(/"1".*account/),
    });
    await using again = await books.postgres.open('entries', signal);
    await expect(again.pairs(signal)).rejects.toMatchObject({ reason: 'BOOK_UNREADABLE' });
  });

  test('two balances of one pair are refused, not chosen from', async () => {
    await onAdminConnection(users.url, (client) =>
      client.query(
        `truncate holdings; insert into holdings values ('${A}', 'native', 1, null), ('${A}', 'XLM', 2, null)`,
      ),
    );
    await using side = await postgresBook('select account, asset, balance from holdings').open('balances', signal);
    await expect(collect(side.balances({ cutLedger: 1 }, signal))).rejects.toMatchObject({ reason: 'BOOK_UNREADABLE' });
  });

  test('a slow query ends at its timeout, an abort ends it at once', async () => {
    const slow = `select pg_sleep(30)::text || tx_hash as key, account, asset, amount from payments`;
    await fill('slow', [{ row_id: '1', key: hash(1), account: A, asset: 'native', amount: '1' }]);
    await using side = await postgresBook(slow, { statementTimeoutMs: 100 }).open('entries', signal);
    await expect(collect(side.entries({}, signal))).rejects.toMatchObject({
      reason: 'BOOK_UNREADABLE',
      message: expect.stringContaining('too long'),
    });
    const aborting = new AbortController();
    await using aborted = await postgresBook(slow).open('entries', aborting.signal);
    const reading = collect(aborted.entries({}, aborting.signal));
    aborting.abort(new Error('enough'));
    await expect(reading).rejects.toThrow('enough');
  });

  test('a server that is not there is unreadable, and the password stays unsaid', async () => {
    const url = 'postgresql://reader:very-secret@127.0.0.1:1/books';
    const failure = await createPostgresBook({ url, query: QUERY })
      .open('entries', signal)
      .catch((error: Error) => error);
    expect(failure).toMatchObject({ reason: 'BOOK_UNREADABLE' });
    expect(String(failure)).not.toContain('very-secret');
  });

  test('equal rows without ids are two rows', async () => {
    await fill(
      'twins',
      [1, 2].map((id) => ({ row_id: String(id), key: hash(1), account: A, asset: 'native', amount: '5' })),
    );
    await using side = await postgresBook(`select ${columns}, amount from payments`).open('entries', signal);
    const rows = await collect(side.entries({}, signal));
    expect(new Set(rows.map((row) => row.rowId)).size).toBe(2);
  });
});

describe('the doctor', () => {
  test('shows mapped rows, the kind of key and how many meet the ledger', async () => {
    await fill(
      'well',
      Array.from({ length: 8 }, (_, index) => ({
        row_id: String(index),
        key: hash(index),
        account: A,
        asset: 'XLM',
        amount: '12.50',
        status: 'Paid',
      })),
    );
    const report = await doctorBook({ book: postgresBook(), countKeysFound: async (keys) => keys.length - 1 }, signal);
    expect(report).toMatchObject({
      level: 'entries',
      join: { join: 'tx_hash' },
      overlap: { sampled: 8, found: 7 },
      fixes: [],
    });
    expect(report.rows).toHaveLength(5);
    expect(report.rows[0]!.columns).toMatchObject({ asset: 'native', amount: '12.5000000', status: 'paid' });
    expect(report.inspection!.writable).toEqual([]);
  });

  test('warns of a role that could write, and says what to fix instead of failing', async () => {
    const writable = createPostgresBook({
      url: users.url,
      query: `select id::text as key, account, asset, amount from payments`,
    });
    const report = await doctorBook({ book: writable, countKeysFound: async () => 0 }, signal);
    expect(report.notes.join()).toMatch(/could write.*superuser.*payments/);
    expect(report.fixes.join()).toMatch(/names no transaction/);
    const broken = await doctorBook(
      {
        book: postgresBook(`select account, asset, approx as amount, tx_hash as key from payments`),
        countKeysFound: null,
      },
      signal,
    );
    expect(broken.fixes.join()).toMatch(/float8/);
    const gone = await doctorBook(
      { book: createPostgresBook({ url: 'postgresql://x@127.0.0.1:1/y', query: QUERY }), countKeysFound: null },
      signal,
    );
    expect(gone).toMatchObject({ inspection: null, fixes: [expect.stringContaining('TRUEUP_BOOK_URL')] });
  });

  test('says when no key meets the ledger', async () => {
    const report = await doctorBook({ book: postgresBook(), countKeysFound: async () => 0 }, signal);
    expect(report.fixes.join()).toMatch(/none of \d+ sampled keys/);
  });
});
