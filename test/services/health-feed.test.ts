// Goal: watchers are shown every change once, in order, and neither a slow one nor a lost one costs more than its bound.
// Method: the real poller over a real database, looking every few milliseconds; the hub alone where only its bounds matter.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Activity, StatusEvent, StatusWatch } from '../../src/core/status.ts';
import { FeedHub, type FeedEvent } from '../../src/services/feed-hub.ts';
import { createDiagnostics, schedulesOf } from '../../src/services/diagnostics.ts';
import { createHealthService, type HealthService } from '../../src/services/health.ts';
import { createRuntimeSampler } from '../../src/services/runtime.ts';
import { raiseAlert } from '../../src/services/alerts.ts';
import { createStatusFeed, type StatusFeed, type StatusFeedOptions } from '../../src/services/status-feed.ts';
import { endAlert, listAlerts } from '../../src/store/alerts.ts';
import type { Database } from '../../src/store/database.ts';
import { writeAudit } from '../../src/store/audit.ts';
import { beginRun, endRun, insertRun } from '../../src/store/runs.ts';
import { upsertSchedule } from '../../src/store/schedules.ts';
import { recordDeadLetter, recordJobStart, recordJobSuccess } from '../../src/store/job-health.ts';
import { saveTip } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { closeTimeOf, commitByHand, openTestStream, type OpenedStream } from '../_util/ledger-rows.ts';

function healthOf(db: Database, networkPassphrase: string): HealthService {
  const source = {
    id: 'stellar-archive:history.example',
    kind: 'stellar-archive',
    networkPassphrase,
    layers: ['operations'],
  } as const;
  return createHealthService({
    db,
    source,
    circuitState: () => 'OPEN',
    endLedger: null,
    version: '1',
    startedAt: new Date(),
    replica: 'r1',
    configEntries: [],
    embedded: true,
    queue: null,
  });
}

const WATCH: StatusWatch = { topics: [], since: null, stream: null, activityBacklog: 0 };

describe('the hub', () => {
  const limits = { maxKeptEvents: 10, maxQueuedEvents: 3 };
  const never = new AbortController().signal;
  const line = (n: number): FeedEvent => {
    const activity: Activity = {
      kind: 'operator',
      event: `line_${n}`,
      stream: null,
      ledger: null,
      message: '',
      resourceId: null,
      at: new Date(n),
    };
    return { at: new Date(n), topic: 'activity', activity };
  };
  const usage = (uptimeMs: number): FeedEvent => ({ at: new Date(0), topic: 'usage', runtime: { uptimeMs } as never });
  const text = (event: StatusEvent) =>
    event.topic === 'activity'
      ? event.activity.event
      : event.topic === 'usage'
        ? `usage ${event.runtime.uptimeMs}`
        : event.topic;

  it('gives a slow watcher the newest state and the newest lines, never a growing queue', async () => {
    const hub = new FeedHub(limits, 100n);
    const slow = hub.subscribe(() => true, null);
    for (let n = 0; n < 1000; n++) {
      hub.publish(usage(n));
      hub.publish(line(n));
    }
    const events = [await slow.next(never), await slow.next(never), await slow.next(never)];
    expect(events.map(text)).toEqual(['line_998', 'usage 999', 'line_999']);
    const aborted = new AbortController();
    const waiting = slow.next(aborted.signal);
    aborted.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
  });

  it('lets a lost watcher go on where it was, and says so when that is gone', async () => {
    const hub = new FeedHub({ ...limits, maxQueuedEvents: 50 }, 100n);
    hub.publish(line(1));
    hub.publish(line(2));
    hub.publish(line(3));
    const resumed = hub.subscribe(() => true, 101n);
    expect(
      [await resumed.next(never), await resumed.next(never)].map((event) => [event.sequence, text(event)]),
    ).toEqual([
      [102n, 'line_2'],
      [103n, 'line_3'],
    ]);
    expect(() => hub.subscribe(() => true, 99n)).toThrow(expect.objectContaining({ reason: 'SEQUENCE_EXPIRED' }));
    expect(() => hub.subscribe(() => true, 104n)).toThrow(expect.objectContaining({ reason: 'SEQUENCE_EXPIRED' }));
    for (let n = 0; n < 100; n++) hub.publish(line(n));
    expect(() => hub.subscribe(() => true, 101n)).toThrow(expect.objectContaining({ reason: 'SEQUENCE_EXPIRED' }));
    expect(hub.newest(() => true, 2).map(text)).toEqual(['line_98', 'line_99']);
  });
});

