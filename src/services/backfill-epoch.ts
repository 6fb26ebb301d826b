// Whether a backfill fills the history that its source has. A gap has no neighbours to link to, so that the ledgers of another epoch
// would be taken for those of this one.
import type { EntityManager } from '@mikro-orm/postgresql';
import { isTrueUpError, TrueUpError } from '../core/errors.ts';
import type { Source } from '../sources/source.ts';
import { currentStream, type Stream } from '../store/streams.ts';

/** @throws TrueUpError SOURCE_DIVERGED where a newer epoch of the network was opened: no source has the older one any more */
export async function requireNewestEpoch(em: EntityManager, stream: Stream): Promise<void> {
  const current = await currentStream(em, stream.networkPassphrase);
  if (current === null || current.id === stream.id) return;
  throw new TrueUpError('SOURCE_DIVERGED', `${stream.name} is an older epoch of a network that was reset`, {
    fix: `backfill ${current.name}, the epoch that is followed`,
  });
}

/**
 * Compares the ledger that names the epoch.
 *
 * @throws TrueUpError SOURCE_DIVERGED where the source has it otherwise; what the source throws
 */
export async function requireSameEpoch(source: Source, stream: Stream, signal: AbortSignal): Promise<void> {
  const anchor = await source.header(stream.anchorLedger, signal).catch((error: unknown) => {
    // A source that keeps recent ledgers only can't tell; the links of what is read still do.
    if (isTrueUpError(error, 'LEDGER_UNAVAILABLE')) return null;
    throw error;
  });
  if (anchor === null || anchor.hash === stream.epoch) return;
  throw new TrueUpError(
    'SOURCE_DIVERGED',
    `${source.id} has ledger ${stream.anchorLedger} as ${anchor.hash.slice(0, 16)}, stream ${stream.name} has it as ${stream.epoch.slice(0, 16)}`,
    {
      fix: 'if the network was reset: trueup follower restart --open-new-epoch --reason TEXT, then start the backfill again; otherwise point TrueUp at a source of the same network',
    },
  );
}
