// Goal: what is put together from parts is what the whole would be. Method: random ranges and islands against the plain arithmetic.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { coverageWindow, meltMissing, missingIn } from './coverage-window.ts';
import { intersect, rangeLength, subtract, unite, type Island } from './coverage.ts';
import type { LedgerRange } from './ledger.ts';
import { intersectPacked, packedLength, unitePacked, type PackedRanges } from './packed-ranges.ts';

const END = 200;
const ranges = fc
  .array(
    fc.tuple(fc.integer({ min: 1, max: END - 1 }), fc.integer({ min: 1, max: 20 })).map(([from, length]) => ({
      from,
      to: Math.min(END, from + length),
    })),
    { maxLength: 20 },
  )
  .map((some) => unite(some));
const pack = (some: readonly LedgerRange[]): PackedRanges =>
  Int32Array.from(some.flatMap(({ from, to }) => [from, to]));
const unpack = (packed: PackedRanges): LedgerRange[] =>
  Array.from({ length: packed.length / 2 }, (_, i) => ({ from: packed[2 * i]!, to: packed[2 * i + 1]! }));

describe('packed ranges', () => {
  it('unite, intersect and measure as plain ones do', () => {
    fc.assert(
      fc.property(ranges, ranges, (a, b) => {
        expect(unpack(unitePacked(pack(a), pack(b)))).toEqual(unite([...a, ...b]));
        expect(unpack(intersectPacked(pack(a), pack(b)))).toEqual(intersect(a, b));
        expect(packedLength(pack(a))).toBe(rangeLength(a));
      }),
    );
  });
});

describe('windows of coverage', () => {
  it('one after the other tell what the whole history would', () => {
    fc.assert(
      fc.property(fc.array(ranges, { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 4 }), (sets, limit) => {
        const scope = { groups: [sets.map((_, set) => set), [0]], sets: sets.map((_, set) => set) };
        const wanted = { from: 1, to: END };
        let found: ReturnType<typeof missingIn> = [];
        for (let from = wanted.from; from < wanted.to;) {
          const islands = new Map<number, Island[]>(
            sets.map((some, set) => [
              set,
              some
                .filter((range) => range.to > from)
                .slice(0, limit)
                .map((range) => ({ ...range, state: 'done' as const })),
            ]),
          );
          const window = coverageWindow(scope, islands, { from, to: wanted.to }, limit);
          expect(window.range.to).toBeGreaterThan(from);
          found = meltMissing([...found, ...missingIn(window, null)]);
          from = window.range.to;
        }
        const done = intersect(unite(sets.flat()), sets[0]!);
        expect(found.map(({ from, to }) => ({ from, to }))).toEqual(subtract(wanted, done));
      }),
    );
  });

  it('tell what nobody keeps any more from what can still be had', () => {
    const islands = new Map<number, Island[]>([
      [
        1,
        [
          { from: 5, to: 8, state: 'unavailable' },
          { from: 8, to: 10, state: 'done' },
        ],
      ],
    ]);
    const window = coverageWindow({ groups: [[1]], sets: [1] }, islands, { from: 1, to: 20 }, 10);
    expect(missingIn(window, 3)).toEqual([
      { from: 1, to: 3, available: false },
      { from: 3, to: 5, available: true },
      { from: 5, to: 8, available: false },
      { from: 10, to: 20, available: true },
    ]);
    expect(missingIn(window, null).map((gap) => gap.available)).toEqual([null, false, null]);
  });
});
