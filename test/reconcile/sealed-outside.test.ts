// Goal: a table of the user's is sealed only where it is declared immutable; then unchanged history is not read again, and what changes there
// against the promise is found by the full re-verify. Method: real tables; rows that are changed under a seal; statements counted by
// what they ask for.
import { StrKey } from '@stellar/stellar-sdk';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Book } from '../../src/core/book.ts';
import type { RowQuery } from '../../src/core/row-side.ts';
import { reverifySeals } from '../../src/services/reverify.ts';
import { createPostgresBook } from '../../src/sources/book-postgres.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, onAdminConnection, type TestDatabase } from '../_util/database.ts';
import { hashAt, openHouse, type House } from '../_util/reconcile.ts';

const ACCOUNT = StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(1) as never);
const CHUNK = 64;
const LAST = 8 * CHUNK;
/** A payment in every fourth ledger. */
const PAID = Array.from({ length: LAST / 4 - 1 }, (_, i) => (i + 1) * 4);
let own: TestDatabase;
let users: TestDatabase;

beforeAll(async () => {
  own = await createTestDatabase();
  users = await createTestDatabase({ migrated: false });
  await write(
    `create table ours (row_id text, key text, account text, asset text, amount_minor numeric, occurred_at timestamptz)`,
  );
});
beforeEach(async () => {
  await write('truncate ours');
  await sql(own.db.em(), 'delete from trueup.chunk_seals');
});
afterAll(async () => {
  await own.drop();
  await users.drop();
});

const write = (statement: string, values: readonly unknown[] = []) =>
  onAdminConnection(users.url, (client) => client.query(statement, [...values]));

/** Counts the rows that are read in order. */
function counting(book: Book, read: { rows: number }): Book {
  return {
    async open(level, signal) {
      const side = await book.open(level, signal);
      const { entries } = side;
      return Object.assign(side, {
        async *entries(query: RowQuery, reading: AbortSignal) {
          for await (const rows of entries(query, reading)) {
            read.rows += rows.length;
            yield rows;
          }
        },
      });
    },
  };
}

/** Eight chunks on which a table of the user's and the ledger agree, after a first run. */
async function agreeing(immutable: boolean, read = { rows: 0 }): Promise<House> {
  const table = createPostgresBook({ url: users.url, query: 'select * from ours' });
  const house = await openHouse(own.db, {
    policy: { book: { kind: 'external', name: 'ours', type: 'postgres', immutable } },
    book: () => counting(table, read),
  });
  await house.ledgers(
    { from: 1, to: LAST },
    PAID.map((ledger) => ({ ledger, account: ACCOUNT, amount: 10n })),
  );
  await house.tip(LAST - 1);
  for (const ledger of PAID) await pay(house, ledger);
  expect(await house.run()).toMatchObject({ verdict: 'CLEAN' });
  return house;
}

/** A microsecond before the close: rows of the user's are finer than any time of TrueUp's. */
const pay = (house: House, ledger: number, rowId = `row-${ledger}`) =>
  write(`insert into ours values ($1, $2, $3, 'native', 10, $4::timestamptz - interval '1 microsecond')`, [
    ...[rowId, hashAt(ledger), ACCOUNT, house.timeOf(ledger).toISOString()],
  ]);

async function seals(house: House): Promise<number[]> {
  const rows = await sql<{ from_ledger: number }>(
    own.db.em(),
    `select from_ledger from trueup.chunk_seals where policy = $1 and state = 'sealed' order by from_ledger`,
    [house.name],
  );
  return rows.map((row) => row.from_ledger);
}

const kindsOf = async (house: House) => (await house.drifts({ states: ['open'] })).map(({ kinds }) => kinds.join());
const reverify = (house: House) => reverifySeals(house.runDeps, AbortSignal.timeout(60_000));

describe('a table that is declared immutable', () => {
  it('is sealed chunk by chunk, and what lies under a seal is not read again, and counts as it did', async () => {
    const read = { rows: 0 };
    const house = await agreeing(true, read);
    const sealed = await seals(house);
    expect(sealed.length).toBeGreaterThanOrEqual(4);
    expect(read.rows).toBe(PAID.length);
    const first = await house.run();
    read.rows = 0;
    const second = await house.run();
    expect(second.summary!.counts).toMatchObject({ matched: PAID.length, bookRecords: PAID.length });
    expect(second.summary!.resultDigest).toBe(first.summary!.resultDigest);
    // Sixteen payments a chunk; one more stands at a border, as it was written before its ledger closed.
    const under = sealed.length * (CHUNK / 4);
    expect(read.rows).toBeLessThanOrEqual(PAID.length - under + 1);
    expect(await reverify(house)).toMatchObject({ broken: 0, opened: 0, verified: sealed.length });
    expect(await seals(house)).toEqual(sealed);
  });

  it.each([
    ['a changed row', `update ours set amount_minor = 11 where row_id = $1`, 'AMOUNT_MISMATCH'],
    ['a deleted row', `delete from ours where row_id = $1`, 'MISSING_IN_DB'],
    [
      'a row that was added late',
      `insert into ours select 'late', key, account, asset, amount_minor, occurred_at from ours where row_id = $1`,
      'DUPLICATE_IN_DB',
    ],
  ])(
    'keeps %s under a seal to itself until the full re-verify, and the run after that names it',
    async (_, change, kind) => {
      const house = await agreeing(true);
      const from = (await seals(house))[1]!;
      await write(change, [`row-${from + 12}`]);
      expect((await house.run()).verdict).toBe('CLEAN');
      expect(await reverify(house)).toMatchObject({ broken: 0, opened: 1 });
      expect(await seals(house)).not.toContain(from);
      expect((await house.run()).verdict).toBe('DRIFT_DETECTED');
      expect(await kindsOf(house)).toEqual([kind]);
    },
  );

  it('is unsealed at once where the ledger’s side of a chunk is written', async () => {
    const house = await agreeing(true);
    const from = (await seals(house))[1]!;
    await sql(
      own.db.em(),
      `update trueup.coverage_chunks set entry_count = entry_count where stream_id = $1 and from_ledger = $2`,
      [house.opened.stream.id, from],
    );
    expect(await seals(house)).not.toContain(from);
  });

  it('leaves its seals in doubt where it can’t be read, and says why', async () => {
    const house = await agreeing(true);
    const sealed = await seals(house);
    const gone = createPostgresBook({ url: users.url, query: 'select * from gone' });
    const deps = { ...house.runDeps, bookOf: () => gone };
    await expect(reverifySeals(deps, AbortSignal.timeout(60_000))).rejects.toMatchObject({ reason: 'BOOK_UNREADABLE' });
    expect(await seals(house)).toEqual(sealed);
  });

  it('has no seal any more where its query asks for other rows', async () => {
    const house = await agreeing(true);
    const other = createPostgresBook({ url: users.url, query: `select * from ours where row_id <> 'row-80'` });
    Object.assign(house.runDeps, { bookOf: () => other });
    expect((await house.run()).verdict).toBe('DRIFT_DETECTED');
    expect(await kindsOf(house)).toEqual(['MISSING_IN_DB']);
  });
});

describe('a table that is not declared immutable', () => {
  it('is never sealed: a change of any age is found at once', async () => {
    const read = { rows: 0 };
    const house = await agreeing(false, read);
    expect(await seals(house)).toEqual([]);
    await write(`update ours set amount_minor = 11 where row_id = 'row-80'`);
    read.rows = 0;
    await house.run();
    expect(await kindsOf(house)).toEqual(['AMOUNT_MISMATCH']);
    expect(read.rows).toBe(PAID.length);
  });
});
