// What a check of ledgers asks and finds.
import type { Layer } from './entry.ts';
import type { Reason } from './errors.ts';
import type { CoverageProof, LedgerRange } from './ledger.ts';
import type { Failure } from './status.ts';

export interface VerifyCall {
  /** Null: the stream that is followed. */
  readonly stream: string | null;
  readonly layer: Layer;
  readonly range: LedgerRange;
  /** Read the ledgers from a source again and compare them with what is stored. */
  readonly reread: boolean;
  /** By its name or kind; null: the one that is followed. */
  readonly source: string | null;
}

export interface RangeFinding {
  readonly range: LedgerRange;
  readonly failure: Failure;
  /** As sealed, or as the source has it; null: there is none. */
  readonly expected: string | null;
  /** As stored; null: there is none. */
  readonly actual: string | null;
}

export type RangeVerdict = 'verified' | 'mismatch' | 'incomplete';

export interface Verification {
  readonly verdict: RangeVerdict;
  readonly checkedLedgers: number;
  readonly checkedEntries: number;
  /** Of the whole range as stored; null where it isn't covered completely, or wasn't checked to its end. */
  readonly digest: string | null;
  /** In order of ledgers; at most 1,000. */
  readonly findings: readonly RangeFinding[];
  /** Also those that aren't listed. */
  readonly findingCount: number;
  /** What completeness rests on at its weakest; null: nothing was read. */
  readonly proof: CoverageProof | null;
}

/** Findings that say that something is wrong; all others say that something could not be checked. */
const MISMATCHES: readonly Reason[] = ['SEAL_BROKEN', 'SOURCE_DIVERGED', 'ENTRY_CONFLICT'];

/** Wrong is worse than unknown, and unknown is never verified. */
export function verdictOf(reasons: Iterable<Reason>): RangeVerdict {
  let verdict: RangeVerdict = 'verified';
  for (const reason of reasons) {
    if (MISMATCHES.includes(reason)) return 'mismatch';
    verdict = 'incomplete';
  }
  return verdict;
}

/** `count` numbers of a range, spread evenly, its first and its last among them. */
export function sampleOf(range: LedgerRange, count: number): number[] {
  const length = range.to - range.from;
  if (length <= count) return Array.from({ length }, (_, i) => range.from + i);
  return Array.from({ length: count }, (_, i) => range.from + Math.round((i * (length - 1)) / (count - 1)));
}
