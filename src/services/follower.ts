// The follower: from the checkpoint, in order, entries + coverage + checkpoint in one transaction under a lease.
import { setTimeout as sleep } from 'node:timers/promises';
import { isTrueUpError, messageOf, TrueUpError } from '../core/errors.ts';
import { afterBadRead, checkBatch, nextRead } from '../core/follow.ts';
import type { LedgerBatch, LedgerRange } from '../core/ledger.ts';
import type { Watch } from '../core/watch.ts';
import type { Source, SourceTip } from '../sources/source.ts';
import { commitBatch, commitUnreadable, unreadableBecause, type CoverageTarget } from '../store/coverage.ts';
import type { Database } from '../store/database.ts';
import { assertLease, claimLease, releaseLease } from '../store/leases.ts';
import {
  advanceFollower,
  currentStream,
  ensureSource,
  ensureWatchSet,
  readFollower,
  saveFollowerError,
  saveTip,
  setStreamState,
  type FollowerRow,
  type Stream,
} from '../store/streams.ts';
import type { Events } from '../telemetry/events.ts';
import { followerLease, keepLease, type Lease } from './follower-lease.ts';
import { ReadPipeline } from './follower-reads.ts';
import { findOrOpenStream, type StreamStart } from './stream-start.ts';

export interface FollowerOptions {
  readonly db: Database;
  readonly source: Source;
  readonly watch: Watch;
  readonly start: StreamStart;
  /** Inclusive; null follows the tip for ever. */
  readonly endLedger: number | null;
  readonly pollIntervalMs: number;
  readonly leaseTtlMs: number;
  /** Names this process among replicas. */
  readonly holder: string;
  readonly events: Events;
  /** Told when this process begins to follow, and (null) when it no longer does. */
  readonly onTerm?: (since: Date | null) => void;
}

/** While there is more to read than one can, the tip is asked for this often, as lag and verdicts depend on it. */
const TIP_MAX_AGE_MS = 30_000;
const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 30_000;

/** Follows until the signal ends it. Only the replica that holds the lease reads; the others wait for it. */
export async function runFollower(options: FollowerOptions, signal: AbortSignal): Promise<void> {
  const leaseName = followerLease(options.source.networkPassphrase);
  let failures = 0;
  while (!signal.aborted) {
    const token = await claimLease(options.db.em(), leaseName, options.holder, options.leaseTtlMs).catch(() => null);
    if (token === null) {
      await pause(options.leaseTtlMs / 2, signal);
      continue;
    }
    const term = new AbortController();
    const ended = AbortSignal.any([signal, term.signal]);
    const lease: Lease = { name: leaseName, token, ttlMs: options.leaseTtlMs };
    const heartbeat = keepLease(options, lease, term);
    options.onTerm?.(new Date());
    try {
      await follow(options, lease, ended, () => (failures = 0));
    } catch (error) {
      if (!ended.aborted && !isTrueUpError(error, 'LEASE_LOST')) {
        failures++;
        options.events.sourceReadFailed({ source: options.source.id, error, attempt: failures });
        await pause(retryDelayMs(error, failures), ended);
      }
    } finally {
      clearInterval(heartbeat);
      options.onTerm?.(null);
      term.abort();
      await releaseLease(options.db.em(), leaseName, token).catch(() => undefined);
    }
  }
}

async function follow(
  options: FollowerOptions,
  lease: Lease,
  signal: AbortSignal,
  progressed: () => void,
): Promise<void> {
  const { db, source, events } = options;
  try {
    let tip = await source.tip(signal);
    let tipAtMs = performance.now();
    const stream = await findOrOpenStream(db, source, options.watch, options.start, tip, signal);
    const target = await prepareTarget(options, stream);
    let row = await mustReadFollower(options, stream);
    await noteTip(options, stream, row, tip);
    const pipeline = new ReadPipeline(options, signal);
    for (;;) {
      const range = nextRead(row.nextLedger, tip.sequence, options.endLedger, source.maxSpanLedgers);
      if (range === null || performance.now() - tipAtMs > TIP_MAX_AGE_MS) {
        if (range === null) await pause(options.pollIntervalMs, signal);
        signal.throwIfAborted();
        tip = await source.tip(signal);
        tipAtMs = performance.now();
        await noteTip(options, stream, row, tip);
        continue;
      }
      const askedMs = performance.now();
      const batch = await readOrSetApart(options, lease, target, stream, row, range, tip, pipeline);
      if (batch !== null) await store(options, lease, target, stream, batch, performance.now() - askedMs);
      row = await mustReadFollower(options, stream);
      progressed();
      events.tipSeen({
        stream: stream.name,
        tip: Math.max(tip.sequence, row.tipLedger ?? 0),
        checkpoint: row.nextLedger - 1,
      });
    }
  } catch (error) {
    if (!signal.aborted && !isTrueUpError(error, 'LEASE_LOST')) await noteFailure(options, error);
    throw error;
  }
}

async function prepareTarget(options: FollowerOptions, stream: Stream): Promise<CoverageTarget> {
  return options.db.em().transactional(async (em) => ({
    streamId: stream.id,
    watch: options.watch,
    watchSetId: await ensureWatchSet(em, stream.id, options.watch),
    sourceId: await ensureSource(em, options.source.id),
  }));
}

