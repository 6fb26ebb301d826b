// A stretch of a long history, put together from the next few islands of each watch set: exact as far as all of them reach.
import { intersect, subtract, unite, type Island } from './coverage.ts';
import type { LedgerRange } from './ledger.ts';

export interface WatchScope {
  /** One list of watch sets for each group of accounts: a ledger is done where every group has a set in which it is. */
  readonly groups: readonly (readonly number[])[];
  /** Sets whose word that nobody keeps a ledger counts; those of the groups among them. */
  readonly sets: readonly number[];
}

export interface CoverageWindow {
  /** What the window tells of; nothing is known here of what lies beyond. */
  readonly range: LedgerRange;
  readonly done: readonly LedgerRange[];
  /** Without what is done. */
  readonly unavailable: readonly LedgerRange[];
}

/**
 * @param islands of each set, in order, from the one that holds `wanted.from` on: at most `limit` of them
 * @param limit how many were asked for: a set that has so many may have more, so the window ends with its last one
 */
export function coverageWindow(
  scope: WatchScope,
  islands: ReadonlyMap<number, readonly Island[]>,
  wanted: LedgerRange,
  limit: number,
): CoverageWindow {
  const ends = [...islands.values()].filter((some) => some.length >= limit).map((some) => some.at(-1)!.to);
  const range = { from: wanted.from, to: Math.min(wanted.to, ...ends) };
  const inState = (state: Island['state'], sets: readonly number[]): LedgerRange[] =>
    unite(sets.flatMap((set) => islands.get(set) ?? []).filter((island) => island.state === state));
  const done = scope.groups
    .map((sets) => inState('done', sets))
    .reduce((common, some) => intersect(common, some), [range]);
  const lost = intersect([range], inState('unavailable', scope.sets));
  return { range, done, unavailable: lost.flatMap((some) => subtract(some, done)) };
}

/** A stretch that should be covered and isn't. */
export interface MissingRange extends LedgerRange {
  /** Whether the source still keeps it; null: it has not said how far back it goes. */
  readonly available: boolean | null;
}

/**
 * What a window leaves open, cut where the source's memory ends.
 *
 * @param oldest the oldest ledger that the source still keeps; null where it never said
 */
export function missingIn({ range, done, unavailable }: CoverageWindow, oldest: number | null): MissingRange[] {
  const forgotten = oldest === null || oldest <= range.from ? [] : [{ from: range.from, to: oldest }];
  const gone = unite([...unavailable, ...forgotten]);
  return subtract(range, done).flatMap((hole) => {
    const lost = intersect([hole], gone);
    const rest = subtract(hole, lost);
    return [
      ...lost.map((some) => ({ ...some, available: false })),
      ...rest.map((some) => ({ ...some, available: oldest === null ? null : true })),
    ].sort((a, b) => a.from - b.from);
  });
}

/** Ranges of neighbouring windows, melted where a window's end cut one in two. */
export function meltMissing(ranges: readonly MissingRange[]): MissingRange[] {
  const melted: MissingRange[] = [];
  for (const range of ranges) {
    const last = melted.at(-1);
    if (last?.to === range.from && last.available === range.available)
      melted[melted.length - 1] = { ...last, to: range.to };
    else melted.push(range);
  }
  return melted;
}