describe('the feed', () => {
  let test: TestDatabase;
  let opened: OpenedStream;
  let polls = 0;
  beforeAll(async () => {
    test = await createTestDatabase();
    opened = await openTestStream(test.db, { passphrase: 'feed' });
    await commitByHand(test.db, opened, { from: 1, to: 11 }, []);
    await saveTip(test.db.em(), opened.stream.id, { sequence: 20, closeTime: closeTimeOf(20), oldest: 1 });
  });
  afterAll(() => test.drop());

  function feedOf(options: Partial<StatusFeedOptions> = {}): StatusFeed {
    const startedAt = new Date();
    const health = healthOf(test.db, 'feed');
    const runtime = createRuntimeSampler({ version: '1', startedAt });
    return createStatusFeed({
      db: test.db,
      status: () => (polls++, health.status(null)),
      schedules: (em) => schedulesOf(em, null),
      runtime: () => runtime.info(),
      pollIntervalMs: 5,
      refreshIntervalMs: 3_600_000,
      ...options,
    });
  }

  /** Events until one is found; the stream is left then. */
  async function until(
    feed: StatusFeed,
    watch: Partial<StatusWatch>,
    found: (event: StatusEvent) => boolean,
    onFirst: () => Promise<void> = async () => {},
  ): Promise<StatusEvent[]> {
    const events: StatusEvent[] = [];
    const signal = AbortSignal.timeout(30_000);
    for await (const event of feed.watch({ ...WATCH, ...watch }, signal)) {
      events.push(event);
      if (events.length === 1) await onFirst();
      if (found(event)) return events;
    }
    return events;
  }
  const isLine = (name: string) => (event: StatusEvent) => event.topic === 'activity' && event.activity.event === name;

  it('begins with the alerts that there are, and tells each one that is raised or changes', async () => {
    const queue = { send: () => Promise.resolve('job') };
    const raise = (what: string, resolves: boolean) =>
      test.db.em().transactional((em) =>
        raiseAlert(em, queue, {
          ...{ kind: 'SLO_BREACH', dedupeKey: what, policy: null, stream: null, severity: 'ticket', summary: what },
          ...{ details: {}, resolves },
        }),
      );
    await raise('first', false);
    const told = (events: readonly StatusEvent[]): string[] =>
      events.flatMap((event) => (event.topic === 'alerts' ? [`${event.alert.title} ${event.alert.state}`] : []));
    let deliver = async (): Promise<void> => {};
    const events = await until(
      feedOf(),
      { topics: ['alerts'] },
      (event) => {
        if (event.topic === 'alerts' && event.alert.title === 'second' && event.alert.state === 'pending')
          void deliver();
        return event.topic === 'alerts' && event.alert.title === 'second' && event.alert.state === 'suppressed';
      },
      async () => {
        deliver = async () => {
          const { items } = await listAlerts(test.db.em(), {}, { size: 1, after: null });
          await endAlert(test.db.em(), items[0]!.id, { state: 'suppressed', suppressReason: 'no channel' });
        };
        await raise('second', false);
      },
    );
    expect(told(events)).toEqual(['first pending', 'second pending', 'second suppressed']);
  });

  it('begins with the present state, and tells a stream that moves', async () => {
    const feed = feedOf();
    const events = await until(feed, {}, isLine('ledgers_processed'), () =>
      commitByHand(test.db, opened, { from: 11, to: 16 }, []),
    );
    expect(events[0]).toMatchObject({ topic: 'streams', stream: { stream: opened.stream.name, lag: 10 } });
    expect(events.filter((event) => event.topic === 'streams').at(-1)).toMatchObject({
      stream: { lag: 5, processedLedgers: 15n },
    });
    expect(events.at(-1)).toMatchObject({
      activity: { kind: 'ledgers', ledger: 15, message: '5 ledgers processed, up to ledger 15' },
    });
    feed.close();
  });

  it('tells a run from its start to its end, each state once, and what somebody did', async () => {
    const feed = feedOf();
    const id = randomUUID();
    const run = {
      id,
      requestId: null,
      policy: 'default',
      level: 'entries',
      trigger: 'manual',
      sandbox: false,
      stream: opened.stream.name,
      book: 'default',
      request: { range: null, windowMs: null, scope: null },
      traceId: '0'.repeat(32),
      actor: 'alice',
    } as const;
    const events = await until(
      feed,
      { topics: ['streams', 'reconciliations', 'activity'] },
      isLine('run_failed'),
      async () => {
        await insertRun(test.db.em(), run);
        await beginRun(test.db.em(), id);
        await writeAudit(
          test.db.em(),
          {
            actor: 'alice',
            role: 'operate',
            method: 'trueup.v1.ReconciliationService/StartReconciliation',
            requestId: '',
            traceId: null,
          },
          { resourceType: 'reconciliation', resourceId: id },
        );
        await endRun(test.db.em(), { id }, 'failed', { reason: 'DATABASE_BUSY', message: 'locked' });
      },
    );
    expect(events.filter((event) => event.topic === 'reconciliations').at(-1)).toMatchObject({
      run: { id, state: 'failed' },
    });
    const failed = events.filter(isLine('run_failed'));
    expect(failed).toHaveLength(1);
    expect(failed[0]).toMatchObject({
      activity: { kind: 'reconciliation', resourceId: id, message: 'a run of policy default failed: locked' },
    });
    feed.close();
  });

  it('lets a watcher resume after a time in which nobody watched, without loss and without repetition', async () => {
    const feed = feedOf();
    const first = await until(feed, {}, (event) => event.sequence > 0n);
    await commitByHand(test.db, opened, { from: 16, to: 18 }, []);
    const resumed = await until(feed, { since: first.at(-1)!.sequence }, isLine('ledgers_processed'));
    expect(resumed.map((event) => event.topic)).toEqual(['streams', 'activity']);
    expect(resumed.at(-1)).toMatchObject({ activity: { message: '2 ledgers processed, up to ledger 17' } });
    await expect(until(feed, { since: 5n }, () => true)).rejects.toMatchObject({ reason: 'SEQUENCE_EXPIRED' });
    feed.close();
  });

  it('begins with as many past lines as asked for', async () => {
    const feed = feedOf();
    const events = await until(feed, { topics: ['activity'], activityBacklog: 5 }, isLine('start_reconciliation'));
    expect(events).toMatchObject([
      { activity: { kind: 'operator', message: expect.stringContaining('alice called StartReconciliation') } },
    ]);
    feed.close();
  });

  it('looks once for all watchers, and not at all while there are none', async () => {
    const feed = feedOf({ pollIntervalMs: 3_600_000 });
    const before = polls;
    const signal = new AbortController();
    const streams = Array.from({ length: 20 }, () =>
      feed.watch({ ...WATCH, topics: ['usage'] }, signal.signal)[Symbol.asyncIterator](),
    );
    await Promise.all(streams.map((stream) => stream.next()));
    expect(polls - before).toBe(1);
    const waiting = streams.map((stream) => stream.next());
    signal.abort(new Error('client went away'));
    for (const next of waiting) await expect(next).rejects.toThrow('client went away');
    expect(polls - before).toBe(1);
    feed.close();
  });

  it('ends its watchers when the process shuts down, and refuses more than it can hold', async () => {
    const feed = feedOf({ maxWatchers: 1 });
    const open = feed.watch({ ...WATCH, topics: ['usage'] }, new AbortController().signal)[Symbol.asyncIterator]();
    await open.next();
    await expect(until(feed, {}, () => true)).rejects.toMatchObject({ reason: 'TOO_MANY_STREAMS' });
    const waiting = open.next();
    feed.close();
    await expect(waiting).rejects.toMatchObject({ reason: 'SHUTTING_DOWN' });
  });

  it('goes on after a look that failed', async () => {
    let failures = 0;
    let broken = false;
    const startedAt = new Date();
    const runtime = createRuntimeSampler({ version: '1', startedAt });
    const service = healthOf(test.db, 'feed');
    const feed = createStatusFeed({
      db: test.db,
      async status() {
        if (broken && ++failures < 3) throw new Error('no database');
        return service.status(null);
      },
      schedules: (em) => schedulesOf(em, null),
      runtime: () => runtime.info(),
      pollIntervalMs: 5,
    });
    await until(feed, {}, isLine('ledgers_processed'), async () => {
      broken = true;
      await commitByHand(test.db, opened, { from: 18, to: 19 }, []);
    });
    expect(failures).toBeGreaterThanOrEqual(3);
    feed.close();
  });
});

