// Goal: an outage costs the pool nothing: connections that died inside transactions used to stay checked out for ever, until nobody got one and
// the process could not end.
// Method: kill the connection under more transactions than the pool has places, before their first statement and in the middle.
import { expect, it } from 'vitest';
import { openDatabase, sql } from '../../src/store/database.ts';
import { createTestDatabase, onAdminConnection, withDatabase } from '../_util/database.ts';

const PLACES = 2;

it('gets every connection back that died inside a transaction, and closes', async () => {
  const test = await createTestDatabase({ migrated: false });
  const db = await openDatabase({ url: test.url, poolMax: PLACES });
  for (let round = 0; round < 3 * PLACES; round++) {
    const lost = db.em().transactional(async (em) => {
      const [own] = await sql<{ pid: number }>(em, 'select pg_backend_pid() as pid');
      await onAdminConnection(test.url, (client) => client.query('select pg_terminate_backend($1)', [own!.pid]));
      await sql(em, 'select 1');
    });
    await expect(lost, `round ${round}`).rejects.toMatchObject({ reason: 'DATABASE_UNAVAILABLE' });
  }
  await expect(sql(db.em(), 'select 1 as one')).resolves.toEqual([{ one: 1 }]);
  await db.close();
  await test.drop();
});

it('says that a database which lets nobody in is unavailable', async () => {
  const test = await createTestDatabase({ migrated: false });
  const name = new URL(test.url).pathname.slice(1);
  await onAdminConnection(withDatabase(test.url, 'postgres'), (client) =>
    client.query(`alter database ${name} with allow_connections false`),
  );
  await expect(openDatabase({ url: test.url })).rejects.toMatchObject({ reason: 'DATABASE_UNAVAILABLE' });
  await test.drop();
});
