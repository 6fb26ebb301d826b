// Goal: the right people are woken once. Method: the table by hand, then properties over made-up histories of runs and deliveries.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import {
  decideAlerts,
  hasGrown,
  noteGivenUp,
  noteTold,
  NOTHING_TOLD,
  type AlertMemory,
  type AlertRule,
  type DueAlert,
  type RunOutcome,
} from './alerting.ts';

const MINUTE_MS = 60_000;
const RULE: AlertRule = { enabled: true, threshold: 1, cooldownMs: 15 * MINUTE_MS };
const at = (minute: number) => new Date(Date.UTC(2026, 0, 1) + minute * MINUTE_MS);

const clean: RunOutcome = outcome('CLEAN', 0);
function outcome(verdict: RunOutcome['verdict'], count: number, more: Partial<RunOutcome> = {}): RunOutcome {
  return {
    verdict,
    standing: { count, unacknowledged: count, valueAtRisk: count === 0 ? {} : { native: BigInt(count) * 10n } },
    unreadLedgers: null,
    intervalMs: 5 * MINUTE_MS,
    ...more,
  };
}
const drifted = (count: number, more: Partial<RunOutcome> = {}) => outcome('DRIFT_DETECTED', count, more);
const inconclusive = (count = 0, unreadLedgers: number | null = null) =>
  outcome('INCONCLUSIVE', count, { unreadLedgers });

/** A policy whose runs come one after another, and a far side that accepts, refuses or keeps silent. */
function policy(rule: AlertRule = RULE) {
  let memory: AlertMemory = NOTHING_TOLD;
  return {
    run(minute: number, run: RunOutcome): DueAlert[] {
      const decision = decideAlerts(rule, memory, run, at(minute));
      memory = decision.memory;
      return [...decision.due];
    },
    /** A run whose messages all arrive at once. */
    told(minute: number, run: RunOutcome): string[] {
      const due = this.run(minute, run);
      for (const each of due) memory = noteTold(memory, each.key, at(minute));
      return due.map((each) => each.kind);
    },
    accept: (key: string, minute: number) => (memory = noteTold(memory, key, at(minute))),
    giveUp: (key: string) => (memory = noteGivenUp(memory, key)),
  };
}

describe('drifts', () => {
  it('that stand as they were told are told once, however long they stand; more of them after the cooldown are told as new', () => {
    const one = policy();
    expect(one.told(0, drifted(2))).toEqual(['DRIFT_DETECTED']);
    for (const minute of [5, 10, 14]) expect(one.told(minute, drifted(2))).toEqual([]);
    for (const minute of [15, 40, 10_000]) expect(one.told(minute, drifted(2))).toEqual([]);
    expect(one.told(10_005, drifted(3))).toEqual(['DRIFT_DETECTED']);
    const acknowledged = drifted(2, { standing: { ...drifted(2).standing, unacknowledged: 0 } });
    expect(policy().told(0, acknowledged)).toEqual([]);
  });

  it('below the threshold are told nobody', () => {
    const five = policy({ ...RULE, threshold: 5 });
    expect(five.told(0, drifted(4))).toEqual([]);
    expect(five.told(5, drifted(5))).toEqual(['DRIFT_DETECTED']);
  });

  it('escalate inside the cooldown when their number or the value at risk grows, and only then', () => {
    const one = policy();
    one.told(0, drifted(2));
    expect(one.told(1, drifted(3))).toEqual(['DRIFT_RISING']);
    expect(one.told(2, drifted(3))).toEqual([]);
    expect(one.told(3, drifted(1))).toEqual([]);
    const dearer = { ...drifted(3), standing: { count: 3, unacknowledged: 3, valueAtRisk: { native: 31n } } };
    expect(one.told(4, dearer)).toEqual(['DRIFT_RISING']);
    const elsewhere = { ...dearer, standing: { ...dearer.standing, valueAtRisk: { native: 31n, [`EUR:G`]: 1n } } };
    expect(one.told(5, elsewhere)).toEqual(['DRIFT_RISING']);
  });

  it('that an inconclusive run has proven are told: INCONCLUSIVE never masks', () => {
    expect(policy().told(0, inconclusive(1))).toEqual(['DRIFT_DETECTED']);
  });

  it('spend no cooldown on a message that never arrived', () => {
    const one = policy();
    const [first] = one.run(0, drifted(1));
    expect(one.run(1, drifted(9))).toEqual([]);
    one.giveUp(first!.key);
    const [second] = one.run(2, drifted(1));
    expect(second).toMatchObject({ kind: 'DRIFT_DETECTED' });
    expect(second!.key).not.toBe(first!.key);
  });

  it('count the cooldown from the delivery, however late it was', () => {
    const growsAt = (minute: number) => {
      const one = policy();
      const [first] = one.run(0, drifted(1));
      one.accept(first!.key, 30);
      return one.told(minute, drifted(2));
    };
    expect(growsAt(44)).toEqual(['DRIFT_RISING']);
    expect(growsAt(45)).toEqual(['DRIFT_DETECTED']);
  });

  it('are resolved by two clean runs in a row, once, and by nothing that could not be read', () => {
    const one = policy();
    one.told(0, drifted(1));
    expect(one.told(5, clean)).toEqual([]);
    expect(one.told(10, inconclusive())).toEqual([]);
    expect(one.told(15, clean)).toEqual([]);
    expect(one.told(20, clean)).toEqual(['RESOLVED']);
    expect(one.told(25, clean)).toEqual([]);
    expect(one.told(26, drifted(1))).toEqual(['DRIFT_DETECTED']);
  });

  it('whose message is still on its way are resolved after it has arrived, and not at all when it never does', () => {
    const late = policy();
    const [first] = late.run(0, drifted(1));
    for (const minute of [5, 10, 15]) expect(late.run(minute, clean)).toEqual([]);
    late.accept(first!.key, 16);
    expect(late.told(20, clean)).toEqual(['RESOLVED']);
    const never = policy();
    const [lost] = never.run(0, drifted(1));
    never.giveUp(lost!.key);
    for (const minute of [5, 10, 15]) expect(never.run(minute, clean)).toEqual([]);
  });

  it('of a policy whose alerts are off are told nobody', () => {
    const off = policy({ ...RULE, enabled: false });
    expect(off.told(0, drifted(100))).toEqual([]);
    expect(off.told(60, inconclusive())).toEqual([]);
  });
});