/** One transaction: rows, coverage, checkpoint, and the proof that the lease is still ours. */
async function store(
  options: FollowerOptions,
  lease: Lease,
  target: CoverageTarget,
  stream: Stream,
  batch: LedgerBatch,
  readMs: number,
): Promise<void> {
  const startedMs = performance.now();
  const committed = await options.db.em().transactional(async (em) => {
    const result = await commitBatch(em, target, batch);
    await advanceFollower(em, stream.id, {
      nextLedger: batch.range.to,
      last: batch.last,
      newLedgers: result.newLedgers,
      watchSetId: target.watchSetId,
    });
    await assertLease(em, lease.name, lease.token, lease.ttlMs);
    return result;
  });
  options.events.chunkCommitted({
    stream: stream.name,
    range: batch.range,
    writer: 'follower',
    source: batch.source ?? options.source.id,
    entries: committed.insertedEntries,
    newLedgers: committed.newLedgers,
    bytesRead: batch.bytesRead,
    readMs,
    decodeMs: batch.decodeMs,
    commitMs: performance.now() - startedMs,
  });
}

/**
 * The batch of a range; or null after the range, or the bad part of it, was set apart so that the stream goes on. The good
 * ledgers before a bad one are stored first.
 */
async function readOrSetApart(
  options: FollowerOptions,
  lease: Lease,
  target: CoverageTarget,
  stream: Stream,
  row: FollowerRow,
  range: LedgerRange,
  tip: SourceTip,
  pipeline: ReadPipeline,
): Promise<LedgerBatch | null> {
  let wanted = range;
  for (let attempt = 1; ;) {
    try {
      const batch = await pipeline.read(wanted, (after) =>
        nextRead(after, tip.sequence, options.endLedger, options.source.maxSpanLedgers),
      );
      checkBatch(batch, wanted, row.lastHash);
      return batch;
    } catch (error) {
      const next = afterBadRead(error, wanted, attempt);
      if (next === null) throw error;
      options.events.sourceReadFailed({ source: options.source.id, error, attempt });
      if (next.kind === 'set-apart') {
        await setApart(options, lease, target, stream, next, error as TrueUpError);
        return null;
      }
      ({ range: wanted, attempt } = next);
    }
  }
}

async function setApart(
  options: FollowerOptions,
  lease: Lease,
  target: CoverageTarget,
  stream: Stream,
  { range, attempts }: { readonly range: LedgerRange; readonly attempts: number },
  error: TrueUpError,
): Promise<void> {
  const { layers, proof } = options.source;
  const why = unreadableBecause(error, attempts, proof);
  await options.db.em().transactional(async (em) => {
    await commitUnreadable(em, target, layers, range, why);
    await advanceFollower(em, stream.id, {
      nextLedger: range.to,
      last: null,
      newLedgers: 0,
      watchSetId: target.watchSetId,
    });
    await assertLease(em, lease.name, lease.token, lease.ttlMs);
  });
  for (const layer of layers) {
    options.events.rangeQuarantined({
      stream: stream.name,
      layer,
      range,
      state: why.state,
      reason: why.reason,
      message: why.detail,
    });
  }
}

async function noteTip(options: FollowerOptions, stream: Stream, row: FollowerRow, tip: SourceTip): Promise<void> {
  options.events.tipSeen({ stream: stream.name, tip: tip.sequence, checkpoint: row.nextLedger - 1 });
  if (tip.sequence < row.nextLedger - 1) {
    throw new TrueUpError(
      'SOURCE_LAGGING',
      `${options.source.id} ends at ledger ${tip.sequence}, behind the checkpoint ${row.nextLedger - 1}: a lagging replica, or another network`,
      { fix: 'wait for it to catch up, or point TrueUp at another endpoint; the checkpoint never goes back by itself' },
    );
  }
  await saveTip(options.db.em(), stream.id, tip);
  // The source was compared with the anchor and the last ledger stored before it came to this.
  if (stream.state === 'diverged') await setStreamState(options.db.em(), stream.id, 'active');
}

/** Best effort: when the database itself is the failure, the next successful pass tells. */
async function noteFailure(options: FollowerOptions, error: unknown): Promise<void> {
  const em = options.db.em();
  const stream = await currentStream(em, options.source.networkPassphrase).catch(() => null);
  if (stream === null) return;
  const known = isTrueUpError(error);
  await saveFollowerError(em, stream.id, {
    reason: known ? error.reason : 'INTERNAL',
    message: known ? messageOf(error) : 'internal error',
  }).catch(() => undefined);
  if (isTrueUpError(error, 'SOURCE_DIVERGED')) await setStreamState(em, stream.id, 'diverged').catch(() => undefined);
}

async function mustReadFollower(options: FollowerOptions, stream: Stream): Promise<FollowerRow> {
  const row = await readFollower(options.db.em(), stream.id);
  if (row === null) throw new TrueUpError('INTERNAL', `stream ${stream.name} has no follower row`);
  return row;
}

function retryDelayMs(error: unknown, failures: number): number {
  const asked = isTrueUpError(error) ? (error.details.retryAfterMs ?? 0) : 0;
  const backoff = Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** Math.min(failures - 1, 10));
  return Math.max(asked, backoff * (0.5 + Math.random() / 2));
}

/** Ends early when the signal does; the loops above ask the signal themselves. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
