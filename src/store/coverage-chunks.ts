// Chunks of coverage as rows: at most 64 ledgers each, grown in place, merged with their neighbours, sealed when whole.
import type { EntityManager } from '@mikro-orm/postgresql';
import { chunkOf, isWholeChunk, paint, subtract, type CoverageState, type Island } from '../core/coverage.ts';
import { addDigests, digestEntries, type Digest } from '../core/digest.ts';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import {
  CHUNK_LEDGERS,
  type CoverageProof,
  type LedgerBatch,
  type LedgerRange,
  type LedgerRecord,
} from '../core/ledger.ts';
import type { Watch } from '../core/watch.ts';
import { LAYER_CODES } from './entries.ts';
import { sqlCount, sql } from './database.ts';

export interface CoverageTarget {
  readonly streamId: number;
  readonly watchSetId: number;
  readonly watch: Watch;
  readonly sourceId: number;
}

export interface Chunk extends Island {
  readonly proof: CoverageProof;
  readonly firstPrevHash: string | null;
  readonly lastHash: string | null;
  /** Unix seconds. */
  readonly lastClosedAt: number | null;
  readonly txCount: number;
  readonly digest: Digest;
  readonly sourceId: number;
  readonly reason: string | null;
  readonly detail: string | null;
}

/** A piece of a batch, inside one chunk, as it is kept. */
export function doneChunk(target: CoverageTarget, layer: Layer, range: LedgerRange, batch: LedgerBatch): Chunk {
  const records = batch.records.filter((record) => record.sequence >= range.from && record.sequence < range.to);
  const chained = batch.proof === 'chained';
  const last = range.to === batch.range.to ? batch.last : chained ? records.at(-1) : undefined;
  return {
    ...range,
    state: 'done',
    proof: batch.proof,
    firstPrevHash: chained ? (records[0]?.prevHash ?? null) : null,
    lastHash: last?.hash ?? null,
    lastClosedAt: last?.closeTime ?? records.at(-1)?.closeTime ?? null,
    txCount: records.reduce((sum, record) => sum + record.txCount, 0),
    digest: digestEntries(entriesOf(records, layer)),
    sourceId: target.sourceId,
    reason: null,
    detail: null,
  };
}

/**
 * Replaces what was known where the new chunks lie. Pieces of one state that touch inside the same 64 ledgers become one row, from
 * whichever side they come and in whatever order; a row that is whole is sealed.
 *
 * @throws TrueUpError SOURCE_DIVERGED where a chained piece doesn't link to its neighbour.
 */
export async function writeChunks(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  known: readonly Chunk[],
  added: readonly Chunk[],
): Promise<void> {
  if (added.length === 0) return;
  const kept = known.flatMap((chunk) => (chunk.state === 'done' ? [chunk] : without(chunk, added)));
  const wanted = merge([...kept, ...added].sort((a, b) => a.from - b.from));
  const gone = known.filter((chunk) => !wanted.includes(chunk)).map((chunk) => chunk.from);
  const chunks = wanted.filter((chunk) => !known.includes(chunk));
  const key = [target.streamId, LAYER_CODES[layer], target.watchSetId];
  if (gone.length > 0) {
    await sqlCount(
      em,
      `delete from trueup.coverage_chunks
       where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger = any($4::int[])`,
      [...key, gone],
    );
  }
  await sqlCount(em, INSERT_CHUNKS_SQL, [
    ...key,
    chunks.map((chunk) => chunk.from),
    chunks.map((chunk) => chunk.to),
    chunks.map((chunk) => chunk.state),
    chunks.map((chunk) => chunk.proof),
    chunks.map((chunk) => chunk.firstPrevHash),
    chunks.map((chunk) => chunk.lastHash),
    chunks.map((chunk) => chunk.lastClosedAt),
    chunks.map((chunk) => chunk.digest.count),
    chunks.map((chunk) => chunk.txCount),
    chunks.map((chunk) => chunk.digest.sum1.toString()),
    chunks.map((chunk) => chunk.digest.sum2.toString()),
    chunks.map((chunk) => chunk.state === 'done' && isWholeChunk(chunk)),
    chunks.map((chunk) => chunk.sourceId),
    chunks.map((chunk) => chunk.reason),
    chunks.map((chunk) => chunk.detail),
  ]);
}

const INSERT_CHUNKS_SQL = `
  insert into trueup.coverage_chunks (stream_id, layer, watch_set_id, from_ledger, to_ledger, state, proof, first_prev_hash,
    last_hash, last_closed_at, entry_count, tx_count, digest_sum1, digest_sum2, sealed, source_id, reason, detail)
  select $1, $2, $3, from_ledger, to_ledger, state, proof, first_prev_hash, last_hash, to_timestamp(last_closed_at),
    entry_count, tx_count, sum1, sum2, sealed, source_id, reason, detail
  from unnest($4::int[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[],
    $12::bigint[], $13::numeric[], $14::numeric[], $15::boolean[], $16::smallint[], $17::text[], $18::text[])
    as chunk (from_ledger, to_ledger, state, proof, first_prev_hash, last_hash, last_closed_at, entry_count, tx_count,
      sum1, sum2, sealed, source_id, reason, detail)`;

