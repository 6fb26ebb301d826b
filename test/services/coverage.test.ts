// Goal: lists of coverage and of gaps are complements, name what is missing and for whom, and page without loss.
// Method: ledgers by hand with holes, a range set apart, two layers and two watches, in a real database.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PagePosition } from '../../src/core/page.ts';
import type { CoverageFilter } from '../../src/core/status.ts';
import { makeWatch } from '../../src/core/watch.ts';
import { createCoverageLists, type CoverageLists, type GapFilter } from '../../src/services/coverage.ts';
import { commitUnreadable } from '../../src/store/coverage.ts';
import { saveTip } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { commitByHand, openTestStream, targetOf, type OpenedStream } from '../_util/ledger-rows.ts';

let test: TestDatabase;
let opened: OpenedStream;
let lists: CoverageLists;

beforeAll(async () => {
  test = await createTestDatabase();
  opened = await openTestStream(test.db, { passphrase: 'coverage', startLedger: 100 });
  await commitByHand(test.db, opened, { from: 100, to: 200 }, [
    { ledger: 130, account: 'GA', amount: 1n },
    { ledger: 190, account: 'GA', amount: 1n },
  ]);
  const why = { state: 'quarantined', reason: 'SOURCE_CORRUPT', detail: 'not XDR', proof: 'chained' } as const;
  await test.db
    .em()
    .transactional((em) => commitUnreadable(em, opened.target, ['operations'], { from: 200, to: 203 }, why));
  await commitByHand(test.db, opened, { from: 203, to: 300 }, []);
  await commitByHand(test.db, opened, { from: 320, to: 350 }, []);
  await commitByHand(test.db, opened, { from: 100, to: 120 }, [], { layers: ['token_events'], follow: false });
  await saveTip(test.db.em(), opened.stream.id, { sequence: 360, closeTime: 1_700_001_800, oldest: 310 });
  lists = createCoverageLists({ db: test.db, networkPassphrase: 'coverage', layers: ['operations'], endLedger: null });
});
afterAll(() => test.drop());

async function coverage(filter: Partial<CoverageFilter>, size = 100) {
  const found = [];
  for (let after: PagePosition | null = null; ;) {
    const page = await lists.listCoverage({ stream: null, ...filter }, { size, after });
    found.push(...page.items);
    if (page.next === null) return found;
    after = page.next;
  }
}
const asText = (items: Awaited<ReturnType<typeof coverage>>) =>
  items.map((each) => `${each.layer} ${each.range.from}-${each.range.to - 1} ${each.state}`);

async function gaps(filter: Partial<GapFilter>, size = 100) {
  const found: string[] = [];
  for (let after: PagePosition | null = null; ;) {
    const page = await lists.listGaps({ stream: null, ...filter }, { size, after });
    found.push(...page.items.map((gap) => `${gap.range.from}-${gap.range.to - 1} ${gap.available}`));
    if (page.next === null) return { found, missing: page.missingLedgers };
    after = page.next;
  }
}

