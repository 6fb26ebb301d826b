// Goal: a status is what the rows say, the same on every replica, and never shows a number that nobody measured.
// Method: rows by hand in a real database, read by two services of two database connections.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Layer } from '../../src/core/entry.ts';
import { TrueUpError } from '../../src/core/errors.ts';
import type { StreamStatus } from '../../src/core/status.ts';
import { createHealthService, type HealthOptions, type HealthService } from '../../src/services/health.ts';
import type { Source } from '../../src/sources/source.ts';
import { commitUnreadable } from '../../src/store/coverage.ts';
import { openDatabase, sql, type Database } from '../../src/store/database.ts';
import { recordDeadLetter, recordJobStart, recordJobSuccess } from '../../src/store/job-health.ts';
import { saveFollowerError, saveTip, setStreamState } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { closeTimeOf, commitByHand, openTestStream } from '../_util/ledger-rows.ts';

let test: TestDatabase;
let other: Database;
beforeAll(async () => {
  test = await createTestDatabase();
  other = await openDatabase({ url: test.url, poolMax: 2 });
});
afterAll(async () => {
  await other.close();
  await test.drop();
});

function service(
  passphrase: string,
  options: Partial<HealthOptions> & { layers?: readonly Layer[] } = {},
): HealthService {
  const { layers = ['operations'], ...rest } = options;
  return createHealthService({
    db: test.db,
    source: { id: 'stellar-archive:history.example', kind: 'stellar-archive', networkPassphrase: passphrase, layers },
    circuitState: () => 'CLOSED',
    replica: 'here',
    configEntries: [],
    embedded: true,
    queue: null,
    endLedger: null,
    version: '1.2.3',
    startedAt: new Date(),
    ...rest,
  });
}

async function tip(streamId: number, sequence: number, oldest = 1, db = test.db): Promise<void> {
  await saveTip(db.em(), streamId, { sequence, closeTime: closeTimeOf(sequence), oldest });
}

async function ageLastSuccess(streamId: number, seconds: number): Promise<void> {
  await sql(
    test.db.em(),
    `update trueup.followers set last_success_at = now() - $2 * interval '1 second' where stream_id = $1`,
    [streamId, seconds],
  );
}

describe('two addresses of one host', () => {
  it('are two sources by name, of the same host and its circuit', async () => {
    const member = (id: string, active: boolean) =>
      ({ source: { id, kind: 'stellar-rpc' } as Source, active, failure: null }) as const;
    const health = service('two addresses', {
      members: () => [member('stellar-rpc:rpc.example:8000', true), member('stellar-rpc:rpc.example:8000#2', false)],
      circuitState: (host) => (host === 'rpc.example:8000' ? 'OPEN' : 'CLOSED'),
    });
    expect((await health.followed()).sources).toMatchObject([
      { name: 'stellar-rpc:rpc.example:8000', host: 'rpc.example:8000', active: true, breaker: 'open' },
      { name: 'stellar-rpc:rpc.example:8000#2', host: 'rpc.example:8000', active: false, breaker: 'open' },
    ]);
  });
});

describe('before the source has answered', () => {
  it('is starting, and degraded with the failure once the source has failed, without any made-up number', async () => {
    const health = service('never answered');
    expect(await health.followed()).toMatchObject({
      syncStatus: 'starting',
      tip: null,
      lag: null,
      startLedger: null,
      layers: [],
      rates: { over1m: null },
    });
    health.noteSourceFailure(new TrueUpError('SOURCE_TIMEOUT', 'no answer within 30 s', { fix: 'check the network' }));
    expect(await health.followed()).toMatchObject({
      syncStatus: 'degraded',
      degraded: [{ reason: 'SOURCE_TIMEOUT', fix: 'check the network', retryable: true }],
    });
    expect(await health.wellness()).toMatchObject({
      healthy: false,
      degraded: [{ name: 'stream', reason: 'SOURCE_TIMEOUT' }],
    });
    health.noteSourceFailure(new Error('password=secret'));
    expect(JSON.stringify(await health.wellness())).not.toContain('secret');
    health.noteSourceAnswer();
    expect((await health.followed()).syncStatus).toBe('starting');
  });
});

