// Goal: nobody is accused by the order of rows, by chance or twice. Method: properties over made-up keys, then each kind by hand.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import { compareKey, valueAtRisk, type Finding, type Item, type MatchRules } from './match.ts';
import { DEFAULT_STATUS_MAP } from './policy.ts';

const rules = (more: Partial<MatchRules> = {}): MatchRules => ({
  sumLegs: false,
  statusMap: DEFAULT_STATUS_MAP,
  timeToleranceMs: null,
  ...more,
});
const item = (given: Partial<Item> = {}): Item => ({
  account: 'GA',
  asset: 'native',
  amount: 100n,
  kind: null,
  status: null,
  counterparty: null,
  subAccount: null,
  atMs: 1000,
  ledger: null,
  txHash: null,
  rowIds: ['row'],
  ...given,
});
const leg = (given: Partial<Item> = {}): Item =>
  item({ status: 'success', kind: 'payment', ledger: 7, rowIds: ['7-1-1-0'], ...given });

const fields = {
  account: fc.constantFrom('GA', 'GB', 'GC'),
  asset: fc.constantFrom('native', 'USD:G'),
  amount: fc.bigInt({ min: -4n, max: 4n }),
  subAccount: fc.constantFrom(null, '1', '2'),
};
const legs = fc
  .array(fc.record({ ...fields, status: fc.constantFrom('success', 'success', 'failed') }), { maxLength: 6 })
  .map((list) =>
    list.map((each, i) =>
      leg({ ...each, amount: each.status === 'failed' ? 0n : each.amount, rowIds: [`7-1-1-${i}`] }),
    ),
  );
const rows = fc
  .array(fc.record({ ...fields, status: fc.constantFrom(null, 'completed', 'failed', 'pending', 'odd') }), {
    maxLength: 6,
  })
  .map((list) => list.map((each, i) => item({ ...each, rowIds: [`r${i}`] })));
const sumLegs = fc.boolean();
const shape = (findings: readonly Finding[]) =>
  findings.map(({ occurrence, kinds, fields: differing, ledger, book }) => [
    occurrence,
    kinds,
    differing,
    ledger?.rowIds,
    book?.rowIds,
  ]);

