// Goal: a drift is one thing from its first run to its last: counted once, closed only by agreement, reopened in place. Method: many runs over
// one house while the book changes; time is moved in the rows, never waited for.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { hashAt, openHouse, type House } from '../_util/reconcile.ts';

const SHOP = 'GSHOP';
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

const leg = (ledger: number, amount = 5n) => ({ ledger, account: SHOP, amount });
const row = (at: House, ledger: number, more: object = {}) => at.row(ledger, { account: SHOP, amount: 5n, ...more });

async function drifted(): Promise<House> {
  const at = await openHouse(test.db);
  await at.ledgers({ from: 1, to: 401 }, [leg(10), leg(20), leg(30)]);
  await at.record([row(at, 10), row(at, 20, { rowId: 'wrong', amount: 6n }), row(at, 40, { rowId: 'phantom' })], 400);
  expect((await at.run()).summary?.counts).toMatchObject({ matched: 1, drifted: 3, appeared: 3, resolved: 0 });
  return at;
}

describe('a standing drift', () => {
  it('is counted once over 288 runs', async () => {
    const at = await drifted();
    for (let run = 2; run <= 288; run++)
      expect((await at.run()).summary?.counts).toMatchObject({ drifted: 3, appeared: 0 });
    for (const kind of ['MISSING_IN_DB', 'AMOUNT_MISMATCH', 'MISSING_ON_LEDGER'])
      expect(await at.counted(kind)).toBe(1);
    const [one] = await sql<{ runs: number; count: number }>(
      test.db.em(),
      'select max(seen_runs) as runs, count(*)::int as count from trueup.drifts where policy = $1',
      [at.name],
    );
    expect(one).toEqual({ runs: 288, count: 3 });
  }, 300_000);

  it('counts a kind that it takes on later, and not the one that it had', async () => {
    const at = await drifted();
    await at.record([row(at, 20, { rowId: 'wrong', amount: 6n, status: 'failed' })], 400);
    expect((await at.run()).summary?.counts).toMatchObject({ drifted: 3, appeared: 0 });
    expect([await at.counted('AMOUNT_MISMATCH'), await at.counted('STATUS_MISMATCH')]).toEqual([1, 1]);
  });

  it('stays open after it has left the window, until both sides agree', async () => {
    const at = await drifted();
    for (let from = 401; from < 20_000; from += 3200) await at.ledgers({ from, to: from + 3200 });
    await at.record([], 22_800);
    const away = await at.run();
    expect(away).toMatchObject({
      verdict: 'DRIFT_DETECTED',
      summary: { counts: { ledgerRecords: 0, bookRecords: 0, drifted: 3, resolved: 0 } },
    });
    expect(away.summary!.window!.ledgers!.from).toBeGreaterThan(400);
    await at.record(
      [row(at, 20, { rowId: 'wrong' }), row(at, 30), row(at, 40, { rowId: 'phantom', amount: null, retracted: true })],
      null,
    );
    expect(await at.run()).toMatchObject({ verdict: 'CLEAN', summary: { counts: { drifted: 0, resolved: 3 } } });
    for (const drift of await at.drifts())
      expect(drift).toMatchObject({ state: 'resolved', resolutionCause: 'sides_agree', transitionActor: 'trueup' });
  });

  it("doesn't close because its account has left the book", async () => {
    const at = await openHouse(test.db);
    await at.ledgers({ from: 1, to: 401 }, [leg(10), { ledger: 20, account: 'GOTHER', amount: 1n }]);
    await at.record(
      [row(at, 10), at.row(10, { rowId: 'only', account: 'GOTHER', amount: 1n, key: hashAt(11), status: 'failed' })],
      400,
    );
    await at.run();
    expect((await at.drifts()).map((drift) => drift.kinds)).toEqual([['MISSING_IN_DB']]);
    await at.record(
      [at.row(10, { rowId: 'only', account: 'GOTHER', amount: null, key: hashAt(11), retracted: true })],
      400,
    );
    expect((await at.run()).summary?.counts).toMatchObject({ drifted: 1, resolved: 0 });
  });

  it('becomes another kind in place when one of its sides goes', async () => {
    const at = await drifted();
    const [before] = await at.drifts({ kinds: ['AMOUNT_MISMATCH'] });
    await at.record([row(at, 20, { rowId: 'wrong', amount: null, retracted: true })], 400);
    expect((await at.run()).summary?.counts).toMatchObject({ drifted: 3, appeared: 0, resolved: 0 });
    const [after] = await at.drifts({ matchKey: hashAt(20) });
    expect(after).toMatchObject({
      id: before!.id,
      kinds: ['MISSING_IN_DB'],
      firstSeenAt: before!.firstSeenAt,
      bookSide: null,
    });
  });
});

