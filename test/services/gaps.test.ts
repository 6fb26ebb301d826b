// Goal: paged gaps are exactly what a list of single ledgers says is missing, for any coverage, watches and page size.
// Method: random islands of several watch sets written as rows, against sets of ledgers in memory.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CoverageState } from '../../src/core/coverage.ts';
import type { LedgerRange } from '../../src/core/ledger.ts';
import type { PagePosition } from '../../src/core/page.ts';
import type { Gap } from '../../src/core/status.ts';
import { makeWatch, WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { createCoverageLists } from '../../src/services/coverage.ts';
import { sql } from '../../src/store/database.ts';
import { saveTip } from '../../src/store/streams.ts';
import { cases } from '../_util/cases.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openTestStream, targetOf } from '../_util/ledger-rows.ts';

const TIP = 60;
let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.drop());

interface Painted extends LedgerRange {
  readonly state: CoverageState;
}

/** One state a ledger, or nothing; drawn as islands that never touch a neighbour of their own state. */
const painted = fc
  .array(fc.constantFrom<CoverageState | null>('done', 'done', 'done', null, 'unavailable', 'quarantined'), {
    minLength: TIP,
    maxLength: TIP,
  })
  .map((states) => {
    const islands: Painted[] = [];
    states.forEach((state, i) => {
      const [ledger, last] = [i + 1, islands.at(-1)];
      if (state === null) return;
      if (last?.to === ledger && last.state === state) islands[islands.length - 1] = { ...last, to: ledger + 1 };
      else islands.push({ from: ledger, to: ledger + 1, state });
    });
    return islands;
  });

const holds = (islands: readonly Painted[], ledger: number, state: CoverageState): boolean =>
  islands.some((island) => island.state === state && island.from <= ledger && ledger < island.to);

/** Gaps as a list of single ledgers tells them. */
function naiveGaps(ledgers: readonly number[], done: (n: number) => boolean, lost: (n: number) => boolean) {
  const gaps: { from: number; to: number; available: boolean }[] = [];
  for (const ledger of ledgers) {
    if (done(ledger)) continue;
    const [available, last] = [!lost(ledger), gaps.at(-1)];
    if (last?.to === ledger && last.available === available) last.to = ledger + 1;
    else gaps.push({ from: ledger, to: ledger + 1, available });
  }
  return gaps;
}

