// Ledgers that an RPC node does not have.
import { TrueUpError } from '../../core/errors.ts';
import type { LedgerRange } from '../../core/ledger.ts';
import { corrupt, oneLedger } from '../stellar/wire.ts';

/** Why a ledger that was asked for did not come. */
export function absent(
  host: string,
  first: number,
  window: { oldestLedger: number; latestLedger: number },
  range: LedgerRange,
): TrueUpError {
  if (first < window.oldestLedger) {
    const lost = { from: first, to: Math.max(first + 1, Math.min(range.to, window.oldestLedger)) };
    return new TrueUpError(
      'LEDGER_UNAVAILABLE',
      `${host} has ledgers from ${window.oldestLedger} on, ledger ${first} was asked for`,
      {
        range: lost,
        fix: 'Read this range from a lake (STELLAR_LAKE_URL) or an archive (STELLAR_ARCHIVE_URL), or raise the retention window of the RPC node.',
      },
    );
  }
  if (first > window.latestLedger) return notYet(host, window.latestLedger, first, range);
  return corrupt(oneLedger(first), `${host} says that it has this ledger and did not give it`);
}

export function notYet(host: string, latest: number, wanted: number, range: LedgerRange): TrueUpError {
  return new TrueUpError(
    'LEDGER_NOT_YET_CLOSED',
    `${host} has ledgers up to ${latest}, ledger ${wanted} was asked for`,
    { range },
  );
}
