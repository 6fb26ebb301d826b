// Goal: a start stores a job and returns, once for each request, and refuses at once what cannot work, with the call that would. Method: the
// service without any worker, so that nothing but the start itself can have done anything.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { makeWatch } from '../../src/core/watch.ts';
import { MAX_BACKFILL_LEDGERS } from '../../src/services/backfill-refusals.ts';
import { sql } from '../../src/store/database.ts';
import { openBackfills, rangeCall } from '../_util/backfill.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { failureOf } from '../_util/failure-of.ts';
import { fake } from '../_util/follow.ts';
import { openTestStream } from '../_util/ledger-rows.ts';
import { testCaller } from '../_util/services.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterAll(() => test.drop());

const open = async (options: Parameters<typeof fake>[0] = {}) => {
  const source = fake({ tip: 2_000, ...options });
  return { source, house: await openBackfills(test.db, source) };
};

describe('a start', () => {
  it('returns the planned job before a single ledger was asked for', async () => {
    const { source, house } = await open();
    const job = await house.start({ from: 1, to: 1_001 }, { reason: 'an outage' });
    expect(job).toMatchObject({
      state: 'planned',
      range: { from: 1, to: 1_001 },
      requester: 'test',
      reason: 'an outage',
      startedAt: null,
      digest: null,
      progress: { scannedLedgers: 0, percent: 0, contiguousThrough: null, lastLedger: null },
    });
    expect(source.reads).toEqual([]);
  });

  it('repeated with its request id is the same job; with other content it is refused', async () => {
    const { house } = await open();
    const requestId = randomUUID();
    const first = await house.start({ from: 1, to: 101 }, { requestId });
    const again = await Promise.all([1, 2, 3].map(() => house.start({ from: 1, to: 101 }, { requestId })));
    expect(again.map((job) => job.id)).toEqual([first.id, first.id, first.id]);
    expect(await failureOf(house.start({ from: 1, to: 102 }, { requestId }))).toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
  });

  it('of ten at once over the same ledgers is one job and nine refusals', async () => {
    const { house } = await open();
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) => house.start({ from: 1 + i, to: 500 })),
    );
    expect(outcomes.filter((each) => each.status === 'fulfilled')).toHaveLength(1);
    for (const each of outcomes)
      if (each.status === 'rejected') expect(each.reason).toMatchObject({ reason: 'RUN_ALREADY_ACTIVE' });
  });

  it('has ledgers in hand that another start names in its refusal, until it ends', async () => {
    const { house } = await open();
    const first = await house.start({ from: 100, to: 200 });
    expect(await failureOf(house.start({ from: 199, to: 300 }))).toMatchObject({
      reason: 'RUN_ALREADY_ACTIVE',
      details: {
        range: { from: 100, to: 200 },
        fix: `trueup backfill watch ${first.id}, or trueup backfill cancel ${first.id} first`,
      },
    });
    // Neighbours don't overlap, and a dry run changes nothing.
    await house.start({ from: 200, to: 300 });
    await house.start({ from: 1, to: 100 });
    await house.start({ from: 100, to: 200 }, { dryRun: true });
    await house.service.cancel({ id: first.id, reason: null, requestId: null }, testCaller);
    expect((await house.start({ from: 100, to: 200 })).state).toBe('planned');
  });
});

describe('a start that cannot work is refused, and nothing is stored:', () => {
  const refused = async (
    house: Awaited<ReturnType<typeof open>>['house'],
    more: Parameters<typeof rangeCall>[1] & { range: { from: number; to: number } },
  ) => {
    const count = async () => (await sql(test.db.em(), 'select count(*)::int as n from trueup.backfills'))[0];
    const before = await count();
    const failure = await failureOf(house.service.start(rangeCall(more.range, more), testCaller));
    expect(await count()).toEqual(before);
    return failure;
  };

  it('beyond the tip, with the part that is closed', async () => {
    const { house } = await open();
    expect(await refused(house, { range: { from: 1_990, to: 2_011 } })).toMatchObject({
      reason: 'RANGE_BEYOND_TIP',
      details: { fix: 'trueup backfill start --from 1990 --to 2000' },
    });
  });

  it('before everything that a source keeps, with what it keeps', async () => {
    const { source, house } = await open();
    source.oldest = 500;
    expect(await refused(house, { range: { from: 1, to: 500 } })).toMatchObject({
      reason: 'LEDGER_UNAVAILABLE',
      details: { fix: expect.stringContaining('trueup backfill start --from 500 --to 2000') as string },
    });
    // A part that is kept is worth reading; the rest is then named as unavailable.
    expect((await house.start({ from: 1, to: 501 })).state).toBe('planned');
  });

  it('backwards, empty or too long', async () => {
    const { house } = await open();
    expect(await refused(house, { range: { from: 10, to: 10 } })).toMatchObject({ reason: 'INVALID_LEDGER_RANGE' });
    expect(await refused(house, { range: { from: 20, to: 11 } })).toMatchObject({ reason: 'INVALID_LEDGER_RANGE' });
    expect(await refused(house, { range: { from: 1, to: MAX_BACKFILL_LEDGERS + 2 } })).toMatchObject({
      reason: 'RANGE_TOO_LARGE',
      details: { fix: expect.stringContaining(`--to ${MAX_BACKFILL_LEDGERS}`) as string },
    });
  });

  it("from a source that is not configured, of a stream that there isn't, of another network", async () => {
    const { source, house } = await open();
    const range = { from: 1, to: 10 };
    expect(await refused(house, { range, source: 'http://169.254.169.254/' })).toMatchObject({
      reason: 'SOURCE_NOT_FOUND',
      details: { fix: expect.stringContaining(source.id) as string },
    });
    expect(await refused(house, { range, stream: 'none' })).toMatchObject({ reason: 'STREAM_NOT_FOUND' });
    const other = await openTestStream(test.db, { passphrase: 'Quite another network' });
    expect(await refused(house, { range, stream: other.stream.name })).toMatchObject({
      reason: 'SOURCE_WRONG_NETWORK',
    });
  });

  it('of a layer that no source shows, or for an account that is not watched', async () => {
    const source = fake({ tip: 2_000 });
    const house = await openBackfills(test.db, source, { watch: makeWatch(['GSHOP']) });
    const range = { from: 1, to: 10 };
    expect(await refused(house, { range, layer: 'token_events' })).toMatchObject({ reason: 'INVALID_REQUEST' });
    expect(await refused(house, { range, watch: ['GOTHER'] })).toMatchObject({ reason: 'INVALID_REQUEST' });
  });

  it('by the plan of a dry run that is none, or no longer true', async () => {
    const { house } = await open();
    const range = { from: 1, to: 101 };
    const plan = await house.run(range, { dryRun: true });
    expect(await refused(house, { range: { from: 1, to: 102 }, planOf: plan.id })).toMatchObject({
      reason: 'REVISION_CONFLICT',
    });
    expect(await refused(house, { range, planOf: randomUUID() })).toMatchObject({ reason: 'BACKFILL_NOT_FOUND' });
    const live = await house.run({ from: 1, to: 11 });
    expect(await refused(house, { range, planOf: live.id })).toMatchObject({ reason: 'INVALID_TRANSITION' });
    expect(await refused(house, { range, planOf: plan.id })).toMatchObject({ reason: 'REVISION_CONFLICT' });
  });
});

describe('a source that does not answer', () => {
  it('refuses nothing: the job waits for it', async () => {
    const { source, house } = await open();
    source.tipFault = new TrueUpError('SOURCE_UNAVAILABLE', 'away');
    expect((await house.start({ from: 1, to: 10_000 })).state).toBe('planned');
  });
});
