// Gaps page by page: only the islands of a page are read, however many there are in the whole history.
import type { EntityManager } from '@mikro-orm/postgresql';
import { coverageWindow, meltMissing, missingIn, type MissingRange, type WatchScope } from '../core/coverage-window.ts';
import type { CoverageState, Island } from '../core/coverage.ts';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { intersectPacked, packedLength, unitePacked, type PackedRanges } from '../core/packed-ranges.ts';
import { watchGroups } from './coverage-read.ts';
import { sql } from './database.ts';
import { LAYER_CODES } from './entries.ts';
import type { WatchFacts } from './status.ts';

/** Islands of all sets that are held at once where everything has to be counted; 8 bytes each. */
const MAX_COUNTED_ISLANDS = 4_000_000;
const ISLAND_BYTES = 8;

export interface GapQuery {
  readonly streamId: number;
  readonly layer: Layer;
  readonly scope: WatchScope;
  readonly wanted: LedgerRange;
  /** The oldest ledger that the source still keeps; null: it has not said. */
  readonly oldest: number | null;
}

/** The watch sets of all that is followed; a stream that never had another watch needs only the one. */
export async function scopeOfFollowed(em: EntityManager, streamId: number, watch: WatchFacts): Promise<WatchScope> {
  if (watch.only) return { groups: [[watch.watchSetId]], sets: [watch.watchSetId] };
  return scopeOfAccounts(em, streamId, watch.members);
}

/** The watch sets of some accounts; null: of everything there is. */
export async function scopeOfAccounts(
  em: EntityManager,
  streamId: number,
  accounts: readonly string[] | null,
): Promise<WatchScope> {
  return watchGroups(em, streamId, accounts);
}

/** The first `count` gaps at or after a ledger, in order. */
export async function gapsFrom(
  em: EntityManager,
  query: GapQuery,
  fromLedger: number,
  count: number,
): Promise<MissingRange[]> {
  // One island more than gaps: each gap lies between two, and the last must be known to its end.
  const limit = count + 2;
  let found: MissingRange[] = [];
  for (let from = Math.max(fromLedger, query.wanted.from); from < query.wanted.to && found.length <= count;) {
    const window = await readWindow(em, query, from, limit);
    found = meltMissing([...found, ...missingIn(window, query.oldest)]);
    from = window.range.to;
  }
  return found.slice(0, count);
}

/**
 * How many ledgers are missing in all.
 *
 * @param whole whether what is wanted is all that there should be, so that little is covered outside it
 */
export async function countMissing(em: EntityManager, query: GapQuery, whole: boolean): Promise<number> {
  const { wanted, scope } = query;
  const [only, another] = scope.groups;
  if (only?.length === 1 && another === undefined) {
    return wanted.to - wanted.from - (await countDone(em, query, only[0]!, whole));
  }
  const islands = await packedIslands(em, query);
  const done = scope.groups
    .map((sets) => sets.map((set) => islands.get(set) ?? NO_RANGES).reduce(unitePacked, NO_RANGES))
    .reduce(intersectPacked, Int32Array.of(wanted.from, wanted.to));
  return wanted.to - wanted.from - packedLength(done);
}

/**
 * How many of the wanted ledgers one set has done: of the set's kept total what doesn't lie outside, or, where a part was asked
 * for, what lies inside. Adding up 10,000 islands takes 3 ms, and nothing lies outside a whole history.
 */
async function countDone(em: EntityManager, query: GapQuery, watchSetId: number, whole: boolean): Promise<number> {
  const { streamId, layer, wanted } = query;
  const rows = await sql<{ done: string }>(em, whole ? DONE_LESS_OUTSIDE_SQL : DONE_INSIDE_SQL, [
    streamId,
    LAYER_CODES[layer],
    watchSetId,
    wanted.from,
    wanted.to,
  ]);
  return Number(rows[0]!.done);
}

const DONE_INSIDE_SQL = `
  select coalesce(sum(least(to_ledger, $5) - greatest(from_ledger, $4)), 0)::text as done from trueup.coverage_islands
  where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger < $5 and to_ledger > $4 and state = 'done'`;

