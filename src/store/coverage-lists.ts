// Coverage as lists: of many accounts at once, and page by page for people.
import type { EntityManager } from '@mikro-orm/postgresql';
import { unite, type CoverageState } from '../core/coverage.ts';
import type { Digest } from '../core/digest.ts';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { CoverageProof, LedgerRange } from '../core/ledger.ts';
import { sql, toDate } from './database.ts';
import { LAYER_CODES, LAYER_OF_CODE } from './entries.ts';

/** Islands that are read at once; a history with more holes is asked for in parts. */
const MAX_ISLANDS = 100_000;

/**
 * What is done for each account: an account is covered by every watch set that names it and by those of everything. Accounts
 * with the same watch sets share one list.
 */
export async function coverageByAccount(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  accounts: readonly string[],
): Promise<Map<string, readonly LedgerRange[]>> {
  const wanted = [...new Set(accounts)];
  const rows = await sql<{ id: number; everything: boolean; members: string[] }>(
    em,
    `select id, everything, array(select member from unnest(members) as member where member = any($2::text[])) as members
     from trueup.watch_sets where stream_id = $1 order by id`,
    [streamId, wanted],
  );
  const done = await doneByWatchSet(em, streamId, layer);
  const everything = rows.filter((row) => row.everything).map((row) => row.id);
  const setsOf = new Map<string, number[]>(wanted.map((account) => [account, [...everything]]));
  for (const row of rows) {
    if (!row.everything) for (const member of row.members) setsOf.get(member)?.push(row.id);
  }
  const shared = new Map<string, readonly LedgerRange[]>();
  const covered = new Map<string, readonly LedgerRange[]>();
  for (const [account, ids] of setsOf) {
    const key = ids.join();
    const ranges = shared.get(key) ?? unite(ids.flatMap((id) => done.get(id) ?? []));
    shared.set(key, ranges);
    covered.set(account, ranges);
  }
  return covered;
}

async function doneByWatchSet(em: EntityManager, streamId: number, layer: Layer): Promise<Map<number, LedgerRange[]>> {
  const rows = await sql<{ watch_set_id: number; from_ledger: number; to_ledger: number }>(
    em,
    `select watch_set_id, from_ledger, to_ledger from trueup.coverage_islands
     where stream_id = $1 and layer = $2 and state = 'done' order by watch_set_id, from_ledger limit ${MAX_ISLANDS + 1}`,
    [streamId, LAYER_CODES[layer]],
  );
  if (rows.length > MAX_ISLANDS) {
    throw new TrueUpError(
      'TOO_MANY_ROWS',
      `coverage has more than ${MAX_ISLANDS} separate ranges; fill its gaps with trueup backfill`,
    );
  }
  const done = new Map<number, LedgerRange[]>();
  for (const row of rows) {
    const range = { from: row.from_ledger, to: row.to_ledger };
    const known = done.get(row.watch_set_id);
    if (known) known.push(range);
    else done.set(row.watch_set_id, [range]);
  }
  return done;
}

export interface ChunkFilter {
  readonly layers: readonly Layer[];
  readonly watchSetIds: readonly number[];
  /** Null: every state. */
  readonly states: readonly CoverageState[] | null;
  readonly range: LedgerRange | null;
}

export interface ChunkRow {
  readonly layer: Layer;
  readonly watchSetId: number;
  readonly range: LedgerRange;
  readonly state: CoverageState;
  readonly proof: CoverageProof;
  readonly entryCount: bigint;
  readonly txCount: bigint;
  readonly firstPrevHash: string | null;
  readonly lastHash: string | null;
  /** Null unless the chunk is whole and sealed. */
  readonly digest: Digest | null;
  readonly source: string;
  readonly reason: string | null;
  readonly detail: string | null;
  readonly updatedAt: Date;
}

export interface ChunkPosition {
  readonly ledger: number;
  readonly layer: Layer;
  readonly watchSetId: number;
}

/** Chunks in order of their first ledger, then layer and watch set; at most `limit`. */
export async function listChunks(
  em: EntityManager,
  streamId: number,
  filter: ChunkFilter,
  after: ChunkPosition | null,
  limit: number,
): Promise<ChunkRow[]> {
  const rows = await sql<ChunkRecord>(
    em,
    `select ${CHUNK_COLUMNS} from trueup.coverage_chunks c join trueup.sources s on s.id = c.source_id
     where c.stream_id = $1 and c.layer = any($2::smallint[]) and c.watch_set_id = any($3::int[])
       and ($4::text[] is null or c.state = any($4)) and ($5::int is null or c.to_ledger > $5) and ($6::int is null or c.from_ledger < $6)
       and ($7::int is null or (c.from_ledger, c.layer, c.watch_set_id) > ($7, $8, $9))
     order by c.from_ledger, c.layer, c.watch_set_id limit $10`,
    [
      streamId,
      filter.layers.map((layer) => LAYER_CODES[layer]),
      filter.watchSetIds,
      filter.states,
      filter.range?.from ?? null,
      filter.range?.to ?? null,
      ...(after === null ? [null, null, null] : [after.ledger, LAYER_CODES[after.layer], after.watchSetId]),
      limit,
    ],
  );
  return rows.map(toChunk);
}

