// One share of a backfill, worked on by whoever holds its lease: read and write piece by piece, or check what was written.
import type { BackfillState } from '../core/backfill.ts';
import { halvedPieceSize, limitedPieceSize, nextPieceSize, unitsOf } from '../core/backfill-pace.ts';
import { isTrueUpError } from '../core/errors.ts';
import type { LedgerBatch, LedgerRange } from '../core/ledger.ts';
import type { Source } from '../sources/source.ts';
import { addToDigest, shrinkPieces, takeBudget } from '../store/backfill-counts.ts';
import { finishPiece, holdChunk, type HeldChunk, type PieceDone } from '../store/backfill-chunks.ts';
import { moveBackfill, type BackfillJob } from '../store/backfills.ts';
import { commitBatch, commitUnreadable, unreadableBecause, type CoverageTarget } from '../store/coverage.ts';
import { previewBatch } from '../store/coverage-preview.ts';
import type { Database } from '../store/database.ts';
import { isTimeout } from '../store/db-errors.ts';
import { ensureSource, readWatchSet } from '../store/streams.ts';
import type { Events } from '../telemetry/events.ts';
import { PieceReader, type Piece, type PieceFacts } from './backfill-reads.ts';
import { requireAsStored } from './stored-check.ts';

export interface ShareDeps {
  readonly db: Database;
  readonly source: Source;
  readonly leaseMs: number;
  readonly events: Pick<Events, 'chunkCommitted' | 'rangeQuarantined' | 'sourceReadFailed' | 'backfillMoved'>;
  /** What the worker does now, for its heartbeat. */
  readonly onPhase: (phase: 'reading' | 'writing') => void;
}

interface Share {
  readonly deps: ShareDeps;
  readonly job: BackfillJob;
  readonly streamName: string;
  readonly target: CoverageTarget;
}

/** Ledgers checked by one transaction: their entries are in memory at once. */
const CHECK_LEDGERS = 256;

/**
 * Works until the share is done or the signal aborts; what is committed by then stays, and the rest is for whoever takes it next.
 *
 * @throws TrueUpError LEASE_LOST, what the source throws, ENTRY_CONFLICT, SEAL_BROKEN, SOURCE_DIVERGED
 */
export async function workOnShare(
  deps: ShareDeps,
  job: BackfillJob,
  streamName: string,
  chunk: HeldChunk,
  signal: AbortSignal,
): Promise<void> {
  const em = deps.db.em();
  const target = {
    streamId: job.streamId,
    watchSetId: job.watchSetId,
    watch: await readWatchSet(em, job.watchSetId),
    sourceId: await ensureSource(em, deps.source.id),
  };
  const share: Share = { deps, job, streamName, target };
  if (chunk.kind === 'verify') return checkShare(share, chunk, signal);
  return readShare(share, chunk, signal);
}

async function readShare(share: Share, chunk: HeldChunk, signal: AbortSignal): Promise<void> {
  const { deps, job, target } = share;
  const { source, db } = deps;
  const limited = job.limits.ledgersPerSecond !== null || job.limits.requestsPerSecond !== null;
  const spanLedgers = Math.min(source.maxSpanLedgers, job.limits.batchSize || source.maxSpanLedgers);
  const limitLedgers = limitedPieceSize(job.limits, spanLedgers);
  const reader = new PieceReader(
    {
      source,
      watch: target.watch,
      layers: job.layers,
      spanLedgers,
      waitBefore: limited ? (ledgers) => takeBudget(db.em(), job.id, ledgers) : () => Promise.resolve(0),
      onBadRead: (error, attempt) => deps.events.sourceReadFailed({ source: source.id, error, attempt }),
    },
    signal,
  );
  let pieceLedgers = job.pieceLedgers;
  let left = chunk;
  while (left.range.from < chunk.range.to) {
    signal.throwIfAborted();
    deps.onPhase('reading');
    const piece = await reader.next(left.range, Math.min(pieceLedgers, limitLedgers));
    signal.throwIfAborted();
    deps.onPhase('writing');
    if (piece.kind === 'batch') pieceLedgers = await writeOrShrink(share, left, piece, pieceLedgers);
    else await setApart(share, left, piece);
    left = { ...left, range: { from: piece.range.to, to: chunk.range.to } };
  }
}