describe('comparing a key', () => {
  it('accounts for every row of either side exactly once, alone, paired or in a sum', () => {
    fc.assert(
      fc.property(legs, rows, sumLegs, (ledger, book, sum) => {
        const findings = compareKey(ledger, book, rules({ sumLegs: sum }));
        expect(findings.flatMap((each) => each.ledger?.rowIds ?? []).sort()).toEqual(
          ledger.flatMap((each) => each.rowIds).sort(),
        );
        expect(findings.flatMap((each) => each.book?.rowIds ?? []).sort()).toEqual(
          book.flatMap((each) => each.rowIds).sort(),
        );
        expect(findings.map((each) => each.occurrence)).toEqual(findings.map((_, i) => i));
      }),
      cases(500),
    );
  });

  it('says the same whatever order the rows come in', () => {
    fc.assert(
      fc.property(legs, rows, sumLegs, fc.infiniteStream(fc.nat(1000)), (ledger, book, sum, dice) => {
        const shuffled = <T>(list: readonly T[]): T[] =>
          list
            .map((each) => [dice.next().value as number, each] as const)
            .sort((a, b) => a[0] - b[0])
            .map(([, each]) => each);
        expect(shape(compareKey(shuffled(ledger), shuffled(book), rules({ sumLegs: sum })))).toEqual(
          shape(compareKey(ledger, book, rules({ sumLegs: sum }))),
        );
      }),
      cases(500),
    );
  });

  it('finds nothing between equal sides, however many rows are alike', () => {
    fc.assert(
      fc.property(legs, sumLegs, (ledger, sum) => {
        const book = ledger.map((each, i) =>
          item({ ...each, status: each.status === 'failed' ? 'failed' : 'completed', rowIds: [`r${i}`] }),
        );
        expect(
          compareKey(ledger, book, rules({ sumLegs: sum })).filter(
            (each) => each.kinds.length > 0 || !each.ledger || !each.book,
          ),
        ).toEqual([]);
      }),
      cases(500),
    );
  });

  it('accuses nobody outside the scope, and numbers the others as if nobody were left out', () => {
    fc.assert(
      fc.property(legs, rows, sumLegs, (ledger, book, sum) => {
        const inScope = (each: Item): boolean => each.account !== 'GB';
        for (const finding of compareKey(ledger, book, rules({ sumLegs: sum, inScope }))) {
          expect([finding.ledger, finding.book].some((side) => side !== null && inScope(side))).toBe(true);
        }
        const lonely = compareKey(ledger, [], rules({ sumLegs: sum }));
        const scoped = compareKey(ledger, [], rules({ sumLegs: sum, inScope }));
        expect(shape(scoped)).toEqual(shape(lonely.filter((each) => inScope(each.ledger!))));
      }),
      cases(500),
    );
  });

  it('keeps the number of a missing leg when the book writes down its neighbour', () => {
    const ledger = [
      leg({ amount: 1n, rowIds: ['a'] }),
      leg({ amount: 2n, rowIds: ['b'] }),
      leg({ amount: 3n, rowIds: ['c'] }),
    ];
    const missing = (book: Item[]) =>
      compareKey(ledger, book, rules())
        .filter((each) => each.kinds.includes('MISSING_IN_DB'))
        .map((each) => [each.occurrence, each.ledger?.amount]);
    expect(missing([])).toEqual([
      [0, 1n],
      [1, 2n],
      [2, 3n],
    ]);
    expect(missing([item({ amount: 1n })])).toEqual([
      [1, 2n],
      [2, 3n],
    ]);
    expect(missing([item({ amount: 2n, rowIds: ['x'] }), item({ amount: 1n })])).toEqual([[2, 3n]]);
  });
});

