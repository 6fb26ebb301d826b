// Goal: with a tokens file everybody is somebody: nobody without a token gets in, roles hold, and each change is in the audit log under its name.
// Method: one service with three tokens, asked over gRPC and HTTP with each of them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { Code } from '@connectrpc/connect';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { contract, createTrueUpClient, type TrueUpClient } from '../../src/client/index.ts';
import { type RunningApp, startApp, trueup } from '../_util/app.ts';
import { tokenLine, TOKENS } from '../_util/serving.ts';

const folder = mkdtempSync(join(tmpdir(), 'trueup-tokens-'));
let app: RunningApp;
const clients = new Map<string, TrueUpClient>();
const as = (role: keyof typeof TOKENS): TrueUpClient => {
  const known = clients.get(role) ?? createTrueUpClient({ server: app.grpc, token: TOKENS[role] });
  clients.set(role, known);
  return known;
};

beforeAll(async () => {
  const path = join(folder, 'tokens');
  writeFileSync(
    path,
    Object.entries(TOKENS)
      .map(([role, token]) => tokenLine(`${role}-desk`, role, token))
      .join('\n'),
    { mode: 0o600 },
  );
  app = await startApp({ TRUEUP_TOKENS_FILE: path, LEDGER_RECONCILIATION_ENABLED: 'false' });
});
afterAll(async () => {
  for (const client of clients.values()) client.close();
  await app?.close();
  rmSync(folder, { recursive: true, force: true });
});

it('turns away whoever has no token, or a wrong one, on every port', async () => {
  await expect(app.client.health.getStatus({})).rejects.toMatchObject({ code: Code.Unauthenticated });
  using wrong = createTrueUpClient({ server: app.grpc, token: 'guessed' });
  await expect(wrong.health.getStatus({})).rejects.toMatchObject({ code: Code.Unauthenticated });
  const response = await fetch(`${app.http}/trueup.v1.HealthService/GetStatus`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  });
  expect(response.status).toBe(401);
  expect((await fetch(`${app.metrics}/readyz`)).status).toBe(200);
});

it('lets a reader read and start nothing, an operator start and see no audit, an admin see all', async () => {
  const start = { policy: 'default', requestId: randomUUID() };
  expect((await as('read').reconciliation.listPolicies({})).policies).toHaveLength(2);
  await expect(as('read').reconciliation.startReconciliation(start)).rejects.toMatchObject({
    code: Code.PermissionDenied,
  });
  await expect(as('operate').health.listAuditEntries({})).rejects.toMatchObject({ code: Code.PermissionDenied });
  expect((await as('operate').reconciliation.startReconciliation(start)).reconciliation).toMatchObject({
    policy: 'default',
    requester: 'operate-desk',
  });
  expect((await as('admin').health.getDiagnostics({})).diagnostics!.config.length).toBeGreaterThan(10);
});

it('writes each change down under the name of its token, with the id of its request, and refusals change nothing', async () => {
  const requestId = randomUUID();
  await as('operate').reconciliation.recordEntries({
    book: 'extra',
    entries: [],
    completeThrough: { seconds: 1_780_000_000n, nanos: 0 },
    requestId,
  });
  const { auditEntries } = await as('admin').health.listAuditEntries({ pageSize: 200 });
  const mine = auditEntries.filter(({ actor }) => actor !== 'sandbox-book-keeper');
  expect(mine.every(({ actor }) => actor === 'operate-desk')).toBe(true);
  expect(mine.map(({ method }) => method)).toEqual(
    expect.arrayContaining([expect.stringContaining('StartReconciliation'), expect.stringContaining('RecordEntries')]),
  );
  expect(mine.every(({ role }) => role === contract.Role.OPERATE)).toBe(true);
});

it('gives the command its token by the environment, and says what to do without one', async () => {
  const refused = await trueup(['status', '--server', app.grpc]);
  expect(refused.code).toBe(1);
  expect(refused.err).toMatch(/UNAUTHENTICATED.*TRUEUP_TOKEN/s);
  expect((await trueup(['status', '--server', app.grpc], { TRUEUP_TOKEN: TOKENS.read })).code).toBe(0);
  expect(app.log()).not.toContain(TOKENS.operate);
});
