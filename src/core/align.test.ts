// Goal: rows that are alike but for their time meet the nearest, and the order of arrival decides nothing.
// Method: against trying every choice; then whole keys of a join by sub-account.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import { alignInTime } from './align.ts';
import { agreesExactly, compareKey, type Item, type MatchRules } from './match.ts';
import { DEFAULT_STATUS_MAP } from './policy.ts';

const times = fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 6 }).map((list) => list.sort((a, b) => a - b));

/** The least sum of gaps over every way to pair all of the shorter list in order. */
function least(a: readonly number[], b: readonly number[]): number {
  if (a.length > b.length) return least(b, a);
  if (a.length === 0) return 0;
  const rest = b.slice(1);
  const paired = Math.abs(a[0]! - b[0]!) + least(a.slice(1), rest);
  return a.length <= rest.length ? Math.min(paired, least(a, rest)) : paired;
}

const item = (atMs: number | null, status: string, id: string): Item => ({
  account: 'GA',
  asset: 'native',
  amount: 5n,
  kind: null,
  status,
  counterparty: null,
  subAccount: '7',
  atMs,
  ledger: null,
  txHash: null,
  rowIds: [id],
});
const rules: MatchRules = {
  sumLegs: false,
  keyRepeats: true,
  statusMap: DEFAULT_STATUS_MAP,
  timeToleranceMs: null,
};

describe('aligning times', () => {
  it('pairs all of the shorter list, in order, at the least distance that there is', () => {
    fc.assert(
      fc.property(times, times, (a, b) => {
        const pairs = alignInTime(a, b);
        expect(pairs).toHaveLength(Math.min(a.length, b.length));
        for (const [i, [x, y]] of pairs.entries()) {
          if (i > 0) expect(x > pairs[i - 1]![0] && y > pairs[i - 1]![1]).toBe(true);
        }
        const sum = pairs.reduce((all, [i, j]) => all + Math.abs(a[i]! - b[j]!), 0);
        expect(sum).toBe(a.length <= b.length ? least(a, b) : least(b, a));
      }),
      cases(500),
    );
  });

  it('takes a time that nobody knows for as near to one as to another', () => {
    expect(alignInTime([5, null], [5, 9, null])).toHaveLength(2);
    expect(alignInTime([], [1])).toEqual([]);
  });
});

describe('a key that many movements share', () => {
  it('accounts for every row once, misses as many as are missing, and calls none a duplicate', () => {
    fc.assert(
      fc.property(times, times, (ledger, book) => {
        const found = compareKey(
          ledger.map((at, i) => item(at, 'success', `l${i}`)),
          book.map((at, i) => item(at, 'paid', `b${i}`)),
          rules,
        );
        expect(found.filter((each) => each.ledger && each.book)).toHaveLength(Math.min(ledger.length, book.length));
        const lonely = found.flatMap((each) => each.kinds);
        const kind = ledger.length > book.length ? 'MISSING_IN_DB' : 'MISSING_ON_LEDGER';
        expect(lonely).toEqual(Array.from({ length: Math.abs(ledger.length - book.length) }, () => kind));
        expect(new Set(found.map((each) => each.occurrence)).size).toBe(found.length);
      }),
      cases(300),
    );
  });

  it('keeps the numbers of what is missing when later movements come, on either side', () => {
    const ledger = [item(10, 'success', 'l1'), item(20, 'success', 'l2')];
    const numberOf = (found: ReturnType<typeof compareKey>, id: string) =>
      found.find((each) => (each.ledger ?? each.book)!.rowIds[0] === id)!.occurrence;
    const before = compareKey(ledger, [item(20, 'paid', 'b2')], rules);
    const after = compareKey(
      [...ledger, item(30, 'success', 'l3')],
      [item(20, 'paid', 'b2'), item(30, 'paid', 'b3')],
      rules,
    );
    expect(numberOf(after, 'l1')).toBe(numberOf(before, 'l1'));
    const alone = compareKey([], [item(5, 'paid', 'b1')], rules);
    expect(
      numberOf(compareKey([item(90, 'success', 'l9')], [item(5, 'paid', 'b1'), item(90, 'paid', 'b9')], rules), 'l9'),
    ).toBe(0);
    expect(alone[0]!.occurrence).toBe(1_000_000);
  });

  it('leaves a fee that is like a movement aside, however near in time it lies', () => {
    const fee = { ...item(10, 'paid', 'fee'), kind: 'fee' };
    const inScope: MatchRules['inScope'] = ({ kind }) => kind !== 'fee';
    const found = compareKey([item(10, 'success', 'l')], [fee, item(30, 'paid', 'b')], { ...rules, inScope });
    expect(found.map(({ kinds, book }) => [kinds, book?.rowIds])).toEqual([[[], ['b']]]);
  });

  it('leaves a try that failed beside the one that went through', () => {
    const found = compareKey(
      [item(12, 'success', 'l')],
      [item(12, 'failed', 'b-failed'), item(15, 'paid', 'b-paid')],
      rules,
    );
    expect(found.find((each) => each.ledger)!.book!.rowIds).toEqual(['b-paid']);
    expect(found.flatMap((each) => each.kinds)).toEqual([]);
  });
});

describe('the quick answer', () => {
  it('is the answer of the whole comparison wherever it says that a pair agrees', () => {
    const word = fc.constantFrom(null, 'success', 'paid', 'failed', 'pending', 'odd');
    const any = fc.record({
      amount: fc.bigInt({ min: -2n, max: 2n }),
      account: fc.constantFrom('GA', 'GB'),
      asset: fc.constantFrom('native', 'USD:G'),
      kind: fc.constantFrom(null, 'payment', 'trade', 'payout'),
      counterparty: fc.constantFrom(null, 'GC', 'GD'),
      subAccount: fc.constantFrom(null, '1', '2'),
      atMs: fc.constantFrom(null, 0, 5_000),
    });
    fc.assert(
      fc.property(any, any, fc.constantFrom('success', 'failed'), word, fc.boolean(), (l, b, ls, bs, own) => {
        const asked: MatchRules = { ...rules, keyRepeats: false, timeToleranceMs: 1_000, ownWords: own };
        const [entry, row] = [
          { ...item(0, ls, 'l'), ...l },
          { ...item(0, 'x', 'b'), ...b, status: bs },
        ];
        const found = compareKey([entry], [row], asked);
        const equal = found.length === 1 && found[0]!.kinds.length === 0 && found[0]!.ledger && found[0]!.book;
        if (agreesExactly(entry, row, asked)) expect(equal).toBeTruthy();
        else if (entry.amount === row.amount) expect(equal).toBeFalsy();
      }),
      cases(1000),
    );
  });
});
