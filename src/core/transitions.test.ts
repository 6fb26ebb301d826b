// Goal: nothing happens to a drift that the table doesn't allow. Method: every pair of state and transition, written out.
import { describe, expect, it } from 'vitest';
import { DRIFT_STATES, DRIFT_TRANSITIONS, type DriftState, type DriftTransition } from './drift.ts';
import { afterTransition, transitionsFrom } from './transitions.ts';

const REFUSED = null;
const PAIRS: Readonly<Record<DriftState, Readonly<Record<DriftTransition, DriftState | null>>>> = {
  open: { assign: 'open', acknowledge: 'acknowledged', resolve: 'resolved', exempt: 'exempt', reopen: REFUSED },
  acknowledged: { assign: 'acknowledged', acknowledge: REFUSED, resolve: 'resolved', exempt: 'exempt', reopen: 'open' },
  exempt: { assign: 'exempt', acknowledge: REFUSED, resolve: 'resolved', exempt: 'exempt', reopen: 'open' },
  resolved: { assign: REFUSED, acknowledge: REFUSED, resolve: REFUSED, exempt: REFUSED, reopen: 'open' },
};

describe('a drift', () => {
  for (const state of DRIFT_STATES) {
    it.each(DRIFT_TRANSITIONS)(`that is ${state} answers to %s as the table says`, (transition) => {
      expect(afterTransition(state, transition)).toBe(PAIRS[state][transition]);
      expect(transitionsFrom(state).includes(transition)).toBe(PAIRS[state][transition] !== REFUSED);
    });
  }
});
