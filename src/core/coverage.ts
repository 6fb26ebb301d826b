// Coverage is truth: which ledgers were read, and how well. Pure arithmetic on half-open ranges.
import { CHUNK_LEDGERS, type LedgerRange } from './ledger.ts';

export type CoverageState = 'done' | 'quarantined' | 'unavailable';

/** A stretch of ledgers in one state; islands never touch a neighbour of their own state. */
export interface Island extends LedgerRange {
  readonly state: CoverageState;
}

/** Number of the 64-ledger chunk that holds a ledger. */
export function chunkOf(ledger: number): number {
  return Math.floor(ledger / CHUNK_LEDGERS);
}

/** First ledger of the next chunk. */
export function chunkEnd(ledger: number): number {
  return (chunkOf(ledger) + 1) * CHUNK_LEDGERS;
}

/** True where the range is the whole chunk; chunk 0 begins at ledger 1, as there is no ledger 0. */
export function isWholeChunk(range: LedgerRange): boolean {
  const start = chunkOf(range.from) * CHUNK_LEDGERS;
  return range.from === Math.max(1, start) && range.to === start + CHUNK_LEDGERS;
}

/** The range cut at chunk borders, in order. */
export function splitByChunk(range: LedgerRange): LedgerRange[] {
  const pieces: LedgerRange[] = [];
  for (let from = range.from; from < range.to;) {
    const to = Math.min(chunkEnd(from), range.to);
    pieces.push({ from, to });
    from = to;
  }
  return pieces;
}

/**
 * Islands after `range` has got `state`: whatever was there is replaced, neighbours of one state melt together.
 * Input islands must be disjoint; the result is ordered.
 */
export function paint(islands: readonly Island[], range: LedgerRange, state: CoverageState): Island[] {
  const parts: Island[] = [{ ...range, state }];
  for (const island of islands) {
    if (island.from < range.from)
      parts.push({ from: island.from, to: Math.min(island.to, range.from), state: island.state });
    if (island.to > range.to) parts.push({ from: Math.max(island.from, range.to), to: island.to, state: island.state });
  }
  return melt(parts);
}

/** `range` minus everything in `holes`; what is left, in order. */
export function subtract(range: LedgerRange, holes: readonly LedgerRange[]): LedgerRange[] {
  const left: LedgerRange[] = [];
  let from = range.from;
  for (const hole of [...holes].sort(byFrom)) {
    if (hole.to <= from) continue;
    if (hole.from >= range.to) break;
    if (hole.from > from) left.push({ from, to: hole.from });
    from = Math.max(from, hole.to);
  }
  if (from < range.to) left.push({ from, to: range.to });
  return left;
}

/** What two sets of ranges have in common, in order. */
export function intersect(a: readonly LedgerRange[], b: readonly LedgerRange[]): LedgerRange[] {
  const common: LedgerRange[] = [];
  const [left, right] = [[...a].sort(byFrom), [...b].sort(byFrom)];
  for (let i = 0, j = 0; i < left.length && j < right.length;) {
    const [x, y] = [left[i]!, right[j]!];
    const [from, to] = [Math.max(x.from, y.from), Math.min(x.to, y.to)];
    if (from < to) common.push({ from, to });
    if (x.to < y.to) i++;
    else j++;
  }
  return common;
}

/** Ranges in order, overlaps and neighbours merged. */
export function unite(ranges: readonly LedgerRange[]): LedgerRange[] {
  return melt(ranges.map((range) => ({ ...range, state: 'done' }))).map(({ from, to }) => ({ from, to }));
}

/** The last ledger (inclusive) to which coverage is unbroken from `start`; null where `start` itself isn't covered. */
export function contiguousThrough(done: readonly LedgerRange[], start: number): number | null {
  const island = unite(done).find((range) => range.from <= start && start < range.to);
  return island === undefined ? null : island.to - 1;
}

export function rangeLength(ranges: readonly LedgerRange[]): number {
  return ranges.reduce((sum, range) => sum + range.to - range.from, 0);
}

function melt(islands: readonly Island[]): Island[] {
  const melted: Island[] = [];
  for (const island of [...islands].sort(byFrom)) {
    const last = melted.at(-1);
    if (last && last.state === island.state && island.from <= last.to) {
      melted[melted.length - 1] = { ...last, to: Math.max(last.to, island.to) };
    } else {
      melted.push(island);
    }
  }
  return melted;
}

function byFrom(a: LedgerRange, b: LedgerRange): number {
  return a.from - b.from;
}
