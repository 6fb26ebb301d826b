// Goal: over any number of replicas each tick runs once, by the database's clock. Method: real schedulers on one
// database; time is moved by moving the rows' due times, which is the same as moving the clock the other way.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createScheduler } from '../../src/scheduler/scheduler.ts';
import { sql } from '../../src/store/database.ts';
import { listJobHealth } from '../../src/store/job-health.ts';
import { createQueue } from '../../src/store/queue.ts';
import { claimDue, disableSchedulesExcept, listSchedules, upsertSchedule } from '../../src/store/schedules.ts';
import { createTimetable } from '../../src/store/timetable.ts';
import { createTestDatabase } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
beforeEach(async () => {
  await sql(test.db.em(), 'truncate trueup.schedules, trueup.job_health');
});
afterAll(() => test.drop());

const HOUR_MS = 3_600_000;
const every = (intervalMs: number, name = 's') =>
  upsertSchedule(test.db.em(), { name, job: 'j', intervalMs, enabled: true });
const claim = async () => (await claimDue(test.db.em(), async () => undefined)).map((tick) => tick.schedule);
/** Moves the clock forward (or, below zero, back) as the schedules see it. */
const passTime = (ms: number) =>
  sql(test.db.em(), `update trueup.schedules set due_at = due_at - $1 * interval '1 millisecond'`, [ms]);
const dueInMs = async () =>
  Number(
    (
      await sql<{ ms: string }>(
        test.db.em(),
        `select extract(epoch from due_at - now()) * 1000 as ms from trueup.schedules`,
      )
    )[0]?.ms,
  );

describe('claiming', () => {
  it('gives one tick to exactly one of many replicas', async () => {
    await every(HOUR_MS);
    expect((await Promise.all(Array.from({ length: 20 }, claim))).flat()).toEqual(['s']);
    expect(await claim()).toEqual([]);
  });

  it('makes one tick of all that were missed, and keeps to the grid', async () => {
    await every(HOUR_MS);
    expect(await claim()).toEqual(['s']);
    await passTime(5.25 * HOUR_MS);
    expect(await claim()).toEqual(['s']);
    expect(await claim()).toEqual([]);
    expect(await dueInMs()).toBeGreaterThan(0.7 * HOUR_MS);
    expect(await dueInMs()).toBeLessThanOrEqual(0.75 * HOUR_MS);
  });

  it("doesn't schedule a tick twice when the clock goes back", async () => {
    await every(HOUR_MS);
    expect(await claim()).toEqual(['s']);
    await passTime(0.5 * HOUR_MS);
    await passTime(-0.4 * HOUR_MS);
    expect(await claim()).toEqual([]);
    await passTime(0.9 * HOUR_MS - 60_000);
    expect(await claim()).toEqual([]);
    await passTime(61_000);
    expect(await claim()).toEqual(['s']);
  });

  it("waits no longer than an interval when the clock goes back by days, and doesn't run at once either", async () => {
    await every(HOUR_MS);
    expect(await claim()).toEqual(['s']);
    await passTime(-72 * HOUR_MS);
    expect(await claim()).toEqual([]);
    expect(await dueInMs()).toBeGreaterThan(0.99 * HOUR_MS);
    expect(await dueInMs()).toBeLessThanOrEqual(HOUR_MS);
  });

  it('leaves the tick due when its enqueuing fails', async () => {
    await every(HOUR_MS);
    await expect(
      claimDue(test.db.em(), async () => {
        throw new Error('queue is away');
      }),
    ).rejects.toThrow('queue is away');
    expect(await claim()).toEqual(['s']);
  });
});

