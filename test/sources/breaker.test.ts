// Goal: the circuit opens, waits and closes exactly as its table says, whatever order calls end in.
// Method: a clock that only the test moves; every transition of the table in src/sources/http/breaker.ts is walked.
import { describe, expect, it } from 'vitest';
import { DEFAULT_BREAKER, createBreaker } from '../../src/sources/http/breaker.ts';
import type { Breaker, BreakerState, Outcome } from '../../src/sources/http/breaker.ts';

function setUp() {
  let nowMs = 1_000_000;
  const changes: BreakerState[] = [];
  const breaker = createBreaker(
    DEFAULT_BREAKER,
    () => nowMs,
    (state) => changes.push(state),
  );
  return { breaker, changes, advance: (ms: number) => (nowMs += ms) };
}

function call(breaker: Breaker, outcome: Outcome): void {
  const admission = breaker.enter();
  if (!admission.admitted) throw new Error('refused');
  admission.settle(outcome);
}

function openIt(breaker: Breaker): void {
  for (let i = 0; i < DEFAULT_BREAKER.failureThreshold; i += 1) call(breaker, 'failure');
}

describe('the circuit breaker', () => {
  it('has the thresholds of the system it replaces', () => {
    expect(DEFAULT_BREAKER).toEqual({ failureThreshold: 5, windowMs: 30_000, cooldownMs: 30_000 });
  });

  it('CLOSED -> OPEN: on the fifth failure within the window, and not before', () => {
    const { breaker, changes } = setUp();
    for (let i = 0; i < 4; i += 1) call(breaker, 'failure');
    expect(breaker.snapshot()).toMatchObject({ state: 'CLOSED', failuresInWindow: 4 });
    call(breaker, 'failure');
    expect(breaker.snapshot()).toMatchObject({ state: 'OPEN', retryAfterMs: 30_000 });
    expect(changes).toEqual(['OPEN']);
  });

  it('stays CLOSED when failures are spread wider than the window', () => {
    const { breaker, advance } = setUp();
    for (let i = 0; i < 50; i += 1) {
      call(breaker, 'failure');
      advance(7_501);
    }
    expect(breaker.snapshot().state).toBe('CLOSED');
  });

  it('refuses while OPEN and says for how long', () => {
    const { breaker, advance } = setUp();
    openIt(breaker);
    advance(12_000);
    expect(breaker.enter()).toEqual({ admitted: false, retryAfterMs: 18_000 });
  });

  it('OPEN -> HALF_OPEN -> CLOSED: after the cooldown one call goes through, and its success closes the circuit', () => {
    const { breaker, changes, advance } = setUp();
    openIt(breaker);
    advance(30_000);
    const probe = breaker.enter();
    expect(breaker.snapshot().state).toBe('HALF_OPEN');
    expect(breaker.enter()).toMatchObject({ admitted: false });
    if (probe.admitted) probe.settle('success');
    expect(breaker.snapshot()).toEqual({ state: 'CLOSED', failuresInWindow: 0, retryAfterMs: 0 });
    expect(changes).toEqual(['OPEN', 'HALF_OPEN', 'CLOSED']);
  });

  it('HALF_OPEN -> OPEN: a failed probe starts a whole new cooldown', () => {
    const { breaker, changes, advance } = setUp();
    openIt(breaker);
    advance(30_000);
    call(breaker, 'failure');
    expect(breaker.snapshot()).toMatchObject({ state: 'OPEN', retryAfterMs: 30_000 });
    expect(changes).toEqual(['OPEN', 'HALF_OPEN', 'OPEN']);
  });

  it('HALF_OPEN stays: a probe that its caller cancelled proves nothing, and the next call is the probe', () => {
    const { breaker, advance } = setUp();
    openIt(breaker);
    advance(30_000);
    call(breaker, 'ignored');
    expect(breaker.snapshot().state).toBe('HALF_OPEN');
    call(breaker, 'success');
    expect(breaker.snapshot().state).toBe('CLOSED');
  });

  it('ignores calls that began before the circuit last changed', () => {
    const { breaker, advance } = setUp();
    const early = breaker.enter();
    openIt(breaker);
    if (early.admitted) early.settle('success');
    expect(breaker.snapshot().state).toBe('OPEN');
    advance(30_000);
    const late = breaker.enter();
    if (late.admitted) late.settle('success');
    if (early.admitted) early.settle('failure');
    expect(breaker.snapshot()).toMatchObject({ state: 'CLOSED', failuresInWindow: 0 });
  });
});
