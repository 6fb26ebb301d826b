// Goal: what the service keeps as evidence is whole, whatever happens: rollbacks, crashes, two sealers, retention and holds at once, and
// somebody who edits the database. Method: the real services over PostgreSQL and in memory; every promise for both.
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EMPTY_ROOT, verifyConsistency, verifyInclusion } from '../../src/core/merkle.ts';
import { readLeaf } from '../../src/core/log-leaf.ts';
import { worstOf } from '../../src/core/verify.ts';
import { checkLog } from '../../src/core/verify-log.ts';
import { sql } from '../../src/store/database.ts';
import { DATABASE_EVIDENCE } from '../../src/store/evidence-database.ts';
import { cases, patience } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { memoryArtifacts, openEvidenceHouse, type EvidenceHouse } from '../_util/evidence-house.ts';
import { newKey, ringOf } from '../_util/evidence-samples.ts';
import { failureOf } from '../_util/failure-of.ts';
import { testCaller } from '../_util/services.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());
beforeEach(async () => {
  // Truncating is not deleting: the triggers guard against the second, and a test may begin anew.
  await sql(
    test.db.em(),
    `truncate trueup.manifests, trueup.manifest_holds, trueup.evidence_log, trueup.evidence_leaves, trueup.evidence_nodes, trueup.evidence_checkpoints restart identity`,
  );
});

const signal = new AbortController().signal;
const page = (size: number, after: object | null = null) => ({ size, after: after as never });
const hold = (manifestId: string, requestId: string | null = null) => ({ manifestId, reason: 'audit', requestId });

/** Every leaf that is sealed, checked against the newest checkpoint. */
async function wholeLog(house: EvidenceHouse) {
  const { checkpoint } = await house.manifests.checkpoint(null, null);
  const lines = await DATABASE_EVIDENCE.readLeaves(test.db.em(), 0, checkpoint.size);
  return checkLog(lines, checkpoint.note, ringOf(house.key!));
}