describe('coverage', () => {
  const ALL = [
    'operations 100-199 done',
    'token_events 100-119 done',
    'operations 200-202 quarantined',
    'operations 203-299 done',
    'operations 320-349 done',
  ];

  it('is listed as merged ranges in order, whatever the page size', async () => {
    for (const size of [1, 2, 100]) expect(asText(await coverage({}, size))).toEqual(ALL);
  });

  it('carries what its chunks add up to, and says why a range was set apart and how to try again', async () => {
    const [first, , bad] = await coverage({});
    expect(first).toMatchObject({
      stream: opened.stream.name,
      watch: '*',
      proof: 'chained',
      entryCount: 2n,
      transactionCount: 100n,
      failure: null,
      source: { source: 'stellar-archive:by-hand' },
    });
    expect(bad).toMatchObject({
      proof: null,
      failure: {
        reason: 'LEDGER_QUARANTINED',
        message: expect.stringContaining('ledgers 200-202'),
        fix: expect.stringContaining('--from 200 --to 202'),
      },
    });
    expect(bad?.failure?.message).toContain('not XDR');
  });

  it('filters by layer, state and ledgers', async () => {
    expect(asText(await coverage({ layer: 'token_events' }))).toEqual([ALL[1]]);
    expect(asText(await coverage({ states: ['quarantined'] }))).toEqual([ALL[2]]);
    expect(asText(await coverage({ range: { from: 199, to: 204 }, layer: 'operations' }))).toEqual([
      ALL[0],
      ALL[2],
      ALL[3],
    ]);
    expect(asText(await coverage({ range: { from: 300, to: 320 } }))).toEqual([]);
  });

  it('is listed by chunks, sealed ones with their digest', async () => {
    const chunks = await coverage({ chunks: true, layer: 'operations', range: { from: 100, to: 256 } }, 2);
    expect(asText(chunks)).toEqual([
      'operations 100-127 done',
      'operations 128-191 done',
      'operations 192-199 done',
      'operations 200-202 quarantined',
      'operations 203-255 done',
    ]);
    expect(chunks.map((chunk) => chunk.digest !== null)).toEqual([false, true, false, false, false]);
    expect(chunks[1]).toMatchObject({ entryCount: 2n, digest: expect.stringMatching(/^2:[0-9a-f]{32}$/) });
  });
});

describe('gaps', () => {
  it('are what coverage leaves between the first ledger and the tip, told apart by what the source still keeps', async () => {
    for (const size of [1, 100]) {
      expect(await gaps({}, size)).toEqual({
        found: ['200-202 false', '300-309 false', '310-319 true', '350-360 true'],
        missing: 3 + 20 + 11,
      });
    }
  });

  it('are those of the range asked for, and never beyond the tip', async () => {
    expect(await gaps({ range: { from: 90, to: 202 } })).toEqual({
      found: ['90-99 false', '200-201 false'],
      missing: 12,
    });
    expect(await gaps({ range: { from: 349, to: 1000 } })).toEqual({ found: ['350-360 true'], missing: 11 });
    expect(await gaps({ range: { from: 120, to: 130 } })).toEqual({ found: [], missing: 0 });
  });

  it('are each layer of its own', async () => {
    expect((await gaps({ layer: 'token_events' })).found).toEqual(['120-309 false', '310-360 true']);
  });

  it('end where the deployment ends', async () => {
    const ending = createCoverageLists({
      db: test.db,
      networkPassphrase: 'coverage',
      layers: ['operations'],
      endLedger: 349,
    });
    expect((await ending.listGaps({ stream: null }, { size: 100, after: null })).missingLedgers).toBe(23);
  });
});

describe('a newly watched account', () => {
  it('begins uncovered, and only for itself', async () => {
    const first = await openTestStream(test.db, { passphrase: 'two watches', watch: makeWatch(['GA']) });
    await commitByHand(test.db, first, { from: 1, to: 50 }, []);
    const second = { ...first, target: await targetOf(test.db.em(), first.stream.id, makeWatch(['GA', 'GB'])) };
    await commitByHand(test.db, second, { from: 50, to: 60 }, []);
    const watching = createCoverageLists({
      db: test.db,
      networkPassphrase: 'two watches',
      layers: ['operations'],
      endLedger: null,
    });
    const of = async (watch?: string) => {
      const page = await watching.listGaps(
        { stream: null, ...(watch === undefined ? {} : { watch }) },
        { size: 10, after: null },
      );
      return page.items.map((gap) => `${gap.watch} ${gap.range.from}-${gap.range.to - 1}`);
    };
    expect(await of('GA')).toEqual([]);
    expect(await of('GB')).toEqual(['GB 1-49']);
    expect(await of()).toEqual(['* 1-49']);
    expect(await of('GC')).toEqual(['GC 1-59']);
  });
});
