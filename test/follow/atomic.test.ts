// Goal: entries, coverage and checkpoint move together or not at all, and only by the one who holds the lease. Method: transactions that the
// database breaks, leases that are taken away, and batches in any order against one pass.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cases } from '../_util/cases.ts';
import { paint } from '../../src/core/coverage.ts';
import type { LedgerBatch, LedgerRange } from '../../src/core/ledger.ts';
import { makeWatch, WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { commitBatch, commitUnreadable } from '../../src/store/coverage.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import { failureOf } from '../_util/failure-of.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import { fake, follow, numbers, reached, stateOf, stored } from '../_util/follow.ts';
import { batchByHand, openTestStream, targetOf, type EntryByHand, type OpenedStream } from '../_util/ledger-rows.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterAll(() => test.drop());

const leaseOf = (source: FakeSource): string => `follower:${source.networkPassphrase}`;
/** Gives the lease to somebody else for an hour. */
const steal = (source: FakeSource) =>
  sql(
    test.db.em(),
    `update trueup.leases set holder = 'thief', token = token + 1, expires_at = clock_timestamp() + interval '1 hour' where name = $1`,
    [leaseOf(source)],
  );
const giveBack = (source: FakeSource) =>
  sql(test.db.em(), `update trueup.leases set expires_at = '-infinity' where name = $1`, [leaseOf(source)]);

describe('a follower that is killed between writing and committing', () => {
  // The rows and coverage are in by then; the checkpoint is the last to be written.
  it.each(['trueup.entries', 'trueup.coverage_chunks', 'trueup.coverage_islands', 'trueup.followers'])(
    'loses nothing and doubles nothing (at %s)',
    async (table) => {
      const source = fake();
      const follower = follow(test.db, source, { endLedger: 63 });
      await reached(test.db, source, 63);
      await follower.end();
      await sql(
        test.db.em(),
        `create function break_it() returns trigger language plpgsql as $$ begin if tg_op = 'UPDATE' and old.next_ledger = new.next_ledger then return new; end if; raise 'killed here'; end $$`,
      );
      // Not every table has a checkpoint to compare.
      if (table !== 'trueup.followers')
        await sql(
          test.db.em(),
          `create or replace function break_it() returns trigger language plpgsql as $$ begin raise 'killed here'; end $$`,
        );
      await sql(
        test.db.em(),
        `create trigger break_it after insert or update on ${table} for each row execute function break_it()`,
      );
      const killed = follow(test.db, source);
      await eventually(async () => expect((await stateOf(test.db, source)).row.lastErrorReason).toBe('INTERNAL'));
      expect(await stored(test.db, source)).toMatchObject({
        ledgers: numbers({ from: 1, to: 64 }),
        done: [{ from: 1, to: 64 }],
      });
      expect((await stateOf(test.db, source)).row).toMatchObject({ nextLedger: 64, processedLedgers: 63n });
      await killed.end();
      await sql(test.db.em(), `drop function break_it cascade`);
      const next = follow(test.db, source);
      await reached(test.db, source, 200);
      await next.end();
      expect(await stored(test.db, source)).toMatchObject({
        ledgers: numbers({ from: 1, to: 201 }),
        done: [{ from: 1, to: 201 }],
      });
      expect((await stateOf(test.db, source)).row.processedLedgers).toBe(200n);
    },
  );
});

describe('the lease', () => {
  it('is asked inside the transaction: a stale writer takes nothing back and writes nothing', async () => {
    const source = fake();
    const gate = Promise.withResolvers<void>();
    const delivered = Promise.withResolvers<void>();
    source.gate = gate.promise;
    // So long a lease that no heartbeat tells before the write does.
    const stale = follow(test.db, source, { leaseTtlMs: 600_000 });
    await eventually(() => expect(source.reads.length).toBeGreaterThan(0));
    // Its reads are on their way; those of the other one aren't held up.
    source.gate = null;
    await giveBack(source);
    const other = follow(test.db, source, { holder: 'another' });
    await reached(test.db, source, 200);
    await other.end();
    source.tamper = (batch) => (delivered.resolve(), batch);
    gate.resolve();
    await delivered.promise;
    // The batch is on its way into the database now, and ends before the follower does.
    await stale.end();
    expect((await stateOf(test.db, source)).row).toMatchObject({
      nextLedger: 201,
      processedLedgers: 200n,
      lastErrorAt: null,
    });
    expect(await stored(test.db, source)).toMatchObject({
      ledgers: numbers({ from: 1, to: 201 }),
      done: [{ from: 1, to: 201 }],
    });
  });

  it('lets one of two follow, and the other take over when that one stops', async () => {
    const source = fake();
    const followers = ['one', 'two'].map((holder) => follow(test.db, source, { holder, leaseTtlMs: 300 }));
    await reached(test.db, source, 200);
    const [lease] = await sql<{ holder: string }>(test.db.em(), 'select holder from trueup.leases where name = $1', [
      leaseOf(source),
    ]);
    await followers[lease!.holder === 'one' ? 0 : 1]!.end();
    source.tipLedger = 250;
    await reached(test.db, source, 250);
    for (const follower of followers) await follower.end();
    expect((await stateOf(test.db, source)).row.processedLedgers).toBe(250n);
    const read = source.reads.filter((range) => range.from === 1);
    expect(read).toHaveLength(1);
  });

  it('of a killed process runs out, and another goes on', async () => {
    const source = fake();
    await sql(
      test.db.em(),
      `insert into trueup.leases (name, holder, token, expires_at) values ($1, 'killed', 7, clock_timestamp() + interval '400 milliseconds')`,
      [leaseOf(source)],
    );
    const follower = follow(test.db, source, { leaseTtlMs: 200 });
    await reached(test.db, source, 200);
    const [lease] = await sql<{ token: string }>(
      test.db.em(),
      'select token::text as token from trueup.leases where name = $1',
      [leaseOf(source)],
    );
    expect(Number(lease!.token)).toBe(8);
    await follower.end();
  });

  it('that is lost during a pause ends the pause, not the follower', async () => {
    const source = fake();
    source.faults.set(64, {
      reason: 'SOURCE_RATE_LIMITED',
      named: false,
      times: 1,
      details: { retryAfterMs: 3_600_000 },
    });
    const follower = follow(test.db, source, { leaseTtlMs: 300 });
    await eventually(async () =>
      expect((await stateOf(test.db, source)).row.lastErrorReason).toBe('SOURCE_RATE_LIMITED'),
    );
    await steal(source);
    await eventually(async () => expect(await follower.metric('trueup_leases_lost_total{lease="follower"}')).toBe(1));
    await giveBack(source);
    await reached(test.db, source, 200);
    await follower.end();
  });
});

describe('writing coverage', () => {
  const SPACE = 300;
  const entries: EntryByHand[] = Array.from({ length: SPACE }, (_, i) => i + 1).flatMap((ledger) =>
    Array.from({ length: ledger % 3 }, (_, leg) => ({
      ledger,
      leg,
      account: leg === 0 ? 'GA' : 'GB',
      amount: BigInt(ledger * 10 + leg),
    })),
  );
  let streams = 0;
  const open = (): Promise<OpenedStream> => openTestStream(test.db, { passphrase: `coverage ${++streams}` });
  const batch = (range: LedgerRange): LedgerBatch => batchByHand(range, entries);
  const commit = (opened: OpenedStream, range: LedgerRange) =>
    test.db.em().transactional((em) => commitBatch(em, opened.target, batch(range)));
  const picture = async ({ stream }: OpenedStream) => ({
    chunks: await sql(
      test.db.em(),
      `select from_ledger, to_ledger, state, proof, first_prev_hash, last_hash, last_closed_at, entry_count, tx_count, digest_sum1::text, digest_sum2::text, sealed
       from trueup.coverage_chunks where stream_id = $1 order by from_ledger`,
      [stream.id],
    ),
    islands: await sql(
      test.db.em(),
      'select from_ledger, to_ledger, state from trueup.coverage_islands where stream_id = $1 order by from_ledger',
      [stream.id],
    ),
    entries: await sql(
      test.db.em(),
      'select ledger, leg, account, amount::text from trueup.entries where stream_id = $1 order by ledger, leg',
      [stream.id],
    ),
  });

  it('ends in the same islands, chunks and digests whatever the order and the splits', async () => {
    const whole = await open();
    await commit(whole, { from: 1, to: SPACE });
    const expected = await picture(whole);
    const cuts = fc.uniqueArray(fc.integer({ min: 2, max: SPACE - 1 }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(cuts, fc.infiniteStream(fc.nat(1000)), fc.boolean(), async (at, dice, twice) => {
        const edges = [1, ...at.sort((a, b) => a - b), SPACE];
        const pieces = edges.slice(1).map((to, i) => ({ from: edges[i]!, to }));
        const order = pieces
          .map((piece) => [dice.next().value as number, piece] as const)
          .sort((a, b) => a[0] - b[0])
          .map(([, piece]) => piece);
        const opened = await open();
        let added = 0;
        for (const piece of order) added += (await commit(opened, piece)).newLedgers;
        // Overlapping reads of what is there change nothing.
        if (twice)
          added += (
            await commit(opened, { from: Math.max(1, order[0]!.from - 20), to: Math.min(SPACE, order[0]!.to + 20) })
          ).newLedgers;
        expect(added).toBe(SPACE - 1);
        expect(await picture(opened)).toEqual(expected);
      }),
      cases(100),
    );
  }, 240_000);

  it('keeps islands as an array of ledgers would, also with ranges that could not be read', async () => {
    const stroke = fc.record({
      from: fc.integer({ min: 1, max: 200 }),
      length: fc.integer({ min: 1, max: 90 }),
      state: fc.constantFrom('done', 'done', 'quarantined', 'unavailable' as const),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(stroke, { minLength: 1, maxLength: 8 }), async (strokes) => {
        const opened = await open();
        let islands: ReturnType<typeof paint> = [];
        for (const { from, length, state } of strokes) {
          const range = { from, to: Math.min(SPACE, from + length) };
          if (state === 'done') await commit(opened, range);
          else
            await test.db.em().transactional((em) =>
              commitUnreadable(em, opened.target, ['operations'], range, {
                state,
                reason: 'SOURCE_CORRUPT',
                detail: '',
                proof: 'chained',
              }),
            );
          // What is done stays done.
          const before = islands;
          islands = paint(islands, range, state);
          if (state !== 'done')
            for (const island of before) if (island.state === 'done') islands = paint(islands, island, 'done');
        }
        const { islands: found, chunks } = await picture(opened);
        expect(found).toEqual(islands.map(({ from, to, state }) => ({ from_ledger: from, to_ledger: to, state })));
        const [sums] = await sql<{ counted: string; covered: string }>(
          test.db.em(),
          `select coalesce(sum(entry_count), 0)::text as counted, coalesce(sum(to_ledger - from_ledger), 0)::text as covered from trueup.coverage_chunks where stream_id = $1`,
          [opened.stream.id],
        );
        expect(Number(sums!.covered)).toBe(islands.reduce((sum, island) => sum + island.to - island.from, 0));
        expect(Number(sums!.counted)).toBe((await picture(opened)).entries.length);
        expect(chunks.length).toBeGreaterThan(0);
      }),
      cases(40),
    );
  }, 240_000);

  it('by two writers of the same ledgers at once stores and counts them once', async () => {
    const opened = await open();
    const results = await Promise.all([1, 30, 60].map((from) => commit(opened, { from, to: 200 })));
    expect(results.reduce((sum, result) => sum + result.newLedgers, 0)).toBe(199);
    const whole = await open();
    await commit(whole, { from: 1, to: 200 });
    expect(await picture(opened)).toEqual(await picture(whole));
  });

  it("refuses chained ledgers that don't link to their neighbours, before or after them", async () => {
    const opened = await open();
    await commit(opened, { from: 65, to: 100 });
    const wrong = (range: LedgerRange, change: (at: LedgerBatch) => Partial<LedgerBatch>): Promise<unknown> =>
      test.db.em().transactional((em) => commitBatch(em, opened.target, { ...batch(range), ...change(batch(range)) }));
    const prev = (at: LedgerBatch) => ({
      records: at.records.map((record, i) => (i === 0 ? { ...record, prevHash: 'f'.repeat(64) } : record)),
    });
    const last = (at: LedgerBatch) => ({ last: { ...at.last, hash: 'f'.repeat(64) } });
    expect(await failureOf(wrong({ from: 100, to: 110 }, prev))).toMatchObject({ reason: 'SOURCE_DIVERGED' });
    expect(await failureOf(wrong({ from: 64, to: 65 }, last))).toMatchObject({ reason: 'SOURCE_DIVERGED' });
    await commit(opened, { from: 100, to: 128 });
    expect(await failureOf(wrong({ from: 128, to: 130 }, prev))).toMatchObject({ reason: 'SOURCE_DIVERGED' });
    expect((await picture(opened)).islands).toEqual([{ from_ledger: 65, to_ledger: 128, state: 'done' }]);
  });

  it('finds a conflict with what another watch has stored, also where the new read lacks it', async () => {
    const opened = await open();
    await commit(opened, { from: 1, to: 50 });
    const target = await targetOf(test.db.em(), opened.stream.id, makeWatch(['GA']));
    const only = (account: string) =>
      batchByHand(
        { from: 1, to: 50 },
        entries.filter((entry) => entry.account === account && (account === 'GA' || entry.ledger > 50)),
      );
    expect(await failureOf(test.db.em().transactional((em) => commitBatch(em, target, only('GB'))))).toMatchObject({
      reason: 'ENTRY_CONFLICT',
    });
    await test.db.em().transactional((em) => commitBatch(em, target, only('GA')));
    expect(target.watch).not.toEqual(WATCH_EVERYTHING);
  });
});
