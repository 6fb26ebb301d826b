// Where a stream begins, and whether a source still serves the one that we know.
import type { EntityManager } from '@mikro-orm/postgresql';
import { isTrueUpError, TrueUpError } from '../core/errors.ts';
import type { Watch } from '../core/watch.ts';
import type { Source, SourceTip } from '../sources/source.ts';
import type { Database } from '../store/database.ts';
import {
  currentStream,
  ensureWatchSet,
  forbidNewEpoch,
  openStream,
  readFollower,
  setStreamState,
  storedHashUpTo,
  type Stream,
} from '../store/streams.ts';

export interface StreamStart {
  /** Inclusive; null: the first ledger closed within the window before the tip. */
  readonly startLedger: number | null;
  readonly windowHours: number;
  readonly sandbox: boolean;
}

/**
 * The stream that this source serves: the known one after its history was compared, else a new one. Another history is a new
 * epoch, and so a new stream, only where an operator has allowed it.
 *
 * @throws TrueUpError SOURCE_DIVERGED where a hash is another: the network was reset, or the source is of another one.
 */
export async function findOrOpenStream(
  db: Database,
  source: Source,
  watch: Watch,
  start: StreamStart,
  tip: SourceTip,
  signal: AbortSignal,
): Promise<Stream> {
  const known = await currentStream(db.em(), source.networkPassphrase);
  if (known !== null) {
    const allowed = (await readFollower(db.em(), known.id))?.newEpochAllowed ?? false;
    try {
      await checkHistory(db, source, known, tip, signal);
    } catch (error) {
      if (!allowed || !isTrueUpError(error, 'SOURCE_DIVERGED')) throw error;
      return openNewEpoch(db, source, watch, start, tip, known, error, signal);
    }
    if (allowed) await forbidNewEpoch(db.em(), known.id);
    return known;
  }
  return db.em().transactional(await opening(source, watch, start, tip, signal));
}

/** The old epoch keeps its rows and is followed no more; the permission is used up with the same transaction. */
async function openNewEpoch(
  db: Database,
  source: Source,
  watch: Watch,
  start: StreamStart,
  tip: SourceTip,
  old: Stream,
  diverged: TrueUpError,
  signal: AbortSignal,
): Promise<Stream> {
  const same = tip.oldest <= old.anchorLedger && old.anchorLedger <= tip.sequence;
  // A fork after the anchor is no reset: the same network has two histories, and one of them is wrong.
  if (same && (await source.header(old.anchorLedger, signal)).hash === old.epoch) throw diverged;
  const open = await opening(source, watch, start, tip, signal);
  return db.em().transactional(async (em) => {
    await forbidNewEpoch(em, old.id);
    await setStreamState(em, old.id, 'active');
    return open(em);
  });
}

/** What opens a stream at its start, once the source has said where that is. */
async function opening(
  source: Source,
  watch: Watch,
  start: StreamStart,
  tip: SourceTip,
  signal: AbortSignal,
): Promise<(em: EntityManager) => Promise<Stream>> {
  const startLedger =
    start.startLedger ?? (await ledgerAtTime(source, tip, tip.closeTime - start.windowHours * 3600, signal));
  if (startLedger > tip.sequence || startLedger < tip.oldest) {
    throw new TrueUpError(
      'LEDGER_UNAVAILABLE',
      `TRUEUP_START_LEDGER ${startLedger} is outside what ${source.id} serves: ${tip.oldest}-${tip.sequence}`,
      { fix: `set TRUEUP_START_LEDGER between ${tip.oldest} and ${tip.sequence}, or use a source with older history` },
    );
  }
  // Every Stellar network of one passphrase shares ledger 1, resets included; ledger 2 has a close time and so tells epochs apart.
  const anchor = await source.header(Math.min(tip.sequence, Math.max(2, startLedger)), signal);
  return (em) =>
    openStream(em, {
      networkPassphrase: source.networkPassphrase,
      anchor,
      sandbox: start.sandbox,
      startLedger,
      watchSet: (streamId) => ensureWatchSet(em, streamId, watch),
    });
}

/**
 * The anchor tells epochs apart, the last ledger stored tells whether the source goes on where we are; each as far as it serves
 * them. Of a source that ends before our checkpoint, the newest ledger that both have tells a laggard from another history.
 */
async function checkHistory(
  db: Database,
  source: Source,
  stream: Stream,
  tip: SourceTip,
  signal: AbortSignal,
): Promise<void> {
  const row = await readFollower(db.em(), stream.id);
  const checkpoint = (row?.nextLedger ?? 0) - 1;
  const common = tip.sequence < checkpoint ? await storedHashUpTo(db.em(), stream.id, tip.sequence) : null;
  const known = [
    [stream.anchorLedger, stream.epoch] as const,
    [checkpoint, row?.lastHash ?? null] as const,
    [common?.sequence ?? 0, common?.hash ?? null] as const,
  ];
  for (const [sequence, expected] of known) {
    if (expected === null || sequence < tip.oldest || sequence > tip.sequence) continue;
    const header = await source.header(sequence, signal);
    if (header.hash === expected) continue;
    throw new TrueUpError(
      'SOURCE_DIVERGED',
      `${source.id} has ledger ${sequence} as ${header.hash.slice(0, 16)}, stream ${stream.name} has it as ${expected.slice(0, 16)}`,
      {
        fix: 'if the network was reset: trueup follower restart --open-new-epoch --reason TEXT; otherwise point TrueUp at a source of the same network',
      },
    );
  }
}

/** First ledger that closed at or after a time (unix seconds), by bisection: about 26 header reads on a grown network. */
export async function ledgerAtTime(
  source: Source,
  tip: SourceTip,
  seconds: number,
  signal: AbortSignal,
): Promise<number> {
  let [low, high] = [tip.oldest, tip.sequence];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const header = await source.header(middle, signal);
    if (header.closeTime < seconds) low = middle + 1;
    else high = middle;
  }
  return low;
}
