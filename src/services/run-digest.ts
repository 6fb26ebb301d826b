// Two SQL sides compared by digests: what is equal is never read, and what differs is read by key, once.
//
// One grouped pass on each server gives 1,024 digests a side. Where they differ, the hashes of those rows come as two numbers each into
// a sketch of flat memory, and only the rows of its differing buckets are read, in the order of their key. Where a sample
// shows that every segment would differ, the first pass is left out; where nearly every row differs, the caller is told to read
// both sides in order.
import { randomBytes } from 'node:crypto';
import type { HashSeeds } from '../core/row-hash.ts';
import {
  compareSegments,
  isFutile,
  isMostlyDifferent,
  nextStep,
  rowsNotRead,
  Sketch,
  sketchBits,
  MAX_SKETCH_BITS,
  totalOf,
} from '../core/segments.ts';
import type { DigestSide, RowChoice } from '../sources/side-digest.ts';

export interface DigestSides {
  readonly left: DigestSide;
  readonly right: DigestSide;
}

/** What the digests say; `equal` are rows of one side that agree with as many of the other and are not read. */
export type DigestOutcome =
  | { readonly kind: 'equal'; readonly rows: number }
  /** Read these rows on both sides; all others agree. */
  | {
      readonly kind: 'some';
      readonly all: { readonly left: number; readonly right: number };
      readonly choice: RowChoice;
    }
  /** Nearly everything differs: read both sides whole, in order. */
  | { readonly kind: 'most' };

/** Seeds that nobody can know before the comparison. */
export function drawSeeds(): HashSeeds {
  const bytes = randomBytes(24);
  return { key: bytes.readBigInt64BE(0), first: bytes.readBigInt64BE(8), second: bytes.readBigInt64BE(16) };
}

/** A number that stands for rows that can't be read; odd, and another one each time. */
export function drawMark(): bigint {
  return randomBytes(8).readBigInt64BE(0) | 1n;
}

export async function compareDigests(sides: DigestSides, signal: AbortSignal): Promise<DigestOutcome> {
  if (await sampleDiffers(sides)) return sketchOutcome(sides, null, null, signal);
  const [left, right] = await Promise.all([sides.left.segments(), sides.right.segments()]);
  signal.throwIfAborted();
  const comparison = compareSegments(left, right);
  const all = { left: totalOf(left).count, right: totalOf(right).count };
  switch (nextStep(comparison)) {
    case 'done':
      return { kind: 'equal', rows: comparison.equalRows };
    case 'rows':
      return { kind: 'some', all, choice: { segments: comparison.differing, buckets: null } };
    case 'sketch':
      return sketchOutcome(sides, comparison, all, signal);
  }
}

/** Equal rows that were not read, once the chosen ones were; see core/segments.ts. */
export const equalRowsOf = rowsNotRead;

async function sampleDiffers({ left, right }: DigestSides): Promise<boolean> {
  const keys = [...new Set(await left.sample())];
  const [ours, theirs] = await Promise.all([left.hashesOf(keys), right.hashesOf(keys)]);
  if (ours === null || theirs === null) return false;
  return isFutile({ rows: keys.length, differing: keys.filter((key) => ours.get(key) !== theirs.get(key)).length });
}

async function sketchOutcome(
  { left, right }: DigestSides,
  comparison: { readonly differing: readonly number[]; readonly differingRows: number } | null,
  all: { readonly left: number; readonly right: number } | null,
  signal: AbortSignal,
): Promise<DigestOutcome> {
  const sketch = new Sketch(comparison === null ? MAX_SKETCH_BITS : sketchBits(comparison.differingRows / 2));
  const segments = comparison?.differing ?? null;
  await Promise.all([left.sketch(sketch, 'left', segments), right.sketch(sketch, 'right', segments)]);
  signal.throwIfAborted();
  const buckets = sketch.differing();
  if (isMostlyDifferent(buckets, sketch.rows)) return { kind: 'most' };
  return { kind: 'some', all: all ?? sketch.rows, choice: { buckets, segments } };
}
