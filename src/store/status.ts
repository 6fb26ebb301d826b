// What rows tell of a stream's state, so that every replica answers the same.
import type { EntityManager } from '@mikro-orm/postgresql';
import { subtract, unite, type CoverageState } from '../core/coverage.ts';
import type { Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { coverageOf } from './coverage-read.ts';
import { sql, toDate, toDateOrNull } from './database.ts';
import { LAYER_CODES } from './entries.ts';
import type { FollowerRow } from './streams.ts';

/** Islands of one stream and layer that are read at once; the same as coverage-read's. */
const MAX_ISLANDS = 100_000;

export type FollowerReach = Pick<FollowerRow, 'startLedger' | 'nextLedger' | 'tipLedger' | 'oldestLedger'>;

export interface WatchFacts {
  readonly watchSetId: number;
  /** Null: everything. */
  readonly members: readonly string[] | null;
  /** Whether the stream never had another watch. */
  readonly only: boolean;
  readonly reach: FollowerReach;
}

export interface ScopeCoverage {
  readonly done: readonly LedgerRange[];
  /** Without what another reading has covered meanwhile. */
  readonly quarantined: readonly LedgerRange[];
  readonly unavailable: readonly LedgerRange[];
}

/** The follower's watch, and between which ledgers it moves; null before the stream has a follower. */
export async function followerWatch(em: EntityManager, streamId: number): Promise<WatchFacts | null> {
  const rows = await sql<{ id: number; everything: boolean; only: boolean } & ReachRecord>(
    em,
    `select w.id, w.everything, f.start_ledger, f.next_ledger, f.tip_ledger, f.oldest_ledger, not exists (
       select 1 from trueup.watch_sets as other where other.stream_id = $1 and other.id <> w.id) as only
     from trueup.followers f join trueup.watch_sets w on w.id = f.watch_set_id where f.stream_id = $1`,
    [streamId],
  );
  const row = rows[0];
  if (!row) return null;
  const members = row.everything || row.only ? [] : await watchMembers(em, row.id);
  const reach = {
    startLedger: row.start_ledger,
    nextLedger: row.next_ledger,
    tipLedger: row.tip_ledger,
    oldestLedger: row.oldest_ledger,
  };
  return { watchSetId: row.id, members: row.everything ? null : members, only: row.only, reach };
}

interface ReachRecord {
  start_ledger: number;
  next_ledger: number;
  tip_ledger: number | null;
  oldest_ledger: number | null;
}

export async function watchMembers(em: EntityManager, watchSetId: number): Promise<string[]> {
  const rows = await sql<{ member: string }>(
    em,
    `select member from trueup.watch_sets, unnest(members) as member where id = $1 order by member`,
    [watchSetId],
  );
  return rows.map((row) => row.member);
}

/** Accounts and contracts that the follower watches; null: everything. */
export async function watchCount(em: EntityManager, streamId: number): Promise<number | null> {
  const rows = await sql<{ everything: boolean; count: number }>(
    em,
    `select everything, cardinality(members) as count from trueup.followers f join trueup.watch_sets w on w.id = f.watch_set_id
     where f.stream_id = $1`,
    [streamId],
  );
  return rows[0] === undefined || rows[0].everything ? null : rows[0].count;
}

/** What is known for all that the follower watches. */
export async function followedCoverage(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  watch: WatchFacts,
): Promise<ScopeCoverage> {
  const known = watch.only
    ? await islandsOf(em, streamId, layer, watch.watchSetId)
    : await coverageOf(em, streamId, layer, watch.members);
  const done = unite(known.done);
  const rest = (ranges: readonly LedgerRange[]) => unite(ranges).flatMap((range) => subtract(range, done));
  return { done, quarantined: rest(known.quarantined), unavailable: rest(known.unavailable) };
}

async function islandsOf(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  watchSetId: number,
): Promise<ScopeCoverage> {
  const rows = await sql<{ from_ledger: number; to_ledger: number; state: CoverageState }>(
    em,
    `select from_ledger, to_ledger, state from trueup.coverage_islands
     where stream_id = $1 and layer = $2 and watch_set_id = $3 order by from_ledger limit ${MAX_ISLANDS}`,
    [streamId, LAYER_CODES[layer], watchSetId],
  );
  const of = (state: CoverageState): LedgerRange[] =>
    rows.filter((row) => row.state === state).map((row) => ({ from: row.from_ledger, to: row.to_ledger }));
  return { done: of('done'), quarantined: of('quarantined'), unavailable: of('unavailable') };
}

/** The island that reaches the checkpoint, else the last one below it; null where nothing is covered. */
export function reachingIsland(done: readonly LedgerRange[], nextLedger: number): LedgerRange | null {
  return done.filter((range) => range.from < nextLedger).at(-1) ?? null;
}

/** Last ledger up to which a layer is covered without a break for all that is watched; null where nothing is. */
export async function contiguousLedger(em: EntityManager, streamId: number, layer: Layer): Promise<number | null> {
  const watch = await followerWatch(em, streamId);
  if (watch === null) return null;
  const { done } = await followedCoverage(em, streamId, layer, watch);
  const island = reachingIsland(done, watch.reach.nextLedger);
  return island === null ? null : island.to - 1;
}

/** When a ledger closed, by its own rows; null where no row tells exactly. */
export async function closeTimeOfLedger(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  ledger: number,
): Promise<Date | null> {
  const rows = await sql<{ closed_at: string | null }>(
    em,
    `select coalesce(
       (select closed_at from trueup.entries where stream_id = $1 and layer = $2 and ledger = $3 limit 1),
       (select max(last_closed_at) from trueup.coverage_chunks
        where stream_id = $1 and layer = $2 and state = 'done' and to_ledger = $3::int + 1
          and from_ledger >= $3::int / 64 * 64 and from_ledger <= $3 and last_hash is not null)) as closed_at`,
    [streamId, LAYER_CODES[layer], ledger],
  );
  return toDateOrNull(rows[0]?.closed_at);
}

/** Entries that chunks of a layer counted; where watches overlap, the follower's own count stands. */
export async function countEntries(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  watchSetId: number,
): Promise<bigint> {
  const rows = await sql<{ count: string }>(
    em,
    `select coalesce(sum(entry_count), 0)::text as count from (
       select distinct on (from_ledger) entry_count from trueup.coverage_chunks
       where stream_id = $1 and layer = $2 and state = 'done'
       order by from_ledger, watch_set_id = $3 desc, entry_count desc) as chunk`,
    [streamId, LAYER_CODES[layer], watchSetId],
  );
  return BigInt(rows[0]!.count);
}

/** Why a range was set apart, by the first of its chunks. */
export async function reasonOfRange(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  range: LedgerRange,
): Promise<{ reason: string | null; detail: string | null; at: Date } | null> {
  const rows = await sql<{ reason: string | null; detail: string | null; updated_at: string }>(
    em,
    `select reason, detail, updated_at from trueup.coverage_chunks
     where stream_id = $1 and layer = $2 and state <> 'done' and from_ledger < $4 and to_ledger > $3
     order by from_ledger limit 1`,
    [streamId, LAYER_CODES[layer], range.from, range.to],
  );
  return rows[0] ? { reason: rows[0].reason, detail: rows[0].detail, at: toDate(rows[0].updated_at) } : null;
}

/** A covered ledger with its close time, near the beginning of a range: with another one it tells the rate of closing. */
export async function timedLedgerIn(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  range: LedgerRange,
): Promise<{ ledger: number; closedAt: Date } | null> {
  const rows = await sql<{ to_ledger: number; last_closed_at: string }>(
    em,
    `select to_ledger, last_closed_at from trueup.coverage_chunks
     where stream_id = $1 and layer = $2 and from_ledger >= $3 and from_ledger < $4 and state = 'done' and last_hash is not null
       and last_closed_at is not null
     order by from_ledger limit 1`,
    [streamId, LAYER_CODES[layer], range.from, range.to],
  );
  return rows[0] ? { ledger: rows[0].to_ledger - 1, closedAt: toDate(rows[0].last_closed_at) } : null;
}

/** Layers of which something is known. */
export async function knownLayers(em: EntityManager, streamId: number): Promise<Layer[]> {
  const layers: Layer[] = [];
  for (const layer of Object.keys(LAYER_CODES) as Layer[]) {
    const rows = await sql(em, `select 1 from trueup.coverage_islands where stream_id = $1 and layer = $2 limit 1`, [
      streamId,
      LAYER_CODES[layer],
    ]);
    if (rows.length > 0) layers.push(layer);
  }
  return layers;
}

export async function databaseNow(em: EntityManager): Promise<Date> {
  const rows = await sql<{ now: string }>(em, 'select clock_timestamp() as now');
  return toDate(rows[0]!.now);
}