describe('pages of gaps', () => {
  it('together are what is missing, each gap once and whole, whatever the coverage, the watches and the page size', async () => {
    let networks = 0;
    const opened = await openTestStream(test.db, { passphrase: `gaps ${++networks}`, watch: makeWatch(['GA', 'GB']) });
    const { id } = opened.stream;
    const sets = [
      { key: 'both', id: opened.target.watchSetId },
      { key: 'a', id: (await targetOf(test.db.em(), id, makeWatch(['GA']))).watchSetId },
      { key: 'b', id: (await targetOf(test.db.em(), id, makeWatch(['GB', 'GC']))).watchSetId },
      { key: 'all', id: (await targetOf(test.db.em(), id, WATCH_EVERYTHING)).watchSetId },
    ] as const;
    const lists = createCoverageLists({
      db: test.db,
      networkPassphrase: opened.stream.networkPassphrase,
      layers: ['operations'],
      endLedger: null,
    });
    await fc.assert(
      fc.asyncProperty(
        fc.record({ both: painted, a: painted, b: painted, all: fc.oneof(fc.constant<Painted[]>([]), painted) }),
        fc.integer({ min: 1, max: TIP }),
        fc.integer({ min: 1, max: 8 }),
        fc.option(fc.tuple(fc.integer({ min: 1, max: TIP }), fc.integer({ min: 0, max: TIP }))),
        fc.constantFrom(undefined, 'GA', 'GC'),
        async (coverage, oldest, size, asked, watch) => {
          await sql(test.db.em(), 'delete from trueup.coverage_islands where stream_id = $1', [id]);
          for (const set of sets) {
            const islands = coverage[set.key];
            await sql(
              test.db.em(),
              `insert into trueup.coverage_islands select $1, 0, $2, * from unnest($3::int[], $4::int[], $5::text[])`,
              [id, set.id, islands.map((i) => i.from), islands.map((i) => i.to), islands.map((i) => i.state)],
            );
          }
          await saveTip(test.db.em(), id, { sequence: TIP, closeTime: 1_700_000_000, oldest });
          const range = asked === null ? undefined : { from: asked[0], to: asked[0] + asked[1] + 1 };
          const of = (keys: readonly (keyof typeof coverage)[], ledger: number) =>
            keys.some((key) => holds(coverage[key], ledger, 'done'));
          const [a, b, c] = [
            ['both', 'a', 'all'],
            ['both', 'b', 'all'],
            ['b', 'all'],
          ] as const;
          const done = (ledger: number): boolean =>
            watch === 'GA' ? of(a, ledger) : watch === 'GC' ? of(c, ledger) : of(a, ledger) && of(b, ledger);
          const lost = (ledger: number): boolean =>
            ledger < oldest || sets.some((set) => holds(coverage[set.key], ledger, 'unavailable'));
          const [from, to] = [range?.from ?? 1, Math.min(range?.to ?? Infinity, TIP + 1)];
          const ledgers = Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
          const expected = naiveGaps(ledgers, done, lost);

          const found: Gap[] = [];
          const filter = { stream: null, ...(range && { range }), ...(watch !== undefined && { watch }) };
          for (let after: PagePosition | null = null; ;) {
            const page = await lists.listGaps(filter, { size, after });
            expect(page.missingLedgers).toBe(ledgers.filter((ledger) => !done(ledger)).length);
            expect(page.items.length).toBeLessThanOrEqual(size);
            found.push(...page.items);
            if (page.next === null) break;
            after = page.next;
          }
          expect(found.map((gap) => ({ ...gap.range, available: gap.available }))).toEqual(expected);
        },
      ),
      cases(40),
    );
  });

  it('count what is missing from the kept total, whatever is covered before the start and after the tip', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'gaps of one watch' });
    const { id } = opened.stream;
    const lists = createCoverageLists({
      db: test.db,
      networkPassphrase: opened.stream.networkPassphrase,
      layers: ['operations'],
      endLedger: null,
    });
    await fc.assert(
      fc.asyncProperty(painted, painted, fc.nat(TIP - 1), fc.nat(TIP - 1), async (before, islands, first, length) => {
        const [from, tip] = [first + 1, Math.min(TIP, first + 1 + length)];
        // What was painted before and is gone must be gone from the total as well.
        for (const each of [before, islands]) {
          await sql(test.db.em(), 'delete from trueup.coverage_islands where stream_id = $1', [id]);
          await sql(
            test.db.em(),
            `insert into trueup.coverage_islands select $1, 0, $2, * from unnest($3::int[], $4::int[], $5::text[])`,
            [id, opened.target.watchSetId, each.map((i) => i.from), each.map((i) => i.to), each.map((i) => i.state)],
          );
        }
        await sql(
          test.db.em(),
          'update trueup.followers set start_ledger = $2, next_ledger = $2, tip_ledger = $3 where stream_id = $1',
          [id, from, tip],
        );
        const wanted = Array.from({ length: tip - from + 1 }, (_, i) => from + i);
        const missing = wanted.filter((ledger) => !holds(islands, ledger, 'done')).length;
        const page = { size: 3, after: null };
        expect((await lists.listGaps({ stream: null }, page)).missingLedgers).toBe(missing);
        const range = { from, to: tip + 1 };
        expect((await lists.listGaps({ stream: null, range }, page)).missingLedgers).toBe(missing);
      }),
      cases(40),
    );
  });

  it('refuse an island that is updated in place, which would leave the kept total untrue', async () => {
    await expect(sql(test.db.em(), `update trueup.coverage_islands set to_ledger = to_ledger + 1`)).rejects.toThrow(
      'never updated',
    );
  });

  it('go on in both layers where each stopped', async () => {
    const opened = await openTestStream(test.db, { passphrase: 'gaps of two layers' });
    for (const [layer, step] of [
      [0, 4],
      [1, 6],
    ] as const) {
      await sql(
        test.db.em(),
        `insert into trueup.coverage_islands select $1, $2::smallint, $3, n, n + 2, 'done' from generate_series(1, ${TIP}, ${step}) as n`,
        [opened.stream.id, layer, opened.target.watchSetId],
      );
    }
    await saveTip(test.db.em(), opened.stream.id, { sequence: TIP, closeTime: 1_700_000_000, oldest: 1 });
    const lists = createCoverageLists({
      db: test.db,
      networkPassphrase: opened.stream.networkPassphrase,
      layers: ['operations', 'token_events'],
      endLedger: null,
    });
    const whole = await lists.listGaps({ stream: null }, { size: 1000, after: null });
    expect(whole.items).toHaveLength(15 + 10);
    const found: Gap[] = [];
    for (let after: PagePosition | null = null; ;) {
      const page = await lists.listGaps({ stream: null }, { size: 2, after });
      found.push(...page.items);
      if (page.next === null) break;
      after = page.next;
    }
    expect(found).toEqual(whole.items);
  });
});
