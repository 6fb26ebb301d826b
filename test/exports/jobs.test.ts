// Goal: an export is one thing from its call to its end: begun once, cancelled for good, never half there. Method: the service and the
// job over a real database, with the job stopped at the moments that matter.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ManifestDraft } from '../../src/services/evidence-log.ts';
import { listAudit } from '../../src/store/audit.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openExportHouse } from '../_util/exports.ts';
import { failureOf } from '../_util/failure-of.ts';
import { openHouse, type House } from '../_util/reconcile.ts';
import { testCaller } from '../_util/services.ts';

const ORDER = { kind: 'entries', format: 'csv', compression: 'none', filter: {}, fileName: null } as const;

let database: TestDatabase;
let house: House;
let folder: string;
const opened = (recordManifest?: (em: unknown, draft: ManifestDraft) => Promise<string>) =>
  openExportHouse({
    db: database.db,
    folder,
    networkPassphrase: house.name,
    ...(recordManifest && { recordManifest }),
  });

beforeAll(async () => {
  database = await createTestDatabase();
  folder = mkdtempSync(join(tmpdir(), 'trueup-exports-'));
  house = await openHouse(database.db);
  await house.ledgers({ from: 1, to: 65 }, [{ ledger: 10, account: 'GA', amount: 5n }]);
});
afterAll(async () => {
  await database.drop();
  rmSync(folder, { recursive: true, force: true });
});

test('the same request id is the same export, and another order under it is refused', async () => {
  const { service } = opened();
  const requestId = randomUUID();
  const first = await service.start({ ...ORDER, requestId }, testCaller);
  expect(await service.start({ ...ORDER, requestId }, testCaller)).toEqual(first);
  const other = service.start({ ...ORDER, format: 'json', requestId }, testCaller);
  expect((await failureOf(other)).reason).toBe('REQUEST_ID_REUSED');
  const audited = await listAudit(database.db.em(), { size: 10, after: null }, { resourceId: first.id });
  expect(audited.items).toHaveLength(1);
});

test('what cannot be exported is refused by the call', async () => {
  const { start } = opened();
  const reason = async (order: Parameters<typeof start>[0]) => (await failureOf(start(order))).reason;
  expect(await reason({ kind: 'sweep_actions' })).toBe('FEATURE_DISABLED');
  expect(await reason({ kind: 'entries', filter: { range: { from: 9, to: 9 } } })).toBe('INVALID_LEDGER_RANGE');
  expect(await reason({ kind: 'statement', filter: { from: new Date() } })).toBe('INVALID_REQUEST');
});

test('one that waits is cancelled at once, and its job does nothing', async () => {
  const { start, service, work, files } = opened();
  const { id } = await start(ORDER);
  const before = files();
  expect(await service.cancel({ id, reason: 'wrong range' }, testCaller)).toMatchObject({ state: 'cancelled' });
  await work(id);
  expect(await service.get(id)).toMatchObject({ state: 'cancelled', manifestId: null });
  expect(files()).toEqual(before);
  expect(await service.cancel({ id, reason: 'again' }, testCaller)).toMatchObject({ state: 'cancelled' });
});

test('a cancel at the last moment is never overwritten by completion, and leaves no file', async () => {
  const inside = opened(async () => {
    await inside.service.cancel({ id, reason: 'late' }, testCaller);
    return 'a manifest that must not be kept';
  });
  const { id } = await inside.start(ORDER);
  const before = inside.files();
  await inside.work(id);
  expect(await inside.service.get(id)).toMatchObject({ state: 'cancelled', manifestId: null });
  expect(inside.files()).toEqual(before);
});

test('a completed one cannot be cancelled', async () => {
  const { exported, service } = opened();
  const { job } = await exported(ORDER);
  expect((await failureOf(service.cancel({ id: job.id, reason: '' }, testCaller))).reason).toBe('RUN_ALREADY_FINISHED');
  expect(await service.get(job.id)).toMatchObject({ state: 'completed' });
});

test('an attempt that fails leaves no file and no manifest, and the next one completes it', async () => {
  let isDown = true;
  const flaky = opened((_em, draft) =>
    isDown ? Promise.reject(new Error('the log is down')) : Promise.resolve(`m-${draft.exportId}`),
  );
  const { id } = await flaky.start(ORDER);
  const before = flaky.files();
  const attempt = (n: number) => ({ attempt: n, maxAttempts: 3, signal: AbortSignal.timeout(60_000) });
  await expect(flaky.work(id, attempt(1))).rejects.toThrow('the log is down');
  expect(await flaky.service.get(id)).toMatchObject({ state: 'processing', manifestId: null });
  expect(flaky.files()).toEqual(before);
  isDown = false;
  await flaky.work(id, attempt(2));
  expect(await flaky.service.get(id)).toMatchObject({ state: 'completed', manifestId: `m-${id}` });
});

test('a worker that was taken for dead completes nothing, and leaves what its successor wrote', async () => {
  const slow = opened(async (_em, draft) => {
    await opened().work(draft.exportId);
    return 'too late';
  });
  const { id } = await slow.start(ORDER);
  await slow.work(id);
  const done = await slow.service.get(id);
  expect(done.manifestId).toBe(`manifest of ${id}`);
  expect(slow.bytesOf(done.artifactId!).length).toBe(done.progress!.bytes);
});

test('a watcher sees it end, and one that resumes sees nothing twice', async () => {
  const { start, service, work } = opened();
  const { id } = await start(ORDER);
  const seen: { sequence: bigint; state: string }[] = [];
  const watching = (async () => {
    for await (const { sequence, state } of service.watch(id, null, AbortSignal.timeout(60_000))) {
      seen.push({ sequence, state });
      if (seen.length === 1) await work(id);
    }
  })();
  await watching;
  expect(seen[0]!.state).toBe('pending');
  expect(seen.at(-1)!.state).toBe('completed');
  const again: string[] = [];
  for await (const job of service.watch(id, seen[0]!.sequence, AbortSignal.timeout(60_000))) again.push(job.state);
  expect(again).toEqual(['completed']);
  for await (const job of service.watch(id, seen.at(-1)!.sequence, AbortSignal.timeout(60_000))) again.push(job.state);
  expect(again).toEqual(['completed']);
});

test('lists are newest first, with the number of all', async () => {
  const { service, exported } = opened();
  const { job } = await exported({ ...ORDER, kind: 'audit' });
  const page = await service.list({ kinds: ['audit'], states: ['completed'] }, { size: 1, after: null });
  expect(page).toMatchObject({ items: [{ id: job.id }], totalSize: 1, next: null });
  const all = await service.list({}, { size: 2, after: null });
  expect(all.totalSize).toBeGreaterThan(2);
  expect(all.items[0]!.id).toBe(job.id);
});