describe('a followed stream', () => {
  it('tells how far it is covered, what is missing and how long the source keeps it', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'numbers', startLedger: 100 });
    await commitByHand(test.db, opened, { from: 100, to: 300 }, [{ ledger: 150, account: 'GA', amount: 1n }]);
    await tip(opened.stream.id, 340, 60);
    const [status] = (await service('numbers').status(opened.stream.name)).streams;
    expect(status).toMatchObject({
      stream: opened.stream.name,
      syncStatus: 'catching_up',
      degraded: [],
      startLedger: 100,
      tip: 340,
      lag: 41,
      oldest: 60,
      retentionMargin: 240,
      retentionMarginMs: 240 * 5000,
      processedLedgers: 200n,
      watchCount: null,
      lastError: null,
    });
    expect(status?.layers).toEqual([
      {
        layer: 'operations',
        contiguousFrom: 100,
        contiguousThrough: 299,
        contiguousThroughClosedAt: new Date(closeTimeOf(299) * 1000),
        coveredLedgers: 200,
        coveredRanges: 1,
        quarantinedLedgers: 0,
        unavailableLedgers: 0,
        missingLedgers: 41,
        entryCount: 1n,
      },
    ]);
    expect(status?.sources).toMatchObject([
      { active: true, host: 'history.example', breaker: 'closed', tip: 340, oldest: 60 },
    ]);
  });

  it('is synced at the tip, and its lag is never below zero', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'synced' });
    await commitByHand(test.db, opened, { from: 1, to: 101 }, []);
    await tip(opened.stream.id, 90);
    expect(await service('synced').followed()).toMatchObject({ syncStatus: 'synced', lag: 0, degraded: [] });
  });

  it('is as far as the least far of its layers', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'two layers' });
    await commitByHand(test.db, opened, { from: 1, to: 101 }, []);
    await commitByHand(test.db, opened, { from: 1, to: 31 }, [], { layers: ['token_events'], follow: false });
    await tip(opened.stream.id, 100);
    expect(await service('two layers').followed()).toMatchObject({ lag: 0, syncStatus: 'synced' });
    const both = await service('two layers', { layers: ['operations', 'token_events'] }).followed();
    expect(both).toMatchObject({ lag: 70, syncStatus: 'catching_up' });
    expect(both.layers.map((layer) => [layer.layer, layer.contiguousThrough])).toEqual([
      ['operations', 100],
      ['token_events', 30],
    ]);
  });

  it('answers the same from every replica', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'replicas' });
    await commitByHand(test.db, opened, { from: 1, to: 101 }, []);
    await tip(opened.stream.id, 150);
    await ageLastSuccess(opened.stream.id, 1);
    await saveFollowerError(test.db.em(), opened.stream.id, { reason: 'SOURCE_RATE_LIMITED', message: 'slow down' });
    const strip = ({ updatedAt: _at, rates: _rates, ...rest }: StreamStatus) => rest;
    const [here, there] = [await service('replicas').followed(), await service('replicas', { db: other }).followed()];
    expect(strip(here)).toEqual(strip(there));
    expect(here).toMatchObject({
      syncStatus: 'degraded',
      degraded: [{ reason: 'SOURCE_RATE_LIMITED', message: 'slow down', retryable: true }],
    });
  });

  it('is well again after the next success, and still tells its last error', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'mended' });
    await saveFollowerError(test.db.em(), opened.stream.id, { reason: 'SOURCE_TIMEOUT', message: 'no answer' });
    expect((await service('mended').followed()).syncStatus).toBe('degraded');
    await sql(
      test.db.em(),
      `update trueup.followers set last_error_at = now() - interval '1 second' where stream_id = $1`,
      [opened.stream.id],
    );
    await tip(opened.stream.id, 150);
    expect(await service('mended').followed()).toMatchObject({
      syncStatus: 'starting',
      degraded: [],
      lastError: { reason: 'SOURCE_TIMEOUT' },
    });
  });

  it('names every range set apart with its first and last ledger, until it was read after all', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'set apart' });
    await commitByHand(test.db, opened, { from: 1, to: 60 }, []);
    const why = { state: 'quarantined', reason: 'SOURCE_CORRUPT', detail: 'bad XDR', proof: 'chained' } as const;
    await test.db
      .em()
      .transactional((em) =>
        commitUnreadable(em, opened.target, ['operations', 'token_events'], { from: 60, to: 70 }, why),
      );
    await commitByHand(test.db, opened, { from: 70, to: 90 }, []);
    await tip(opened.stream.id, 89);
    const status = await service('set apart').followed();
    expect(status).toMatchObject({ syncStatus: 'degraded', lag: 0 });
    // 60-69 lies across a border of chunks and is still one range.
    expect(status.degraded).toMatchObject([
      {
        reason: 'LEDGER_QUARANTINED',
        message: expect.stringContaining('ledgers 60-69'),
        fix: expect.stringContaining('--from 60 --to 69'),
      },
    ]);
    expect(status.layers.find((layer) => layer.layer === 'operations')).toMatchObject({
      contiguousFrom: 70,
      contiguousThrough: 89,
      quarantinedLedgers: 10,
      missingLedgers: 10,
    });
    await commitByHand(test.db, opened, { from: 60, to: 70 }, [], {
      layers: ['operations', 'token_events'],
      follow: false,
    });
    expect(await service('set apart').followed()).toMatchObject({ syncStatus: 'synced', degraded: [] });
  });

  it('is degraded when its source diverged', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'reset' });
    await tip(opened.stream.id, 10);
    await saveFollowerError(test.db.em(), opened.stream.id, { reason: 'SOURCE_DIVERGED', message: 'another ledger 2' });
    await setStreamState(test.db.em(), opened.stream.id, 'diverged');
    expect(await service('reset').followed()).toMatchObject({
      state: 'diverged',
      syncStatus: 'degraded',
      degraded: [{ reason: 'SOURCE_DIVERGED', message: 'another ledger 2' }],
    });
  });

  it('is degraded when nobody has followed it for too long, however synced its rows look', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'abandoned' });
    await commitByHand(test.db, opened, { from: 1, to: 11 }, []);
    await tip(opened.stream.id, 10);
    await ageLastSuccess(opened.stream.id, 119);
    expect((await service('abandoned').followed()).syncStatus).toBe('synced');
    await ageLastSuccess(opened.stream.id, 180);
    expect(await service('abandoned').followed()).toMatchObject({
      syncStatus: 'degraded',
      degraded: [{ reason: 'WORK_ABANDONED' }],
    });
  });

  it('shows a failure of this start though its rows are of the last one', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'restarted' });
    await tip(opened.stream.id, 10);
    await ageLastSuccess(opened.stream.id, 30);
    const health = service('restarted');
    health.noteSourceFailure(new TrueUpError('SOURCE_UNAVAILABLE', 'connection refused'));
    expect(await health.followed()).toMatchObject({
      syncStatus: 'degraded',
      degraded: [{ reason: 'SOURCE_UNAVAILABLE' }],
    });
    await sql(
      test.db.em(),
      `update trueup.followers set last_success_at = now() + interval '1 second' where stream_id = $1`,
      [opened.stream.id],
    );
    expect(await health.followed()).toMatchObject({ syncStatus: 'starting', degraded: [] });
  });
});

