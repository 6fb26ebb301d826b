// Ledgers that a Horizon does not have.
import { TrueUpError } from '../../core/errors.ts';
import type { LedgerRange } from '../../core/ledger.ts';
import type { HorizonRoot } from './shapes.ts';

/** @param root undefined where the ledger lies inside the history that the root document claims */
export function tooOld(host: string, root: HorizonRoot | undefined, range: LedgerRange): TrueUpError {
  const lost = {
    from: range.from,
    to: Math.min(range.to, Math.max(range.from + 1, root?.history_elder_ledger ?? range.to)),
  };
  const why = root ? `its history begins at ledger ${root.history_elder_ledger}` : 'its history has a hole there';
  return new TrueUpError('LEDGER_UNAVAILABLE', `${host} does not have ledgers ${lost.from} to ${lost.to - 1}: ${why}`, {
    range: lost,
    fix: 'Read this range from a history archive (STELLAR_ARCHIVE_URL) or a Horizon that keeps whole history.',
  });
}

export function notYet(host: string, latest: number, range: LedgerRange): TrueUpError {
  return new TrueUpError(
    'LEDGER_NOT_YET_CLOSED',
    `${host} has ledgers up to ${latest}, ledger ${range.to - 1} was asked for`,
    { range },
  );
}
