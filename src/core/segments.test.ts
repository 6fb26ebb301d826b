// Goal: whatever two sides hold, what the digests call equal is equal, and every key that differs is among what is read.
// Method: made-up multisets of rows against a naive difference; the hash here is SHA-256, as any good one serves.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import { addDigests, EMPTY_DIGEST, type Digest } from './digest.ts';
import {
  compareSegments,
  isFutile,
  isMostlyDifferent,
  MAX_DIRECT_ROWS,
  MAX_SKETCH_BITS,
  nextStep,
  rowsNotRead,
  SEGMENTS,
  Sketch,
  sketchBits,
  totalOf,
  type SegmentDigests,
} from './segments.ts';

interface Row {
  readonly key: string;
  readonly value: string;
}

const rows = fc.array(fc.record({ key: fc.nat(40).map(String), value: fc.constantFrom('', '1', '2', '10') }), {
  maxLength: 60,
});
/** Two sides that have most of their rows in common. */
const sides = fc.tuple(rows, rows, rows).map(([both, left, right]) => ({
  left: [...both, ...left.slice(0, 5)],
  right: [...both, ...right.slice(0, 5)].reverse(),
}));

describe('segments', () => {
  it('differ wherever the rows of a key differ, and only where rows differ', () => {
    fc.assert(
      fc.property(sides, ({ left, right }) => {
        const comparison = compareSegments(digestsOf(left), digestsOf(right));
        const read = new Set(comparison.differing);
        const differing = differingKeys(left, right);
        for (const key of differing) expect(read.has(segmentOf(key))).toBe(true);
        const touched = new Set([...differing].map(segmentOf));
        expect(comparison.differing.every((segment) => touched.has(segment))).toBe(true);
        expect(comparison.equalRows).toBe(left.filter((row) => !read.has(segmentOf(row.key))).length);
      }),
      cases(300),
    );
  });

  it('tell two amounts that were swapped, and a row that is there twice, on either side', () => {
    const [a, b] = [
      { key: 'a', value: '1' },
      { key: 'b', value: '2' },
    ];
    const swapped = [
      { key: 'a', value: '2' },
      { key: 'b', value: '1' },
    ];
    expect(compareSegments(digestsOf([a, b]), digestsOf(swapped)).differing).not.toEqual([]);
    expect(compareSegments(digestsOf([a, a, a]), digestsOf([a])).differing).toHaveLength(1);
    // With XOR in place of a sum, the two would vanish.
    expect(compareSegments(digestsOf([b, b]), digestsOf([])).differing).toHaveLength(1);
  });

  it('are read at once where they hold few rows, and looked at more closely where they hold many', () => {
    const comparison = (differingRows: number) => ({ equalRows: 0, differing: [1], differingRows });
    expect(nextStep({ equalRows: 5, differing: [], differingRows: 0 })).toBe('done');
    expect(nextStep(comparison(MAX_DIRECT_ROWS))).toBe('rows');
    expect(nextStep(comparison(MAX_DIRECT_ROWS + 1))).toBe('sketch');
  });

  it('are not asked first where a sample shows that all of them would differ', () => {
    expect(isFutile({ rows: 2000, differing: 20 })).toBe(true);
    expect(isFutile({ rows: 2000, differing: 0 })).toBe(false);
    expect(isFutile({ rows: 0, differing: 0 })).toBe(false);
  });
});

describe('a sketch', () => {
  it('has every key that differs among its buckets, however the rows come', () => {
    fc.assert(
      fc.property(sides, fc.integer({ min: 1, max: 12 }), ({ left, right }, bits) => {
        const buckets = sketchOf(left, right, bits).differing();
        for (const key of differingKeys(left, right)) expect(bitOf(buckets.bitmap, bucketOf(key, bits))).toBe(true);
        const touched = new Set([...differingKeys(left, right)].map((key) => bucketOf(key, bits)));
        expect(buckets.count).toBe(touched.size);
      }),
      cases(300),
    );
  });

  it('is of the same size for any number of rows, and never larger than its limit', () => {
    expect(sketchBits(0)).toBe(10);
    expect(sketchBits(1_000_000)).toBe(20);
    expect(sketchBits(1e12)).toBe(MAX_SKETCH_BITS);
    expect(() => new Sketch(MAX_SKETCH_BITS + 1)).toThrow(RangeError);
  });

  it('gives way to reading everything in order where nearly everything differs', () => {
    const rowsOf = (value: string) => Array.from({ length: 200 }, (_, i) => ({ key: String(i), value }));
    const different = sketchOf(rowsOf('1'), rowsOf('2'), 10);
    expect(isMostlyDifferent(different.differing(), different.rows)).toBe(true);
    const same = sketchOf(rowsOf('1'), [...rowsOf('1').slice(1), { key: '0', value: '2' }], 10);
    expect(isMostlyDifferent(same.differing(), same.rows)).toBe(false);
  });
});

describe('rows that were not read', () => {
  it('count as equal only where both sides have as many of them', () => {
    expect(rowsNotRead({ left: 10, right: 11 }, { left: 2, right: 3 })).toBe(8);
    expect(() => rowsNotRead({ left: 10, right: 10 }, { left: 2, right: 3 })).toThrow(/equal rows/);
    expect(() => rowsNotRead({ left: 1, right: 1 }, { left: 2, right: 2 })).toThrow(/equal rows/);
  });

  it('are counted over all segments', () => {
    expect(
      totalOf(
        digestsOf([
          { key: 'a', value: '' },
          { key: 'b', value: '' },
        ]),
      ).count,
    ).toBe(2);
  });
});

function hashOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function segmentOf(key: string): number {
  return hashOf(key).readUInt32BE(0) % SEGMENTS;
}

function bucketOf(key: string, bits: number): number {
  return hashOf(key).readUInt32BE(4) & (2 ** bits - 1);
}

function rowHash(row: Row): Buffer {
  return hashOf(JSON.stringify([row.key, row.value]));
}

function digestsOf(side: readonly Row[]): SegmentDigests {
  const digests = new Map<number, Digest>();
  for (const row of side) {
    const hash = rowHash(row);
    const one = { count: 1, sum1: hash.readBigUInt64BE(0), sum2: hash.readBigUInt64BE(8) };
    digests.set(segmentOf(row.key), addDigests(digests.get(segmentOf(row.key)) ?? EMPTY_DIGEST, one));
  }
  return digests;
}

function sketchOf(left: readonly Row[], right: readonly Row[], bits: number): Sketch {
  const sketch = new Sketch(bits);
  for (const [side, all] of [
    ['left', left],
    ['right', right],
  ] as const)
    for (const row of all)
      sketch.add(side, bucketOf(row.key, bits), rowHash(row).readInt32BE(0), rowHash(row).readInt32BE(4));
  return sketch;
}

function bitOf(bitmap: Uint8Array, bucket: number): boolean {
  return ((bitmap[bucket >> 3]! >> (bucket & 7)) & 1) === 1;
}

/** Keys whose rows aren't the same multiset on both sides. */
function differingKeys(left: readonly Row[], right: readonly Row[]): Set<string> {
  const valuesOf = (side: readonly Row[], key: string) =>
    JSON.stringify(
      side
        .filter((row) => row.key === key)
        .map((row) => row.value)
        .sort(),
    );
  const keys = [...left, ...right].map((row) => row.key);
  return new Set(keys.filter((key) => valuesOf(left, key) !== valuesOf(right, key)));
}
