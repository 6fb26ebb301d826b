// What may be done to a drift, and where it stands afterwards. A pair that isn't in the table is refused.
import type { DriftState, DriftTransition } from './drift.ts';

/**
 * Rows: where it stands. A resolved drift has to be reopened before anything else is done to it, and so does an exempt one
 * before it is acknowledged; exempting an exempt drift gives it another end.
 */
export const DRIFT_TABLE: Readonly<Record<DriftState, Readonly<Partial<Record<DriftTransition, DriftState>>>>> = {
  open: { assign: 'open', acknowledge: 'acknowledged', resolve: 'resolved', exempt: 'exempt' },
  acknowledged: { assign: 'acknowledged', resolve: 'resolved', exempt: 'exempt', reopen: 'open' },
  exempt: { assign: 'exempt', resolve: 'resolved', exempt: 'exempt', reopen: 'open' },
  resolved: { reopen: 'open' },
};

/** The state after it; null where it is refused. */
export function afterTransition(state: DriftState, transition: DriftTransition): DriftState | null {
  return DRIFT_TABLE[state][transition] ?? null;
}

/** What may be done in a state, for the message that refuses something else. */
export function transitionsFrom(state: DriftState): DriftTransition[] {
  return Object.keys(DRIFT_TABLE[state]) as DriftTransition[];
}