describe.each(['database', 'memory'] as const)('evidence in %s', (storage) => {
  it('is signed with the export, sealed soon after, and then provable for ever', async () => {
    const house = await openEvidenceHouse(test.db, { storage });
    const id = await house.export();
    expect((await house.manifests.get(id)).log).toBeNull();
    expect((await house.manifests.verify(id, null, signal)).outcome).toBe('unverifiable');
    await house.log.seal();
    const first = (await house.manifests.checkpoint(null, null)).checkpoint;
    for (let i = 0; i < 5; i++) {
      await house.export();
      await house.log.seal();
    }
    const proof = await house.manifests.proveInclusion(id, null);
    expect(verifyInclusion({ ...proof, root: proof.checkpoint.root })).toBe(true);
    const { checkpoint, consistency } = await house.manifests.checkpoint(null, first.size);
    expect(
      verifyConsistency({
        ...{ before: first.size, size: checkpoint.size, hashes: consistency },
        ...{ beforeRoot: first.root, root: checkpoint.root },
      }),
    ).toBe(true);
    expect(first.root.equals(EMPTY_ROOT)).toBe(false);
    const result = await house.manifests.verify(id, null, signal);
    expect(result).toMatchObject({ outcome: 'match', checksumMatch: null });
    expect(result.checks.map(({ name }) => name)).toEqual([
      ...['artifact', 'statement', 'signature', 'inclusion', 'checkpoint', 'coverage'],
    ]);
  });

  it('is not there where the export was rolled back', async () => {
    const house = await openEvidenceHouse(test.db, { storage });
    await house.log.seal();
    const before = (await house.manifests.checkpoint(null, null)).checkpoint.size;
    const { content } = (await house.manifests.get(await house.export())).manifest!;
    const draft = { exportId: 'x', artifactId: 'x', requester: 'x', fileName: 'x', content };
    const failed = test.db.em().transactional(async (em) => {
      await house.log.recordManifest(em, draft);
      throw new Error('the export failed after all');
    });
    await expect(failed).rejects.toThrow('after all');
    await house.log.seal();
    expect((await house.manifests.list({}, page(10))).totalSize).toBe(1);
    expect((await house.manifests.checkpoint(null, null)).checkpoint.size).toBe(before + 1);
  });

  it('is listed newest first, page by page, with the total and by each filter', async () => {
    const house = await openEvidenceHouse(test.db, { storage });
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) ids.push(await house.export(`row ${i}\n`, i % 2 === 0 ? 'ann' : 'bob'));
    const listed: string[] = [];
    for (let after: object | null = null; ;) {
      const { items, next, totalSize } = await house.manifests.list({}, page(3, after));
      expect(totalSize).toBe(7);
      listed.push(...items.map(({ record }) => record.id));
      if (next === null) break;
      after = next;
    }
    expect(new Set(listed)).toEqual(new Set(ids));
    const times = await Promise.all(
      listed.map(async (id) => (await house.manifests.get(id)).record.generatedAt.getTime()),
    );
    expect(times).toEqual(times.toSorted((a, b) => b - a));
    const count = async (filter: object) => (await house.manifests.list(filter, page(50))).totalSize;
    expect(await count({ requester: 'bob' })).toBe(3);
    expect(await count({ kinds: ['drifts'] })).toBe(0);
    expect(await count({ kinds: ['entries', 'drifts'] })).toBe(7);
    expect(await count({ from: new Date(Date.now() + 60_000) })).toBe(0);
    expect(await count({ checksum: (await house.manifests.get(ids[4]!)).record.checksum })).toBe(1);
    await house.holds.place(hold(ids[2]!), testCaller);
    expect([await count({ held: true }), await count({ held: false })]).toEqual([1, 6]);
  });

  it('loses no artifact that is held, and leaves a tombstone for each that retention takes', async () => {
    const house = await openEvidenceHouse(test.db, { storage, keepCount: 2 });
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      ids.push(await house.export());
      // A millisecond of its own for each, for the order is that of time.
      for (const from = Date.now(); Date.now() === from;);
    }
    const placed = await house.holds.place(hold(ids[0]!), testCaller);
    await house.tend();
    const states = async () =>
      await Promise.all(
        ids.map(async (id) => ((await house.manifests.get(id)).record.prunedAt === null ? 'kept' : 'gone')),
      );
    expect(await states()).toEqual(['kept', 'gone', 'gone', 'kept', 'kept']);
    expect((await house.manifests.list({}, page(10))).totalSize).toBe(3);
    expect((await house.manifests.list({ includePruned: true }, page(10))).totalSize).toBe(5);
    expect(house.artifacts.kept.size).toBe(3);
    expect(await house.manifests.verify(ids[1]!, null, signal)).toMatchObject({
      outcome: 'unverifiable',
      actualChecksum: null,
    });
    expect(await failureOf(house.holds.place(hold(ids[1]!), testCaller))).toMatchObject({ reason: 'ARTIFACT_PRUNED' });
    const released = await house.holds.release({ holdId: placed.id, reason: 'over', requestId: null }, testCaller);
    expect(released).toMatchObject({ releasedBy: 'test', releaseReason: 'over' });
    await house.tend();
    expect(await states()).toEqual(['gone', 'gone', 'gone', 'kept', 'kept']);
  });

  it('answers a repeated request with its first hold, and refuses the same id for something else', async () => {
    const house = await openEvidenceHouse(test.db, { storage });
    const [one, two] = [await house.export(), await house.export()];
    const request = '11111111-1111-4111-8111-111111111111';
    const placed = await house.holds.place(hold(one, request), testCaller);
    expect(await house.holds.place(hold(one, request), testCaller)).toEqual(placed);
    expect(await failureOf(house.holds.place(hold(two, request), testCaller))).toMatchObject({
      reason: 'REQUEST_ID_REUSED',
    });
    const release = { holdId: placed.id, reason: 'over', requestId: null };
    await house.holds.release(release, testCaller);
    expect(await failureOf(house.holds.release(release, testCaller))).toMatchObject({ reason: 'INVALID_TRANSITION' });
    expect(await failureOf(house.holds.place(hold('nothing'), testCaller))).toMatchObject({
      reason: 'MANIFEST_NOT_FOUND',
    });
  });

  it('refuses to record anything without a key, and says how to make one', async () => {
    const house = await openEvidenceHouse(test.db, { storage, signingKey: null });
    expect(await failureOf(house.export())).toMatchObject({ reason: 'SIGNING_KEY_UNAVAILABLE' });
    expect(() => house.log.requireSigningKey()).toThrow('no signing key');
  });
});

