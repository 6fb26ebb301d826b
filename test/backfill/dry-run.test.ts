// Goal: a dry run writes nothing but its report, and what it predicts is what the live run then does. Method: predictions compared with the
// run that applies them, over gaps, bad ledgers, rows that another watch has stored, and conflicts.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeWatch } from '../../src/core/watch.ts';
import { commitBatch } from '../../src/store/coverage.ts';
import { sql } from '../../src/store/database.ts';
import { openBackfills, pictureOf, type BackfillHouse } from '../_util/backfill.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import { fake } from '../_util/follow.ts';
import { targetOf } from '../_util/ledger-rows.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterAll(() => test.drop());

const entries = (ledger: number) =>
  ['GSHOP', 'GBANK'].slice(0, ledger % 3).map((account, leg) => ({ ledger, leg, account, amount: BigInt(ledger) }));

/** What another watch of the stream has stored of a range. */
async function storedFor(house: BackfillHouse, source: FakeSource, account: string, from: number, to: number) {
  const target = await targetOf(test.db.em(), house.opened.stream.id, makeWatch([account]));
  const request = { range: { from, to }, layers: source.layers, watch: target.watch };
  const batch = await source.read(request, new AbortController().signal);
  await test.db.em().transactional((em) => commitBatch(em, target, batch));
}

describe('a dry run', () => {
  it('predicts what applying its plan does, number by number', async () => {
    const source = fake({ tip: 2_000, entries });
    source.faults.set(333, { reason: 'SOURCE_CORRUPT', named: true });
    source.faults.set(444, { reason: 'LEDGER_UNAVAILABLE', named: true });
    const house = await openBackfills(test.db, source);
    await house.run({ from: 100, to: 150 });
    await storedFor(house, source, 'GSHOP', 200, 280);
    const before = await pictureOf(test.db, house.opened.stream.id);
    const range = { from: 1, to: 700 };
    const plan = await house.run(range, { dryRun: true });
    expect(await pictureOf(test.db, house.opened.stream.id)).toEqual(before);
    expect(plan).toMatchObject({ state: 'succeeded', dryRun: true, digest: null });
    const report = plan.report!;
    expect(report).toMatchObject({
      missingRanges: [
        { from: 1, to: 100 },
        { from: 150, to: 700 },
      ],
      unavailableRanges: [{ from: 444, to: 445 }],
      conflictLedgers: 0,
      readLedgers: 647,
    });
    expect(report.duplicateEntries).toBeGreaterThan(0n);
    expect(report.requests).toBeGreaterThan(0);
    const applied = await house.run(range, { planOf: plan.id });
    expect(applied.state).toBe('succeeded');
    expect({
      read: applied.progress.scannedLedgers,
      inserted: applied.progress.insertedEntries,
      duplicates: applied.progress.duplicateEntries,
      quarantined: applied.progress.quarantinedLedgers,
      unavailable: applied.progress.unavailableLedgers,
      chunks: applied.progress.totalChunks,
    }).toEqual({
      read: report.readLedgers,
      inserted: report.insertEntries,
      duplicates: report.duplicateEntries,
      quarantined: plan.progress.quarantinedLedgers,
      unavailable: plan.progress.unavailableLedgers,
      chunks: report.chunks,
    });
  });

  it('finds stored ledgers of other content, at which a live run would stop', async () => {
    const source = fake({ tip: 2_000, entries });
    const house = await openBackfills(test.db, source);
    await house.run({ from: 1, to: 300 });
    await sql(test.db.em(), `update trueup.entries set amount = 1 where stream_id = $1 and ledger = 100`, [
      house.opened.stream.id,
    ]);
    const plan = await house.run({ from: 1, to: 300 }, { dryRun: true, reread: true });
    expect(plan).toMatchObject({ state: 'succeeded', report: { insertEntries: 0n } });
    expect(plan.report!.conflictLedgers).toBeGreaterThan(0);
    expect(plan.report!.conflictRanges.some((range) => range.from <= 100 && range.to > 100)).toBe(true);
    expect(await house.run({ from: 1, to: 300 }, { reread: true })).toMatchObject({
      state: 'failed',
      error: { reason: 'ENTRY_CONFLICT' },
    });
  });

  it('reads the database in transactions that the server keeps from writing', async () => {
    const source = fake({ tip: 2_000, entries });
    const house = await openBackfills(test.db, source);
    // Whoever writes rows or coverage while it runs fails the statement, and with it the job.
    for (const table of ['entries', 'coverage_chunks', 'coverage_islands']) {
      await sql(
        test.db.em(),
        `create or replace function no_writes() returns trigger language plpgsql as $$ begin raise 'a dry run writes %', tg_table_name; end $$`,
      );
      await sql(
        test.db.em(),
        `create trigger no_writes before insert or update or delete on trueup.${table} for each statement execute function no_writes()`,
      );
    }
    try {
      expect(await house.run({ from: 1, to: 700 }, { dryRun: true })).toMatchObject({ state: 'succeeded' });
    } finally {
      await sql(test.db.em(), 'drop function no_writes cascade');
    }
  });
});