/** The last island that begins below the end may reach over it; `least` and `greatest` cut what lies on a border. */
const DONE_LESS_OUTSIDE_SQL = `
  with total as (select done_ledgers from trueup.coverage_totals where stream_id = $1 and layer = $2 and watch_set_id = $3),
    below as (select least(to_ledger, $4) - from_ledger as ledgers from trueup.coverage_islands
      where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger < $4 and state = 'done'),
    last as (select * from trueup.coverage_islands
      where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger < $5 order by from_ledger desc limit 1),
    above as (
      select to_ledger - greatest(from_ledger, $5) as ledgers from last where to_ledger > $5 and state = 'done'
      union all
      select to_ledger - from_ledger from trueup.coverage_islands
      where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger >= $5 and state = 'done')
  select (coalesce((select done_ledgers from total), 0) - coalesce((select sum(ledgers) from below), 0)
    - coalesce((select sum(ledgers) from above), 0))::text as done`;

const NO_RANGES: PackedRanges = new Int32Array();

/** All that is done of each set, as bytes: 10,000 rows of two numbers would take the driver longer than the database. */
async function packedIslands(
  em: EntityManager,
  { streamId, layer, scope, wanted }: GapQuery,
): Promise<Map<number, PackedRanges>> {
  const sets = [...new Set(scope.groups.flat())];
  const rows = await sql<{ id: number; bytes: Buffer | null }>(
    em,
    `select wanted.id, packed.bytes from unnest($3::int[]) as wanted (id) cross join lateral (
       select string_agg(int4send(from_ledger) || int4send(to_ledger), '' order by from_ledger) as bytes
       from (select from_ledger, to_ledger from trueup.coverage_islands as i
         where i.stream_id = $1 and i.layer = $2 and i.watch_set_id = wanted.id and i.from_ledger < $5 and i.to_ledger > $4
           and i.state = 'done' order by from_ledger limit $6) as island) as packed`,
    [
      streamId,
      LAYER_CODES[layer],
      sets,
      wanted.from,
      wanted.to,
      Math.floor(MAX_COUNTED_ISLANDS / (sets.length || 1)) + 1,
    ],
  );
  const packed = new Map(rows.map(({ id, bytes }) => [id, unpackBytes(bytes ?? Buffer.alloc(0))]));
  const most = Math.max(0, ...[...packed.values()].map((ranges) => ranges.length / 2)) * sets.length;
  if (most <= MAX_COUNTED_ISLANDS) return packed;
  throw new TrueUpError('TOO_MANY_ROWS', `coverage has more than ${MAX_COUNTED_ISLANDS} separate ranges`, {
    fix: 'ask for a range of ledgers',
  });
}

function unpackBytes(bytes: Buffer): PackedRanges {
  const ranges = new Int32Array((bytes.length / ISLAND_BYTES) * 2);
  for (let i = 0; i < ranges.length; i++) ranges[i] = bytes.readInt32BE(i * 4);
  return ranges;
}

async function readWindow(em: EntityManager, query: GapQuery, from: number, limit: number) {
  const wanted = { from, to: query.wanted.to };
  return coverageWindow(query.scope, await islandsFrom(em, query, wanted, limit), wanted, limit);
}

/** The next islands of each set by the primary key: 50 of 10,000 are found in 0.1 ms. */
async function islandsFrom(
  em: EntityManager,
  { streamId, layer, scope }: GapQuery,
  range: LedgerRange,
  limit: number,
): Promise<Map<number, Island[]>> {
  const rows = await sql<{ watch_set_id: number; from_ledger: number; to_ledger: number; state: CoverageState }>(
    em,
    `select wanted.id as watch_set_id, island.* from unnest($3::int[]) as wanted (id)
     cross join lateral (
       select from_ledger, to_ledger, state from trueup.coverage_islands as i
       where i.stream_id = $1 and i.layer = $2 and i.watch_set_id = wanted.id and i.from_ledger < $5 and i.to_ledger > $4
         and i.from_ledger >= coalesce((
           select max(from_ledger) from trueup.coverage_islands as before
           where before.stream_id = $1 and before.layer = $2 and before.watch_set_id = wanted.id and before.from_ledger <= $4), 0)
       order by from_ledger limit $6) as island`,
    [streamId, LAYER_CODES[layer], scope.sets, range.from, range.to, limit],
  );
  const islands = new Map<number, Island[]>();
  for (const row of rows) {
    const island = { from: row.from_ledger, to: row.to_ledger, state: row.state };
    const known = islands.get(row.watch_set_id);
    if (known) known.push(island);
    else islands.set(row.watch_set_id, [island]);
  }
  return islands;
}