describe('what differs', () => {
  const kindsOf = (ledger: Item[], book: Item[], more: Partial<MatchRules> = {}) =>
    compareKey(ledger, book, rules(more)).map((each) => each.kinds);

  it('names a row that one side lacks', () => {
    expect(kindsOf([leg()], [])).toEqual([['MISSING_IN_DB']]);
    expect(kindsOf([], [item()])).toEqual([['MISSING_ON_LEDGER']]);
    expect(kindsOf([leg()], [item({ account: 'GX', asset: 'USD:G', amount: 7n })])).toEqual([
      ['MISSING_IN_DB'],
      ['MISSING_ON_LEDGER'],
    ]);
  });

  it('names duplicates on either side, and pairs a row once', () => {
    expect(kindsOf([leg()], [item(), item({ rowIds: ['again'] })])).toEqual([[], ['DUPLICATE_IN_DB']]);
    expect(kindsOf([leg(), leg({ rowIds: ['7-1-1-1'] })], [item()])).toEqual([[], ['DUPLICATE_ON_LEDGER']]);
    expect(kindsOf([leg()], [item(), item({ rowIds: ['again'] })], { sumLegs: true })).toEqual([
      [],
      ['DUPLICATE_IN_DB'],
    ]);
  });

  it('lists every difference of a record, not only the first', () => {
    const [finding] = compareKey(
      [leg({ counterparty: 'GB', subAccount: '7' })],
      [item({ amount: 90n, kind: 'trade', status: 'failed', counterparty: 'GC', subAccount: '8', atMs: 90_000 })],
      rules({ timeToleranceMs: 60_000 }),
    );
    expect(finding!.kinds).toEqual([
      'AMOUNT_MISMATCH',
      'TYPE_MISMATCH',
      'STATUS_MISMATCH',
      'ACCOUNT_MISMATCH',
      'TIME_MISMATCH',
    ]);
    expect(finding!.fields.map((each) => [each.field, each.ledger, each.book])).toEqual([
      ['amount', '100', '90'],
      ['kind', 'payment', 'trade'],
      ['status', 'success', 'failed'],
      ['counterparty', 'GB', 'GC'],
      ['sub_account', '7', '8'],
      ['time', '1970-01-01T00:00:01.000Z', '1970-01-01T00:01:30.000Z'],
    ]);
  });

  it('tells another account from another asset', () => {
    expect(kindsOf([leg()], [item({ account: 'GB' })])).toEqual([['ACCOUNT_MISMATCH']]);
    expect(kindsOf([leg()], [item({ asset: 'USD:G' })])).toEqual([['ASSET_MISMATCH']]);
    expect(kindsOf([leg()], [item({ amount: -100n })])).toEqual([['AMOUNT_MISMATCH']]);
  });

  it("compares time only within a tolerance, and kinds only where the book speaks the ledger's words", () => {
    expect(kindsOf([leg()], [item({ atMs: 9e9 })])).toEqual([[]]);
    expect(kindsOf([leg()], [item({ atMs: 61_000 })], { timeToleranceMs: 60_000 })).toEqual([[]]);
    expect(kindsOf([leg()], [item({ atMs: 61_001 })], { timeToleranceMs: 60_000 })).toEqual([['TIME_MISMATCH']]);
    expect(kindsOf([leg()], [item({ atMs: null })], { timeToleranceMs: 0 })).toEqual([[]]);
    expect(kindsOf([leg()], [item({ kind: 'payout' })])).toEqual([[]]);
  });

  it('takes a failed attempt for nothing moved', () => {
    const failed = leg({ status: 'failed', amount: 0n });
    expect(kindsOf([failed], [])).toEqual([[]]);
    expect(kindsOf([], [item({ status: 'failed' })])).toEqual([[]]);
    expect(kindsOf([failed], [item({ status: 'failed' })])).toEqual([[]]);
    expect(kindsOf([failed], [item({ status: 'completed' })])).toEqual([['STATUS_MISMATCH']]);
    expect(kindsOf([leg()], [item({ status: 'failed' })])).toEqual([['STATUS_MISMATCH']]);
    expect(kindsOf([leg()], [item({ status: 'a word of its own' })])).toEqual([['STATUS_MISMATCH']]);
  });

  it('says where a row is only still pending', () => {
    const [pending] = compareKey([leg()], [item({ status: 'submitted' })], rules());
    expect(pending).toMatchObject({ kinds: ['STATUS_MISMATCH'], bookPending: true });
    const [more] = compareKey([leg()], [item({ status: 'submitted', amount: 1n })], rules());
    expect(more!.bookPending).toBe(false);
  });
});

describe('rows that are alike', () => {
  const kindsOf = (ledger: Item[], book: Item[], more: Partial<MatchRules> = {}) =>
    compareKey(ledger, book, rules(more)).map((each) => each.kinds);

  it('leave a failed try aside, whatever its row id and word', () => {
    for (const status of ['failed', 'rejected'])
      for (const rowIds of [['a'], ['z']])
        for (const sumLegs of [true, false])
          expect(kindsOf([leg()], [item({ status, rowIds }), item()], { sumLegs })).toEqual(sumLegs ? [[]] : [[], []]);
  });

  it('find the one that agrees with them in everything, in whatever order they come', () => {
    const legs = ['GX', 'GY'].map((counterparty) => leg({ counterparty, rowIds: [counterparty] }));
    for (const rowIds of [
      ['1', '2'],
      ['2', '1'],
    ]) {
      const book = [
        item({ counterparty: 'GX', rowIds: [rowIds[0]!] }),
        item({ counterparty: 'GY', rowIds: [rowIds[1]!] }),
      ];
      expect(kindsOf(legs, book)).toEqual([[], []]);
    }
  });

  it('keep the one that went through, and call the other the duplicate', () => {
    for (const rowIds of [['a'], ['z']])
      for (const sumLegs of [true, false])
        expect(kindsOf([leg()], [item({ status: 'pending', rowIds }), item()], { sumLegs })).toEqual([
          [],
          ['DUPLICATE_IN_DB'],
        ]);
  });

  it("aren't taken for one another because their names run together", () => {
    const book = item({ account: 'a', asset: 'b c' });
    for (const sumLegs of [true, false])
      expect(kindsOf([leg({ account: 'a b', asset: 'c' })], [book], { sumLegs })).toEqual([
        ['MISSING_IN_DB'],
        ['MISSING_ON_LEDGER'],
      ]);
  });
});

