// Reasons for which a run can't conclude, as they are kept and shown.
import type { LedgerRange } from '../core/ledger.ts';
import type { Inconclusive, InconclusiveReason } from '../core/run.ts';

/** Items listed with a reason; the count is of all. */
export const MAX_LISTED = 100;

/** One that is about neither ledgers nor accounts. */
export function reason(
  name: InconclusiveReason,
  side: Inconclusive['side'],
  message: string,
  fix: string,
): Inconclusive {
  return { reason: name, side, message, fix, ranges: [], accounts: [], itemCount: 1 };
}

/** One about ledgers. */
export function rangesReason(
  name: InconclusiveReason,
  ranges: readonly LedgerRange[],
  message: string,
  fix: string,
): Inconclusive {
  return {
    reason: name,
    side: 'ledger',
    message,
    fix,
    ranges: ranges.slice(0, MAX_LISTED),
    accounts: [],
    itemCount: ranges.length,
  };
}
