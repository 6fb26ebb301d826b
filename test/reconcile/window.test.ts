// Goal: what is early, late, outside or unread is said to be so and accuses nobody. Method: ledgers by hand with holes and at chosen times, and
// a book that is late, empty or ahead of them.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeWatch } from '../../src/core/watch.ts';
import { sql } from '../../src/store/database.ts';
import { setStreamState, saveFollowerError } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { closeTimeOf, targetOf } from '../_util/ledger-rows.ts';
import { hashAt, openHouse, type House, type HouseOptions } from '../_util/reconcile.ts';

const SHOP = 'GSHOP';
const HOUR = 3_600_000;
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

const house = (options?: HouseOptions): Promise<House> => openHouse(test.db, options);
const reasons = (run: Awaited<ReturnType<House['run']>>) => run.summary?.inconclusive.map((each) => each.reason);
const keys = async (at: House) => (await at.drifts({ states: ['open'] })).map((drift) => drift.matchKey);
const leg = (ledger: number, amount = 5n) => ({ ledger, account: SHOP, amount });
const row = (at: House, ledger: number, more: object = {}) => at.row(ledger, { account: SHOP, amount: 5n, ...more });

describe('grace', () => {
  /** The given ledger closed that long ago, by the clock of the machine, on which the database runs too. */
  const closedAgo = (ledger: number, seconds: number): number =>
    Math.floor(Date.now() / 1000) - seconds - closeTimeOf(ledger);

  it('leaves a fresh leg pending for five minutes, then calls it missing', async () => {
    const fresh = await house({ shiftSeconds: closedAgo(30, 60) });
    await fresh.ledgers({ from: 1, to: 31 }, [leg(10), leg(30)]);
    await fresh.record([row(fresh, 10)], 30);
    expect(await fresh.run()).toMatchObject({
      verdict: 'CLEAN',
      summary: { counts: { matched: 1, pending: 1, drifted: 0 } },
    });
    const old = await house({ shiftSeconds: closedAgo(30, 301) });
    await old.ledgers({ from: 1, to: 31 }, [leg(10), leg(30)]);
    await old.record([row(old, 10)], 30);
    expect(await old.run()).toMatchObject({
      verdict: 'DRIFT_DETECTED',
      summary: { counts: { pending: 0, drifted: 1 } },
    });
  });

  it("leaves a row pending for fifteen minutes from its own time to the cut's close, then calls it missing", async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 201 }, [leg(10)]);
    // 900 s are 180 ledgers.
    await at.record([row(at, 10), row(at, 21), row(at, 150)], 200);
    expect(await at.run()).toMatchObject({ verdict: 'CLEAN', summary: { counts: { matched: 1, pending: 2 } } });
    await at.ledgers({ from: 201, to: 202 });
    expect(await at.run()).toMatchObject({
      verdict: 'DRIFT_DETECTED',
      summary: { counts: { pending: 1, drifted: 1 } },
    });
    expect(await keys(at)).toEqual([hashAt(21)]);
  });

  it('calls nothing missing past the time to which the book is complete', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 400 }, [leg(10), leg(100), leg(300)]);
    await at.record([row(at, 10)], 100);
    expect((await at.run()).summary?.counts).toMatchObject({ matched: 1, pending: 1, drifted: 1 });
    expect(await keys(at)).toEqual([hashAt(100)]);
  });

  it('waits for a row that is still pending as long as for one that is missing', async () => {
    const at = await house({ shiftSeconds: closedAgo(30, 60) });
    await at.ledgers({ from: 1, to: 31 }, [leg(30)]);
    await at.record([row(at, 30, { status: 'submitted' })], 30);
    expect((await at.run()).summary?.counts).toMatchObject({ pending: 1, drifted: 0 });
    const old = await house();
    await old.ledgers({ from: 1, to: 31 }, [leg(30)]);
    await old.record([row(old, 30, { status: 'submitted' })], 30);
    await old.run();
    expect((await old.drifts())[0]?.kinds).toEqual(['STATUS_MISMATCH']);
  });
});