describe('an inconclusive policy', () => {
  it('alerts once after 30 minutes, or three intervals where these are longer', () => {
    const often = policy();
    for (const minute of [0, 10, 29]) expect(often.told(minute, inconclusive())).toEqual([]);
    expect(often.told(30, inconclusive())).toEqual(['INCONCLUSIVE']);
    expect(often.told(300, inconclusive())).toEqual([]);
    const hourly = policy();
    const run = { ...inconclusive(), intervalMs: 60 * MINUTE_MS };
    for (const minute of [0, 60, 120]) expect(hourly.told(minute, run)).toEqual([]);
    expect(hourly.told(180, run)).toEqual(['INCONCLUSIVE']);
  });

  it('is silent while it catches up, and speaks when it stops to', () => {
    const one = policy();
    for (let minute = 0; minute <= 100; minute += 10) {
      expect(one.told(minute, inconclusive(0, 10_000 - minute))).toEqual([]);
    }
    expect(one.told(120, inconclusive(0, 9_900))).toEqual([]);
    expect(one.told(130, inconclusive(0, 9_900))).toEqual(['INCONCLUSIVE']);
  });

  it('is told to be well again after two conclusive verdicts, with drift or without', () => {
    const one = policy();
    one.told(0, inconclusive());
    one.told(30, inconclusive());
    expect(one.told(35, clean)).toEqual([]);
    expect(one.told(40, inconclusive())).toEqual([]);
    expect(one.told(45, clean)).toEqual([]);
    expect(one.told(50, drifted(0))).toEqual(['RESOLVED']);
  });

  it("for a moment only is nobody's business", () => {
    const one = policy();
    one.told(0, inconclusive());
    expect(one.told(20, clean)).toEqual([]);
    expect(one.told(25, inconclusive())).toEqual([]);
    expect(one.told(50, inconclusive())).toEqual([]);
    expect(one.told(55, inconclusive())).toEqual(['INCONCLUSIVE']);
  });
});

describe('over any history', () => {
  const step = fc.record({
    minutes: fc.integer({ min: 1, max: 20 }),
    verdict: fc.constantFrom('CLEAN' as const, 'DRIFT_DETECTED' as const, 'INCONCLUSIVE' as const),
    count: fc.integer({ min: 0, max: 4 }),
    value: fc.integer({ min: 0, max: 3 }),
    acknowledged: fc.boolean(),
    unread: fc.option(fc.integer({ min: 0, max: 5 }), { nil: null }),
    answer: fc.constantFrom('accepts' as const, 'refuses' as const, 'silent' as const),
  });

  it('no two drift messages arrive inside a cooldown unless it has grown, and nothing is resolved that was not told', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 1, max: 3 }), (steps, threshold) => {
        const rule = { ...RULE, threshold };
        let memory = NOTHING_TOLD;
        let minute = 0;
        const onItsWay = new Map<string, { due: DueAlert; standing: RunOutcome['standing'] }>();
        let told: { minute: number; standing: RunOutcome['standing'] } | null = null;
        const open = { drift: 0, outage: 0 };
        const keys = new Set<string>();
        let cleanInARow = 0;
        for (const { minutes, verdict, count, value, acknowledged, unread, answer } of steps) {
          minute += minutes;
          const drifts = verdict === 'CLEAN' ? 0 : count;
          const standing = {
            count: drifts,
            unacknowledged: acknowledged ? 0 : drifts,
            valueAtRisk: { native: BigInt(drifts * value) },
          };
          cleanInARow = verdict === 'CLEAN' ? cleanInARow + 1 : 0;
          const run = { verdict, standing, unreadLedgers: unread, intervalMs: 5 * MINUTE_MS };
          const decision = decideAlerts(rule, memory, run, at(minute));
          memory = decision.memory;
          for (const due of decision.due) {
            expect(keys.has(due.key)).toBe(false);
            keys.add(due.key);
            if (due.kind === 'RESOLVED') {
              expect(open[due.about]).toBe(1);
              open[due.about] = 0;
              if (due.about === 'drift') {
                expect(cleanInARow).toBeGreaterThanOrEqual(2);
                told = null;
              }
              continue;
            }
            if (due.about === 'drift') {
              expect([...onItsWay.values()].filter((each) => each.due.about === 'drift')).toEqual([]);
              expect(standing.count).toBeGreaterThanOrEqual(threshold);
              if (told !== null && (minute - told.minute) * MINUTE_MS < rule.cooldownMs) {
                expect(hasGrown(told.standing, standing)).toBe(true);
                expect(due.kind).toBe('DRIFT_RISING');
              }
            }
            onItsWay.set(due.key, { due, standing });
          }
          for (const [key, sent] of onItsWay) {
            if (answer === 'silent') continue;
            onItsWay.delete(key);
            memory = answer === 'accepts' ? noteTold(memory, key, at(minute)) : noteGivenUp(memory, key);
            if (answer === 'accepts') {
              open[sent.due.about] = 1;
              if (sent.due.about === 'drift') told = { minute, standing: sent.standing };
            }
          }
        }
      }),
      cases(2000),
    );
  });
});
