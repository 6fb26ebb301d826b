// Goal: a backfill's states follow one another only as the table says, and a wish is granted, already granted or refused with what would
// work. Method: every pair of states, and every wish in every state.
import { describe, expect, it } from 'vitest';
import {
  ACTIVE_STATES,
  BACKFILL_STATES,
  BACKFILL_TRANSITIONS,
  isFinalState,
  stateAfterWish,
  statesBefore,
  type BackfillState,
} from './backfill.ts';
import { TrueUpError } from './errors.ts';

const ALLOWED = `
  planned>queued planned>paused planned>cancelled planned>failed
  queued>running queued>throttled queued>blocked queued>paused queued>cancelled queued>failed
  running>throttled running>pausing running>cancelling running>blocked running>verifying running>failed
  throttled>running throttled>pausing throttled>cancelling throttled>blocked throttled>verifying throttled>failed
  blocked>running blocked>throttled blocked>pausing blocked>cancelling blocked>failed
  verifying>running verifying>pausing verifying>cancelling verifying>succeeded verifying>failed
  pausing>paused pausing>queued pausing>cancelling pausing>failed
  paused>queued paused>cancelled
  cancelling>cancelled`
  .trim()
  .split(/\s+/);

describe('the states of a backfill', () => {
  it('follow one another as written down here, pair by pair', () => {
    for (const from of BACKFILL_STATES) {
      for (const to of BACKFILL_STATES) {
        const allowed = ALLOWED.includes(`${from}>${to}`);
        expect([`${from}>${to}`, BACKFILL_TRANSITIONS[from].includes(to)]).toEqual([`${from}>${to}`, allowed]);
        expect(statesBefore(to).includes(from)).toBe(allowed);
      }
    }
  });

  it('end in three, which nothing follows, and every other one leads to an end', () => {
    expect(BACKFILL_STATES.filter(isFinalState)).toEqual(['cancelled', 'succeeded', 'failed']);
    const reaches = (state: BackfillState, seen = new Set<BackfillState>()): boolean =>
      isFinalState(state) ||
      (!seen.has(state) && BACKFILL_TRANSITIONS[state].some((next) => reaches(next, seen.add(state))));
    for (const state of ACTIVE_STATES) expect([state, reaches(state)]).toEqual([state, true]);
  });
});

describe('a wish', () => {
  const outcome = (state: BackfillState, wish: 'pause' | 'resume' | 'cancel'): string => {
    try {
      return stateAfterWish(state, wish) ?? 'is so';
    } catch (error) {
      expect(error).toBeInstanceOf(TrueUpError);
      expect((error as TrueUpError).details.fix).toBeTruthy();
      return (error as TrueUpError).reason;
    }
  };

  it.each([
    ['planned', 'paused', 'is so', 'cancelled'],
    ['queued', 'paused', 'is so', 'cancelled'],
    ['running', 'pausing', 'is so', 'cancelling'],
    ['throttled', 'pausing', 'is so', 'cancelling'],
    ['blocked', 'pausing', 'is so', 'cancelling'],
    ['verifying', 'pausing', 'is so', 'cancelling'],
    ['pausing', 'is so', 'queued', 'cancelling'],
    ['paused', 'is so', 'queued', 'cancelled'],
    ['cancelling', 'INVALID_TRANSITION', 'INVALID_TRANSITION', 'is so'],
    ['cancelled', 'RUN_ALREADY_FINISHED', 'RUN_ALREADY_FINISHED', 'is so'],
    ['succeeded', 'RUN_ALREADY_FINISHED', 'RUN_ALREADY_FINISHED', 'RUN_ALREADY_FINISHED'],
    ['failed', 'RUN_ALREADY_FINISHED', 'RUN_ALREADY_FINISHED', 'RUN_ALREADY_FINISHED'],
  ] as const)('in %s: pause %s, resume %s, cancel %s', (state, pause, resume, cancel) => {
    expect([outcome(state, 'pause'), outcome(state, 'resume'), outcome(state, 'cancel')]).toEqual([
      pause,
      resume,
      cancel,
    ]);
  });
});