/** Writes a piece; where that takes the database too long, half of it, until it fits. @returns the size of the next piece */
async function writeOrShrink(
  share: Share,
  chunk: HeldChunk,
  piece: Extract<Piece, { kind: 'batch' }>,
  pieceLedgers: number,
): Promise<number> {
  const { deps, job } = share;
  try {
    const startedMs = performance.now();
    const next = await writePiece(share, chunk, piece, (commitMs) => {
      // A piece that entries or the end of the share cut short tells nothing of a longer one.
      const isFull = piece.range.to - piece.range.from >= Math.floor(pieceLedgers / 64) * 64;
      return isFull || commitMs > 1_000 ? nextPieceSize(pieceLedgers, commitMs) : pieceLedgers;
    });
    const commitMs = performance.now() - startedMs;
    deps.events.chunkCommitted({
      stream: share.streamName,
      range: piece.range,
      writer: 'backfill',
      source: piece.batch.source ?? deps.source.id,
      entries: next.entries,
      newLedgers: next.newLedgers,
      bytesRead: piece.batch.bytesRead,
      readMs: piece.readMs,
      decodeMs: piece.batch.decodeMs,
      commitMs,
    });
    return next.pieceLedgers;
  } catch (error) {
    const length = piece.range.to - piece.range.from;
    if (!isTimeout(error) || length <= 1) throw error;
    const smaller = halvedPieceSize(Math.min(pieceLedgers, length));
    await shrinkPieces(deps.db.em(), job.id, smaller);
    const middle = piece.range.from + Math.max(1, Math.floor(length / 2));
    const [first, second] = halves(piece.batch, middle);
    await writeOrShrink(share, chunk, { ...piece, range: first.range, batch: first }, smaller);
    const rest = { ...chunk, range: { from: middle, to: chunk.range.to } };
    return writeOrShrink(share, rest, { ...piece, ...NOTHING_READ, range: second.range, batch: second }, smaller);
  }
}

const NOTHING_READ: PieceFacts = { requests: 0, retries: 0, readMs: 0, waitedMs: 0 };

function halves(batch: LedgerBatch, at: number): [LedgerBatch, LedgerBatch] {
  const before = batch.records.filter((record) => record.sequence < at);
  const after = batch.records.filter((record) => record.sequence >= at);
  const end = before.at(-1);
  // A provider's batch may lack the ledger at which it is cut; its header is then only a number.
  const last = end?.sequence === at - 1 ? end : { ...batch.last, sequence: at - 1 };
  return [
    { ...batch, range: { from: batch.range.from, to: at }, records: before, last },
    { ...batch, range: { from: at, to: batch.range.to }, records: after, bytesRead: 0, decodeMs: 0 },
  ];
}

/** One transaction: the proof that the share is ours, rows, coverage, and what is left of the share; or, of a dry run, only the latter. */
async function writePiece(
  { deps, job, target }: Share,
  chunk: HeldChunk,
  piece: Extract<Piece, { kind: 'batch' }>,
  sizeAfter: (commitMs: number) => number,
) {
  const { db, leaseMs } = deps;
  const { batch } = piece;
  const entryCount = batch.records.reduce((sum, record) => sum + record.entries.length, 0);
  const startedMs = performance.now();
  const counts = {
    range: batch.range,
    scannedLedgers: batch.range.to - batch.range.from,
    chunks: unitsDone(chunk.range, batch.range.to),
    bytes: batch.bytesRead,
    decodeMs: batch.decodeMs,
  };
  // A dry run asks in a transaction that can't write, and counts in one of its own.
  const preview = job.dryRun
    ? await db.em().transactional((em) => previewBatch(em, target, batch), { readOnly: true })
    : null;
  let moved: BackfillState | null = null;
  const done = await db.em().transactional(async (em) => {
    await holdChunk(em, chunk, leaseMs);
    const committed = preview === null ? await commitBatch(em, target, batch) : null;
    const inserted =
      preview?.insertedEntries ?? Object.values(committed!.insertedEntries).reduce((sum, count) => sum + count, 0);
    const pieceLedgers = sizeAfter(performance.now() - startedMs);
    const state = await finishPiece(em, job.id, chunk, {
      ...NOTHING_DONE,
      ...counts,
      ...factsOf(piece),
      insertedEntries: inserted,
      duplicateEntries: preview?.duplicateEntries ?? entryCount - inserted,
      conflict: preview?.conflict ?? false,
      pieceLedgers,
    });
    moved = await followPace(em, job, state, piece.waitedMs);
    return {
      entries: preview === null ? committed!.insertedEntries : {},
      newLedgers: committed?.newLedgers ?? 0,
      pieceLedgers,
    };
  });
  if (moved !== null) deps.events.backfillMoved({ id: job.id, from: moved, to: movedTo(piece.waitedMs) });
  return done;
}

