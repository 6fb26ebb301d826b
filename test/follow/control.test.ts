// Goal: an operator's restart reaches the follower wherever it runs, a rescan asks for the right ledgers, and a new epoch opens only by an
// operator's word. Method: followers over a far network in memory in one database, as two replicas are.
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { rescanFromCheckpoint, restartFollower, type Reread } from '../../src/services/follower-control.ts';
import type { FollowerOptions } from '../../src/services/follower.ts';
import { listAudit } from '../../src/store/audit.ts';
import { listStreams } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { eventually } from '../_util/eventually.ts';
import { failureOf } from '../_util/failure-of.ts';
import type { FakeSource } from '../_util/fake-source.ts';
import { fake, follow as followIn, numbers, reached, stateOf, stored } from '../_util/follow.ts';
import { testCaller } from '../_util/services.ts';

let test: TestDatabase;
const stops: (() => Promise<void>)[] = [];
beforeAll(async () => {
  test = await createTestDatabase({ poolMax: 10 });
});
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});
afterAll(() => test.drop());

/** A follower with the times at which its terms began. */
function follow(source: FakeSource, more: Partial<FollowerOptions> = {}) {
  const terms: Date[] = [];
  const follower = followIn(test.db, source, {
    onTerm: (since) => {
      if (since !== null) terms.push(since);
    },
    ...more,
  });
  stops.push(() => follower.end());
  return { ...follower, terms };
}
const restart = (source: FakeSource, more: Partial<Parameters<typeof restartFollower>[1]> = {}) =>
  restartFollower(
    { db: test.db, networkPassphrase: source.networkPassphrase },
    { stream: null, reason: 'it hangs', openNewEpoch: false, requestId: null, ...more },
    { ...testCaller, method: 'trueup.v1.BackfillService/RestartFollower' },
  );

describe('a restart', () => {
  it('ends the term of whichever replica follows, and one of them goes on from the checkpoint without loss or double', async () => {
    const source = fake();
    const replicas = ['one', 'two'].map((holder) => follow(source, { holder, leaseTtlMs: 1_500 }));
    const terms = (): number => replicas.reduce((sum, replica) => sum + replica.terms.length, 0);
    await reached(test.db, source, 200);
    const before = terms();
    await restart(source);
    await eventually(() => expect(terms()).toBeGreaterThan(before), 30_000);
    source.tipLedger = 260;
    await reached(test.db, source, 260);
    expect((await stored(test.db, source)).ledgers).toEqual(numbers({ from: 1, to: 261 }));
    expect((await stateOf(test.db, source)).row.processedLedgers).toBe(260n);
  });

  it('rolls back what the old term had read and not yet committed', async () => {
    const source = fake();
    const follower = follow(source, { leaseTtlMs: 1_500 });
    await reached(test.db, source, 200);
    const before = follower.terms.length;
    let open = (): void => undefined;
    source.gate = new Promise((resolve) => (open = resolve));
    source.tipLedger = 230;
    const reads = source.reads.length;
    await eventually(() => expect(source.reads.length).toBeGreaterThan(reads));
    await restart(source);
    await eventually(() => expect(follower.terms.length).toBeGreaterThan(before), 30_000);
    expect((await stateOf(test.db, source)).row.nextLedger).toBe(201);
    open();
    await reached(test.db, source, 230);
    expect((await stored(test.db, source)).ledgers).toEqual(numbers({ from: 1, to: 231 }));
  });

  it('wakes a follower that waits out a failure', async () => {
    const source = fake();
    const follower = follow(source, { leaseTtlMs: 1_500 });
    await reached(test.db, source, 200);
    source.tipFault = new TrueUpError('SOURCE_UNAVAILABLE', 'down', { retryAfterMs: 3_600_000 });
    await eventually(async () =>
      expect((await stateOf(test.db, source)).row.lastErrorReason).toBe('SOURCE_UNAVAILABLE'),
    );
    source.tipFault = null;
    source.tipLedger = 205;
    await restart(source);
    await reached(test.db, source, 205);
    expect(follower.terms.length).toBeGreaterThan(1);
  });

  it('is done once for a request id, is audited with who and why, and refuses the id for something else', async () => {
    const source = fake();
    const follower = follow(source, { leaseTtlMs: 1_500 });
    await reached(test.db, source, 200);
    const [requestId, terms] = [randomUUID(), follower.terms.length];
    const name = await restart(source, { requestId });
    const { restartedAt } = (await stateOf(test.db, source)).row;
    expect(restartedAt).not.toBeNull();
    await eventually(() => expect(follower.terms.length).toBeGreaterThan(terms), 30_000);
    expect(await restart(source, { requestId })).toBe(name);
    expect((await stateOf(test.db, source)).row.restartedAt).toEqual(restartedAt);
    expect(await failureOf(restart(source, { requestId, reason: 'another' }))).toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    const { items } = await listAudit(test.db.em(), { size: 10, after: null }, { resourceId: name });
    expect(items).toMatchObject([{ actor: 'test', resourceType: 'follower', reason: 'it hangs', requestId }]);
  });

  it('is refused for a stream that there is not', async () => {
    expect(await failureOf(restart(fake()))).toMatchObject({ reason: 'STREAM_NOT_FOUND' });
  });
});

