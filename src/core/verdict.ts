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
  /** Ledgers that were read for every account in scope. */
  readonly covered: readonly LedgerRange[];
  /** The newest ledger that was looked at. */
  readonly headLedger: number;
  /** Times in which ledgers were not read, before history began too, widened by the lookaround; Unix ms inclusive. */
  readonly missingTimes: readonly { readonly fromMs: number; readonly toMs: number }[];
  /** The ledger side is covered from the network's beginning, so that even a row without a time can be missed. */
  readonly wholeHistory: boolean;
}

/**
 * What a finding counts as. `pending`: inside grace, or later than a side has been read. `skipped`: it would accuse, but ledgers
 * that could hold the other half are missing; never counted as verified.
 */
export type FindingClass = 'matched' | 'drift' | 'pending' | 'skipped' | 'nothing';

export function classify(finding: Finding, facts: AccusationFacts): FindingClass {
  if (finding.ledger && finding.book) return classifyPair(finding, facts);
  // A failed attempt that one side never wrote down: nothing moved.
  if (finding.kinds.length === 0) return 'nothing';
  return finding.ledger
    ? classifyMissingInBook(finding.ledger.atMs ?? 0, facts)
    : classifyMissingOnLedger(finding, facts);
}

function classifyPair(finding: Finding, facts: Pick<AccusationFacts, 'grace' | 'cutAtMs'>): FindingClass {
  if (finding.kinds.length === 0) return 'matched';
  // A row that was written when the payment was sent has as long to be confirmed as a missing one has to be written.
  const isFresh = facts.cutAtMs - (finding.ledger!.atMs ?? 0) < facts.grace.missingInDbMs;
  return finding.bookPending && isFresh ? 'pending' : 'drift';
}

function classifyMissingInBook(closedMs: number, facts: AccusationFacts): FindingClass {
  if (facts.cutAtMs - closedMs < facts.grace.missingInDbMs) return 'pending';
  // Past the time to which the book says that it is complete, nothing is missing yet.
  return facts.bookCompleteThroughMs !== null && closedMs <= facts.bookCompleteThroughMs ? 'drift' : 'pending';
}

function classifyMissingOnLedger(finding: Finding, facts: AccusationFacts): FindingClass {
  const { atMs, ledger } = finding.book!;
  if (finding.kinds.includes('DUPLICATE_IN_DB')) return 'drift';
  // A ledger that the book names is the one to have been read; its number says more than any time.
  const named = ledger !== null && ledger <= facts.headLedger;
  if (named && !inRanges(ledger, facts.covered)) return 'skipped';
  if (atMs === null) {
    if (ledger !== null) return named ? 'drift' : 'pending';
    return facts.wholeHistory ? 'drift' : 'skipped';
  }
  if (facts.cutClosedMs - atMs < facts.grace.missingOnLedgerMs) return 'pending';
  if (named) return 'drift';
  return facts.missingTimes.some((gap) => gap.fromMs <= atMs && atMs <= gap.toMs) ? 'skipped' : 'drift';
}

/** What is known of two sides that are no stream. */
export interface SideFacts {
  readonly grace: Policy['grace'];
  /** When the earlier of both snapshots was taken, Unix ms. */
  readonly cutAtMs: number;
  /** Up to when each side says that it is complete, Unix ms; null: it never did. */
  readonly ledgerCompleteThroughMs: number | null;
  readonly bookCompleteThroughMs: number | null;
}

/** As `classify`, for two sides that were read whole: nothing is missing past the time up to which the other side is complete. */
export function classifyBetweenSides(finding: Finding, facts: SideFacts): FindingClass {
  const { ledger, book, kinds } = finding;
  if (ledger && book) return classifyPair(finding, facts);
  if (kinds.length === 0) return 'nothing';
  if (kinds.some((kind) => kind === 'DUPLICATE_IN_DB' || kind === 'DUPLICATE_ON_LEDGER')) return 'drift';
  const [atMs, graceMs, throughMs] = ledger
    ? [ledger.atMs, facts.grace.missingInDbMs, facts.bookCompleteThroughMs]
    : [book!.atMs, facts.grace.missingOnLedgerMs, facts.ledgerCompleteThroughMs];
  if (throughMs === null) return 'skipped';
  // Without a time of its own nothing says that a row is young.
  if (atMs === null) return 'drift';
  return facts.cutAtMs - atMs < graceMs || atMs > throughMs ? 'pending' : 'drift';
}

/** INCONCLUSIVE wins, but masks nothing: the drifts that were proven are stored all the same. */
export function decideVerdict(inconclusive: readonly Inconclusive[], openDrifts: number): Verdict {
  if (inconclusive.length > 0) return 'INCONCLUSIVE';
  return openDrifts > 0 ? 'DRIFT_DETECTED' : 'CLEAN';
}

function inRanges(ledger: number, ranges: readonly LedgerRange[]): boolean {
  return ranges.some((range) => range.from <= ledger && ledger < range.to);
}
