// Which parts of two sides have to be read, told from sums of row hashes. Pure.
//
// A segment is a half-open range of the hash of the match key, the last one open-ended; all rows of a key lie in one. Ranges of
// the hash and not of the key itself: they are equally large whatever the keys look like, no collation or boundary key
// can put a row into another segment on either side, and nobody has to be sampled first. (Finding the range of a text key among
// 1,023 boundaries with width_bucket costs 4.2 us a row, eight times what hashing the row costs.)
import { addDigests, EMPTY_DIGEST, equalDigests, type Digest } from './digest.ts';
import { TrueUpError } from './errors.ts';

export const SEGMENTS = 1024;
/** Rows of differing segments that are read at once, without narrowing them down first. */
export const MAX_DIRECT_ROWS = 50_000;
/** Buckets that a sketch has at most, 2^22: 32 MiB, whatever the size of the sides. */
export const MAX_SKETCH_BITS = 22;
const MIN_SKETCH_BITS = 10;
/** Where more than this share of what a sketch looked at differs, reading it all in order costs less than picking it out. */
export const MAX_DIFFERING_SHARE = 0.25;
/** A sample in which more than this share of rows differs makes the first pass futile: each segment would differ. */
const FUTILE_SHARE = 0.001;

/** Digests by segment; a segment without rows is absent. */
export type SegmentDigests = ReadonlyMap<number, Digest>;

export interface SegmentComparison {
  /** Segments whose rows are the same on both sides, and how many rows they hold on each. */
  readonly equalRows: number;
  readonly differing: readonly number[];
  /** Rows of differing segments, of both sides together. */
  readonly differingRows: number;
}

export function compareSegments(left: SegmentDigests, right: SegmentDigests): SegmentComparison {
  const differing: number[] = [];
  let [equalRows, differingRows] = [0, 0];
  for (let segment = 0; segment < SEGMENTS; segment++) {
    const [l, r] = [left.get(segment) ?? EMPTY_DIGEST, right.get(segment) ?? EMPTY_DIGEST];
    if (equalDigests(l, r)) {
      equalRows += l.count;
    } else {
      differing.push(segment);
      differingRows += l.count + r.count;
    }
  }
  return { equalRows, differing, differingRows };
}

/** All segments as one. */
export function totalOf(segments: SegmentDigests): Digest {
  return [...segments.values()].reduce(addDigests, EMPTY_DIGEST);
}

/** What to do where segments differ: nothing, read their rows, or look closer first. */
export function nextStep(comparison: SegmentComparison): 'done' | 'rows' | 'sketch' {
  if (comparison.differing.length === 0) return 'done';
  return comparison.differingRows <= MAX_DIRECT_ROWS ? 'rows' : 'sketch';
}

/** Whether so much of a sample differed that no segment of the whole can be expected to be equal. */
export function isFutile(sample: { readonly rows: number; readonly differing: number }): boolean {
  return sample.rows > 0 && sample.differing / sample.rows > FUTILE_SHARE;
}

/** Bits for about one row a bucket. */
export function sketchBits(rowsOfOneSide: number): number {
  return Math.min(MAX_SKETCH_BITS, Math.max(MIN_SKETCH_BITS, Math.ceil(Math.log2(Math.max(1, rowsOfOneSide)))));
}

/**
 * What is left of one side's row hashes when the other's are taken away, in 2^bits buckets of the key's hash. Memory is the same
 * for any number of rows. A bucket at zero holds the same rows on both sides, as surely as 64 bits tell.
 */
export class Sketch {
  readonly bits: number;
  readonly #high: Int32Array;
  readonly #low: Int32Array;
  #rows = { left: 0, right: 0 };

  constructor(bits: number) {
    if (bits < 1 || bits > MAX_SKETCH_BITS) throw new RangeError(`a sketch has 1 to ${MAX_SKETCH_BITS} bits`);
    this.bits = bits;
    this.#high = new Int32Array(2 ** bits);
    this.#low = new Int32Array(2 ** bits);
  }

  /** Both halves are summed apart, each mod 2^32. Sums, so that two equal rows don't vanish. */
  add(side: 'left' | 'right', bucket: number, high: number, low: number): void {
    const sign = side === 'left' ? 1 : -1;
    this.#high[bucket]! += sign * high;
    this.#low[bucket]! += sign * low;
    this.#rows[side]++;
  }

  get rows(): { readonly left: number; readonly right: number } {
    return this.#rows;
  }

  /** The buckets that are not at zero. */
  differing(): DifferingBuckets {
    const bitmap = new Uint8Array(Math.ceil(2 ** this.bits / 8));
    let count = 0;
    for (let bucket = 0; bucket < 2 ** this.bits; bucket++) {
      if (this.#high[bucket] === 0 && this.#low[bucket] === 0) continue;
      // As get_bit() of PostgreSQL counts: the lowest bit of a byte first.
      bitmap[bucket >> 3]! |= 1 << (bucket & 7);
      count++;
    }
    return { bits: this.bits, bitmap, count };
  }
}

export interface DifferingBuckets {
  readonly bits: number;
  readonly bitmap: Uint8Array;
  readonly count: number;
}

/** True where nearly everything has to be read anyway: then it is read in order, by a merge join. */
export function isMostlyDifferent(buckets: DifferingBuckets, rows: { left: number; right: number }): boolean {
  const possible = Math.min(2 ** buckets.bits, Math.max(rows.left, rows.right));
  return buckets.count > MAX_DIFFERING_SHARE * possible;
}

/**
 * Rows of one side that were found equal without being read, from what both sides have and what was read of them.
 *
 * @throws TrueUpError INTERNAL where the sides disagree about it: a digest that doesn't add up must never count as agreement.
 */
export function rowsNotRead(all: { left: number; right: number }, read: { left: number; right: number }): number {
  const [left, right] = [all.left - read.left, all.right - read.right];
  if (left === right && left >= 0) return left;
  throw new TrueUpError('INTERNAL', `digests found ${left} equal rows on one side and ${right} on the other`);
}