describe('the deployment', () => {
  it('says that there is no such stream', async () => {
    await expect(service('numbers').status('nowhere')).rejects.toMatchObject({ reason: 'STREAM_NOT_FOUND' });
  });

  it('is not healthy while a job is given up twice in a row, and is again after its next success', async () => {
    const fresh = await createTestDatabase();
    const opened = await openTestStream(fresh.db, { passphrase: 'jobs' });
    await tip(opened.stream.id, 10, 1, fresh.db);
    const health = service('jobs', { db: fresh.db });
    const giveUp = (id: string) =>
      recordDeadLetter(fresh.db.em(), {
        id,
        job: 'prune',
        healthName: 'prune',
        resourceId: null,
        payload: {},
        attempts: 5,
        sentAt: new Date(),
        failure: { reason: 'DATABASE_BUSY', message: 'locked', fix: '' },
      });
    await recordJobStart(fresh.db.em(), 'prune');
    await giveUp('00000000-0000-4000-8000-000000000001');
    expect(await health.wellness()).toEqual({ healthy: true, degraded: [] });
    await giveUp('00000000-0000-4000-8000-000000000002');
    expect(await health.wellness()).toMatchObject({
      healthy: false,
      degraded: [{ name: 'job', reason: 'JOB_DEAD_LETTERED', message: expect.stringContaining('prune') }],
    });
    await recordJobSuccess(fresh.db.em(), 'prune', 5);
    expect((await health.wellness()).healthy).toBe(true);
    await fresh.drop();
  });

  it('can serve while a stream is degraded, and cannot without its database or with another schema', async () => {
    const fresh = await createTestDatabase();
    const health = service('ready', { db: fresh.db });
    health.noteSourceFailure(new TrueUpError('SOURCE_TIMEOUT', 'no answer'));
    expect(await health.readiness()).toEqual({ ready: true, problems: [] });
    await sql(fresh.db.em(), `insert into trueup.migrations (name) values ('9999-newer')`);
    expect(await health.readiness()).toMatchObject({ ready: false, problems: [expect.stringContaining('9999-newer')] });
    await fresh.drop();
    expect((await health.readiness()).ready).toBe(false);
    expect(await health.wellness()).toMatchObject({ healthy: false, degraded: [{ name: 'database' }] });
  });
});
