// Goal: what agreed in a closed chunk is not read again, and whatever changes there is seen all the same.
// Method: a house by hand with whole chunks; runs beside what lies under their seals; writes, and tampering that no trigger sees.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reverifySeals } from '../../src/services/reverify.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { hashAt, openHouse, type House, type RowByHand } from '../_util/reconcile.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

const CHUNK = 64;
const LAST = 8 * CHUNK;
/** A payment in every fourth ledger. */
const PAID = Array.from({ length: LAST / 4 - 1 }, (_, i) => (i + 1) * 4);

/** Eight chunks on which book and ledger agree, after a first run. */
async function agreeing(): Promise<House> {
  const house = await openHouse(test.db, { startLedger: 1 });
  await house.ledgers(
    { from: 1, to: LAST },
    PAID.map((ledger) => ({ ledger, account: 'GA', amount: 10n })),
  );
  await house.tip(LAST - 1);
  await house.record(
    PAID.map((ledger) => house.row(ledger, { rowId: `r${ledger}`, account: 'GA', amount: 10n })),
    LAST - 1,
  );
  expect(await house.run()).toMatchObject({ verdict: 'CLEAN' });
  return house;
}

interface SealRow {
  readonly from_ledger: number;
  readonly state: string;
}

async function seals(house: House): Promise<number[]> {
  const rows = await sql<SealRow>(
    test.db.em(),
    `select from_ledger, state from trueup.chunk_seals where policy = $1 order by from_ledger`,
    [house.name],
  );
  expect(rows.every((row) => row.state === 'sealed')).toBe(true);
  return rows.map((row) => row.from_ledger);
}

/** Takes away what lies under a ledger behind the triggers' back. */
async function tamper(statement: string, values: readonly unknown[]): Promise<void> {
  await test.db.em().transactional(async (em) => {
    await sql(em, `set local session_replication_role = replica`);
    await sql(em, statement, values);
  });
}

describe('a sealed chunk', () => {
  it('is not read again, and counts as it did when it was', async () => {
    const house = await agreeing();
    const sealed = await seals(house);
    expect(sealed.length).toBeGreaterThanOrEqual(4);
    const first = await house.run();
    // Nothing but the seals can tell of rows that are gone.
    const { from_ledger: from, to_ledger: to } = { from_ledger: sealed[1]!, to_ledger: sealed[1]! + CHUNK };
    await tamper(`delete from trueup.entries where stream_id = $1 and ledger >= $2 and ledger < $3`, [
      house.opened.stream.id,
      from,
      to,
    ]);
    await tamper(
      `delete from trueup.book_entries using trueup.books where books.id = book_id and name = $1 and key = any($2::text[])`,
      [house.name, PAID.filter((ledger) => ledger >= from && ledger < to).map((ledger) => hashAt(ledger))],
    );
    const second = await house.run();
    expect(second.verdict).toBe('CLEAN');
    expect(second.summary!.counts).toEqual(first.summary!.counts);
    expect(second.summary!.counts!.matched).toBe(PAID.length);
    expect(second.summary!.resultDigest).toBe(first.summary!.resultDigest);
  });

  it('is opened by a changed row, a late one, a retraction and a second row of a key, each seen by the next run', async () => {
    const house = await agreeing();
    const ledger = (await seals(house))[2]! + 12;
    const change = async (row: Omit<RowByHand, 'account'>): Promise<string[]> => {
      await house.record([house.row(ledger, { ...row, amount: row.amount, account: 'GA' })], LAST - 1);
      expect(await seals(house)).not.toContain(ledger - 12);
      await house.run();
      const open = (await house.drifts()).filter((drift) => drift.state === 'open');
      return open.flatMap((drift) => drift.kinds);
    };
    expect(await change({ rowId: `r${ledger}`, amount: 11n })).toEqual(['AMOUNT_MISMATCH']);
    expect(await change({ rowId: `r${ledger}`, amount: 10n })).toEqual([]);
    expect(await change({ rowId: 'again', amount: 10n })).toEqual(['DUPLICATE_IN_DB']);
    expect(await change({ rowId: 'again', amount: 10n, retracted: true })).toEqual([]);
    expect(await change({ rowId: 'late', key: 'f'.repeat(64), amount: 5n })).toEqual(['MISSING_ON_LEDGER']);
    expect(await change({ rowId: 'late', amount: 5n, retracted: true })).toEqual([]);
    expect(await change({ rowId: `r${ledger}`, amount: null, retracted: true })).toEqual(['MISSING_IN_DB']);
  });

  it('is opened by a row of its key that lies in another chunk by its own time', async () => {
    const house = await agreeing();
    const sealed = await seals(house);
    const [ledger, other] = [sealed[1]! + 12, sealed[3]! + 12];
    await house.record(
      [house.row(ledger, { rowId: 'twin', account: 'GA', amount: 10n, occurredAt: house.timeOf(other) })],
      LAST - 1,
    );
    const left = await seals(house);
    expect(left).not.toContain(sealed[1]);
    expect(left).not.toContain(sealed[3]);
    expect(left).toContain(sealed[2]);
    await house.run();
    expect((await house.drifts()).map((drift) => drift.kinds)).toEqual([['DUPLICATE_IN_DB']]);
  });

  it('holds for rows that were written a moment before their ledger closed, also across the border of two chunks', async () => {
    const house = await openHouse(test.db, { startLedger: 1 });
    await house.ledgers(
      { from: 1, to: LAST },
      PAID.map((ledger) => ({ ledger, account: 'GA', amount: 10n })),
    );
    await house.tip(LAST - 1);
    const early = (ledger: number): Date => new Date(house.timeOf(ledger).getTime() - 7_001);
    await house.record(
      PAID.map((ledger) => house.row(ledger, { account: 'GA', amount: 10n, occurredAt: early(ledger) })),
      LAST - 1,
    );
    const first = await house.run();
    const sealed = await seals(house);
    expect(sealed.length).toBeGreaterThanOrEqual(4);
    // One of them is opened: at its borders rows and entries meet whose other half is left out.
    await sql(test.db.em(), `delete from trueup.chunk_seals where policy = $1 and from_ledger = $2`, [
      house.name,
      sealed[2],
    ]);
    const second = await house.run();
    expect(second.summary!.counts).toEqual(first.summary!.counts);
    expect(second.summary!.resultDigest).toBe(first.summary!.resultDigest);
    expect(await seals(house)).toEqual(sealed);
  });

  it('is not made of a chunk in which a drift is open', async () => {
    const house = await agreeing();
    const from = (await seals(house))[1]!;
    await house.record([house.row(from, { rowId: `r${from}`, account: 'GA', amount: 99n })], LAST - 1);
    await house.run();
    expect(await seals(house)).not.toContain(from);
    expect(await seals(house)).toContain(from + CHUNK);
  });

  it('is not made of a chunk that somebody writes into while the run reads', async () => {
    let writing: (() => Promise<void>) | null = null;
    const house: House = await openHouse(test.db, {
      startLedger: 1,
      book: (recorded) => ({
        async open(...call) {
          const side = await recorded.open(...call);
          // Its snapshot is taken; what comes now is not in it.
          await writing?.();
          return side;
        },
      }),
    });
    await house.ledgers(
      { from: 1, to: LAST },
      PAID.map((ledger) => ({ ledger, account: 'GA', amount: 10n })),
    );
    await house.tip(LAST - 1);
    await house.record(
      PAID.map((ledger) => house.row(ledger, { rowId: `r${ledger}`, account: 'GA', amount: 10n })),
      LAST - 1,
    );
    const ledger = 3 * CHUNK + 12;
    writing = () => house.record([house.row(ledger, { rowId: `r${ledger}`, account: 'GA', amount: 11n })], LAST - 1);
    expect((await house.run()).verdict).toBe('CLEAN');
    writing = null;
    expect(await seals(house)).not.toContain(3 * CHUNK);
    expect(await seals(house)).toContain(2 * CHUNK);
    await house.run();
    expect((await house.drifts()).map((drift) => drift.kinds)).toEqual([['AMOUNT_MISMATCH']]);
  });

  it('is void where the book has a new account, whose old entries nobody looked for before', async () => {
    const house = await openHouse(test.db, { startLedger: 1 });
    const both = PAID.flatMap((ledger) => [
      { ledger, account: 'GA', amount: 10n },
      { ledger, txIndex: 2, account: 'GB', amount: 3n },
    ]);
    await house.ledgers({ from: 1, to: LAST }, both);
    await house.tip(LAST - 1);
    await house.record(
      PAID.map((ledger) => house.row(ledger, { account: 'GA', amount: 10n })),
      LAST - 1,
    );
    expect((await house.run()).verdict).toBe('CLEAN');
    const newest = PAID.at(-1)!;
    await house.record([house.row(newest, { key: hashAt(newest, 2), account: 'GB', amount: 3n })], LAST - 1);
    await house.run();
    expect((await house.drifts()).length).toBe(PAID.length - 1);
  });
});

