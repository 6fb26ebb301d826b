// Goal: a tolerance takes exactly what it says for equal, in every asset by itself. Method: properties against plain arithmetic.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import { compareKey, type Item, type MatchRules } from './match.ts';
import { DEFAULT_STATUS_MAP } from './policy.ts';
import { toleranceOf, type AmountTolerance } from './tolerance.ts';

const item = (asset: string, amount: bigint, status: string): Item => ({
  account: 'GA',
  asset,
  amount,
  kind: null,
  status,
  counterparty: null,
  subAccount: null,
  atMs: null,
  ledger: null,
  txHash: null,
  rowIds: [status],
});
const amount = fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n });

describe('a tolerance', () => {
  it('in minor units takes differences up to it for equal, and says by how much', () => {
    fc.assert(
      fc.property(
        amount,
        fc.bigInt({ min: -20n, max: 20n }),
        fc.bigInt({ min: 0n, max: 20n }),
        (ledger, gap, minor) => {
          const found = compare(ledger, ledger + gap, [{ asset: '*', minor, basisPoints: null }]);
          const size = gap < 0n ? -gap : gap;
          expect(found.kinds).toEqual(size <= minor ? [] : ['AMOUNT_MISMATCH']);
          expect(found.absorbed).toBe(size <= minor ? size : 0n);
        },
      ),
      cases(500),
    );
  });

  it("in basis points is a share of the ledger's amount, rounded down", () => {
    fc.assert(
      fc.property(amount, amount, fc.integer({ min: 0, max: 10_000 }), (ledger, book, basisPoints) => {
        const found = compare(ledger, book, [{ asset: 'native', minor: null, basisPoints }]);
        const [gap, size] = [ledger - book, ledger < 0n ? -ledger : ledger].map((each) => (each < 0n ? -each : each));
        // gap <= size * bp / 10000, without a division to round.
        const equal = gap! * 10_000n <= size! * BigInt(basisPoints);
        expect(found.kinds).toEqual(equal ? [] : ['AMOUNT_MISMATCH']);
      }),
      cases(500),
    );
    const of = toleranceOf([{ asset: '*', minor: null, basisPoints: 1 }]);
    expect([of('native', 9_999n), of('native', 10_000n), of('native', -19_999n)]).toEqual([0n, 1n, 1n]);
  });

  it("of one asset goes before everybody's, and none is zero", () => {
    const of = toleranceOf([
      { asset: '*', minor: 5n, basisPoints: null },
      { asset: 'USD:G', minor: 0n, basisPoints: null },
    ]);
    expect([of('native', 1n), of('USD:G', 1n)]).toEqual([5n, 0n]);
    expect(toleranceOf([])('native', 10n ** 20n)).toBe(0n);
  });
});

function compare(ledger: bigint, book: bigint, tolerances: readonly AmountTolerance[]) {
  const rules: MatchRules = {
    sumLegs: false,
    statusMap: DEFAULT_STATUS_MAP,
    timeToleranceMs: null,
    toleranceOf: toleranceOf(tolerances),
  };
  const [found, ...more] = compareKey([item('native', ledger, 'success')], [item('native', book, 'paid')], rules);
  expect(more).toEqual([]);
  return found!;
}
