// Goal: range arithmetic on which every claim of completeness rests. Method: compare with a plain array of ledgers.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import {
  contiguousThrough,
  intersect,
  isWholeChunk,
  paint,
  splitByChunk,
  subtract,
  unite,
  type CoverageState,
  type Island,
} from './coverage.ts';
import type { LedgerRange } from './ledger.ts';

const SPACE = 200;
const range = fc
  .tuple(fc.integer({ min: 1, max: SPACE - 1 }), fc.integer({ min: 1, max: 60 }))
  .map(([from, length]): LedgerRange => ({ from, to: Math.min(SPACE, from + length) }));
const state = fc.constantFrom<CoverageState>('done', 'quarantined', 'unavailable');
const ledgers = (ranges: readonly LedgerRange[]): Set<number> =>
  new Set(ranges.flatMap(({ from, to }) => Array.from({ length: to - from }, (_, i) => from + i)));

describe('coverage arithmetic', () => {
  it('paints any sequence of ranges to the same picture as an array of ledgers', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(range, state), { maxLength: 25 }), (strokes) => {
        const picture: (CoverageState | undefined)[] = [];
        let islands: Island[] = [];
        for (const [stroke, colour] of strokes) {
          islands = paint(islands, stroke, colour);
          for (let ledger = stroke.from; ledger < stroke.to; ledger++) picture[ledger] = colour;
        }
        for (let ledger = 0; ledger < SPACE; ledger++) {
          expect(islands.find((i) => i.from <= ledger && ledger < i.to)?.state).toBe(picture[ledger]);
        }
        islands.forEach((island, i) => {
          const next = islands[i + 1];
          if (next)
            expect(next.from > island.to || (next.from === island.to && next.state !== island.state)).toBe(true);
        });
      }),
      cases(100),
    );
  });

  it('subtracts, intersects and unites as sets do', () => {
    fc.assert(
      fc.property(range, fc.array(range, { maxLength: 8 }), fc.array(range, { maxLength: 8 }), (whole, a, b) => {
        const holes = ledgers(a);
        expect(ledgers(subtract(whole, a))).toEqual(new Set([...ledgers([whole])].filter((l) => !holes.has(l))));
        expect(ledgers(intersect(unite(a), unite(b)))).toEqual(
          new Set([...ledgers(a)].filter((l) => ledgers(b).has(l)).sort((x, y) => x - y)),
        );
        expect(ledgers(unite(a))).toEqual(new Set([...holes].sort((x, y) => x - y)));
      }),
      cases(100),
    );
  });

  it('splits at multiples of 64 and knows a whole chunk, also the first, which has no ledger 0', () => {
    expect(splitByChunk({ from: 1, to: 130 })).toEqual([
      { from: 1, to: 64 },
      { from: 64, to: 128 },
      { from: 128, to: 130 },
    ]);
    expect(isWholeChunk({ from: 1, to: 64 })).toBe(true);
    expect(isWholeChunk({ from: 64, to: 128 })).toBe(true);
    expect(isWholeChunk({ from: 65, to: 128 })).toBe(false);
  });

  it('says how far coverage is unbroken, and that nothing is where the start is missing', () => {
    expect(
      contiguousThrough(
        [
          { from: 1, to: 10 },
          { from: 10, to: 20 },
          { from: 21, to: 30 },
        ],
        1,
      ),
    ).toBe(19);
    expect(contiguousThrough([{ from: 5, to: 10 }], 1)).toBeNull();
  });
});