describe('legs of one transaction', () => {
  const sum = (ledger: bigint[], book: bigint[]) =>
    compareKey(
      ledger.map((amount, i) => leg({ amount, rowIds: [`7-1-${i}-0`] })),
      book.map((amount, i) => item({ amount, rowIds: [`r${i}`] })),
      rules({ sumLegs: true }),
    );

  it('are added up before they are compared, in one row or in several', () => {
    for (const book of [[100n], [60n, 40n], [40n, 60n], [50n, 50n]])
      expect(sum([60n, 40n], book).map((each) => each.kinds)).toEqual([[]]);
    expect(sum([60n, 40n], [60n])).toMatchObject([
      { kinds: ['AMOUNT_MISMATCH'], fields: [{ ledger: '100', book: '60' }] },
    ]);
  });

  it('are told apart from rows that were written twice', () => {
    expect(sum([60n, 40n], [60n, 40n, 40n]).map((each) => each.kinds)).toEqual([[], ['DUPLICATE_IN_DB']]);
    expect(sum([100n], [100n, 100n, 100n]).map((each) => each.kinds)).toEqual([
      [],
      ['DUPLICATE_IN_DB'],
      ['DUPLICATE_IN_DB'],
    ]);
    expect(sum([60n, 40n], [100n, 100n]).map((each) => each.kinds)).toEqual([[], ['DUPLICATE_IN_DB']]);
    expect(sum([100n], [100n, 7n])).toMatchObject([{ kinds: ['AMOUNT_MISMATCH'], fields: [{ book: '107' }] }]);
  });

  it('went through only when every part did', () => {
    for (const late of [0, 1]) {
      const book = [60n, 40n].map((amount, i) =>
        item({ amount, rowIds: [`r${i}`], status: i === late ? 'pending' : 'completed' }),
      );
      const legs = [60n, 40n].map((amount, i) => leg({ amount, rowIds: [`7-1-${i}-0`] }));
      expect(compareKey(legs, book, rules({ sumLegs: true }))).toMatchObject([
        { kinds: ['STATUS_MISMATCH'], fields: [{ ledger: 'success', book: 'pending' }], bookPending: true },
      ]);
    }
  });

  it("aren't mixed with rows that the comparison isn't about, such as fees", () => {
    const inScope = (each: Item): boolean => each.kind !== 'fee';
    const book = [item({ amount: -100n }), item({ amount: -1n, kind: 'fee', rowIds: ['fee'] })];
    expect(
      compareKey([leg({ amount: -100n })], book, rules({ sumLegs: true, inScope })).map((each) => each.kinds),
    ).toEqual([[]]);
  });
});

describe('value at risk', () => {
  const risk = (ledger: Item[], book: Item[]) => compareKey(ledger, book, rules()).map(valueAtRisk);

  it('is the difference of two amounts, and the whole of a missing or doubled one', () => {
    expect(risk([leg()], [item({ amount: 70n })])).toEqual([30n]);
    expect(risk([leg({ amount: -100n })], [])).toEqual([100n]);
    expect(risk([leg()], [item(), item({ rowIds: ['again'] })])).toEqual([100n, 100n]);
    expect(risk([leg({ status: 'failed', amount: 0n })], [item({ amount: -40n })])).toEqual([40n]);
  });
});
