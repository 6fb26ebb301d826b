// Writing what was read: rows and coverage together, inside the caller's transaction. Follower and backfill both come here.
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  chunkOf,
  isWholeChunk,
  paint,
  rangeLength,
  splitByChunk,
  subtract,
  type CoverageState,
  type Island,
} from '../core/coverage.ts';
import { addDigests, digestEntries, EMPTY_DIGEST, equalDigests, type Digest } from '../core/digest.ts';
import type { Layer, UnderivedTouch } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import { CHUNK_LEDGERS, type CoverageProof, type LedgerBatch, type LedgerRange, type LedgerRecord } from '../core/ledger.ts';
import type { Watch } from '../core/watch.ts';
import { entriesOfRange, insertEntries, LAYER_CODES, type EntryToStore } from './entries.ts';
import { sqlCount, sql } from './database.ts';

export interface CoverageTarget {
  readonly streamId: number;
  readonly watchSetId: number;
  readonly watch: Watch;
  readonly sourceId: number;
}

export interface CommittedBatch {
  readonly insertedEntries: Readonly<Partial<Record<Layer, number>>>;
  /** Ledgers whose coverage is new; those read again and found equal aren't counted. */
  readonly newLedgers: number;
}

/**
 * Stores a batch's entries and marks its range done. What was covered before is compared with what is stored, not written again.
 *
 * @throws TrueUpError ENTRY_CONFLICT where a stored ledger has other content: that is an incident, so nothing is written.
 */
export async function commitBatch(em: EntityManager, target: CoverageTarget, batch: LedgerBatch): Promise<CommittedBatch> {
  const insertedEntries: Partial<Record<Layer, number>> = {};
  for (const layer of batch.layers) {
    const done = (await chunksOf(em, target, layer, batch.range)).filter((chunk) => chunk.state === 'done');
    for (const range of overlaps(batch.range, done)) await compareStored(em, target, layer, range, batch);
    const fresh = subtract(batch.range, done);
    const rows = fresh.flatMap((range) => rowsOf(batch.records, layer, range));
    const inserted = await insertEntries(em, target.streamId, target.sourceId, rows);
    if (inserted < rows.length) {
      // Another watch of this stream has stored some of them; they must be the same rows.
      for (const range of fresh) await compareStored(em, target, layer, range, batch);
    }
    insertedEntries[layer] = inserted;
  }
  await markUnderived(em, target.streamId, batch.records);
  // The rows are the long part and touch nobody else's; only the coverage itself is written one transaction at a time.
  await lockCoverage(em, target.streamId);
  let newLedgers = 0;
  for (const layer of batch.layers) {
    const known = await chunksOf(em, target, layer, batch.range);
    const fresh = subtract(batch.range, known.filter((chunk) => chunk.state === 'done'));
    const chunks = fresh.flatMap(splitByChunk).map((range) => doneChunk(target, layer, range, batch));
    await writeChunks(em, target, layer, known, chunks);
    for (const range of fresh) await paintIslands(em, target, layer, range, 'done');
    newLedgers = Math.max(newLedgers, rangeLength(fresh));
  }
  return { insertedEntries, newLedgers };
}

export interface Unreadable {
  readonly state: Exclude<CoverageState, 'done'>;
  /** A reason of core/errors.ts. */
  readonly reason: string;
  readonly detail: string;
  readonly proof: CoverageProof;
}

/** Sets a range apart: it was looked at and could not be had. What was done before stays done. */
export async function commitUnreadable(
  em: EntityManager,
  target: CoverageTarget,
  layers: readonly Layer[],
  range: LedgerRange,
  why: Unreadable,
): Promise<void> {
  await lockCoverage(em, target.streamId);
  for (const layer of layers) {
    const known = await chunksOf(em, target, layer, range);
    const fresh = subtract(range, known.filter((chunk) => chunk.state === 'done'));
    const chunks = fresh.flatMap(splitByChunk).map((piece): Chunk => ({
      ...piece,
      state: why.state,
      proof: why.proof,
      firstPrevHash: null,
      lastHash: null,
      lastClosedAt: null,
      txCount: 0,
      digest: EMPTY_DIGEST,
      sourceId: target.sourceId,
      reason: why.reason,
      detail: why.detail,
    }));
    await writeChunks(em, target, layer, known, chunks);
    for (const piece of fresh) await paintIslands(em, target, layer, piece, why.state);
  }
}