/** What is left of a chunk that was set apart. */
function without(chunk: Chunk, added: readonly Chunk[]): Chunk[] {
  const rest = subtract(chunk, added);
  return rest.length === 1 && rest[0]!.from === chunk.from && rest[0]!.to === chunk.to
    ? [chunk]
    : rest.map((range) => ({ ...chunk, ...range }));
}

function merge(chunks: readonly Chunk[]): Chunk[] {
  const merged: Chunk[] = [];
  for (const chunk of chunks) {
    const left = merged.at(-1);
    if (left?.to === chunk.from) checkLink(left, chunk);
    if (left?.to === chunk.from && continues(left, chunk)) merged[merged.length - 1] = join(left, chunk);
    else merged.push(chunk);
  }
  return merged;
}

function checkLink(left: Chunk, right: Chunk): void {
  // Only chained pieces have these hashes.
  if (left.lastHash === null || right.firstPrevHash === null || left.lastHash === right.firstPrevHash) return;
  if (left.proof !== 'chained') return;
  throw new TrueUpError(
    'SOURCE_DIVERGED',
    `ledger ${right.from} follows ${right.firstPrevHash.slice(0, 16)}, but ledger ${right.from - 1} was read as ${left.lastHash.slice(0, 16)}`,
    {
      range: { from: right.from, to: right.from + 1 },
      fix: 'check that the source serves the same network; after a network reset open a new epoch',
    },
  );
}

function continues(left: Chunk, right: Chunk): boolean {
  return (
    chunkOf(left.from) === chunkOf(right.from) &&
    left.state === right.state &&
    left.proof === right.proof &&
    left.sourceId === right.sourceId &&
    left.reason === right.reason
  );
}

function join(left: Chunk, right: Chunk): Chunk {
  return {
    ...right,
    from: left.from,
    firstPrevHash: left.firstPrevHash,
    lastHash: right.lastHash,
    lastClosedAt: right.lastClosedAt ?? left.lastClosedAt,
    txCount: left.txCount + right.txCount,
    digest: addDigests(left.digest, right.digest),
    detail: left.detail ?? right.detail,
  };
}

/** Marks a range in the stream's islands. */
export async function paintIslands(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  range: LedgerRange,
  state: CoverageState,
): Promise<void> {
  const key = [target.streamId, LAYER_CODES[layer], target.watchSetId];
  const rows = await sql<{ from_ledger: number; to_ledger: number; state: CoverageState }>(
    em,
    `delete from trueup.coverage_islands
     where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger <= $5 and to_ledger >= $4
     returning from_ledger, to_ledger, state`,
    [...key, range.from, range.to],
  );
  const islands = paint(
    rows.map((row) => ({ from: row.from_ledger, to: row.to_ledger, state: row.state })),
    range,
    state,
  );
  await sqlCount(
    em,
    `insert into trueup.coverage_islands (stream_id, layer, watch_set_id, from_ledger, to_ledger, state)
     select $1, $2, $3, * from unnest($4::int[], $5::int[], $6::text[])`,
    [...key, islands.map((i) => i.from), islands.map((i) => i.to), islands.map((i) => i.state)],
  );
}

/** What is known of a range, and of the ledgers right before and after it; in order. */
export async function chunksOf(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  range: LedgerRange,
): Promise<Chunk[]> {
  const rows = await sql<{
    from_ledger: number;
    to_ledger: number;
    state: CoverageState;
    proof: CoverageProof;
    first_prev_hash: string | null;
    last_hash: string | null;
    last_closed_at: string | null;
    entry_count: string;
    tx_count: string;
    digest_sum1: string;
    digest_sum2: string;
    source_id: number;
    reason: string | null;
    detail: string | null;
  }>(
    em,
    `select from_ledger, to_ledger, state, proof, first_prev_hash, last_hash,
       extract(epoch from last_closed_at)::bigint::text as last_closed_at, entry_count::text, tx_count::text,
       digest_sum1::text, digest_sum2::text, source_id, reason, detail
     from trueup.coverage_chunks
     where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger >= $4 and from_ledger <= $5
     order by from_ledger`,
    [
      target.streamId,
      LAYER_CODES[layer],
      target.watchSetId,
      chunkOf(Math.max(0, range.from - 1)) * CHUNK_LEDGERS,
      range.to,
    ],
  );
  return rows
    .map((row): Chunk => ({
      from: row.from_ledger,
      to: row.to_ledger,
      state: row.state,
      proof: row.proof,
      firstPrevHash: row.first_prev_hash,
      lastHash: row.last_hash,
      lastClosedAt: row.last_closed_at === null ? null : Number(row.last_closed_at),
      txCount: Number(row.tx_count),
      digest: { count: Number(row.entry_count), sum1: BigInt(row.digest_sum1), sum2: BigInt(row.digest_sum2) },
      sourceId: row.source_id,
      reason: row.reason,
      detail: row.detail,
    }))
    .filter((chunk) => chunk.to >= range.from);
}

/** Entries of one layer. */
export function* entriesOf(records: readonly LedgerRecord[], layer: Layer) {
  for (const record of records) for (const entry of record.entries) if (entry.layer === layer) yield entry;
}
