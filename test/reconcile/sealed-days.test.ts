// Goal: two immutable tables are compared once, day by day, and what agreed isn't read again; nothing that a run can see is lost thereby.
// Method: tables of several days; rows that are changed under a seal, added beside it, or lie on the border of two days.
import { StrKey } from '@stellar/stellar-sdk';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Policy } from '../../src/core/policy.ts';
import { reverify } from '../../src/services/reverify.ts';
import { createPostgresBook } from '../../src/sources/book-postgres.ts';
import { readDays } from '../../src/store/day-seals.ts';
import { createTestDatabase, onAdminConnection, type TestDatabase } from '../_util/database.ts';
import { openHouse, type House } from '../_util/reconcile.ts';

const ACCOUNT = StrKey.encodeEd25519PublicKey(new Uint8Array(32).fill(1) as never);
const DAYS = 6;
const ROWS = 40;
let own: TestDatabase;
let users: TestDatabase;

const write = (statement: string) => onAdminConnection(users.url, (client) => client.query(statement));

beforeAll(async () => {
  own = await createTestDatabase();
  users = await createTestDatabase({ migrated: false });
  for (const table of ['theirs', 'ours'])
    await write(
      `create table ${table} (row_id text, key text, account text, asset text, amount_minor numeric, occurred_at timestamptz)`,
    );
});
afterAll(async () => {
  await own.drop();
  await users.drop();
});

/** Row n of a day lies n seconds after noon, six days ago and later; today's are too young to be sealed. */
beforeEach(() =>
  write(`
    truncate theirs, ours;
    insert into theirs select day || '-' || n, day || '-' || n, '${ACCOUNT}', 'native', n,
        date_trunc('day', now(), 'UTC') - day * interval '1 day' + interval '12 hours' + n * interval '1 second'
      from generate_series(1, ${DAYS}) as day, generate_series(1, ${ROWS}) as n;
    insert into theirs select 'now-' || n, 'now-' || n, '${ACCOUNT}', 'native', n, now() - interval '2 hours' from generate_series(1, 5) as n;
    insert into ours select * from theirs`),
);

async function house(policy: Partial<Policy> = {}, immutable = true): Promise<House> {
  const external = { kind: 'external', type: 'postgres' } as const;
  const opened = await openHouse(own.db, {
    policy: {
      ledger: { ...external, name: 'theirs', immutable: true },
      book: { ...external, name: 'ours', immutable },
      windowHours: null,
      ...policy,
    },
    book: () => table('ours'),
  });
  Object.assign(opened.runDeps, { ledgerOf: () => table('theirs') });
  return opened;
}

const table = (name: string) => createPostgresBook({ url: users.url, query: `select * from ${name}` });
const daysOf = async (at: House) => (await readDays(own.db.em(), at.name, null)).map(({ rows }) => rows);
const kindsOf = async (at: House) =>
  (await at.drifts({ states: ['open'] })).map(({ matchKey, kinds }) => `${matchKey} ${kinds.join()}`);
const distrust = (at: House) => reverify(at.runDeps, AbortSignal.timeout(60_000));

/** A house after a run that sealed all days but those that may still change. */
async function sealed(policy: Partial<Policy> = {}): Promise<House> {
  const at = await house(policy);
  expect((await at.run()).verdict).toBe('CLEAN');
  expect((await daysOf(at)).slice(0, DAYS - 1)).toEqual(Array.from({ length: DAYS - 1 }, () => ROWS));
  return at;
}

describe('two immutable tables', () => {
  it('are sealed day by day, and a run that leaves the days out says what one says that reads them', async () => {
    const at = await sealed();
    const [second, third] = [await at.run(), await at.run()];
    const read = await (await house({}, false)).run();
    expect(second.summary!.counts).toEqual(read.summary!.counts);
    expect(second.summary!.counts).toMatchObject({ ledgerRecords: DAYS * ROWS + 5, matched: DAYS * ROWS + 5 });
    expect(third.summary!.resultDigest).toBe(second.summary!.resultDigest);
  });

  it('are not read under a seal: what changes there is found by the full re-verify, and named by the run after it', async () => {
    const at = await sealed();
    await write(`update ours set amount_minor = 999 where key = '3-7'; delete from theirs where key = '4-1'`);
    const blind = await at.run();
    expect([blind.verdict, blind.summary!.counts!.matched]).toEqual(['CLEAN', DAYS * ROWS + 5]);
    const before = (await daysOf(at)).length;
    await distrust(at);
    expect((await daysOf(at)).length).toBe(before - 2);
    await at.run();
    expect(await kindsOf(at)).toEqual(['3-7 AMOUNT_MISMATCH', '4-1 MISSING_ON_LEDGER']);
    await distrust(at);
    expect((await daysOf(at)).length).toBe(before - 2);
  });

  it('show at once a new row of a key whose others are sealed, and count each row once', async () => {
    const at = await sealed();
    await write(
      `insert into ours select 'again', key, account, asset, amount_minor, now() - interval '1 hour' from ours where key = '3-7'`,
    );
    const run = await at.run();
    expect(await kindsOf(at)).toEqual(['3-7 DUPLICATE_IN_DB']);
    const read = await (await house({}, false)).run();
    expect(run.summary!.counts).toMatchObject({
      ledgerRecords: read.summary!.counts!.ledgerRecords,
      bookRecords: read.summary!.counts!.bookRecords,
      matched: read.summary!.counts!.matched,
    });
  });

  it('leave open days on whose border a pair stands, and agree all the same', async () => {
    await write(`
      update theirs set occurred_at = date_trunc('day', occurred_at, 'UTC') + interval '1 day' - interval '1 second' where key = '4-1';
      update ours set occurred_at = date_trunc('day', occurred_at, 'UTC') + interval '1 day' where key = '4-1'`);
    const at = await house();
    const first = await at.run();
    const second = await at.run();
    expect([first.verdict, second.verdict]).toEqual(['CLEAN', 'CLEAN']);
    expect(second.summary!.counts).toEqual(first.summary!.counts);
    expect(first.summary!.counts!.matched).toBe(DAYS * ROWS + 5);
    // The sixth, the fifth and the second day before; yesterday where it can't change any more.
    const days = await daysOf(at);
    expect([days.slice(0, 3), days.length <= 4]).toEqual([[ROWS, ROWS, ROWS], true]);
  });

  it('have no seal any more under other rules', async () => {
    const at = await sealed();
    await write(
      `update ours set account = upper(account), asset = asset, amount_minor = amount_minor + 1 where key = '3-7'`,
    );
    expect((await at.run()).verdict).toBe('CLEAN');
    at.policies.set(at.name, { ...at.policy, timeToleranceMs: 0 });
    await at.run();
    expect(await kindsOf(at)).toEqual(['3-7 AMOUNT_MISMATCH']);
  });
});

describe('two tables of which one is not declared immutable', () => {
  it('are never sealed: a change of any age is found at once', async () => {
    const at = await house({}, false);
    expect((await at.run()).verdict).toBe('CLEAN');
    expect(await daysOf(at)).toEqual([]);
    await write(`update theirs set amount_minor = 999 where key = '5-5'`);
    await at.run();
    expect(await kindsOf(at)).toEqual(['5-5 AMOUNT_MISMATCH']);
  });
});
