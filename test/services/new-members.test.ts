// Goal: whoever is newly watched gets its history by itself, each history once. Method: ledgers by hand under changing watches in a real
// database; the backfill's start stands in as a list of what was asked.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { makeWatch, WATCH_EVERYTHING } from '../../src/core/watch.ts';
import type { StartBackfillCall } from '../../src/services/backfill.ts';
import { backfillNewMembers } from '../../src/services/new-members.ts';
import { commitUnreadable } from '../../src/store/coverage.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { commitByHand, openTestStream, targetOf } from '../_util/ledger-rows.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

async function look(network: string, fail?: TrueUpError): Promise<StartBackfillCall[]> {
  const asked: StartBackfillCall[] = [];
  await backfillNewMembers({
    db: test.db,
    networkPassphrase: network,
    layers: ['operations'],
    startBackfill(call) {
      asked.push(call);
      return fail ? Promise.reject(fail) : Promise.resolve(null);
    },
  });
  return asked;
}

const asText = (calls: readonly StartBackfillCall[]) =>
  calls.map(({ watch, range }) => `${watch.join(' ')} ${range.from}-${range.to - 1}`);

describe('newly watched accounts', () => {
  it('are backfilled for what was followed without them, those that lack the same together', async () => {
    const network = 'three watches';
    const first = await openTestStream(test.db, { passphrase: network, startLedger: 10, watch: makeWatch(['GA']) });
    await commitByHand(test.db, first, { from: 10, to: 100 }, []);
    expect(await look(network)).toEqual([]);
    const of = async (...members: string[]) => ({
      ...first,
      target: await targetOf(test.db.em(), first.stream.id, makeWatch(members)),
    });
    await commitByHand(test.db, await of('GA', 'GB', 'GC'), { from: 100, to: 150 }, []);
    const asked = await look(network);
    expect(asText(asked)).toEqual(['GB GC 10-99']);
    expect(asked[0]).toMatchObject({ dryRun: false, reread: false, layer: 'operations', stream: first.stream.name });
    await commitByHand(test.db, await of('GA', 'GB', 'GC', 'GD'), { from: 150, to: 160 }, []);
    expect(asText(await look(network))).toEqual(['GB GC 10-99', 'GD 10-149']);
  });

  it('are asked for under one request id until their history is there, and that it is in hand already is no failure', async () => {
    const network = 'asked again';
    const first = await openTestStream(test.db, { passphrase: network, watch: makeWatch(['GA']) });
    await commitByHand(test.db, first, { from: 1, to: 100 }, []);
    const second = { ...first, target: await targetOf(test.db.em(), first.stream.id, makeWatch(['GA', 'GB'])) };
    await commitByHand(test.db, second, { from: 100, to: 110 }, []);
    const [once] = await look(network);
    const [again] = await look(network, new TrueUpError('RUN_ALREADY_ACTIVE', 'in hand'));
    expect(again?.requestId).toBe(once?.requestId);
    expect(once?.requestId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
    const only = { ...first, target: await targetOf(test.db.em(), first.stream.id, makeWatch(['GB'])) };
    await commitByHand(test.db, only, { from: 1, to: 100 }, [], { follow: false });
    expect(await look(network)).toEqual([]);
  });

  it('are not asked for ledgers that were set apart for everybody, and nobody is new where everything is watched', async () => {
    const network = 'set apart';
    const first = await openTestStream(test.db, { passphrase: network, watch: makeWatch(['GA']) });
    await commitByHand(test.db, first, { from: 1, to: 50 }, []);
    const second = { ...first, target: await targetOf(test.db.em(), first.stream.id, makeWatch(['GA', 'GB'])) };
    const why = { state: 'quarantined', reason: 'SOURCE_CORRUPT', detail: '', proof: 'chained' } as const;
    await test.db
      .em()
      .transactional((em) => commitUnreadable(em, second.target, ['operations'], { from: 50, to: 52 }, why));
    await commitByHand(test.db, second, { from: 52, to: 60 }, []);
    expect(asText(await look(network))).toEqual(['GB 1-49']);
    const everything = { ...first, target: await targetOf(test.db.em(), first.stream.id, WATCH_EVERYTHING) };
    await commitByHand(test.db, everything, { from: 60, to: 70 }, []);
    expect(await look(network)).toEqual([]);
  });
});