export interface RangeFacts {
  /** The weaker of the proofs of its chunks. */
  readonly proof: CoverageProof;
  readonly entryCount: bigint;
  readonly txCount: bigint;
  readonly firstPrevHash: string | null;
  readonly lastHash: string | null;
  /** Null where several sources gave it. */
  readonly source: string | null;
  readonly reason: string | null;
  readonly detail: string | null;
  readonly updatedAt: Date;
}

/** What the chunks of each range add up to; where watch sets overlap, the first of `watchSetIds` is counted. */
export async function factsOfRanges(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  watchSetIds: readonly number[],
  ranges: readonly { range: LedgerRange; state: CoverageState }[],
): Promise<(RangeFacts | null)[]> {
  const rows = await sql<RangeRecord>(
    em,
    `select facts.* from unnest($4::int[], $5::int[], $6::text[]) with ordinality as wanted (from_ledger, to_ledger, state, at)
     cross join lateral (
       select count(*) as chunks, bool_and(proof = 'chained') as chained, coalesce(sum(entry_count), 0)::text as entry_count,
         coalesce(sum(tx_count), 0)::text as tx_count, (array_agg(first_prev_hash order by from_ledger))[1] as first_prev_hash,
         (array_agg(last_hash order by from_ledger desc))[1] as last_hash, min(source_id) as first_source, max(source_id) as last_source,
         (array_agg(reason order by from_ledger))[1] as reason, (array_agg(detail order by from_ledger))[1] as detail,
         max(updated_at) as updated_at, (select label from trueup.sources where id = min(chunk.source_id)) as source
       from (select distinct on (from_ledger) * from trueup.coverage_chunks c
         where c.stream_id = $1 and c.layer = $2 and c.watch_set_id = any($3::int[]) and c.state = wanted.state
           and c.from_ledger >= wanted.from_ledger and c.to_ledger <= wanted.to_ledger
         order by from_ledger, array_position($3::int[], c.watch_set_id)) as chunk) as facts
     order by wanted.at`,
    [
      streamId,
      LAYER_CODES[layer],
      watchSetIds,
      ranges.map((each) => each.range.from),
      ranges.map((each) => each.range.to),
      ranges.map((each) => each.state),
    ],
  );
  return rows.map((row) =>
    row.chunks === '0'
      ? null
      : {
          proof: row.chained ? 'chained' : 'provider-asserted',
          entryCount: BigInt(row.entry_count),
          txCount: BigInt(row.tx_count),
          firstPrevHash: row.first_prev_hash,
          lastHash: row.last_hash,
          source: row.first_source === row.last_source ? row.source : null,
          reason: row.reason,
          detail: row.detail,
          updatedAt: toDate(row.updated_at),
        },
  );
}

/** The watch sets of a stream that cover an account: those that name it and those of everything. */
export async function watchSetsOf(em: EntityManager, streamId: number, account: string): Promise<number[]> {
  const rows = await sql<{ id: number }>(
    em,
    `select id from trueup.watch_sets where stream_id = $1 and (everything or $2 = any(members)) order by everything desc, id desc`,
    [streamId, account],
  );
  return rows.map((row) => row.id);
}

/** The watch sets of a stream that cover everything. */
export async function watchSetsOfEverything(em: EntityManager, streamId: number): Promise<number[]> {
  const rows = await sql<{ id: number }>(
    em,
    `select id from trueup.watch_sets where stream_id = $1 and everything order by id desc`,
    [streamId],
  );
  return rows.map((row) => row.id);
}

const CHUNK_COLUMNS = `c.layer, c.watch_set_id, c.from_ledger, c.to_ledger, c.state, c.proof, c.entry_count::text as entry_count,
  c.tx_count::text as tx_count, c.first_prev_hash, c.last_hash, c.sealed, c.digest_sum1::text as sum1, c.digest_sum2::text as sum2,
  s.label as source, c.reason, c.detail, c.updated_at`;

interface ChunkRecord {
  layer: number;
  watch_set_id: number;
  from_ledger: number;
  to_ledger: number;
  state: CoverageState;
  proof: CoverageProof;
  entry_count: string;
  tx_count: string;
  first_prev_hash: string | null;
  last_hash: string | null;
  sealed: boolean;
  sum1: string;
  sum2: string;
  source: string;
  reason: string | null;
  detail: string | null;
  updated_at: string;
}

interface RangeRecord {
  chunks: string;
  chained: boolean;
  entry_count: string;
  tx_count: string;
  first_prev_hash: string | null;
  last_hash: string | null;
  first_source: number;
  last_source: number;
  source: string;
  reason: string | null;
  detail: string | null;
  updated_at: string;
}

function toChunk(row: ChunkRecord): ChunkRow {
  return {
    layer: LAYER_OF_CODE[row.layer]!,
    watchSetId: row.watch_set_id,
    range: { from: row.from_ledger, to: row.to_ledger },
    state: row.state,
    proof: row.proof,
    entryCount: BigInt(row.entry_count),
    txCount: BigInt(row.tx_count),
    firstPrevHash: row.first_prev_hash,
    lastHash: row.last_hash,
    digest: row.sealed ? { count: Number(row.entry_count), sum1: BigInt(row.sum1), sum2: BigInt(row.sum2) } : null,
    source: row.source,
    reason: row.reason,
    detail: row.detail,
    updatedAt: toDate(row.updated_at),
  };
}
