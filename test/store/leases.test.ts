// Goal: a lease has one holder, by the database's clock, and who lost it can't write. Method: real transactions; a
// lease is aged by moving its row's time.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sql } from '../../src/store/database.ts';
import { assertLease, claimLease, releaseLease, renewLease } from '../../src/store/leases.ts';
import { createTestDatabase } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterAll(() => test.drop());

const TTL_MS = 60_000;
const claim = (name: string, holder: string) => claimLease(test.db.em(), name, holder, TTL_MS);
const expire = (name: string) =>
  sql(test.db.em(), `update trueup.leases set expires_at = now() - interval '1 second' where name = $1`, [name]);

describe('a lease', () => {
  it('goes to exactly one of many who ask at once', async () => {
    const tokens = await Promise.all(Array.from({ length: 20 }, (_, n) => claim('rush', `h${n}`)));
    expect(tokens.filter((token) => token !== null)).toEqual([1n]);
  });

  it('is stolen after its time by the database clock, and its stale holder can neither renew nor write', async () => {
    const stale = await claim('stolen', 'first');
    expect(await claim('stolen', 'second')).toBeNull();
    await expire('stolen');
    const fresh = await claim('stolen', 'second');
    expect(fresh! > stale!).toBe(true);
    expect(await renewLease(test.db.em(), 'stolen', stale!, TTL_MS)).toBe(false);
    await expect(
      test.db.em().transactional(async (em) => {
        await sql(em, `insert into trueup.sources (label) values ('written by a stale holder')`);
        await assertLease(em, 'stolen', stale!, TTL_MS);
      }),
    ).rejects.toMatchObject({ reason: 'LEASE_LOST' });
    expect(await sql(test.db.em(), `select 1 from trueup.sources where label = 'written by a stale holder'`)).toEqual(
      [],
    );
    expect(await renewLease(test.db.em(), 'stolen', fresh!, TTL_MS)).toBe(true);
    // Giving back what one has lost takes it from nobody.
    await releaseLease(test.db.em(), 'stolen', stale!);
    expect(await claim('stolen', 'third')).toBeNull();
  });

  it("can't be stolen between the check in a write's transaction and its commit, even after its time", async () => {
    const token = await claim('written', 'writer');
    let stolen: Promise<bigint | null> | undefined;
    await test.db.em().transactional(async (em) => {
      await expire('written');
      await assertLease(em, 'written', token!, TTL_MS);
      stolen = claim('written', 'thief');
      await sql(em, `insert into trueup.sources (label) values ('written under the lease')`);
    });
    expect(await stolen).toBeNull();
  });

  it('is free at once when given back, and tokens rise through it all', async () => {
    const tokens: (bigint | null)[] = [];
    for (let turn = 0; turn < 3; turn++) {
      const token = await claim('again', 'same');
      tokens.push(token);
      await releaseLease(test.db.em(), 'again', token!);
    }
    expect(tokens).toEqual([1n, 2n, 3n]);
  });
});
