// Where a stream begins, and whether a source still serves the one that we know.
import { TrueUpError } from '../core/errors.ts';
import type { Watch } from '../core/watch.ts';
import type { Source, SourceTip } from '../sources/source.ts';
import type { Database } from '../store/database.ts';
import { currentStream, ensureWatchSet, openStream, readFollower, type Stream } from '../store/streams.ts';

export interface StreamStart {
  /** Inclusive; null: the first ledger closed within the window before the tip. */
  readonly startLedger: number | null;
  readonly windowHours: number;
  readonly sandbox: boolean;
}

/**
 * The stream that this source serves: the known one after its anchor was compared, else a new one.
 *
 * @throws TrueUpError SOURCE_DIVERGED where the anchor's hash is another: the network was reset, or the source is of another one.
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
    await checkAnchor(db, source, known, tip, signal);
    return known;
  }
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
  return db.em().transactional((em) =>
    openStream(em, {
      networkPassphrase: source.networkPassphrase,
      anchor,
      sandbox: start.sandbox,
      startLedger,
      watchSet: (streamId) => ensureWatchSet(em, streamId, watch),
    }),
  );
}

/** The anchor tells epochs apart, the last ledger stored tells whether the source goes on where we are; each as far as it serves them. */
async function checkAnchor(
  db: Database,
  source: Source,
  stream: Stream,
  tip: SourceTip,
  signal: AbortSignal,
): Promise<void> {
  const row = await readFollower(db.em(), stream.id);
  const known = [
    [stream.anchorLedger, stream.epoch] as const,
    [(row?.nextLedger ?? 0) - 1, row?.lastHash ?? null] as const,
  ];
  for (const [sequence, expected] of known) {
    if (expected === null || sequence < tip.oldest || sequence > tip.sequence) continue;
    const header = await source.header(sequence, signal);
    if (header.hash === expected) continue;
    throw new TrueUpError(
      'SOURCE_DIVERGED',
      `${source.id} has ledger ${sequence} as ${header.hash.slice(0, 16)}, stream ${stream.name} has it as ${expected.slice(0, 16)}`,
      { fix: 'if the network was reset, open a new epoch; otherwise point TrueUp at a source of the same network' },
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
