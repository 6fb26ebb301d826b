// Goal: what people say to drifts is kept whole or not at all, told in full, and ends when it should. Method: the service over a real
// database, every pair of state and transition through it; time is moved in the rows, never waited for.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DRIFT_STATES, DRIFT_TRANSITIONS, type Drift, type DriftState } from '../../src/core/drift.ts';
import { afterTransition } from '../../src/core/transitions.ts';
import { keepHouse } from '../../src/services/housekeeping.ts';
import type { TransitionCall } from '../../src/services/drifts.ts';
import { createRecheckJob, recheckRange } from '../../src/services/rechecks.ts';
import { listAudit } from '../../src/store/audit.ts';
import { sql } from '../../src/store/database.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { failureOf } from '../_util/failure-of.ts';
import { hashAt, openHouse, type House } from '../_util/reconcile.ts';
import { testCaller } from '../_util/services.ts';

const SHOP = 'GSHOP';
const ann = { ...testCaller, actor: 'ann' };
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

/** A house with three open drifts: of ledgers 20, 30 and 40. */
async function drifted(): Promise<{ at: House; drifts: Drift[] }> {
  const at = await openHouse(test.db);
  const legs = [10, 20, 30].map((ledger) => ({ ledger, account: SHOP, amount: 5n }));
  await at.ledgers({ from: 1, to: 401 }, legs);
  await at.record(
    [10, 20, 40].map((ledger) =>
      at.row(ledger, { account: SHOP, amount: ledger === 20 ? 6n : 5n, rowId: `row-${ledger}` }),
    ),
    400,
  );
  await at.run();
  return { at, drifts: await at.drifts() };
}

const tomorrow = () => new Date(Date.now() + 86_400_000);

function call(ids: readonly string[], transition: TransitionCall['transition'], more: Partial<TransitionCall> = {}) {
  const forExempt = transition === 'exempt' ? { owner: 'bob', exemptUntil: tomorrow() } : {};
  const base = { ids, transition, reason: 'because', assignee: null, owner: null, exemptUntil: null, requestId: null };
  return { ...base, ...forExempt, ...more };
}

/** How many stand, as a list without any other filter counts them. */
const totalOf = async (at: House, states: DriftState[]) =>
  (await at.service.drifts.list({ policy: at.name, states }, { size: 1, after: null })).totalSize;