describe('defining', () => {
  it('keeps the due time over a restart and takes a new interval at once', async () => {
    await every(HOUR_MS);
    await claim();
    await every(HOUR_MS);
    expect(await claim()).toEqual([]);
    await every(60_000);
    expect(await dueInMs()).toBeLessThanOrEqual(60_000);
  });

  it('runs nothing that is switched off or named no more', async () => {
    await upsertSchedule(test.db.em(), { name: 'off', job: 'j', intervalMs: 1_000, enabled: false });
    await every(1_000, 'gone');
    expect(await disableSchedulesExcept(test.db.em(), ['off'])).toBe(1);
    expect(await claim()).toEqual([]);
    expect(await listSchedules(test.db.em(), new Map())).toMatchObject([
      { name: 'gone', enabled: false, dueAt: null, health: null, runs: 0 },
      { name: 'off', enabled: false, dueAt: null },
    ]);
  });
});

describe('two schedulers on one database', () => {
  it('run each tick once (defect 8)', async () => {
    const ran: string[] = [];
    const houses = ['a', 'b'].map((replica) => {
      const queue = createQueue({ db: test.db, jobs: [{ name: 'work' }] });
      const job = {
        name: 'work',
        schedules: [{ name: 'work:x', intervalMs: HOUR_MS, enabled: true, policy: 'x' }],
        run: async (payload: Readonly<Record<string, unknown>>) =>
          void ran.push(`${replica} ${String(payload['policy'])} ${String(payload['schedule'])}`),
      };
      return {
        queue,
        scheduler: createScheduler({ timetable: createTimetable(test.db, queue), queue, jobs: [job], tickMs: 20 }),
      };
    });
    await Promise.all(houses.map(({ queue }) => queue.start()));
    await Promise.all(houses.map(({ scheduler }) => scheduler.start()));
    for (let tick = 1; tick <= 10; tick++) {
      await eventually(() => expect(ran).toHaveLength(tick));
      await eventually(async () =>
        expect(await listJobHealth(test.db.em())).toMatchObject([
          { name: 'work:x', runs: tick, succeeded: tick, health: 'healthy' },
        ]),
      );
      // The job row ends in a transaction of its own, after its record.
      await eventually(async () => expect((await houses[0]!.queue.inFlight(test.db.em())).size).toBe(0));
      await passTime(HOUR_MS);
    }
    await eventually(() => expect(ran).toHaveLength(11));
    for (const { scheduler, queue } of houses) {
      await scheduler.stop();
      await queue.stop({ timeoutMs: 1_000 });
    }
    expect(ran.every((each) => each.endsWith(' x work:x'))).toBe(true);
    const [sent] = await sql<{ n: string }>(
      test.db.em(),
      `select count(*) as n from trueup_queue.job where name = 'work'`,
    );
    expect(sent?.n).toBe('11');
    expect(await listSchedules(test.db.em(), new Map([['work:x', 2]]))).toMatchObject([
      { name: 'work:x', runs: 11, inFlight: 2, health: 'healthy', intervalMs: HOUR_MS },
    ]);
  });
});

describe('a scheduler', () => {
  const idle = { declare: async () => undefined, claimDue: async () => 0 };
  const runner = { work: async () => undefined };

  it('goes on after the database was away, and says so once', async () => {
    const said: string[] = [];
    let looks = 0;
    const scheduler = createScheduler({
      timetable: {
        ...idle,
        claimDue: async () => {
          if (++looks < 5) throw new Error('away');
          return 0;
        },
      },
      queue: runner,
      jobs: [],
      tickMs: 1,
      log: { warn: (_fields, message) => said.push(message) },
    });
    await scheduler.start();
    await eventually(() => expect(looks).toBeGreaterThan(6));
    await scheduler.stop();
    expect(said).toHaveLength(1);
    const atStop = looks;
    await new Promise((resolve) => setImmediate(resolve));
    expect(looks).toBe(atStop);
  });

  it('refuses two jobs or two schedules of one name', () => {
    const job = { name: 'twice', run: async () => undefined };
    expect(() => createScheduler({ timetable: idle, queue: runner, jobs: [job, job] })).toThrow('twice');
    const schedules = [{ name: 'same', intervalMs: 1, enabled: true }];
    expect(() =>
      createScheduler({
        timetable: idle,
        queue: runner,
        jobs: [
          { ...job, name: 'a', schedules },
          { ...job, name: 'b', schedules },
        ],
      }),
    ).toThrow('same');
  });
});
