// Goal: a source that is about to forget what is still needed is told of once, ahead of time, and its end once too; what is forgotten is
// named unavailable, never cut off. Method: ledgers by hand with gaps, a source's memory that moves, the real outbox.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { msUntilForgotten } from '../../src/core/retention.ts';
import { raiseAlert } from '../../src/services/alerts.ts';
import { createCoverageLists } from '../../src/services/coverage.ts';
import { watchRetention } from '../../src/services/retention.ts';
import { sql } from '../../src/store/database.ts';
import { saveTip } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { closeTimeOf, commitByHand, openTestStream } from '../_util/ledger-rows.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

const NETWORK = 'a source that forgets';
/** Nobody delivers here. */
const queue = { send: () => Promise.resolve(null) } as unknown as Parameters<typeof raiseAlert>[1];
const look = () =>
  watchRetention({
    db: test.db,
    networkPassphrase: NETWORK,
    layers: ['operations'],
    endLedger: null,
    raise: (em, alert) => raiseAlert(em, queue, alert),
  });
const told = () =>
  sql<{ kind: string; severity: string }>(
    test.db.em(),
    'select kind, severity from trueup.alerts order by created_at, kind',
  );

describe('the time until a source forgets', () => {
  it('is the margin at the pace of the network, and unknown where nothing is forgotten or no pace is known', () => {
    const facts = { oldest: 100, firstOldest: 50, needed: 820, secondsPerLedger: 5 };
    expect(msUntilForgotten(facts)).toBe(3_600_000);
    expect(msUntilForgotten({ ...facts, needed: 90 })).toBe(0);
    expect(msUntilForgotten({ ...facts, firstOldest: 100 })).toBeNull();
    expect(msUntilForgotten({ ...facts, oldest: null })).toBeNull();
    expect(msUntilForgotten({ ...facts, secondsPerLedger: null })).toBeNull();
  });
});

describe('a gap that the source is about to forget', () => {
  it('raises one alert, which ends when the margin is back, and is called unavailable once it is forgotten', async () => {
    const opened = await openTestStream(test.db, { passphrase: NETWORK, startLedger: 20_000 });
    const tip = (oldest: number) =>
      saveTip(test.db.em(), opened.stream.id, { sequence: 60_000, closeTime: closeTimeOf(60_000), oldest });
    await commitByHand(test.db, opened, { from: 20_000, to: 20_010 }, []);
    await commitByHand(test.db, opened, { from: 20_100, to: 20_164 }, []);
    // The long rest, without its 600 chunks.
    await sql(test.db.em(), `insert into trueup.coverage_islands values ($1, 0, $2, 20164, 60001, 'done')`, [
      opened.stream.id,
      opened.target.watchSetId,
    ]);
    // Ledgers of 5 s: 24 h are 17,280 of them. At first nothing has been forgotten yet.
    await tip(1);
    await look();
    expect(await told()).toEqual([]);
    await tip(1_000);
    await look();
    expect(await told()).toEqual([]);
    await tip(5_000);
    await look();
    await look();
    expect(await told()).toMatchObject([{ kind: 'STREAM_DEGRADED', severity: 'page' }]);
    await commitByHand(test.db, opened, { from: 20_010, to: 20_050 }, [], { follow: false });
    await look();
    expect(await told()).toHaveLength(1);
    // What is forgotten can't be had any more: it is no reason to hurry.
    await tip(20_060);
    await look();
    const lists = createCoverageLists({
      db: test.db,
      networkPassphrase: NETWORK,
      layers: ['operations'],
      endLedger: null,
    });
    const gaps = async () =>
      (await lists.listGaps({ stream: null }, { size: 10, after: null })).items.map(
        (gap) => `${gap.range.from}-${gap.range.to - 1} ${gap.available}`,
      );
    expect(await gaps()).toEqual(['20050-20059 false', '20060-20099 true']);
    expect(await told()).toHaveLength(1);
    await tip(20_100);
    expect(await gaps()).toEqual(['20050-20099 false']);
    await look();
    await look();
    expect((await told()).map((alert) => alert.kind)).toEqual(['STREAM_DEGRADED', 'RESOLVED']);
  });
});