describe('a rescan', () => {
  const rescan = async (source: FakeSource, ledgers: number) => {
    const asked: Reread[] = [];
    await rescanFromCheckpoint(
      {
        db: test.db,
        networkPassphrase: source.networkPassphrase,
        startReread: (reread) => {
          asked.push(reread);
          return Promise.resolve('started');
        },
      },
      { stream: null, ledgers, reason: 'to be sure', requestId: null },
    );
    return asked[0]?.range;
  };

  it('asks for the ledgers right below the checkpoint, 128 unless told, and never for one before the start', async () => {
    const source = fake();
    follow(source);
    await reached(test.db, source, 200);
    expect(await rescan(source, 10)).toEqual({ from: 191, to: 201 });
    expect(await rescan(source, 0)).toEqual({ from: 73, to: 201 });
    expect(await rescan(source, 1_000)).toEqual({ from: 1, to: 201 });
  });
});

describe('a network reset', () => {
  /** The same network with another history. */
  async function reset(source: FakeSource): Promise<void> {
    await reached(test.db, source, 200);
    source.forkAt = 1;
    source.tipLedger = 70;
    await eventually(async () => expect((await stateOf(test.db, source)).stream.state).toBe('diverged'), 30_000);
  }

  it('stops the stream, also where the new network is still shorter than ours, until an operator opens a new epoch', async () => {
    const source = fake();
    follow(source, { leaseTtlMs: 1_500 });
    await reset(source);
    const { stream: old } = await stateOf(test.db, source);
    const before = await stored(test.db, source);
    await restart(source);
    await eventually(async () => {
      const { row } = await stateOf(test.db, source);
      expect(row.lastErrorAt!.getTime()).toBeGreaterThan(row.restartedAt!.getTime());
    }, 30_000);
    expect(await stateOf(test.db, source)).toMatchObject({ stream: { id: old.id, state: 'diverged' } });
    expect(await stored(test.db, source)).toEqual(before);

    await restart(source, { openNewEpoch: true });
    await eventually(async () => expect((await stateOf(test.db, source)).stream.id).not.toBe(old.id), 30_000);
    await reached(test.db, source, 70);
    expect((await stored(test.db, source)).ledgers).toEqual(numbers({ from: 1, to: 71 }));
    const streams = (await listStreams(test.db.em())).filter(
      (each) => each.networkPassphrase === source.networkPassphrase,
    );
    expect(streams.map((each) => each.state)).toEqual(['active', 'active']);
    expect(new Set(streams.map((each) => each.epoch)).size).toBe(2);
    expect(await failureOf(restart(source, { stream: old.name }))).toMatchObject({ reason: 'INVALID_REQUEST' });
  });

  it('opens no epoch where the stream is well, nor where only the newest ledgers are others', async () => {
    const source = fake();
    follow(source, { leaseTtlMs: 1_500 });
    await reached(test.db, source, 200);
    expect(await failureOf(restart(source, { openNewEpoch: true }))).toMatchObject({ reason: 'INVALID_REQUEST' });
    source.forkAt = 100;
    source.tipLedger = 230;
    await restart(source);
    await eventually(async () => expect((await stateOf(test.db, source)).stream.state).toBe('diverged'), 30_000);
    const { stream } = await stateOf(test.db, source);
    await restart(source, { openNewEpoch: true });
    await eventually(async () => {
      const { row } = await stateOf(test.db, source);
      expect(row.lastErrorAt!.getTime()).toBeGreaterThan(row.restartedAt!.getTime());
    }, 30_000);
    expect((await stateOf(test.db, source)).stream).toMatchObject({ id: stream.id, state: 'diverged' });
    // The permission ends with the reason for it.
    source.forkAt = Infinity;
    await reached(test.db, source, 230);
    expect((await stateOf(test.db, source)).row.newEpochAllowed).toBe(false);
  });
});