describe('a transition', () => {
  it('goes as the table says, from every state by every transition, and is in the history and the counts', async () => {
    const { at, drifts } = await drifted();
    const { id } = drifts[0]!;
    const path: Record<DriftState, TransitionCall['transition'][]> = {
      open: [],
      acknowledged: ['acknowledge'],
      exempt: ['exempt'],
      resolved: ['resolve'],
    };
    for (const from of DRIFT_STATES) {
      for (const transition of DRIFT_TRANSITIONS) {
        if ((await at.service.drifts.get(id)).drift.state !== 'open')
          await at.service.drifts.transition(call([id], 'reopen'), ann);
        for (const step of path[from]) await at.service.drifts.transition(call([id], step), ann);
        const to = afterTransition(from, transition);
        const before = await at.service.drifts.get(id);
        if (to === null) {
          expect(await failureOf(at.service.drifts.transition(call([id], transition), ann))).toMatchObject({
            reason: 'INVALID_TRANSITION',
          });
          expect(await at.service.drifts.get(id)).toEqual(before);
          continue;
        }
        const [changed] = await at.service.drifts.transition(call([id], transition), ann);
        expect(changed).toMatchObject({ id, state: to, reason: 'because', transitionActor: 'ann' });
        expect(changed!.revision).toBe(before.drift.revision + 1);
        const [newest] = (await at.service.drifts.get(id)).transitions;
        expect(newest).toMatchObject({ transition, from, to, reason: 'because', actor: 'ann' });
        for (const state of ['open', 'acknowledged', 'exempt'] as const)
          expect(await totalOf(at, [state])).toBe((await at.drifts({ states: [state] })).length);
      }
    }
  });

  it('keeps assignee, owner, end and cause where they belong', async () => {
    const { at, drifts } = await drifted();
    const ids = drifts.map((drift) => drift.id);
    const until = tomorrow();
    const assigned = await at.service.drifts.transition(call(ids, 'assign', { assignee: 'eve' }), ann);
    expect(assigned.map(({ id, assignee, state }) => [id, assignee, state])).toEqual(
      ids.map((id) => [id, 'eve', 'open']),
    );
    const [exempt] = await at.service.drifts.transition(call(ids, 'exempt', { exemptUntil: until }), ann);
    expect(exempt).toMatchObject({ state: 'exempt', owner: 'bob', exemptUntil: until, assignee: 'eve' });
    const [resolved] = await at.service.drifts.transition(call(ids, 'resolve'), ann);
    expect(resolved).toMatchObject({
      ...{ state: 'resolved', resolutionCause: 'manual', owner: null, exemptUntil: null, assignee: 'eve' },
    });
    const [reopened] = await at.service.drifts.transition(call(ids, 'reopen'), ann);
    expect(reopened).toMatchObject({ state: 'open', resolutionCause: null, episode: 1, reopenedCount: 1 });
  });

  it('changes all that it names or none, and says which are unknown', async () => {
    const { at, drifts } = await drifted();
    const ids = drifts.map((drift) => drift.id);
    await at.service.drifts.transition(call([ids[2]!], 'resolve'), ann);
    const before = await at.drifts();
    expect(await failureOf(at.service.drifts.transition(call(ids, 'acknowledge'), ann))).toMatchObject({
      reason: 'INVALID_TRANSITION',
      message: expect.stringContaining(ids[2]!) as string,
    });
    const nobody = randomUUID();
    for (const unknown of [nobody, 'no-uuid'])
      expect(await failureOf(at.service.drifts.transition(call([ids[0]!, unknown], 'acknowledge'), ann))).toMatchObject(
        { reason: 'DRIFT_NOT_FOUND', message: expect.stringContaining(unknown) as string },
      );
    expect(await at.drifts()).toEqual(before);
  });

  it('is audited drift by drift, with before and after', async () => {
    const { at, drifts } = await drifted();
    await at.service.drifts.transition(
      call(
        drifts.map((drift) => drift.id),
        'acknowledge',
      ),
      ann,
    );
    for (const { id } of drifts) {
      const filter = { resourceType: 'drifts', resourceId: id };
      const { items } = await listAudit(test.db.em(), { size: 10, after: null }, filter);
      expect(items).toHaveLength(1);
      expect(items[0]).toMatchObject({ actor: 'ann', reason: 'because' });
      expect([items[0]!.beforeJson, items[0]!.afterJson].map((json) => JSON.parse(json!) as unknown)).toMatchObject([
        { state: 'open' },
        { state: 'acknowledged' },
      ]);
    }
  });

  it('has one effect per request id, also when two come at once, and refuses the id for another', async () => {
    const { at, drifts } = await drifted();
    const { id } = drifts[0]!;
    const first = call([id], 'assign', { assignee: 'eve', requestId: randomUUID() });
    const answers = await Promise.all([1, 2, 3].map(() => at.service.drifts.transition(first, ann)));
    await at.service.drifts.transition(call([id], 'acknowledge'), ann);
    answers.push(await at.service.drifts.transition(first, ann));
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(answers[0]![0]).toMatchObject({ assignee: 'eve', state: 'open', revision: drifts[0]!.revision + 1 });
    expect((await at.service.drifts.get(id)).transitions).toHaveLength(2);
    expect(await failureOf(at.service.drifts.transition({ ...first, assignee: 'bob' }, ann))).toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });

  it('takes a thousand drifts at once', async () => {
    const at = await openHouse(test.db);
    await at.ledgers({ from: 1, to: 1501 });
    const rows = Array.from({ length: 1000 }, (_, i) => at.row(i + 1, { account: SHOP, amount: 1n }));
    await at.record(rows, 1500);
    await at.run();
    const ids = (await at.drifts()).map((drift) => drift.id).reverse();
    const changed = await at.service.drifts.transition(call(ids, 'acknowledge'), ann);
    expect(changed.map((drift) => drift.id)).toEqual(ids);
    expect(await totalOf(at, ['acknowledged'])).toBe(1000);
  });

  it('refuses an exemption that has ended already', async () => {
    const { at, drifts } = await drifted();
    const past = call([drifts[0]!.id], 'exempt', { exemptUntil: new Date(Date.now() - 1000) });
    expect(await failureOf(at.service.drifts.transition(past, ann))).toMatchObject({
      reason: 'INVALID_REQUEST',
      details: { fields: [{ field: 'exempt_until' }] },
    });
  });
});

describe('an exemption', () => {
  const end = (at: House) =>
    sql(test.db.em(), `update trueup.drifts set exempt_until = now() where policy = $1 and state = 'exempt'`, [
      at.name,
    ]);

  it('ends with the next run, which counts what it covered as open and not as new', async () => {
    const { at, drifts } = await drifted();
    const ids = drifts.map((drift) => drift.id);
    await at.service.drifts.transition(call(ids, 'exempt'), ann);
    expect((await at.run()).summary!.counts).toMatchObject({ drifted: 0, exempt: 3 });
    await end(at);
    expect(await at.run()).toMatchObject({
      verdict: 'DRIFT_DETECTED',
      summary: { counts: { drifted: 3, exempt: 0, appeared: 0 } },
    });
    const { drift, transitions } = await at.service.drifts.get(ids[0]!);
    expect(drift).toMatchObject({ state: 'open', owner: null, exemptUntil: null, transitionActor: 'trueup' });
    expect(transitions[0]).toMatchObject({ transition: 'reopen', from: 'exempt', to: 'open', actor: 'trueup' });
  });

  it('ends by housekeeping where no run comes', async () => {
    const { at, drifts } = await drifted();
    await at.service.drifts.transition(call([drifts[0]!.id], 'exempt'), ann);
    await keepHouse({ db: test.db, backfillRetentionDays: 30 });
    expect(await totalOf(at, ['exempt'])).toBe(1);
    await end(at);
    await keepHouse({ db: test.db, backfillRetentionDays: 30 });
    expect([await totalOf(at, ['exempt']), await totalOf(at, ['open'])]).toEqual([0, 3]);
  });
});

