// Goal: an accusation waits for its grace and is never made across what wasn't read. Method: each rule by hand, at its edges.
import { describe, expect, it } from 'vitest';
import { compareKey, type Item } from './match.ts';
import { DEFAULT_STATUS_MAP } from './policy.ts';
import { classify, decideVerdict, type AccusationFacts } from './verdict.ts';

const MINUTE = 60_000;
const CUT = 1_700_000_000_000;
const facts = (more: Partial<AccusationFacts> = {}): AccusationFacts => ({
  grace: { missingInDbMs: 5 * MINUTE, missingOnLedgerMs: 15 * MINUTE },
  cutAtMs: CUT + 2000,
  cutClosedMs: CUT,
  bookCompleteThroughMs: CUT,
  covered: [{ from: 1, to: 101 }],
  headLedger: 100,
  missingTimes: [],
  wholeHistory: true,
  ...more,
});
const item = (given: Partial<Item>): Item => ({
  account: 'GA',
  asset: 'native',
  amount: 1n,
  kind: null,
  status: null,
  counterparty: null,
  subAccount: null,
  atMs: CUT - 60 * MINUTE,
  ledger: null,
  txHash: null,
  rowIds: ['x'],
  ...given,
});
const classes = (ledger: Partial<Item>[], book: Partial<Item>[], more: Partial<AccusationFacts> = {}) =>
  compareKey(
    ledger.map((each) => item({ status: 'success', kind: 'payment', ledger: 50, ...each })),
    book.map(item),
    { sumLegs: false, statusMap: DEFAULT_STATUS_MAP, timeToleranceMs: null },
  ).map((finding) => classify(finding, facts(more)));

describe('a leg that the book lacks', () => {
  it('is pending for five minutes after its close, by the moment of the cut', () => {
    expect(classes([{ atMs: CUT + 2000 - 5 * MINUTE + 1 }], [])).toEqual(['pending']);
    expect(classes([{ atMs: CUT + 2000 - 5 * MINUTE }], [])).toEqual(['drift']);
  });

  it('is pending past the time to which the book says that it is complete, and where it never said so', () => {
    const atMs = CUT - 30 * MINUTE;
    expect(classes([{ atMs }], [], { bookCompleteThroughMs: atMs })).toEqual(['drift']);
    expect(classes([{ atMs }], [], { bookCompleteThroughMs: atMs - 1 })).toEqual(['pending']);
    expect(classes([{ atMs }], [], { bookCompleteThroughMs: null })).toEqual(['pending']);
  });

  it('is accused whatever else was not read: it was seen', () => {
    expect(
      classes([{}], [], { covered: [], wholeHistory: false, missingTimes: [{ fromMs: -Infinity, toMs: Infinity }] }),
    ).toEqual(['drift']);
  });
});

describe('a row that the ledger lacks', () => {
  it('is pending for fifteen minutes from its own time to the cut', () => {
    expect(classes([], [{ atMs: CUT - 15 * MINUTE + 1 }])).toEqual(['pending']);
    expect(classes([], [{ atMs: CUT - 15 * MINUTE }])).toEqual(['drift']);
    expect(classes([], [{ atMs: CUT + MINUTE }])).toEqual(['pending']);
  });

  it('is skipped where it could lie in what was not read', () => {
    const atMs = CUT - 60 * MINUTE;
    const gap = (fromMs: number, toMs: number) =>
      classes([], [{ atMs }], { missingTimes: [{ fromMs, toMs }], wholeHistory: false });
    expect(gap(-Infinity, atMs - 1)).toEqual(['drift']);
    expect(gap(-Infinity, atMs)).toEqual(['skipped']);
    expect(gap(atMs, Infinity)).toEqual(['skipped']);
    expect(gap(atMs + 1, Infinity)).toEqual(['drift']);
  });

  it('is judged by the ledger that it names, where that is one', () => {
    const missingTimes = [{ fromMs: -Infinity, toMs: Infinity }];
    const covered = [{ from: 40, to: 60 }];
    expect(classes([], [{ ledger: 50 }], { covered, missingTimes, wholeHistory: false })).toEqual(['drift']);
    expect(classes([], [{ ledger: 60 }], { covered, wholeHistory: false })).toEqual(['skipped']);
    expect(classes([], [{ ledger: 50, atMs: CUT - MINUTE }], { covered })).toEqual(['pending']);
    expect(classes([], [{ ledger: 50, atMs: null }], { covered, wholeHistory: false })).toEqual(['drift']);
    expect(classes([], [{ ledger: 101, atMs: null }], { covered })).toEqual(['pending']);
    expect(classes([], [{ ledger: 999_999 }], { missingTimes })).toEqual(['skipped']);
    expect(classes([], [{ ledger: 999_999 }])).toEqual(['drift']);
  });

  it('is missed without a time of its own only where all of history was read', () => {
    expect(classes([], [{ atMs: null }])).toEqual(['drift']);
    expect(classes([], [{ atMs: null }], { wholeHistory: false })).toEqual(['skipped']);
  });
});

describe('two sides that were both read', () => {
  it('match or drift at once, whatever their age', () => {
    expect(classes([{ atMs: CUT }], [{ atMs: CUT }])).toEqual(['matched']);
    expect(classes([{ atMs: CUT }], [{ atMs: CUT, amount: 2n }])).toEqual(['drift']);
    expect(classes([{ atMs: CUT }], [{}, { rowIds: ['y'], atMs: CUT }])).toEqual(['matched', 'drift']);
  });

  it('wait for a row that is still pending as long as for one that is missing', () => {
    expect(classes([{ atMs: CUT }], [{ status: 'pending' }])).toEqual(['pending']);
    expect(classes([{ atMs: CUT - 5 * MINUTE }], [{ status: 'pending' }])).toEqual(['drift']);
    expect(classes([{ atMs: CUT }], [{ status: 'failed' }])).toEqual(['drift']);
  });

  it('are nothing where one of them wrote down a failed attempt', () => {
    expect(classes([{ status: 'failed', amount: 0n }], [])).toEqual(['nothing']);
    expect(classes([], [{ status: 'failed' }])).toEqual(['nothing']);
  });
});

describe('a verdict', () => {
  it('is never CLEAN over a reason to doubt, and counts drifts that stood before', () => {
    const doubt = {
      reason: 'COVERAGE_GAP',
      side: 'ledger',
      message: '',
      fix: '',
      ranges: [],
      accounts: [],
      itemCount: 1,
    } as const;
    expect(decideVerdict([doubt], 0)).toBe('INCONCLUSIVE');
    expect(decideVerdict([doubt], 3)).toBe('INCONCLUSIVE');
    expect(decideVerdict([], 3)).toBe('DRIFT_DETECTED');
    expect(decideVerdict([], 0)).toBe('CLEAN');
  });
});