describe('evidence in the database', () => {
  it('is append-only: no leaf, node or checkpoint can be changed or deleted', async () => {
    const house = await openEvidenceHouse(test.db);
    await house.export();
    await house.export();
    await house.log.seal();
    for (const statement of [
      `update trueup.evidence_leaves set body = '\\x00'`,
      `update trueup.evidence_leaves set log_index = log_index + 10`,
      `delete from trueup.evidence_leaves`,
      `update trueup.evidence_nodes set hash = '\\x00'`,
      `delete from trueup.evidence_checkpoints`,
    ])
      await expect(sql(test.db.em(), statement)).rejects.toThrow('append-only');
  });

  it('is sealed once by any number of sealers, and every leaf gets one place', async () => {
    const key = newKey();
    const houses = await Promise.all(Array.from({ length: 3 }, () => openEvidenceHouse(test.db, { signingKey: key })));
    await Promise.all(
      houses.flatMap((house) => [
        (async () => {
          for (let i = 0; i < 8; i++) await house.export();
        })(),
        (async () => {
          for (let i = 0; i < 8; i++) await house.log.seal();
        })(),
      ]),
    );
    await houses[0]!.log.seal();
    const { leaves, checks } = await wholeLog(houses[0]!);
    expect(worstOf(checks)).toBe('match');
    expect(leaves.map(({ kind }) => kind).toSorted()).toEqual(['key', ...Array<string>(24).fill('manifest')]);
  });

  it('has a leaf for each day that went by, also without an export', async () => {
    const house = await openEvidenceHouse(test.db);
    await sql(test.db.em(), `update trueup.evidence_log set counted_through = counted_through - interval '3 days'`);
    await house.log.seal();
    await house.log.seal();
    const { leaves } = await wholeLog(house);
    expect(leaves.filter(({ kind }) => kind === 'period')).toHaveLength(3);
    expect(leaves.filter((leaf) => leaf.kind === 'period' && leaf.manifests !== 0)).toEqual([]);
  });

  it('logs a new key once, and believes the old one for what it signed', async () => {
    const before = await openEvidenceHouse(test.db);
    const id = await before.export();
    await before.log.seal();
    const key = newKey();
    const options = { signingKey: key, keys: ringOf(key, before.key!), artifacts: before.artifacts };
    const after = await openEvidenceHouse(test.db, options);
    await openEvidenceHouse(test.db, options);
    await after.export();
    await after.log.seal();
    expect((await after.manifests.verify(id, null, signal)).outcome).toBe('match');
    const keyLeaves = (await DATABASE_EVIDENCE.leavesOfKind(test.db.em(), 'key')).map(readLeaf);
    expect(keyLeaves).toMatchObject([
      { event: 'active', keyId: before.key!.keyId },
      { event: 'active', keyId: key.keyId },
    ]);
    const forgetful = await openEvidenceHouse(test.db, { signingKey: key, artifacts: before.artifacts });
    expect((await forgetful.manifests.verify(id, null, signal)).outcome).toBe('unknown_key');
  });

  it.each([
    ['a flipped bit of the artifact', 'artifact', 'altered'],
    ['another requester in the database', 'statement', 'altered'],
    ['an artifact that somebody deleted', 'artifact', 'missing'],
  ] as const)('is found out by VerifyManifest: %s', async (what, name, outcome) => {
    const house = await openEvidenceHouse(test.db);
    const id = await house.export('ledger,amount\n1,10\n');
    await house.log.seal();
    const { record } = await house.manifests.get(id);
    if (what.startsWith('a flipped')) house.artifacts.kept.set(record.artifactId, Buffer.from('ledger,amount\n1,11\n'));
    else if (what.startsWith('another')) await sql(test.db.em(), `update trueup.manifests set requester = 'eve'`);
    else await house.artifacts.remove(record.artifactId);
    const result = await house.manifests.verify(id, record.checksum, signal);
    expect(result.outcome).toBe(outcome);
    expect(result.checks.find((each) => each.outcome !== 'match')?.name).toBe(name);
    // Nothing of the rows is shown.
    expect(JSON.stringify(result)).not.toContain('ledger,amount');
  });

  it(
    'survives any schedule of exports, holds, releases, retention and crashes: nothing held is lost, nothing goes without a tombstone',
    async () => {
      const step = fc.oneof(
        { weight: 3, arbitrary: fc.constant({ kind: 'export' as const }) },
        fc.record({ kind: fc.constantFrom('hold' as const, 'release' as const), which: fc.nat(9) }),
        fc.record({ kind: fc.constant('tend' as const), crash: fc.constantFrom('none', 'removing', 'sealing') }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 10 }), async (steps) => {
          let failing = false;
          const house = await openEvidenceHouse(test.db, { keepCount: 1, artifacts: memoryArtifacts(), ...schedule });
          const breaking = await openEvidenceHouse(test.db, {
            ...{ keepCount: 1, signingKey: house.key },
            artifacts: {
              ...house.artifacts,
              remove: (id) => (failing ? Promise.reject(new Error('killed')) : house.artifacts.remove(id)),
            },
          });
          const ids: string[] = [];
          const held = new Map<string, string>();
          for (const each of steps) {
            if (each.kind === 'export') ids.push(await house.export());
            else if (each.kind === 'hold' && ids.length > 0) {
              const id = ids[each.which % ids.length]!;
              const placed = held.has(id) ? null : await house.holds.place(hold(id), testCaller).catch(() => null);
              if (placed !== null) held.set(id, placed.id);
            } else if (each.kind === 'release' && held.size > 0) {
              const [id, holdId] = [...held][each.which % held.size]!;
              await house.holds.release({ holdId, reason: 'over', requestId: null }, testCaller);
              held.delete(id);
            } else if (each.kind === 'tend') {
              failing = each.crash === 'removing';
              await breaking.tend().catch(() => undefined);
              failing = false;
            }
          }
          await house.tend();
          const tombstones = (await DATABASE_EVIDENCE.leavesOfKind(test.db.em(), 'tombstone')).map(readLeaf);
          for (const id of ids) {
            const { record } = await house.manifests.get(id);
            await using part = await house.artifacts.open(record.artifactId, 0);
            const stones = tombstones.filter((leaf) => leaf?.kind === 'tombstone' && leaf.manifestId === id);
            if (held.has(id)) expect(record.prunedAt).toBeNull();
            expect([part === null, stones.length]).toEqual(record.prunedAt === null ? [false, 0] : [true, 1]);
          }
          for (const holdId of held.values())
            await house.holds.release({ holdId, reason: 'end', requestId: null }, testCaller);
        }),
        cases(SCHEDULES),
      );
      expect(worstOf((await wholeLog(await openEvidenceHouse(test.db, schedule))).checks)).toBe('match');
    },
    patience(120_000),
  );
});

/** One log over all schedules, so one key. */
const schedule = { signingKey: newKey() };
const SCHEDULES = 200;
