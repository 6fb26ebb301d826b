// From findings to a verdict: what may be accused, what must wait, and what keeps a run from being conclusive.
import type { LedgerRange } from './ledger.ts';
import type { Finding } from './match.ts';
import type { Policy } from './policy.ts';
import type { Inconclusive, Verdict } from './run.ts';

export interface AccusationFacts {
  readonly grace: Policy['grace'];
  /** When the cut was taken, Unix ms. */
  readonly cutAtMs: number;
  /** Close time of the cut's ledger, Unix ms. */
  readonly cutClosedMs: number;
  /** Up to when the book says that it is complete, Unix ms; null: it never did. */
  readonly bookCompleteThroughMs: number | null;
  /** Times in which ledgers of the window are missing, widened by the lookaround, Unix ms inclusive. */
  readonly missingTimes: readonly { readonly fromMs: number; readonly toMs: number }[];
  readonly missingLedgers: readonly LedgerRange[];
  /** The ledger side is covered from the network's beginning, so that even a row without a time can be missed. */
  readonly wholeHistory: boolean;
}

/**
 * What a finding counts as. `pending`: inside grace, or later than a side has been read. `skipped`: it would accuse, but ledgers
 * that could hold the other half are missing; never counted as verified.
 */
export type FindingClass = 'matched' | 'drift' | 'pending' | 'skipped' | 'nothing';

export function classify(finding: Finding, facts: AccusationFacts): FindingClass {
  if (finding.ledger && finding.book) return finding.kinds.length === 0 ? 'matched' : 'drift';
  // A failed attempt that one side never wrote down: nothing moved.
  if (finding.kinds.length === 0) return 'nothing';
  return finding.ledger ? classifyMissingInBook(finding.ledger.atMs ?? 0, facts) : classifyMissingOnLedger(finding, facts);
}

function classifyMissingInBook(closedMs: number, facts: AccusationFacts): FindingClass {
  if (facts.cutAtMs - closedMs < facts.grace.missingInDbMs) return 'pending';
  // Past the time to which the book says that it is complete, nothing is missing yet.
  return facts.bookCompleteThroughMs !== null && closedMs <= facts.bookCompleteThroughMs ? 'drift' : 'pending';
}

function classifyMissingOnLedger(finding: Finding, facts: AccusationFacts): FindingClass {
  const row = finding.book!;
  const isDuplicate = finding.kinds.includes('DUPLICATE_IN_DB');
  if (isDuplicate) return 'drift';
  if (row.ledger !== null && inRanges(row.ledger, facts.missingLedgers)) return 'skipped';
  if (row.atMs === null) return facts.wholeHistory ? 'drift' : 'skipped';
  const atMs = row.atMs;
  if (facts.cutClosedMs - atMs < facts.grace.missingOnLedgerMs) return 'pending';
  return facts.missingTimes.some((gap) => gap.fromMs <= atMs && atMs <= gap.toMs) ? 'skipped' : 'drift';
}

/** INCONCLUSIVE wins, but masks nothing: the drifts that were proven are stored all the same. */
export function decideVerdict(inconclusive: readonly Inconclusive[], openDrifts: number): Verdict {
  if (inconclusive.length > 0) return 'INCONCLUSIVE';
  return openDrifts > 0 ? 'DRIFT_DETECTED' : 'CLEAN';
}

function inRanges(ledger: number, ranges: readonly LedgerRange[]): boolean {
  return ranges.some((range) => range.from <= ledger && ledger < range.to);
}
