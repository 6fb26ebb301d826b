// Goal: a job that is given up is told of once, until one of its name succeeds; and what was told does not pile up. Method: a real queue whose
// jobs fail as the test wants, with its outbox; time is moved in the rows.
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { keepHouse } from '../../src/services/housekeeping.ts';
import { tellGivenUp, tellRecovered, type JobAlertDeps } from '../../src/services/job-alerts.ts';
import { sql } from '../../src/store/database.ts';
import { createQueue, type Queue } from '../../src/store/queue.ts';
import { openOutbox } from '../_util/alerts.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';

let test: TestDatabase;
const open: Queue[] = [];
beforeAll(async () => {
  test = await createTestDatabase();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((queue) => queue.stop({ timeoutMs: 1_000 })));
});
afterAll(() => test.drop());

/** A queue with one job, which fails while `isBroken` says so; its alerts go to an outbox of the test's. */
async function openJob(name: string, sandbox: boolean) {
  const outbox = openOutbox(test.db);
  const deps: JobAlertDeps = { queue: outbox.queue, sandbox };
  const given = { buried: 0, isBroken: true, done: 0 };
  const queue = createQueue({
    db: test.db,
    jobs: [{ name, maxAttempts: 1 }],
    whenGivenUp: (em, job) => tellGivenUp(em, deps, job),
    whenRecovered: (em, job) => tellRecovered(em, deps, job),
    onDeadLetter: () => void given.buried++,
  });
  open.push(queue);
  await queue.start();
  await queue.work(name, { concurrency: 1 }, () => {
    if (given.isBroken) throw new Error('secret words');
    given.done++;
    return Promise.resolve();
  });
  const send = () => test.db.em().transactional((em) => queue.send(em, name, { id: 'thing-1' }));
  const told = async () => (await outbox.alerts()).filter((alert) => alert.dedupeKey === `job-dead-lettered:${name}`);
  return { given, send, told };
}

it('a job that is given up is told of once, without words of an unknown fault, and its end when one succeeds', async () => {
  const { given, send, told } = await openJob('report', false);
  for (const times of [1, 2]) {
    await send();
    await eventually(() => expect(given.buried).toBe(times));
    expect(await told()).toMatchObject([
      {
        ...{ kind: 'JOB_DEAD_LETTERED', severity: 'ticket', state: 'pending' },
        title: 'report: a job was given up after 1 attempt',
        details: { job: 'report', resource: 'thing-1', reason: 'INTERNAL' },
      },
    ]);
  }
  expect(JSON.stringify(await told())).not.toContain('secret words');
  given.isBroken = false;
  for (const times of [1, 2]) {
    await send();
    await eventually(() => expect(given.done).toBe(times));
  }
  await eventually(async () =>
    expect((await told()).map(({ kind }) => kind)).toEqual(['RESOLVED', 'JOB_DEAD_LETTERED']),
  );
  given.isBroken = true;
  await send();
  await eventually(async () =>
    expect((await told()).map(({ kind }) => kind)).toEqual(['JOB_DEAD_LETTERED', 'RESOLVED', 'JOB_DEAD_LETTERED']),
  );
});

it('a job of the sandbox is kept as an alert that goes nowhere', async () => {
  const { send, told } = await openJob('sandboxed', true);
  await send();
  await eventually(async () => expect(await told()).toMatchObject([{ state: 'suppressed', sandbox: true }]));
});

it('old alerts are deleted, but for those that last or wait to be sent', async () => {
  const insert = (name: string, days: number, more: { state?: string; lasts?: boolean }) =>
    sql(
      test.db.em(),
      `insert into trueup.alerts (id, message_id, dedupe_key, kind, severity, state, open_key, title, details, created_at)
       select id, id, $1, 'SLO_BREACH', 'ticket', $3, $4, $1, '{}', now() - $2 * interval '1 day' from gen_random_uuid() as id`,
      [name, days, more.state ?? 'delivered', more.lasts === true ? name : null],
    );
  await insert('old', 91, {});
  await insert('dead', 91, { state: 'dead_lettered' });
  await insert('young', 89, {});
  await insert('lasting', 91, { lasts: true });
  await insert('waiting', 91, { state: 'pending' });
  await sql(
    test.db.em(),
    `insert into trueup.alerts (id, message_id, dedupe_key, kind, severity, state, title, details, created_at)
     select gen_random_uuid(), gen_random_uuid(), 'many', 'SLO_BREACH', 'ticket', 'delivered', 'many', '{}', now() - interval '1 year'
     from generate_series(1, 2500)`,
  );
  await keepHouse({ db: test.db, backfillRetentionDays: 30 });
  const left = await sql<{ title: string }>(
    test.db.em(),
    `select title from trueup.alerts where kind = 'SLO_BREACH' order by title`,
  );
  expect(left.map(({ title }) => title)).toEqual(['lasting', 'waiting', 'young']);
});
