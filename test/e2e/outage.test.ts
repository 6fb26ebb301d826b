// Goal: a database that goes away is told everywhere, loses nothing, and is used again as soon as it is back.
// Method: lock a service in this process out of its database; kill the embedded PostgreSQL of another under it.
import { Code } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeError } from '../../src/client/index.ts';
import {
  postgresPid,
  type RunningApp,
  type RunningProcess,
  soon,
  startApp,
  startProcess,
  temporaryDataDir,
} from '../_util/app.ts';
import { createTestDatabase, onAdminConnection, type TestDatabase, withDatabase } from '../_util/database.ts';
import { checkHealth } from '../_util/grpc-health.ts';

const through = async ({ client }: Pick<RunningApp, 'client'>) =>
  (await client.health.getStatus({})).streams[0]?.layers[0]?.contiguousThrough ?? 0;

describe('a service that is locked out of its database', () => {
  let test: TestDatabase;
  let app: RunningApp;
  let stream: string;
  beforeAll(async () => {
    test = await createTestDatabase();
    app = await startApp({ DATABASE_URL: test.url });
    await soon(async () => expect(await through(app)).toBeGreaterThan(0));
    stream = `trueup.stream/${(await app.client.health.getStatus({})).streams[0]!.stream}`;
    await soon(async () => expect(await checkHealth(app.grpc, stream)).toBe('SERVING'));
  });
  afterAll(async () => {
    await app?.close();
    await test?.drop();
  });
  const name = (): string => new URL(test.url).pathname.slice(1);
  const admin = (text: string) => onAdminConnection(withDatabase(test.url, 'postgres'), (client) => client.query(text));

  it('is not ready and not SERVING, says why to every caller, and stays alive', async () => {
    await admin(`alter database ${name()} with allow_connections false`);
    await admin(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name()}'`);
    await soon(async () => expect((await fetch(`${app.metrics}/readyz`)).status).toBe(503));
    await soon(async () =>
      expect([await checkHealth(app.grpc), await checkHealth(app.grpc, stream)]).toEqual([
        'NOT_SERVING',
        'NOT_SERVING',
      ]),
    );
    expect((await fetch(`${app.metrics}/livez`)).status).toBe(200);
    expect((await fetch(`${app.metrics}/health`)).status).toBe(503);
    expect((await fetch(`${app.metrics}/metrics`)).status).toBe(200);
    const { reconciliation } = app.client;
    for (const call of [
      () => reconciliation.listDrifts({}),
      () => reconciliation.startReconciliation({}),
      () => reconciliation.recordEntries({ book: 'other' }),
    ]) {
      const error = await call().catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: Code.Unavailable });
      expect(describeError(error).reason).toBe('DATABASE_UNAVAILABLE');
    }
  });

  it('goes on where it stopped when the database is back, without a gap', async () => {
    await admin(`alter database ${name()} with allow_connections true`);
    await soon(async () => expect((await fetch(`${app.metrics}/readyz`)).status).toBe(200));
    const before = await through(app);
    await soon(async () => expect(await through(app)).toBeGreaterThan(before), 40_000);
    await soon(async () =>
      expect([await checkHealth(app.grpc), await checkHealth(app.grpc, stream)]).toEqual(['SERVING', 'SERVING']),
    );
    expect((await app.client.health.getStatus({})).streams[0]!.layers[0]!.coveredRangeCount).toBe(1n);
  }, 60_000);
});

describe('a service whose embedded PostgreSQL dies under it', () => {
  const folder = temporaryDataDir();
  let service: RunningProcess;
  afterAll(async () => {
    await service?.[Symbol.asyncDispose]();
    await folder.remove();
  });

  it('starts it again and goes on', async () => {
    service = await startProcess({ TRUEUP_DATA_DIR: folder.path, LOG_LEVEL: 'warn' });
    await soon(async () => expect(await through(service)).toBeGreaterThan(0));
    const before = await through(service);
    const first = postgresPid(folder.path)!;
    process.kill(first, 'SIGKILL');
    await soon(async () => expect(await through(service)).toBeGreaterThan(before), 40_000);
    expect(postgresPid(folder.path)).not.toBe(first);
    expect(service.log()).toContain('died; starting it again');
    // An outage is some lines, not a flood.
    expect(service.log().split('\n').length).toBeLessThan(60);
    service.kill('SIGINT');
    expect(await service.exited).toEqual({ code: 0, signal: null });
  }, 60_000);
});