describe('a drift that a person resolved', () => {
  it('is opened again by a run that still sees it, and the history says both', async () => {
    const { at, drifts } = await drifted();
    const { id } = drifts[0]!;
    const before = await at.counted(drifts[0]!.kinds[0]!);
    await at.service.drifts.transition(call([id], 'resolve'), ann);
    expect((await at.run()).summary!.counts).toMatchObject({ appeared: 1, drifted: 3 });
    const { drift, transitions } = await at.service.drifts.get(id);
    expect(drift).toMatchObject({ state: 'open', episode: 1, reopenedCount: 1 });
    expect(transitions.map(({ transition, actor }) => [transition, actor])).toEqual([
      ['reopen', 'trueup'],
      ['resolve', 'ann'],
    ]);
    // The same episode: counted when it appeared, and not again.
    expect(await at.counted(drifts[0]!.kinds[0]!)).toBe(before);
  });
});

describe('ages', () => {
  it('are counted from the date of the item, in buckets that end with whole days', async () => {
    const at = await openHouse(test.db);
    await at.ledgers({ from: 1, to: 401 });
    const hours = [0, 47, 49, 191, 193, 743, 745, 9999];
    await at.record(
      hours.map((_, i) => at.row(i + 1, { account: SHOP, amount: 1n })),
      400,
    );
    await at.run();
    for (const [i, age] of hours.entries())
      await sql(
        test.db.em(),
        `update trueup.drifts set item_at = now() - $3 * interval '1 hour', match_key = match_key where policy = $1 and match_key = $2`,
        [at.name, hashAt(i + 1), age],
      );
    // What isn't in the window any more keeps the date that it had.
    await sql(test.db.em(), `update trueup.drifts set state = 'acknowledged' where policy = $1`, [at.name]);
    const { countPolicy } = await import('../../src/store/drift-counts.ts');
    const { ages, open } = await countPolicy(test.db.em(), at.name);
    expect(open).toBe(8);
    expect(ages).toEqual([
      { fromDays: 0, throughDays: 1, count: 2 },
      { fromDays: 2, throughDays: 7, count: 2 },
      { fromDays: 8, throughDays: 30, count: 2 },
      { fromDays: 31, throughDays: null, count: 2 },
    ]);
  });
});

describe('a re-check of ledgers that were backfilled', () => {
  it('resolves at once what they explain, with that cause, and leaves the rest', async () => {
    const at = await openHouse(test.db);
    await at.ledgers({ from: 1, to: 401 }, [{ ledger: 10, account: SHOP, amount: 5n }]);
    const rows = [10, 40, 50].map((ledger) => at.row(ledger, { account: SHOP, amount: 5n }));
    await at.record(rows, 400);
    await at.run();
    expect(await at.drifts()).toHaveLength(2);
    // By hand, as a ledger that is covered is never read again: the entry was there all along.
    await sql(
      test.db.em(),
      `insert into trueup.entries (stream_id, layer, ledger, tx_index, op_index, leg, tx_hash, account, asset, amount, kind, failed, closed_at, source_id)
       values ($1, 0, 40, 1, 1, 0, decode($2, 'hex'), $3, 'native', 5, 'payment', false, $4, $5)`,
      [at.opened.stream.id, hashAt(40), SHOP, at.timeOf(40).toISOString(), at.opened.target.sourceId],
    );
    const sent: Record<string, unknown>[] = [];
    const queue = {
      send: (_em: unknown, _job: string, payload: object) => Promise.resolve(String(sent.push({ ...payload }))),
    };
    const recheck = { streamId: at.opened.stream.id, layer: 'operations', cause: 'backfilled' } as const;
    await recheckRange(test.db.em(), queue as never, { ...recheck, range: { from: 100, to: 200 } });
    await recheckRange(test.db.em(), queue as never, { ...recheck, range: { from: 1, to: 100 } });
    const job = createRecheckJob({ ...at.runDeps, policies: at.policies });
    const open = async () => (await at.drifts({ states: ['open'] })).map((drift) => drift.matchKey).sort();
    await job(sent[1]!, { signal: new AbortController().signal });
    expect(await open()).toEqual([hashAt(50)]);
    const [resolved] = await at.drifts({ states: ['resolved'] });
    expect(resolved).toMatchObject({ matchKey: hashAt(40), resolutionCause: 'coverage_completed' });
    expect(await totalOf(at, ['open'])).toBe(1);
    expect((await at.run()).summary!.counts).toMatchObject({ drifted: 1, resolved: 0, appeared: 0 });
  });
});