describe('the window', () => {
  const DAY = 24 * 720;

  it("counts back from the cut's close, and both sides are asked by key before anybody is accused", async () => {
    const at = await house();
    // The window holds 720 ledgers an hour: 2,880 before the cut are 4 h.
    await at.ledgers({ from: 1, to: 3001 }, [leg(50), leg(60), leg(2500), leg(2600), leg(2700)]);
    await at.record(
      [
        // Written far outside the window, for a leg inside it.
        row(at, 2500, { occurredAt: new Date(at.timeOf(2500).getTime() - 30 * HOUR) }),
        row(at, 2600, { occurredAt: new Date(at.timeOf(2600).getTime() + 3 * HOUR) }),
        // Written inside the window, for a leg outside it.
        row(at, 60, { occurredAt: at.timeOf(2650) }),
      ],
      3000,
    );
    const run = await at.run({ trigger: 'manual', windowMs: HOUR });
    expect(run.summary?.counts).toMatchObject({ ledgerRecords: 3, matched: 3, drifted: 1 });
    expect(await keys(at)).toEqual([hashAt(2700)]);
    expect(run.summary?.window?.ledgers?.to).toBe(3001);
    expect(run.summary?.window?.ledgers?.from).toBeGreaterThanOrEqual(3001 - 720 - 64);
    expect(run.summary?.window?.ledgers?.from).toBeLessThanOrEqual(3001 - 720);
  });

  it('is a range where a caller says so, judged with what is known beyond it, and closes no drift that lies later', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 801 }, [leg(50), leg(210), leg(700)]);
    await at.record(
      [
        row(at, 50),
        row(at, 210, { occurredAt: at.timeOf(15) }),
        row(at, 600, { occurredAt: null }),
        row(at, 600, { key: hashAt(601) }),
      ],
      800,
    );
    await at.run();
    const before = await keys(at);
    expect(before).toEqual([hashAt(600), hashAt(601), hashAt(700)].sort());
    const run = await at.run({ trigger: 'manual', range: { from: 1, to: 201 } });
    expect(run.summary).toMatchObject({
      window: { ledgers: { from: 1, to: 201 } },
      counts: { ledgerRecords: 1, matched: 2, resolved: 0 },
    });
    expect(await keys(at)).toEqual(before);
    expect((await at.drifts()).map((drift) => drift.reopenedCount)).toEqual([0, 0, 0]);
  });

  it('takes the first ledger of a network and the first chunk as they are', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 300 }, [leg(1), leg(63), leg(64)]);
    await at.record([row(at, 1), row(at, 63), row(at, 64), row(at, 2)], 299);
    const run = await at.run();
    expect(run.summary).toMatchObject({
      window: { ledgers: { from: 1, to: 300 } },
      counts: { matched: 3, drifted: 1 },
    });
  });

  it('outlives a window longer than time itself', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 300 }, [leg(10)]);
    await at.record([row(at, 10)], 299);
    expect((await at.run({ trigger: 'manual', windowMs: Number.MAX_SAFE_INTEGER })).verdict).toBe('CLEAN');
  });

  it('compares more rows than any page, on both sides', async () => {
    const at = await house();
    const ledgers = Array.from({ length: 6_200 }, (_, i) => i + 1);
    for (let from = 1; from < 6_201; from += 3_100)
      await at.ledgers(
        { from, to: from + 3_100 },
        ledgers.filter((n) => n >= from && n < from + 3_100).map((n) => leg(n)),
      );
    await at.record(
      ledgers.slice(0, 5_000).map((n) => row(at, n)),
      null,
    );
    await at.record(
      ledgers
        .slice(5_000)
        .filter((n) => n !== 6_001)
        .map((n) => row(at, n)),
      6_200,
    );
    expect(await at.run()).toMatchObject({
      verdict: 'DRIFT_DETECTED',
      summary: { counts: { ledgerRecords: 6_200, bookRecords: 6_199, matched: 6_199, drifted: 1 } },
    });
  });

  it('claims nothing before the stream began', async () => {
    const at = await house({ startLedger: 1000 });
    await at.ledgers({ from: 1000, to: 1000 + DAY / 12 }, [leg(1900)]);
    await at.record([row(at, 500), row(at, 990), row(at, 1900)], 2430);
    expect(await at.run()).toMatchObject({ verdict: 'CLEAN', summary: { counts: { matched: 1, skipped: 0 } } });
  });

  it('skips, and does not accuse, a row from so soon after the beginning that its ledger may lie before it', async () => {
    const at = await house({ startLedger: 1000 });
    await at.ledgers({ from: 1000, to: 2500 }, [leg(1900)]);
    await at.record(
      [row(at, 990, { occurredAt: at.timeOf(1100) }), row(at, 1900), row(at, 1950), row(at, 1101, { ledger: 1101 })],
      2499,
    );
    const run = await at.run();
    expect(reasons(run)).toEqual(['COVERAGE_GAP']);
    expect(run.summary?.counts).toMatchObject({ matched: 1, skipped: 1, drifted: 2 });
    expect(await keys(at)).toEqual([hashAt(1950), hashAt(1101)].sort());
  });
});

