// Goal: the database opens, migrates and clones as every other test relies on. Method: a real server, real clones.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase, sql, sqlCount, toDate } from '../../src/store/database.ts';
import { isUniqueViolation, toTrueUpError } from '../../src/store/db-errors.ts';
import { MIGRATIONS } from '../../src/store/migrations/index.ts';
import { migrate, requireCurrentSchema } from '../../src/store/migrate.ts';
import { createTestDatabase, onAdminConnection, withDatabase } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

describe('a cloned test database', () => {
  it('is migrated, empty and apart from every other clone', async () => {
    const other = await createTestDatabase();
    await sql(test.db.em(), `insert into trueup.sources (label) values ('only here')`);
    expect(await sql(other.db.em(), 'select * from trueup.sources')).toEqual([]);
    expect(await migrate(other.db)).toEqual([]);
    await requireCurrentSchema(other.db);
    await other.drop();
  });
});

describe('sql()', () => {
  it('gives bigint and numeric as strings and binds arrays for unnest', async () => {
    const rows = await sql(test.db.em(), 'select n::bigint as b, n::numeric(39,0) as n from unnest($1::text[]) as n', [
      ['9007199254740993', '-170141183460469231731687303715884105728'.slice(0, 19)],
    ]);
    expect(rows).toEqual([
      { b: '9007199254740993', n: '9007199254740993' },
      { b: '-170141183460469231', n: '-170141183460469231' },
    ]);
    const [now] = await sql<{ now: string }>(test.db.em(), 'select now() as now');
    expect(toDate(now?.now).getTime()).toBeGreaterThan(0);
  });

  it('takes part in the transaction of its em', async () => {
    await expect(
      test.db.em().transactional(async (em) => {
        expect(await sqlCount(em, `insert into trueup.sources (label) values ('rolled'), ('back')`)).toBe(2);
        throw new Error('changed my mind');
      }),
    ).rejects.toThrow('changed my mind');
    expect(await sql(test.db.em(), `select * from trueup.sources where label = 'rolled'`)).toEqual([]);
  });
});

describe('database errors', () => {
  it('say DATABASE_UNAVAILABLE when nobody listens', async () => {
    await expect(openDatabase({ url: 'postgresql://nobody@127.0.0.1:1/none' })).rejects.toMatchObject({
      reason: 'DATABASE_UNAVAILABLE',
    });
  });

  it('refuse a URL that is none, and a database that is not there, as configuration', async () => {
    await expect(openDatabase({ url: 'mysql://x/y' })).rejects.toMatchObject({ reason: 'INVALID_CONFIGURATION' });
    await expect(openDatabase({ url: withDatabase(test.url, 'no_such_database') })).rejects.toMatchObject({
      reason: 'INVALID_CONFIGURATION',
    });
  });

  it('leave a unique violation to the caller, recognisable by its constraint', async () => {
    await sql(test.db.em(), `insert into trueup.sources (label) values ('twice')`);
    const error: unknown = await sql(test.db.em(), `insert into trueup.sources (label) values ('twice')`).catch(
      (each: unknown) => each,
    );
    expect(isUniqueViolation(error)).toBe(true);
    expect(isUniqueViolation(error, 'sources_label_key')).toBe(true);
    expect(isUniqueViolation(error, 'another')).toBe(false);
    const wrapped: unknown = await test.db
      .em()
      .execute(`insert into trueup.sources (label) values ('twice')`)
      .catch((each: unknown) => each);
    expect(isUniqueViolation(wrapped, 'sources_label_key')).toBe(true);
  });

  it('name the missing migration when a table is missing', async () => {
    await expect(sql(test.db.em(), 'select * from trueup.no_such_table')).rejects.toMatchObject({
      reason: 'DATABASE_UNAVAILABLE',
      message: expect.stringContaining('migrations'),
    });
    expect(toTrueUpError('not even an error')).toBe('not even an error');
  });
});

describe('migrate', () => {
  it('runs once when four replicas start on an empty database at the same moment', async () => {
    const empty = await createTestDatabase({ migrated: false });
    const replicas = await Promise.all([1, 2, 3, 4].map(() => openDatabase({ url: empty.url, poolMax: 2 })));
    const applied = await Promise.all(replicas.map(migrate));
    expect(applied.flat()).toEqual(MIGRATIONS.map((each) => each.name));
    await Promise.all(replicas.map((each) => each.close()));
    await empty.drop();
  });

  it('refuses a schema that a newer version has made', async () => {
    const newer = await createTestDatabase();
    await sql(newer.db.em(), `insert into trueup.migrations (name) values ('9999-from-the-future')`);
    await expect(migrate(newer.db)).rejects.toMatchObject({
      reason: 'DATABASE_SCHEMA_NEWER',
      message: expect.stringContaining('9999-from-the-future'),
    });
    await newer.drop();
  });

  it('works for a user who may do nothing but use a schema prepared for it', async () => {
    const empty = await createTestDatabase({ migrated: false });
    await onAdminConnection(empty.url, async (client) => {
      await client.query(`drop role if exists limited`);
      await client.query(`create role limited login password 'limited'`);
      await client.query(`create schema trueup authorization limited`);
    });
    const url = new URL(empty.url);
    url.username = 'limited';
    url.password = 'limited';
    const db = await openDatabase({ url: url.href });
    expect(await migrate(db)).toEqual(MIGRATIONS.map((each) => each.name));
    expect(await migrate(db)).toEqual([]);
    await db.close();
    await onAdminConnection(empty.url, (client) => client.query('drop owned by limited cascade; drop role limited'));
    await empty.drop();
  });

  it('says which rights are missing to a user who has none', async () => {
    const empty = await createTestDatabase({ migrated: false });
    await onAdminConnection(empty.url, (client) =>
      client.query(`drop role if exists powerless; create role powerless login password 'powerless'`),
    );
    const url = new URL(empty.url);
    url.username = 'powerless';
    url.password = 'powerless';
    const db = await openDatabase({ url: url.href });
    await expect(migrate(db)).rejects.toMatchObject({
      reason: 'INVALID_CONFIGURATION',
      message: expect.stringContaining('create schema trueup'),
    });
    await db.close();
    await onAdminConnection(empty.url, (client) => client.query('drop role powerless'));
    await empty.drop();
  });
});
