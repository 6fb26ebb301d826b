// A circuit breaker per host: after too many failures in a window, calls are refused for a while, then one is let through.
//
// cockatiel was tried and left aside: none of its breakers counts failures inside a time window, calls that meet a
// running probe wait instead of failing at once, a probe cancelled by its caller closes the circuit, and its clock
// (Date.now) can go back.

export const BREAKER_STATES = ['CLOSED', 'OPEN', 'HALF_OPEN'] as const;
export type BreakerState = (typeof BREAKER_STATES)[number];

export interface BreakerOptions {
  /** Failures inside the window that open the circuit. */
  readonly failureThreshold: number;
  readonly windowMs: number;
  /** How long an open circuit refuses before it lets one call through. */
  readonly cooldownMs: number;
}

export const DEFAULT_BREAKER: BreakerOptions = { failureThreshold: 5, windowMs: 30_000, cooldownMs: 30_000 };

/** What a finished call says about the host; `ignored` for one that its caller cancelled. */
export type Outcome = 'success' | 'failure' | 'ignored';

export interface BreakerSnapshot {
  readonly state: BreakerState;
  readonly failuresInWindow: number;
  /** Milliseconds until a call may be let through; 0 unless the state is OPEN. */
  readonly retryAfterMs: number;
}

export type Admission =
  | { readonly admitted: true; settle(outcome: Outcome): void }
  | { readonly admitted: false; readonly retryAfterMs: number };

export interface Breaker {
  /** Every admitted call must be settled exactly once; later calls of `settle` are without effect. */
  enter(): Admission;
  snapshot(): BreakerSnapshot;
}

/** While a probe is out, other calls are told to come back after this long. */
const PROBE_RETRY_AFTER_MS = 1_000;

/**
 * | state     | event                                | next      |
 * |-----------|--------------------------------------|-----------|
 * | CLOSED    | failureThreshold failures in windowMs | OPEN      |
 * | OPEN      | a call after cooldownMs               | HALF_OPEN |
 * | HALF_OPEN | the probe succeeds                    | CLOSED    |
 * | HALF_OPEN | the probe fails                       | OPEN      |
 * | HALF_OPEN | the probe is cancelled                | HALF_OPEN, the next call is the probe |
 *
 * @param now a clock that never goes back, in milliseconds
 * @param onChange called after each change of state
 */
export function createBreaker(
  options: BreakerOptions,
  now: () => number,
  onChange: (state: BreakerState) => void = () => undefined,
): Breaker {
  let state: BreakerState = 'CLOSED';
  let failures: number[] = [];
  let openedAt = 0;
  let probing = false;
  // A call admitted before the last change of state has nothing to say about the present one.
  let generation = 0;

  const moveTo = (next: BreakerState): void => {
    state = next;
    generation += 1;
    probing = false;
    if (next === 'CLOSED') failures = [];
    if (next === 'OPEN') openedAt = now();
    onChange(next);
  };

  const recent = (): number[] => {
    const oldest = now() - options.windowMs;
    failures = failures.filter((at) => at > oldest);
    return failures;
  };

  const settleAs = (outcome: Outcome): void => {
    if (state === 'HALF_OPEN') {
      probing = false;
      if (outcome === 'success') moveTo('CLOSED');
      if (outcome === 'failure') moveTo('OPEN');
    } else if (state === 'CLOSED' && outcome === 'failure') {
      failures.push(now());
      if (recent().length >= options.failureThreshold) moveTo('OPEN');
    }
  };

  const cooldownLeft = (): number => (state === 'OPEN' ? Math.max(0, openedAt + options.cooldownMs - now()) : 0);

  return {
    enter() {
      if (cooldownLeft() > 0) return { admitted: false, retryAfterMs: Math.ceil(cooldownLeft()) };
      if (state === 'OPEN') moveTo('HALF_OPEN');
      if (state === 'HALF_OPEN') {
        if (probing) return { admitted: false, retryAfterMs: PROBE_RETRY_AFTER_MS };
        probing = true;
      }
      const admittedIn = generation;
      let settled = false;
      return {
        admitted: true,
        settle(outcome) {
          if (settled) return;
          settled = true;
          if (generation === admittedIn) settleAs(outcome);
        },
      };
    },
    snapshot: () => ({ state, failuresInWindow: recent().length, retryAfterMs: Math.ceil(cooldownLeft()) }),
  };
}
