// A page of gaps out of a long history. Goal: of 10,000 gaps over 64 million ledgers a page and their count come within 5 ms, as an
// operator's first look and as any later page; with several watch sets too. Method: islands as rows, ListGaps' own service.
import { WATCH_EVERYTHING, makeWatch } from '../src/core/watch.ts';
import { createCoverageLists } from '../src/services/coverage.ts';
import { type Database, sql } from '../src/store/database.ts';
import { ensureWatchSet, openStream, saveTip } from '../src/store/streams.ts';
import { atMost, type Figure, median, reported } from './figure.ts';
import { startBenchServer } from './server.ts';

const GAPS = 10_000;
const LEDGERS = 64_000_000;
const PAGE_SIZE = 50;
const ROUNDS = 60;
const TARGET_MS = 5;

export async function gapsBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  await using db = await server.fresh();
  const one = await fill(db, 'one watch', 1);
  const several = await fill(db, 'three watches', 3);
  await sql(db.em(), 'analyze trueup.coverage_islands');
  return [
    atMost('backfill.list_gaps_ms', await pageMs(one, 0), 'ms', TARGET_MS),
    atMost('backfill.list_gaps_later_page_ms', await pageMs(one, 100), 'ms', TARGET_MS),
    atMost('backfill.list_gaps_watches_later_page_ms', await pageMs(several, 100), 'ms', TARGET_MS),
    reported('backfill.list_gaps_watches_ms', await pageMs(several, 0), 'ms'),
  ];
}

type Lists = ReturnType<typeof createCoverageLists>;

/** A stream with a gap every 6,400 ledgers in the coverage of each of its watch sets, at places of its own. */
async function fill(db: Database, name: string, watchSets: number): Promise<Lists> {
  const step = LEDGERS / GAPS;
  await db.em().transactional(async (em) => {
    const watch = watchSets === 1 ? WATCH_EVERYTHING : makeWatch(['GA', 'GB', 'GC']);
    const stream = await openStream(em, {
      networkPassphrase: name,
      anchor: { sequence: 2, hash: 'a'.repeat(64) + name },
      sandbox: false,
      startLedger: 1,
      watchSet: (id) => ensureWatchSet(em, id, watch),
    });
    const watches = [watch, makeWatch(['GA']), makeWatch(['GB'])].slice(0, watchSets);
    for (const [at, each] of watches.entries()) {
      await sql(
        em,
        `insert into trueup.coverage_islands
         select $1, 0, $2, 1 + n * $3::int + $4::int, 1 + (n + 1) * $3::int - 64, 'done' from generate_series(0, $5::int - 1) as n`,
        [stream.id, await ensureWatchSet(em, stream.id, each), step, at * 10, GAPS],
      );
    }
    await saveTip(em, stream.id, { sequence: LEDGERS, closeTime: 1_700_000_000, oldest: 1 });
  });
  return createCoverageLists({ db, networkPassphrase: name, layers: ['operations'], endLedger: null });
}

/** The median time of one page, after `pages` others. */
async function pageMs(lists: Lists, pages: number): Promise<number> {
  let after = null;
  for (let page = 0; page < pages; page++) {
    const { next, items, missingLedgers } = await lists.listGaps({ stream: null }, { size: PAGE_SIZE, after });
    if (items.length !== PAGE_SIZE || missingLedgers < GAPS * 64) throw new Error(`page ${page} is no page of gaps`);
    after = next;
  }
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const startedMs = performance.now();
    await lists.listGaps({ stream: null }, { size: PAGE_SIZE, after });
    times.push(performance.now() - startedMs);
  }
  return median(times);
}