interface Chunk extends Island {
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

/** Coverage of one stream is written by one transaction at a time, as neighbours merge. */
async function lockCoverage(em: EntityManager, streamId: number): Promise<void> {
  await sqlCount(em, `select pg_advisory_xact_lock(hashtext('trueup.coverage'), $1)`, [streamId]);
}

function doneChunk(target: CoverageTarget, layer: Layer, range: LedgerRange, batch: LedgerBatch): Chunk {
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
 * Replaces what was known where the new chunks lie. A done chunk that continues its neighbour inside the same 64 ledgers grows
 * it, which keeps the tip at one row; a chunk that is whole is sealed.
 */
async function writeChunks(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  known: readonly Chunk[],
  added: readonly Chunk[],
): Promise<void> {
  if (added.length === 0) return;
  const chunks: Chunk[] = [];
  const gone: number[] = [];
  const grown = new Set<Chunk>();
  for (const chunk of added) {
    const left = known.find((other) => other.to === chunk.from && !grown.has(other) && continues(other, chunk));
    if (left) grown.add(left);
    chunks.push(left ? join(left, chunk) : chunk);
    if (left) gone.push(left.from);
    for (const other of known) {
      if (other.state === 'done' || other.from >= chunk.to || other.to <= chunk.from) continue;
      gone.push(other.from);
      for (const rest of subtract(other, added)) if (!chunks.some((c) => c.from === rest.from)) chunks.push({ ...other, ...rest });
    }
  }
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

async function paintIslands(
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

async function compareStored(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  range: LedgerRange,
  batch: LedgerBatch,
): Promise<void> {
  const members = target.watch.everything ? null : [...target.watch.accounts, ...target.watch.contracts];
  const stored = digestEntries(await entriesOfRange(em, target.streamId, layer, range, members));
  const read = digestEntries(rowsOf(batch.records, layer, range).map((row) => row.entry));
  if (equalDigests(stored, read)) return;
  throw new TrueUpError(
    'ENTRY_CONFLICT',
    `ledgers ${range.from}-${range.to - 1} were stored with ${stored.count} ${layer} entries and now read as ${read.count} with other content`,
    {
      range,
      fix: 'compare both with a second source, then rescan the range from the one that is right',
      metadata: { layer },
    },
  );
}

async function markUnderived(em: EntityManager, streamId: number, records: readonly LedgerRecord[]): Promise<void> {
  const first = new Map<string, UnderivedTouch & { ledger: number }>();
  for (const record of records) {
    for (const touch of record.underived) {
      const key = `${touch.account} ${touch.reason}`;
      if (!first.has(key)) first.set(key, { ...touch, ledger: record.sequence });
    }
  }
  if (first.size === 0) return;
  const touches = [...first.values()];
  await sqlCount(
    em,
    `insert into trueup.underived_accounts (stream_id, account, reason, first_ledger)
     select $1, * from unnest($2::text[], $3::text[], $4::int[])
     on conflict (stream_id, account, reason)
     do update set first_ledger = least(underived_accounts.first_ledger, excluded.first_ledger)
     where underived_accounts.first_ledger > excluded.first_ledger`,
    [streamId, touches.map((t) => t.account), touches.map((t) => t.reason), touches.map((t) => t.ledger)],
  );
}

async function chunksOf(em: EntityManager, target: CoverageTarget, layer: Layer, range: LedgerRange): Promise<Chunk[]> {
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
     where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger >= $4 and from_ledger < $5
     order by from_ledger`,
    [target.streamId, LAYER_CODES[layer], target.watchSetId, chunkOf(range.from) * CHUNK_LEDGERS, range.to],
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

function overlaps(range: LedgerRange, others: readonly LedgerRange[]): LedgerRange[] {
  return subtract(range, subtract(range, others));
}

function rowsOf(records: readonly LedgerRecord[], layer: Layer, range: LedgerRange): EntryToStore[] {
  const rows: EntryToStore[] = [];
  for (const record of records) {
    if (record.sequence < range.from || record.sequence >= range.to) continue;
    for (const entry of record.entries) if (entry.layer === layer) rows.push({ entry, closeTime: record.closeTime });
  }
  return rows;
}

function* entriesOf(records: readonly LedgerRecord[], layer: Layer) {
  for (const record of records) for (const entry of record.entries) if (entry.layer === layer) yield entry;
}
