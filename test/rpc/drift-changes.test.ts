// Goal: what people do to drifts and runs at the door is done once, by whom may, whole or not at all, and told in the audit log. Method: the
// real server, its tokens and handlers, and the real services over a database.
import { randomUUID } from 'node:crypto';
import type { DescMethod } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import type { Drift } from '../../src/core/drift.ts';
import { listAudit } from '../../src/store/audit.ts';
import { type AnyClient, grpcClient, type Outcome } from '../_util/clients.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openHouse, type House } from '../_util/reconcile.ts';
import { startServing, TOKENS, type Serving } from '../_util/serving.ts';

const { transitionDrifts, cancelReconciliation } = contract.ReconciliationService.method;
const { DriftTransition, DriftState, ReconciliationState } = contract;
const HOUR_MS = 3_600_000;
let test: TestDatabase;
let house: House;
let serving: Serving;
let client: AnyClient;

beforeAll(async () => {
  test = await createTestDatabase();
});
beforeEach(async () => {
  house = await openHouse(test.db);
  const legs = [10, 20, 30].map((ledger) => ({ ledger, account: 'GSHOP', amount: 5n }));
  await house.ledgers({ from: 1, to: 401 }, legs);
  await house.record(
    [10, 20, 30].map((ledger) => house.row(ledger, { account: 'GSHOP', amount: 6n })),
    400,
  );
  serving = await startServing({ ports: { reconciliations: house.service, drifts: house.service.drifts } });
  client = grpcClient(serving.grpcPort);
});
afterEach(async () => {
  client.close();
  await serving.close();
});
afterAll(() => test.drop());

const call = (method: DescMethod, request: Record<string, unknown>, token: string = TOKENS.operate): Promise<Outcome> =>
  client.call(method, request, token);
const auditOf = async (resourceId: string) =>
  (await listAudit(test.db.em(), { size: 10, after: null }, { resourceId })).items;

describe('TransitionDrifts', () => {
  let drifts: Drift[];
  beforeEach(async () => {
    await house.run();
    drifts = await house.drifts();
  });
  const change = (request: object, token?: string) =>
    call(
      transitionDrifts,
      { driftIds: drifts.map(({ id }) => id), transition: DriftTransition.ACKNOWLEDGE, reason: 'seen', ...request },
      token,
    );

  it('changes what it names, in that order, and the log says who did it and why', async () => {
    const driftIds = drifts.map(({ id }) => id).reverse();
    const { messages } = await change({ driftIds, transition: DriftTransition.ASSIGN, assignee: 'eve' });
    const { drifts: changed } = messages[0] as contract.TransitionDriftsResponse;
    expect(changed.map(({ id, assignee }) => [id, assignee])).toEqual(driftIds.map((id) => [id, 'eve']));
    for (const id of driftIds)
      expect(await auditOf(id)).toMatchObject([
        { actor: 'operate-name', method: expect.stringContaining('TransitionDrifts') as string, reason: 'seen' },
      ]);
  });

  it('is refused to whom may only read, without a reason, without what its kind needs, and for one id twice', async () => {
    expect((await change({}, TOKENS.read)).reason).toBe('PERMISSION_DENIED');
    const exempt = { transition: DriftTransition.EXEMPT, owner: 'bob' };
    for (const bad of [
      { reason: '' },
      { transition: DriftTransition.UNSPECIFIED },
      { transition: DriftTransition.ASSIGN },
      { ...exempt },
      { ...exempt, exemptUntil: timestampFromDate(new Date(Date.now() - HOUR_MS)) },
      { driftIds: [] },
      { driftIds: [drifts[0]!.id, drifts[0]!.id] },
    ])
      expect((await change(bad)).reason, Object.keys(bad).join()).toBe('INVALID_REQUEST');
    expect(await house.drifts()).toEqual(drifts);
    expect(await auditOf(drifts[0]!.id)).toEqual([]);
  });

  it('changes nothing where one of many can’t be changed, because it is unknown or another changed it meanwhile', async () => {
    const [first, , last] = drifts as [Drift, Drift, Drift];
    expect((await change({ driftIds: [first.id, randomUUID()] })).reason).toBe('DRIFT_NOT_FOUND');
    await change({ driftIds: [last.id], transition: DriftTransition.RESOLVE }, TOKENS.admin);
    const before = await house.drifts();
    const stale = await change({});
    expect(stale).toMatchObject({ reason: 'INVALID_TRANSITION', message: expect.stringContaining(last.id) as string });
    expect(await house.drifts()).toEqual(before);
    expect(await auditOf(first.id)).toEqual([]);
  });

  it('has one effect per request id, and refuses the id for other content', async () => {
    const request = { requestId: randomUUID() };
    for (let times = 0; times < 2; times++) {
      const { messages } = await change(request);
      expect((messages[0] as contract.TransitionDriftsResponse).drifts[0]).toMatchObject({
        state: DriftState.ACKNOWLEDGED,
        revision: BigInt(drifts[0]!.revision + 1),
      });
    }
    expect((await change({ ...request, reason: 'another' })).reason).toBe('REQUEST_ID_REUSED');
    expect(await auditOf(drifts[0]!.id)).toHaveLength(1);
  });
});

describe('CancelReconciliation', () => {
  const cancel = (reconciliationId: string, more: object = {}, token?: string) =>
    call(cancelReconciliation, { reconciliationId, reason: 'not now', ...more }, token);
  const waiting = async (): Promise<string> => (await house.service.runOfTick(house.name, randomUUID()))!.id;

  it('ends a run for whom may, and the log says who did it and why', async () => {
    const id = await waiting();
    expect((await cancel(id, {}, TOKENS.read)).reason).toBe('PERMISSION_DENIED');
    expect((await cancel(randomUUID())).reason).toBe('RECONCILIATION_NOT_FOUND');
    expect((await cancel(id)).messages).toMatchObject([
      { reconciliation: { id, state: ReconciliationState.CANCELLED } },
    ]);
    expect(await auditOf(id)).toMatchObject([{ actor: 'operate-name', reason: 'not now' }]);
  });

  it('answers a repeated request as before, and refuses its id for another run or reason', async () => {
    const [id, request] = [await waiting(), { requestId: randomUUID() }];
    const once = await cancel(id, request);
    expect(once.messages).toHaveLength(1);
    expect((await cancel(id, request)).messages).toEqual(once.messages);
    const other = await waiting();
    expect((await cancel(other, request)).reason).toBe('REQUEST_ID_REUSED');
    expect((await cancel(id, { ...request, reason: 'for another reason' })).reason).toBe('REQUEST_ID_REUSED');
    expect((await house.service.get(other)).state).toBe('queued');
    expect(await auditOf(id)).toHaveLength(1);
  });

  it('has nothing to cancel of a run that has ended, and keeps no answer of that', async () => {
    const { id } = await house.run();
    const request = { requestId: randomUUID() };
    for (let times = 0; times < 2; times++) expect((await cancel(id, request)).reason).toBe('RUN_ALREADY_FINISHED');
    expect((await cancel(await waiting(), request)).messages).toHaveLength(1);
  });
});