describe('the full re-verify', () => {
  it('finds nothing where nothing was changed', async () => {
    const house = await agreeing();
    const { broken } = await reverify(house);
    expect(await seals(house)).not.toEqual([]);
    expect(broken).toBe(await brokenElsewhere(house));
  });

  it.each([
    ['an entry', `update trueup.entries set amount = amount + 1 where stream_id = $1 and ledger = $2`],
    [
      'a row of the book',
      `update trueup.book_entries set amount = amount + 1 from trueup.streams
       where streams.id = $1 and key = encode((select tx_hash from trueup.entries where stream_id = $1 and ledger = $2), 'hex')
         and book_id = (select id from trueup.books where name = streams.name or name = streams.network_passphrase)`,
    ],
  ])(
    'tells of %s that was changed under a seal, and the run after it is INCONCLUSIVE and names the difference',
    async (_, change) => {
      const house = await agreeing();
      const from = (await seals(house))[1]!;
      await tamper(change, [house.opened.stream.id, from]);
      expect((await house.run()).verdict).toBe('CLEAN');
      await reverify(house);
      const run = await house.run();
      expect(run.verdict).toBe('INCONCLUSIVE');
      expect(run.summary!.inconclusive).toMatchObject([
        { reason: 'SEAL_BROKEN', ranges: [{ from, to: from + CHUNK }] },
      ]);
      expect((await house.drifts()).map((drift) => drift.kinds)).toEqual([['AMOUNT_MISMATCH']]);
    },
  );
});

const reverify = ({ runDeps }: House) => reverifySeals(runDeps, AbortSignal.timeout(60_000));

/** Seals of other houses of this database that were broken on purpose. */
async function brokenElsewhere(house: House): Promise<number> {
  const rows = await sql<{ count: number }>(
    test.db.em(),
    `select count(*)::int as count from trueup.chunk_seals where state = 'broken' and policy <> $1`,
    [house.name],
  );
  return rows[0]!.count;
}
