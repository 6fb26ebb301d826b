// Goal: a run may be killed at any instruction; whoever takes it up ends with what an undisturbed run says, byte for byte. Method: a
// process works on a run over two tables with faults, and SIGKILLs itself at a random statement; another goes on with the run.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runReconciliation } from '../../src/services/run-reconciliation.ts';
import { sql } from '../../src/store/database.ts';
import { cases } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { below, chance, randomFrom } from '../_util/random.ts';
import { killedRun } from './_killed-run.ts';
import type { RunOrder } from './_run-child.ts';
import { answerOf, openTables } from './oracle/tables.ts';

const FAULTS = 60;

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

describe('a run that is killed', () => {
  const { numRuns, seed = 1 } = cases(20);

  it(`at any of ${numRuns} statements, ends in the result digest of an undisturbed one`, async () => {
    const random = randomFrom(seed);
    const tables = await openTables(test, seed, FAULTS);
    const { house } = tables;
    await house.run();
    const undisturbed = await house.run();
    const must = await answerOf(tables, undisturbed);
    const begin = async () =>
      (await house.service.runOfTick(house.name, `killed ${Math.floor(random() * 2 ** 32)}`))!.id;
    const statements = (await work({ runId: await begin(), killAt: 0, afterSending: false })).statements!;
    expect(statements).toBeGreaterThan(10);

    const leftAt: string[] = [];
    for (let point = 0; point < numRuns; point++) {
      const runId = await begin();
      const killAt = 1 + below(random, statements);
      const where = `killed at statement ${killAt} of ${statements}, seed ${seed}`;
      const { signal } = await work({ runId, killAt, afterSending: chance(random, 0.5) });
      expect(signal, where).toBe('SIGKILL');
      leftAt.push((await house.service.get(runId)).state);
      await runReconciliation(house.runDeps, runId, {
        attempt: 2,
        maxAttempts: 2,
        signal: AbortSignal.timeout(600_000),
      });
      const run = await house.service.get(runId);
      expect(run.summary?.counts, where).toEqual(undisturbed.summary!.counts);
      expect(run.summary?.resultDigest, where).toBe(undisturbed.summary!.resultDigest);
      expect(await answerOf(tables, run as typeof undisturbed), where).toEqual(must);
      const [left] = await sql<{ n: number }>(test.db.em(), 'select count(*)::int as n from trueup.run_findings');
      expect(left!.n, where).toBe(0);
    }
    // Most of them died while there was still work to do.
    expect(leftAt.filter((state) => state !== 'succeeded').length).toBeGreaterThan(numRuns / 2);

    function work(order: Pick<RunOrder, 'runId' | 'killAt' | 'afterSending'>) {
      const { policy, runDeps } = house;
      const { outside } = tables;
      return killedRun({ url: test.url, policy, following: runDeps.following!, ...(outside && { outside }), ...order });
    }
  }, 1_800_000);
});
