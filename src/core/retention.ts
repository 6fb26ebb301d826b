// How long a source will still keep what is needed of it.

export interface RetentionFacts {
  /** The oldest ledger that the source keeps now, and when it was first asked; one that never moves forgets nothing. */
  readonly oldest: number | null;
  readonly firstOldest: number | null;
  /** The first ledger that is still to be read: a gap's, or the checkpoint's next. */
  readonly needed: number;
  /** Seconds that a ledger takes, by the pace of the last hours; null where it isn't known yet. */
  readonly secondsPerLedger: number | null;
}

/** Somebody has a working day to start a backfill. */
const MARGIN_MS = 24 * 3_600_000;
/** Of a source that never keeps so much, half of what it keeps is margin enough. */
const MARGIN_SHARE = 0.5;

/** Whether somebody has to be told that what is needed is about to be forgotten. */
export function isNearlyForgotten(facts: RetentionFacts, tip: number): boolean {
  const leftMs = msUntilForgotten(facts);
  if (leftMs === null) return false;
  const keptMs = (tip - facts.oldest!) * facts.secondsPerLedger! * 1_000;
  return leftMs < Math.min(MARGIN_MS, keptMs * MARGIN_SHARE);
}

/** Milliseconds until the source forgets what is needed; null where it forgets nothing, or its pace isn't known. */
export function msUntilForgotten({ oldest, firstOldest, needed, secondsPerLedger }: RetentionFacts): number | null {
  if (oldest === null || firstOldest === null || oldest <= firstOldest || secondsPerLedger === null) return null;
  return Math.max(0, needed - oldest) * secondsPerLedger * 1_000;
}
