// Which of two lists of times belong together: as many pairs as the shorter list has, in order, as near to each other as can be.

/** Above this product of lengths pairs are made from the oldest on, without looking for nearer ones. */
const MAX_CELLS = 1_000_000;

/**
 * Places of the first list with those of the second. Both are in the order of time, times unknown (null) last; an unknown
 * time is as near to one as to another.
 */
export function alignInTime(a: readonly (number | null)[], b: readonly (number | null)[]): [number, number][] {
  if (a.length > b.length) return alignInTime(b, a).map(([j, i]) => [i, j]);
  if (a.length === b.length || a.length * b.length > MAX_CELLS) return a.map((_, i) => [i, i]);
  return nearest(a, b);
}

/** The shorter list first. cost(i, j): the least sum of gaps that pairs the first i of `a` with some of the first j of `b`. */
function nearest(a: readonly (number | null)[], b: readonly (number | null)[]): [number, number][] {
  const width = b.length + 1;
  const cost = new Float64Array((a.length + 1) * width).fill(Infinity).fill(0, 0, width);
  for (let i = 1; i <= a.length; i++) {
    for (let j = i; j <= b.length; j++) {
      const paired = cost[(i - 1) * width + j - 1]! + gap(a[i - 1]!, b[j - 1]!);
      cost[i * width + j] = Math.min(paired, cost[i * width + j - 1]!);
    }
  }
  const pairs: [number, number][] = [];
  for (let [i, j] = [a.length, b.length]; i > 0; j--) {
    if (cost[i * width + j - 1] === cost[i * width + j]) continue;
    pairs.push([--i, j - 1]);
  }
  return pairs.reverse();
}

function gap(a: number | null, b: number | null): number {
  return a === null || b === null ? 0 : Math.abs(a - b);
}