/** A share that is done says that the job runs; one that its own limits held back says that. */
async function followPace(
  em: Parameters<typeof moveBackfill>[0],
  job: BackfillJob,
  state: string,
  waitedMs: number,
): Promise<BackfillState | null> {
  const to = movedTo(waitedMs);
  const from: readonly BackfillState[] = to === 'running' ? ['throttled', 'blocked'] : ['running'];
  return (from as readonly string[]).includes(state) ? moveBackfill(em, job.id, to, { actor: 'trueup' }, from) : null;
}

/** A shorter wait than this is the limit's grain, not its weight. */
const THROTTLED_AFTER_MS = 250;

function movedTo(waitedMs: number): 'running' | 'throttled' {
  return waitedMs > THROTTLED_AFTER_MS ? 'throttled' : 'running';
}

const NOTHING_DONE: Omit<PieceDone, 'range'> = {
  scannedLedgers: 0,
  quarantinedLedgers: 0,
  unavailableLedgers: 0,
  insertedEntries: 0,
  duplicateEntries: 0,
  conflict: false,
  chunks: 0,
  retries: 0,
  requests: 0,
  bytes: 0,
  readMs: 0,
  decodeMs: 0,
  pieceLedgers: null,
};

function factsOf({ requests, retries, readMs }: PieceFacts): Pick<PieceDone, 'requests' | 'retries' | 'readMs'> {
  return { requests, retries, readMs };
}

function unitsDone(range: LedgerRange, through: number): number {
  return unitsOf([range]) - unitsOf([{ from: through, to: range.to }]);
}

async function setApart(
  { deps, job, target, streamName }: Share,
  chunk: HeldChunk,
  { range, error, attempts, ...facts }: Extract<Piece, { kind: 'bad' }>,
): Promise<void> {
  const why = unreadableBecause(error, attempts, deps.source.proof);
  const { state, reason, detail: message } = why;
  const ledgers = range.to - range.from;
  await deps.db.em().transactional(async (em) => {
    await holdChunk(em, chunk, deps.leaseMs);
    if (!job.dryRun) await commitUnreadable(em, target, job.layers, range, why);
    await finishPiece(em, job.id, chunk, {
      ...NOTHING_DONE,
      ...factsOf(facts),
      range,
      quarantinedLedgers: state === 'quarantined' ? ledgers : 0,
      unavailableLedgers: state === 'unavailable' ? ledgers : 0,
      chunks: unitsDone(chunk.range, range.to),
    });
  });
  if (job.dryRun) return;
  for (const layer of job.layers) {
    deps.events.rangeQuarantined({ stream: streamName, layer, range, state, reason, message });
  }
}

/** Counts and digests stored entries again and follows the hash chain. */
async function checkShare({ deps, job, target }: Share, chunk: HeldChunk, signal: AbortSignal): Promise<void> {
  let left = chunk;
  while (left.range.from < chunk.range.to) {
    signal.throwIfAborted();
    deps.onPhase('reading');
    const range = { from: left.range.from, to: Math.min(left.range.from + CHECK_LEDGERS, chunk.range.to) };
    await deps.db.em().transactional(async (em) => {
      await holdChunk(em, left, deps.leaseMs);
      for (const layer of job.layers) await addToDigest(em, job.id, await requireAsStored(em, target, layer, range));
      await finishPiece(em, job.id, left, { ...NOTHING_DONE, range });
    });
    left = { ...left, range: { from: range.to, to: chunk.range.to } };
  }
}

export function isLost(error: unknown): boolean {
  return isTrueUpError(error, 'LEASE_LOST');
}