describe('what was not read', () => {
  it.each(['quarantined', 'unavailable'] as const)(
    'keeps a run INCONCLUSIVE (%s), masks nothing that is proven and accuses nobody across it',
    async (state) => {
      const at = await house({ policy: { lookaroundMs: 60_000 } });
      await at.ledgers({ from: 1, to: 201 }, [leg(10), leg(20), leg(30)]);
      await at.unreadable({ from: 201, to: 401 }, state);
      await at.ledgers({ from: 401, to: 801 }, [leg(500)]);
      await at.record(
        [
          row(at, 10),
          row(at, 20, { amount: 6n }),
          row(at, 40),
          row(at, 195),
          row(at, 300),
          row(at, 405),
          row(at, 320, { ledger: 320 }),
          row(at, 470),
          row(at, 500),
        ],
        800,
      );
      const run = await at.run();
      expect(run.verdict).toBe('INCONCLUSIVE');
      expect(run.summary?.inconclusive).toMatchObject([
        {
          reason: state === 'quarantined' ? 'LEDGER_QUARANTINED' : 'LEDGER_UNAVAILABLE',
          ranges: [{ from: 201, to: 401 }],
        },
      ]);
      expect(run.summary?.sides?.ledger).toMatchObject({
        complete: false,
        missing: [{ from: 201, to: 401 }],
        missingLedgers: 200,
      });
      // Proven: a difference, a leg without a row, and rows far enough from the gap.
      expect(await keys(at)).toEqual([20, 30, 40, 470].map((n) => hashAt(n)).sort());
      expect(run.summary?.counts).toMatchObject({ matched: 2, skipped: 4, drifted: 4 });
    },
  );

  it('is missed also where the window begins in it', async () => {
    const at = await house({ policy: { windowHours: 1 } });
    await at.ledgers({ from: 1, to: 65 }, [leg(10)]);
    await at.unreadable({ from: 65, to: 1281 });
    await at.ledgers({ from: 1281, to: 1793 });
    await at.record([row(at, 10)], 1792);
    const run = await at.run();
    expect(reasons(run)).toEqual(['LEDGER_QUARANTINED']);
    expect(run.summary?.sides?.ledger.missing).toEqual([{ from: 65, to: 1281 }]);
  });

  it('is a gap for an account that was watched later, and none for the others', async () => {
    const at = await house({ watch: makeWatch([SHOP]) });
    await at.ledgers({ from: 1, to: 201 }, [leg(10)]);
    const both = await targetOf(test.db.em(), at.opened.stream.id, makeWatch([SHOP, 'GNEW']));
    await at.ledgers({ from: 201, to: 801 }, [leg(500), { ledger: 600, account: 'GNEW', amount: 1n }], {
      target: both,
    });
    await at.record([row(at, 10), row(at, 500)], 800);
    expect(await at.run()).toMatchObject({ verdict: 'CLEAN', summary: { counts: { matched: 2 } } });
    await at.record([row(at, 600, { account: 'GNEW', amount: 1n })], 800);
    const run = await at.run();
    expect(reasons(run)).toEqual(['COVERAGE_GAP']);
    expect(run.summary?.inconclusive[0]?.ranges).toEqual([{ from: 1, to: 201 }]);
  });
});

