// Goal: what finance signs adds up. Method: random days of one account and asset, and the lines read back as integers.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EXPORT_COLUMNS } from './export-columns.ts';
import { statementLines, type StatementPair } from './statement.ts';

const ASSET = 'native';
const columns = EXPORT_COLUMNS.statement.map(({ name }) => name).slice(1);

function read(pair: Partial<StatementPair>, lastDay = '2026-03-31') {
  const whole: StatementPair = {
    account: 'GA',
    asset: ASSET,
    state: 'derived',
    reasons: [],
    closing: 0n,
    days: [],
    book: null,
    unmatched: [],
    ...pair,
  };
  return statementLines(whole, lastDay).map((cells) => Object.fromEntries(columns.map((name, i) => [name, cells[i]])));
}

const amount = fc.bigInt(0n, 2n ** 100n);
const movements = fc.uniqueArray(fc.integer({ min: 1, max: 31 }), { minLength: 1, maxLength: 10 }).chain((days) =>
  fc.tuple(
    ...days
      .toSorted((a, b) => a - b)
      .map((day) =>
        fc.record({ in: amount, out: amount, fees: amount }).map((sums) => ({
          ...sums,
          day: `2026-03-${String(day).padStart(2, '0')}`,
          firstLedger: day * 100,
        })),
      ),
  ),
);

describe('the lines of an account and asset', () => {
  test('add up on every day, and each day opens with the closing of the one before', () => {
    fc.assert(
      fc.property(movements, fc.bigInt(-(2n ** 100n), 2n ** 100n), (days, closing) => {
        const lines = read({ days, closing });
        const int = (line: (typeof lines)[number], name: string) => BigInt(line[`${name}_minor`] as string);
        for (const [i, line] of lines.entries()) {
          expect(int(line, 'opening') + int(line, 'in') - int(line, 'out') - int(line, 'fees')).toBe(
            int(line, 'closing'),
          );
          if (i > 0) expect(int(line, 'opening')).toBe(int(lines[i - 1]!, 'closing'));
        }
        expect(int(lines.at(-1)!, 'closing')).toBe(closing);
      }),
    );
  });

  test('say no balance of an account that is not derived, and why', () => {
    const days = [{ day: '2026-03-02', in: 5n, out: 0n, fees: 1n, firstLedger: 2 }];
    const [line] = read({ state: 'underived', reasons: ['offers', 'pools'], days, closing: 4n });
    expect(line).toMatchObject({
      opening: null,
      in: '0.0000005',
      fees: '0.0000001',
      closing: null,
      book_closing: null,
    });
    expect(line).toMatchObject({ state: 'underived', state_reasons: 'offers; pools' });
  });

  test('are none where nothing is held, moved or said, and one where something is held', () => {
    expect(read({})).toEqual([]);
    expect(read({ closing: 70_000_000n })).toMatchObject([
      { day: '2026-03-31', opening: '7.0000000', in: '0.0000000', closing: '7.0000000' },
    ]);
  });

  test("take a book's stated balance until the next movement, and the one without a ledger at the end", () => {
    const days = [
      { day: '2026-03-01', in: 5n, out: 0n, fees: 0n, firstLedger: 10 },
      { day: '2026-03-02', in: 1n, out: 0n, fees: 0n, firstLedger: 20 },
      { day: '2026-03-03', in: 1n, out: 0n, fees: 0n, firstLedger: 30 },
    ];
    const stated = [
      { asOfLedger: 0, amount: 9n },
      { asOfLedger: 5, amount: 0n },
      { asOfLedger: 19, amount: 5n },
      { asOfLedger: 30, amount: 8n },
    ];
    const closings = (book: StatementPair['book']) =>
      read({ days, closing: 7n, book }).map((line) => line.book_closing_minor);
    expect(closings({ stated, days: [] })).toEqual(['5', '5', '9']);
    expect(closings({ stated: stated.slice(1), days: [] })).toEqual(['5', '5', '8']);
    expect(closings({ stated: stated.slice(3), days: [] })).toEqual([null, null, '8']);
  });

  test("add a book's movements to the opening, those without a time at the end", () => {
    const days = [
      { day: '2026-03-01', in: 5n, out: 0n, fees: 0n, firstLedger: 10 },
      { day: '2026-03-03', in: 2n, out: 0n, fees: 0n, firstLedger: 30 },
    ];
    const book = {
      stated: [],
      days: [
        { day: '2026-03-01', amount: 5n },
        { day: '2026-03-02', amount: 1n },
        { day: null, amount: 100n },
      ],
    };
    expect(read({ days, closing: 17n, book }).map((line) => line.book_closing_minor)).toEqual(['15', '116']);
    expect(read({ days, closing: 17n, book: { stated: [], days: [] } }).map((line) => line.book_closing)).toEqual([
      null,
      null,
    ]);
  });

  test.each([
    ['2026-03-31', [1, 0, 0, 0]],
    ['2026-03-30', [1, 0, 0, 0]],
    ['2026-03-29', [0, 1, 0, 0]],
    ['2026-03-24', [0, 1, 0, 0]],
    ['2026-03-23', [0, 0, 1, 0]],
    ['2026-03-01', [0, 0, 1, 0]],
    ['2026-02-28', [0, 0, 0, 1]],
    ['2026-04-01', [0, 0, 0, 0]],
  ])('count an item of %s in its bucket of age', (day, counts) => {
    const [line] = read({ closing: 1n, unmatched: [{ day, count: 1 }] });
    expect([
      line!.unmatched_0_1_days,
      line!.unmatched_2_7_days,
      line!.unmatched_8_30_days,
      line!.unmatched_over_30_days,
    ]).toEqual(counts);
  });
});