describe('diagnostics', () => {
  it('put the process, the settings, the database, jobs and streams together, and answer without a database too', async () => {
    const test = await createTestDatabase();
    const startedAt = new Date();
    const health = healthOf(test.db, 'x');
    const runtime = createRuntimeSampler({ version: '1', startedAt, replica: 'r1' });
    const service = createDiagnostics({
      db: test.db,
      status: () => health.status(null),
      runtime: () => runtime.info(),
      configEntries: [{ name: 'DATABASE_URL', value: null, redacted: true, origin: 'environment' }],
      disabledFeatures: ['payments: set MARKETPLACE_DATABASE_URL'],
      embedded: true,
      queue: { inFlight: async () => new Map([['b', 1]]) },
    });
    for (const name of ['a', 'b', 'c'])
      await upsertSchedule(test.db.em(), { name, job: 'reconcile', intervalMs: 1000, enabled: name !== 'c' });
    await recordJobStart(test.db.em(), 'a');
    await recordJobSuccess(test.db.em(), 'a', 12);
    await recordDeadLetter(test.db.em(), {
      id: randomUUID(),
      job: 'reconcile',
      healthName: 'b',
      resourceId: 'run-1',
      payload: { policy: 'p' },
      attempts: 5,
      sentAt: startedAt,
      failure: { reason: 'BOOK_UNREADABLE', message: 'no route', fix: '' },
    });
    const found = await service.diagnostics('f'.repeat(32));
    expect(found).toMatchObject({
      traceId: 'f'.repeat(32),
      runtime: { replica: 'r1', pid: process.pid },
      database: {
        reachable: true,
        embedded: true,
        failure: null,
        maxConnections: 5,
        schemaVersion: expect.stringMatching(/^\d{4}-/),
      },
      deadLetterCount: 1,
      lastRuns: [],
      streams: [{ sources: [{ breaker: 'open' }] }],
      disabledFeatures: ['payments: set MARKETPLACE_DATABASE_URL'],
    });
    expect(found.runtime.rssBytes).toBeGreaterThan(1e6);
    expect(found.schedules.map((each) => [each.name, each.inFlight, each.succeeded, each.dueAt === null])).toEqual([
      ['a', 0, 1, false],
      ['b', 1, 0, false],
      ['c', 0, 0, true],
    ]);
    const page = await service.listSchedules({ size: 2, after: null });
    expect(page.items.map((each) => each.name)).toEqual(['a', 'b']);
    expect((await service.listSchedules({ size: 2, after: page.next })).items.map((each) => each.name)).toEqual(['c']);
    expect(await service.listDeadLetters({ job: 'reconcile' }, { size: 5, after: null })).toMatchObject({
      totalSize: 1,
      items: [{ resourceId: 'run-1', lastError: { reason: 'BOOK_UNREADABLE' } }],
    });
    expect(await service.listDeadLetters({ job: 'other' }, { size: 5, after: null })).toMatchObject({
      totalSize: 0,
      items: [],
    });
    await test.drop();
    const without = await service.diagnostics('f'.repeat(32));
    expect(without).toMatchObject({
      database: { reachable: false, failure: { reason: expect.any(String) } },
      streams: [],
      config: [{ redacted: true, value: null }],
    });
  });
});
