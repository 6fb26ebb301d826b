// Writing what was read: rows and coverage together, inside the caller's transaction. Follower and backfill both come here.
import type { EntityManager } from '@mikro-orm/postgresql';
import { rangeLength, splitByChunk, subtract, type CoverageState } from '../core/coverage.ts';
import { digestEntries, EMPTY_DIGEST, equalDigests } from '../core/digest.ts';
import type { Layer, UnderivedTouch } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { CoverageProof, LedgerBatch, LedgerRange, LedgerRecord } from '../core/ledger.ts';
import { payloadOf, type RawPayload } from '../core/raw-payload.ts';
import { chunksOf, doneChunk, paintIslands, writeChunks, type Chunk, type CoverageTarget } from './coverage-chunks.ts';
import { entriesOfRange, insertEntries, LAYER_CODES, type EntryToStore } from './entries.ts';
import { sqlCount, sql } from './database.ts';
import { forgetHealed, keepQuarantine } from './quarantines.ts';
import { ensureSource } from './streams.ts';

export type { CoverageTarget } from './coverage-chunks.ts';

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
export async function commitBatch(
  em: EntityManager,
  asked: CoverageTarget,
  batch: LedgerBatch,
): Promise<CommittedBatch> {
  // Where several sources stand behind the one that was asked, the one that answered is kept.
  const target = batch.source === undefined ? asked : { ...asked, sourceId: await ensureSource(em, batch.source) };
  const insertedEntries: Partial<Record<Layer, number>> = {};
  const drafts = new Map<Layer, readonly Chunk[]>();
  for (const layer of batch.layers) {
    const done = (await chunksOf(em, target, layer, batch.range)).filter((chunk) => chunk.state === 'done');
    for (const range of overlaps(batch.range, done)) await compareStored(em, target, layer, range, batch);
    const fresh = subtract(batch.range, done);
    const rows = fresh.flatMap((range) => rowsOf(batch.records, layer, range));
    const inserting = insertEntries(em, target.streamId, target.sourceId, rows);
    // Digesting is this process's work and inserting the server's: they go on side by side.
    drafts.set(layer, doneChunks(target, layer, fresh, batch));
    const inserted = await inserting;
    if (inserted < rows.length || (await otherWatchCovers(em, target, layer, batch.range))) {
      // Another watch of this stream has stored some of them, or knows of some that weren't read now; they must be the same rows.
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
    const fresh = subtract(
      batch.range,
      known.filter((chunk) => chunk.state === 'done'),
    );
    // Somebody else may have covered a part meanwhile; then what is left is cut anew.
    const chunks = doneChunks(target, layer, fresh, batch, drafts.get(layer));
    await writeChunks(em, target, layer, known, chunks);
    for (const range of fresh) await paintIslands(em, target, layer, range, 'done');
    if (known.some(isQuarantined)) await forgetHealed(em, target, layer, batch.range);
    newLedgers = Math.max(newLedgers, rangeLength(fresh));
  }
  return { insertedEntries, newLedgers };
}

/** A chunk of each piece of the ranges; one that was drafted before is taken as it is. */
function doneChunks(
  target: CoverageTarget,
  layer: Layer,
  ranges: readonly LedgerRange[],
  batch: LedgerBatch,
  drafts: readonly Chunk[] = [],
): Chunk[] {
  return ranges.flatMap(splitByChunk).map((range) => {
    const draft = drafts.find((chunk) => chunk.from === range.from && chunk.to === range.to);
    return draft ?? doneChunk(target, layer, range, batch);
  });
}

export interface Unreadable {
  readonly state: Exclude<CoverageState, 'done'>;
  /** A reason of core/errors.ts. */
  readonly reason: string;
  readonly detail: string;
  readonly proof: CoverageProof;
  /** Reads that failed; 1 unless told. */
  readonly attempts?: number;
  /** What could not be decoded; none unless told. */
  readonly payload?: RawPayload | null;
}

/** What a failed read says of the ledgers that it was about. */
export function unreadableBecause(error: TrueUpError, attempts: number, proof: CoverageProof): Unreadable {
  const state = error.reason === 'LEDGER_UNAVAILABLE' ? 'unavailable' : 'quarantined';
  return { state, reason: error.reason, detail: error.message, proof, attempts, payload: payloadOf(error) };
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
    const fresh = subtract(
      range,
      known.filter((chunk) => chunk.state === 'done'),
    );
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
    if (known.some(isQuarantined)) await forgetHealed(em, target, layer, range);
    if (why.state !== 'quarantined') continue;
    const poison = { ...why, attempts: why.attempts ?? 1, payload: why.payload ?? null };
    for (const piece of fresh) await keepQuarantine(em, target, layer, piece, poison);
  }
}

function isQuarantined(chunk: Chunk): boolean {
  return chunk.state === 'quarantined';
}

/** Coverage of one stream is written by one transaction at a time, as neighbours merge. */
async function lockCoverage(em: EntityManager, streamId: number): Promise<void> {
  await sqlCount(em, `select pg_advisory_xact_lock(hashtext('trueup.coverage'), $1)`, [streamId]);
}

/** @throws TrueUpError ENTRY_CONFLICT where what is stored of a range isn't what was read now. */
export async function compareStored(
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

async function otherWatchCovers(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  range: LedgerRange,
): Promise<boolean> {
  const rows = await sql(
    em,
    `select 1 from trueup.coverage_islands
     where stream_id = $1 and layer = $2 and watch_set_id <> $3 and state = 'done' and from_ledger < $5 and to_ledger > $4 limit 1`,
    [target.streamId, LAYER_CODES[layer], target.watchSetId, range.from, range.to],
  );
  return rows.length > 0;
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

export function overlaps(range: LedgerRange, others: readonly LedgerRange[]): LedgerRange[] {
  return subtract(range, subtract(range, others));
}

export function rowsOf(records: readonly LedgerRecord[], layer: Layer, range: LedgerRange): EntryToStore[] {
  const rows: EntryToStore[] = [];
  for (const record of records) {
    if (record.sequence < range.from || record.sequence >= range.to) continue;
    for (const entry of record.entries) if (entry.layer === layer) rows.push({ entry, closeTime: record.closeTime });
  }
  return rows;
}