describe('a side that is late, failing or empty', () => {
  it('is INCONCLUSIVE while the book was never loaded, or is late', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 2000 }, [leg(10)]);
    expect(reasons(await at.run())).toEqual(['BOOK_STALE']);
    await at.record([row(at, 10)], 1000);
    expect(reasons(await at.run())).toEqual(['BOOK_STALE']);
    await at.record([], 1999);
    expect((await at.run()).verdict).toBe('CLEAN');
  });

  it('is INCONCLUSIVE where the book is complete and holds nothing at all', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 400 }, [leg(10)]);
    await at.record([], 399);
    expect(reasons(await at.run())).toEqual(['SCOPE_EMPTY']);
  });

  it('is INCONCLUSIVE while the source fails, differs, is silent or is far ahead, and before anything was read', async () => {
    const at = await house();
    expect(reasons(await at.run())).toEqual(['SOURCE_UNAVAILABLE']);
    await at.ledgers({ from: 1, to: 400 }, [leg(10)]);
    await at.record([row(at, 10)], 399);
    expect((await at.run()).verdict).toBe('CLEAN');
    await saveFollowerError(test.db.em(), at.opened.stream.id, {
      reason: 'SOURCE_UNAVAILABLE',
      message: 'connection refused',
    });
    expect(await at.run()).toMatchObject({
      verdict: 'INCONCLUSIVE',
      summary: {
        inconclusive: [
          { reason: 'SOURCE_UNAVAILABLE', message: expect.stringContaining('connection refused') as string },
        ],
        counts: { matched: 1 },
      },
    });
    await at.tip(1000);
    expect(reasons(await at.run())).toEqual(['COVERAGE_GAP']);
    await setStreamState(test.db.em(), at.opened.stream.id, 'diverged');
    expect(reasons(await at.run())).toEqual(['SOURCE_DIVERGED']);
  });

  it('is INCONCLUSIVE once the source has been silent for too long, and not before', async () => {
    const at = await house({ maxSilenceMs: 600_000 });
    await at.ledgers({ from: 1, to: 400 }, [leg(10)]);
    await at.record([row(at, 10)], 399);
    const ago = (seconds: number) =>
      sql(
        test.db.em(),
        `update trueup.followers set last_success_at = now() - $2 * interval '1 second' where stream_id = $1`,
        [at.opened.stream.id, seconds],
      );
    await ago(590);
    expect((await at.run()).verdict).toBe('CLEAN');
    await ago(601);
    expect(reasons(await at.run())).toEqual(['SOURCE_UNAVAILABLE']);
  });

  it('is no lag where following was meant to end', async () => {
    const at = await house({ endLedger: 399 });
    await at.ledgers({ from: 1, to: 400 }, [leg(10)]);
    await at.tip(5000);
    await at.record([row(at, 10)], 399);
    expect((await at.run()).verdict).toBe('CLEAN');
  });

  it('still accuses a row where the ledger holds nothing at all and was read whole', async () => {
    const at = await house();
    await at.ledgers({ from: 1, to: 400 });
    await at.record([row(at, 10)], 399);
    expect(await at.run()).toMatchObject({
      verdict: 'DRIFT_DETECTED',
      summary: { counts: { ledgerRecords: 0, drifted: 1 } },
    });
    expect((await at.drifts())[0]?.kinds).toEqual(['MISSING_ON_LEDGER']);
  });
});