describe('a drift that comes back', () => {
  it('is reopened in place: the same episode within a day, a new one after it', async () => {
    const at = await drifted();
    const [first] = await at.drifts({ kinds: ['AMOUNT_MISMATCH'] });
    const right = row(at, 20, { rowId: 'wrong' });
    await at.record([right], 400);
    expect((await at.run()).summary?.counts).toMatchObject({ drifted: 2, resolved: 1 });
    await at.record([{ ...right, amount: 7n }], 400);
    expect((await at.run()).summary?.counts).toMatchObject({ drifted: 3, appeared: 1 });
    const reopened = (await at.drifts({ matchKey: hashAt(20) }))[0]!;
    expect(reopened).toMatchObject({
      id: first!.id,
      state: 'open',
      episode: 1,
      reopenedCount: 1,
      resolutionCause: null,
      firstSeenAt: first!.firstSeenAt,
    });
    await at.record([right], 400);
    await at.run();
    await sql(
      test.db.em(),
      `update trueup.drifts set resolved_at = resolved_at - interval '24 hours 1 second' where id = $1`,
      [first!.id],
    );
    await at.record([{ ...right, amount: 8n }], 400);
    await at.run();
    expect((await at.drifts({ matchKey: hashAt(20) }))[0]).toMatchObject({
      id: first!.id,
      state: 'open',
      episode: 2,
      reopenedCount: 2,
    });
  });

  it('keeps an exempt drift apart, and lets it end when both sides agree', async () => {
    const at = await drifted();
    await sql(test.db.em(), `update trueup.drifts set state = 'exempt' where policy = $1`, [at.name]);
    expect(await at.run()).toMatchObject({
      verdict: 'CLEAN',
      summary: { counts: { drifted: 0, exempt: 3, appeared: 0 } },
    });
    await at.record([row(at, 20, { rowId: 'wrong' })], 400);
    expect((await at.run()).summary?.counts).toMatchObject({ exempt: 2, resolved: 1 });
  });
});

describe('many drifts of one key', () => {
  it('keep their numbers while the book writes them down one by one', async () => {
    const at = await openHouse(test.db, { policy: { join: 'operation' } });
    const legs = [1n, 2n, 3n, 4n].map((amount, leg) => ({ ledger: 10, leg, account: SHOP, amount }));
    await at.ledgers({ from: 1, to: 401 }, [...legs, { ledger: 11, account: SHOP, amount: 1n }]);
    const of = (amount: bigint) => row(at, 10, { key: `${hashAt(10)}:1`, amount });
    await at.record([row(at, 11, { key: `${hashAt(11)}:1`, amount: 1n })], 400);
    await at.run();
    const open = async () =>
      (await at.drifts({ states: ['open'] })).map((drift) => [drift.occurrence, drift.ledgerSide?.amount]);
    expect(await open()).toEqual([
      [0, 1n],
      [1, 2n],
      [2, 3n],
      [3, 4n],
    ]);
    await at.record([of(3n)], 400);
    await at.run();
    await at.record([of(1n)], 400);
    expect((await at.run()).summary?.counts).toMatchObject({ appeared: 0, resolved: 1 });
    expect(await open()).toEqual([
      [1, 2n],
      [3, 4n],
    ]);
    expect(await at.counted('MISSING_IN_DB')).toBe(4);
  });
});
