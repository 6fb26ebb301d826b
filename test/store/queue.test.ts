// Goal: a job is sent with its sender's transaction, tried again, given up once, and survives its worker. Method: a real
// database and real pg-boss with short pauses; where a worker must be lost, its claim is aged instead of waiting.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase, sql } from '../../src/store/database.ts';
import { listDeadLetters, listJobHealth } from '../../src/store/job-health.ts';
import { migrate } from '../../src/store/migrate.ts';
import { createQueue } from '../../src/store/queue.ts';
import type { JobDefinition, Queue } from '../../src/store/queue.ts';
import { createTestDatabase, onAdminConnection } from '../_util/database.ts';
import type { TestDatabase } from '../_util/database.ts';
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

async function startQueue(jobs: JobDefinition[], onDeadLetter?: (job: { id: string }) => void): Promise<Queue> {
  const queue = createQueue({ db: test.db, jobs, ...(onDeadLetter ? { onDeadLetter } : {}) });
  open.push(queue);
  await queue.start();
  return queue;
}

const healthOf = async (name: string) => (await listJobHealth(test.db.em())).find((each) => each.name === name);

describe('sending', () => {
  it('is part of the transaction: a rollback leaves no job, a commit wakes a worker', async () => {
    const queue = await startQueue([{ name: 'send' }]);
    const seen: unknown[] = [];
    await queue.work('send', { concurrency: 1 }, async (payload) => void seen.push(payload));
    await expect(
      test.db.em().transactional(async (em) => {
        expect(await queue.send(em, 'send', { id: 'rolled back' })).toEqual(expect.any(String));
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    await test.db.em().transactional((em) => queue.send(em, 'send', { id: 'kept' }));
    await eventually(() => expect(seen).toEqual([{ id: 'kept' }]));
  });

  it('is a no-op while a job with the same singleton key waits or runs, and not after', async () => {
    const queue = await startQueue([{ name: 'single' }]);
    const em = test.db.em();
    expect(await queue.send(em, 'single', {}, { singletonKey: 'one' })).not.toBeNull();
    expect(await queue.send(em, 'single', {}, { singletonKey: 'one' })).toBeNull();
    expect(await queue.send(em, 'single', {}, { singletonKey: 'two' })).not.toBeNull();
    expect(await queue.send(em, 'single', {})).not.toBeNull();
    expect(await queue.send(em, 'single', {})).not.toBeNull();
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    await queue.work('single', { concurrency: 4 }, () => held);
    await eventually(async () => expect((await queue.inFlight(em)).get('single')).toBe(4));
    expect(await queue.send(em, 'single', {}, { singletonKey: 'one' })).toBeNull();
    release();
    await eventually(async () => expect((await queue.inFlight(em)).get('single')).toBeUndefined());
    expect(await queue.send(em, 'single', {}, { singletonKey: 'one' })).not.toBeNull();
  });

  it('drains a backlog without waiting for the next look between two jobs', async () => {
    const queue = await startQueue([{ name: 'backlog' }]);
    await test.db.em().transactional(async (em) => {
      for (let n = 0; n < 200; n++) await queue.send(em, 'backlog', { n });
    });
    let done = 0;
    const started = performance.now();
    await queue.work('backlog', { concurrency: 2 }, async () => void done++);
    await eventually(() => expect(done).toBe(200));
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

describe('failing', () => {
  it('is tried 5 times, given up once, and degrades its job after two in a row until a success', async () => {
    const given: string[] = [];
    const queue = await startQueue([{ name: 'fails', retryBaseMs: 0 }], (job) => given.push(job.id));
    const attempts: number[] = [];
    let fail = true;
    await queue.work('fails', { concurrency: 1 }, async (_payload, { attempt, maxAttempts }) => {
      expect(maxAttempts).toBe(5);
      attempts.push(attempt);
      if (fail) throw new Error('password=hunter2');
    });
    const first = await queue.send(test.db.em(), 'fails', { id: 'run-1' });
    await eventually(() => expect(given).toEqual([first]));
    expect(attempts).toEqual([1, 2, 3, 4, 5]);
    expect(await healthOf('fails')).toMatchObject({
      runs: 5,
      succeeded: 0,
      failed: 5,
      deadLettered: 1,
      health: 'healthy',
    });
    const letters = await listDeadLetters(test.db.em(), { size: 10, after: null }, { job: 'fails' });
    // The words of an unknown fault may hold anything, so none are kept.
    expect(letters.items).toMatchObject([
      {
        id: first,
        job: 'fails',
        resourceId: 'run-1',
        attempts: 5,
        lastError: { reason: 'INTERNAL', message: 'internal error' },
        payloadJson: '{"id": "run-1"}',
      },
    ]);

    const second = await queue.send(test.db.em(), 'fails', {});
    await eventually(() => expect(given).toEqual([first, second]));
    expect(await healthOf('fails')).toMatchObject({ deadLettered: 2, health: 'degraded' });
    const newest = await listDeadLetters(test.db.em(), { size: 1, after: null }, { job: 'fails' });
    expect(newest.items.map((each) => each.id)).toEqual([second]);
    expect(
      (await listDeadLetters(test.db.em(), { size: 1, after: newest.next }, { job: 'fails' })).items.map(
        (each) => each.id,
      ),
    ).toEqual([first]);

    fail = false;
    await queue.send(test.db.em(), 'fails', {});
    await eventually(async () =>
      expect(await healthOf('fails')).toMatchObject({ succeeded: 1, deadLettered: 2, health: 'healthy' }),
    );
  });

  it('pauses between attempts for at least the base, then at least twice that, and so on', async () => {
    const queue = await startQueue([{ name: 'pauses', retryBaseMs: 5_000 }]);
    await queue.work('pauses', { concurrency: 1 }, async () => {
      throw new Error('again');
    });
    const id = await queue.send(test.db.em(), 'pauses', {});
    for (const [attempt, pauseS] of [5, 10, 20, 40].entries()) {
      await eventually(async () => {
        const [job] = await sql<{ pause: string }>(
          test.db.em(),
          `select extract(epoch from start_after - now()) as pause from trueup_queue.job where id = $1 and state = 'retry' and retry_count = $2`,
          [id, attempt],
        );
        expect(Number(job?.pause)).toBeGreaterThan(pauseS - 2);
        expect(Number(job?.pause)).toBeLessThanOrEqual(2 * pauseS);
      });
      // The clock moves: what was due later is due now.
      await sql(test.db.em(), `update trueup_queue.job set start_after = now() where id = $1`, [id]);
    }
    await eventually(async () => expect(await healthOf('pauses')).toMatchObject({ failed: 5, deadLettered: 1 }));
  });
});

describe('a lost or stopped worker', () => {
  it('has its job taken over by another when it is not heard of any more', async () => {
    const lost = await startQueue([{ name: 'lost', retryBaseMs: 0 }]);
    const runs: number[] = [];
    let aborted: unknown;
    await lost.work('lost', { concurrency: 1 }, async (_payload, { attempt, signal }) => {
      runs.push(attempt);
      if (attempt === 1)
        await new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => resolve((aborted = signal.reason))),
        );
    });
    const id = await lost.send(test.db.em(), 'lost', {});
    await eventually(() => expect(runs).toEqual([1]));
    await sql(test.db.em(), `update trueup_queue.job set heartbeat_on = now() - interval '11 seconds' where id = $1`, [
      id,
    ]);
    // Supervision or the worker's own next sign of life, whichever comes first; nobody else is needed when it was only slow.
    const other = await startQueue([{ name: 'lost', retryBaseMs: 0 }]);
    await other.work('lost', { concurrency: 1 }, async (_payload, { attempt }) => void runs.push(attempt));
    await sql(
      test.db.em(),
      `update trueup_queue.job set heartbeat_on = now() - interval '11 seconds' where id = $1 and state = 'active'`,
      [id],
    );
    await eventually(() => expect(runs).toEqual([1, 2]), 30_000);
    await eventually(() => expect(aborted).toBeDefined(), 20_000);
  });

  it('hands its job back at a stop without losing an attempt', async () => {
    const first = await startQueue([{ name: 'handed' }]);
    const attempts: number[] = [];
    await first.work('handed', { concurrency: 1 }, async (_payload, { attempt, signal }) => {
      attempts.push(attempt);
      await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    });
    await first.send(test.db.em(), 'handed', { id: 'long' }, { singletonKey: 'long' });
    await eventually(() => expect(attempts).toEqual([1]));
    await first.stop({ timeoutMs: 5_000 });
    expect(await healthOf('handed')).toMatchObject({ failed: 0 });
    const second = await startQueue([{ name: 'handed' }]);
    const seen: unknown[] = [];
    await second.work(
      'handed',
      { concurrency: 1 },
      async (payload, { attempt }) => void seen.push([payload['id'], attempt]),
    );
    await eventually(() => expect(seen).toEqual([['long', 1]]));
  });
});

describe('a database that drops every connection', () => {
  it('ends neither the process nor the queue: later jobs still run', async () => {
    const queue = await startQueue([{ name: 'dropped', retryBaseMs: 0 }]);
    const seen: unknown[] = [];
    await queue.work('dropped', { concurrency: 2 }, async (payload) => void seen.push(payload['n']));
    await queue.send(test.db.em(), 'dropped', { n: 1 });
    await eventually(() => expect(seen).toEqual([1]));
    await onAdminConnection(test.url, (client) =>
      client.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
      ),
    );
    await eventually(async () => {
      await queue.send(test.db.em(), 'dropped', { n: 2 }, { singletonKey: 'second' });
      expect(seen).toContain(2);
      // A claim whose answer was lost with its connection is taken over after 10 s without a sign of life.
    }, 45_000);
  });
});

describe('starting', () => {
  it('works for a user who may do nothing but use two schemas prepared for it', async () => {
    const empty = await createTestDatabase({ migrated: false });
    const role = `queue_user_${process.pid}`;
    await onAdminConnection(empty.url, async (client) => {
      await client.query(`create role ${role} login password 'limited'`);
      for (const schema of ['trueup', 'trueup_queue'])
        await client.query(`create schema ${schema} authorization ${role}`);
    });
    const url = new URL(empty.url);
    url.username = role;
    url.password = 'limited';
    const db = await openDatabase({ url: url.href });
    await migrate(db);
    const queue = createQueue({ db, jobs: [{ name: 'limited' }] });
    await queue.start();
    const seen: unknown[] = [];
    await queue.work('limited', { concurrency: 1 }, async (payload) => void seen.push(payload['n']));
    await queue.send(db.em(), 'limited', { n: 1 });
    await eventually(() => expect(seen).toEqual([1]));
    await queue.stop({ timeoutMs: 1_000 });
    await db.close();
    await onAdminConnection(empty.url, (client) => client.query(`drop owned by ${role} cascade; drop role ${role}`));
    await empty.drop();
  });

  it('works for four replicas at once on a database without the queue', async () => {
    const empty = await createTestDatabase();
    const queues = [1, 2, 3, 4].map(() => createQueue({ db: empty.db, jobs: [{ name: 'a' }, { name: 'b' }] }));
    await Promise.all(queues.map((queue) => queue.start()));
    await Promise.all(queues.map((queue) => queue.stop({ timeoutMs: 1_000 })));
    await empty.drop();
  });
});
