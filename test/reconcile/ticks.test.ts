// Goal: each tick is claimed once, whatever the replicas' own clocks say. Method: two processes whose clocks are five minutes apart
// look at one timetable at the same moment, tick after tick; time passes by moving the rows' due times.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sql } from '../../src/store/database.ts';
import { upsertSchedule } from '../../src/store/schedules.ts';
import { cases, patience } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';

const INTERVAL_MS = 60_000;
const CLOCKS_APART_MS = 300_000;
const CHILD = fileURLToPath(new URL('./_tick-child.ts', import.meta.url));

let test: TestDatabase;
let replicas: ChildProcess[] = [];
beforeAll(async () => {
  test = await createTestDatabase();
  await sql(
    test.db.em(),
    'create table claimed (schedule text, due_at timestamptz, replica integer, said_at timestamptz)',
  );
  replicas = [-CLOCKS_APART_MS / 2, CLOCKS_APART_MS / 2].map((offsetMs) => fork(CHILD, [test.url, String(offsetMs)]));
  for (const [ready] of await Promise.all(replicas.map((replica) => once(replica, 'message'))))
    expect(ready).toBe('ready');
});
afterAll(async () => {
  const ended = replicas.map((replica) => once(replica, 'exit'));
  for (const replica of replicas) replica.send('stop');
  await Promise.all(ended);
  await test.drop();
});

async function look(): Promise<number[]> {
  const answers = replicas.map((replica) => once(replica, 'message'));
  for (const replica of replicas) replica.send('look');
  return (await Promise.all(answers)).map(([count]) => count as number);
}

describe('two replicas whose clocks are five minutes apart', () => {
  const { numRuns: ticks } = cases(100);

  it(
    `claim each of ${ticks} ticks once`,
    async () => {
      await upsertSchedule(test.db.em(), { name: 's', job: 'j', intervalMs: INTERVAL_MS, enabled: true });
      for (let tick = 1; tick <= ticks; tick++) {
        expect((await look()).sort(), `tick ${tick}`).toEqual([0, 1]);
        expect(await look(), `tick ${tick}, looked at again`).toEqual([0, 0]);
        await sql(test.db.em(), `update trueup.schedules set due_at = due_at - $1 * interval '1 millisecond'`, [
          INTERVAL_MS,
        ]);
      }
      const [claimed] = await sql<{ n: number; apart: number; replicas: number }>(
        test.db.em(),
        `select count(*)::int as n, extract(epoch from max(said_at - due_at) - min(said_at - due_at))::int as apart,
         count(distinct replica)::int as replicas from claimed`,
      );
      expect(claimed!.n).toBe(ticks);
      // Where both had their share, their clocks did differ.
      if (claimed!.replicas === 2) expect(claimed!.apart).toBeGreaterThan(CLOCKS_APART_MS / 1000 / 2);
    },
    patience(600_000),
  );
});
