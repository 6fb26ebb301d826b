// Goal: what holds of the comparison holds of the service: real tables, real runs, writers in between. Method: two tables of a thousand
// rows and more with dozens of faults among them; the run's drifts and counts are compared with what the oracle says of the same
// rows. In the middle of the run others write; the next run must then say what the oracle says of the new state.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cases, patience } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { oracle } from './oracle/naive.ts';
import { answerOf, asStored, openTables, someOf, type Tables } from './oracle/tables.ts';
import { bookRowOf, type Row } from './oracle/world.ts';

/** Faults of one pair of tables; each is a case. */
const FAULTS_PER_ROUND = 60;

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

describe('runs over two tables', () => {
  const { numRuns, seed = 1 } = cases(6 * FAULTS_PER_ROUND);
  const rounds = Math.ceil(numRuns / FAULTS_PER_ROUND);

  it(
    `say of ${numRuns} faults what the oracle says, whoever writes meanwhile`,
    async () => {
      for (let round = 0; round < rounds; round++) {
        const tables = await openTables(test, seed + round, FAULTS_PER_ROUND);
        const where = `again: npm run nightly -- oracle-tables --seed ${seed + round} --cases 1`;
        const must = mustSay(tables);
        const late = lateRows(tables);
        tables.whileRunning = () => tables.record(late);
        const first = await tables.house.run();
        expect(await answerOf(tables, first), where).toEqual(must);

        tables.whileRunning = () => Promise.resolve();
        const changed = new Map(late.map((row) => [row.rowIds[0], row]));
        tables.world.book = tables.world.book.filter((row) => !changed.has(row.rowIds[0])).concat(late);
        const second = await tables.house.run();
        expect(await answerOf(tables, second), where).toEqual(mustSay(tables));

        const third = await tables.house.run();
        expect(third.summary!.resultDigest, where).toBe(second.summary!.resultDigest);
        expect(second.summary!.resultDigest).not.toBe(first.summary!.resultDigest);
      }
    },
    patience(600_000),
  );
});

function mustSay({ world }: Tables): ReturnType<typeof asStored> {
  const isHoled = !world.isBetweenSides && world.facts.covered.length > 1;
  const said = asStored(oracle(world, isHoled));
  // Rows that may lie before history keep a run from being conclusive too.
  return said.counts[2]! > 0 ? { ...said, verdict: 'INCONCLUSIVE' } : said;
}

/** What others write while a run goes on: rows that were missing, rows once more, and other amounts in old rows. */
function lateRows({ world }: Tables): Row[] {
  const known = new Set(world.book.map((row) => row.key));
  const missing = world.ledger.filter((leg) => !known.has(leg.key) && leg.status !== 'failed');
  const twice = someOf(world, world.book, 3).map((row) => ({ ...row, rowIds: [`late-${world.rows++}`] }));
  const changed = new Map(
    someOf(world, world.book, 3).map((row) => [row.rowIds[0], { ...row, amount: row.amount / 2n }]),
  );
  return [...missing.map((leg) => bookRowOf(world, leg)), ...twice, ...changed.values()];
}
