// A run: one comparison of both sides at one cut, as it is kept and shown.
import type { AgeCount } from './ageing.ts';
import type { EntryKind, Layer } from './entry.ts';
import type { DriftKind } from './drift.ts';
import type { LedgerRange } from './ledger.ts';
import type { Join, Level } from './policy.ts';
import type { Failure } from './status.ts';

export const RUN_TRIGGERS = ['scheduled', 'manual'] as const;
export type RunTrigger = (typeof RUN_TRIGGERS)[number];

export const RUN_STATES = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const;
export type RunState = (typeof RUN_STATES)[number];

/** Worst first. */
export const VERDICTS = ['INCONCLUSIVE', 'DRIFT_DETECTED', 'CLEAN'] as const;
export type Verdict = (typeof VERDICTS)[number];

export const INCONCLUSIVE_REASONS = [
  'SOURCE_UNAVAILABLE',
  'COVERAGE_GAP',
  'BOOK_STALE',
  'KEYS_DISJOINT',
  'NO_OPENING',
  'BOOK_UNREADABLE',
  'SOURCE_DIVERGED',
  'LEDGER_EMPTY',
  'BOOK_EMPTY',
  'LEDGER_QUARANTINED',
  'LEDGER_UNAVAILABLE',
  'SCALE_UNKNOWN',
  'INTERRUPTED',
  'SEAL_BROKEN',
  'SCOPE_EMPTY',
  'LIMIT_REACHED',
] as const;
export type InconclusiveReason = (typeof INCONCLUSIVE_REASONS)[number];

/** One thing that keeps the verdict from being conclusive, and what to do about it. */
export interface Inconclusive {
  readonly reason: InconclusiveReason;
  /** The side that wasn't read completely; null: both, or neither in particular. */
  readonly side: 'ledger' | 'book' | null;
  readonly message: string;
  readonly fix: string;
  /** At most 100; empty when it isn't a matter of ledgers. */
  readonly ranges: readonly LedgerRange[];
  /** At most 100; empty when it isn't a matter of accounts. */
  readonly accounts: readonly string[];
  /** Ranges or accounts concerned, also those not listed. */
  readonly itemCount: number;
}

/** The moment at which both sides are compared. */
export interface Cut {
  /** Last ledger inside; null when the ledger side has none. */
  readonly ledger: number | null;
  readonly closedAt: Date | null;
  /** Position in commit order up to which rows count; opaque text of the store's. */
  readonly commitPosition: string;
  readonly cutAt: Date;
}

export interface RunWindow {
  /** Half-open; null until it is fixed, or when the ledger side has none. */
  readonly ledgers: LedgerRange | null;
  /** Close times, both inclusive. */
  readonly fromTime: Date | null;
  readonly toTime: Date | null;
}

/** What was compared: at most 100 of each are listed, the counts are of all. */
export interface RunScope {
  readonly accounts: readonly string[];
  readonly assets: readonly string[];
  readonly kinds: readonly EntryKind[];
  readonly accountCount: number;
  readonly assetCount: number;
}

export interface LedgerSideRead {
  /** Rows read; null when the side couldn't be read. */
  readonly records: number | null;
  readonly complete: boolean;
  /** Close time of the last ledger up to which nothing is missing. */
  readonly completeThrough: Date | null;
  /** Of the window, half-open, at most 100 each. */
  readonly covered: readonly LedgerRange[];
  readonly missing: readonly LedgerRange[];
  readonly missingLedgers: number;
  /** In words; null when nothing is missing. */
  readonly missingText: string | null;
  /** Hex; null when it wasn't computed. */
  readonly digest: string | null;
}

export interface BookSideRead {
  readonly records: number | null;
  readonly complete: boolean;
  readonly completeThrough: Date | null;
  readonly missingText: string | null;
  readonly digest: string | null;
}

export interface RunCounts {
  readonly ledgerRecords: number;
  readonly bookRecords: number;
  readonly matched: number;
  /** Open or acknowledged after the run. */
  readonly drifted: number;
  readonly pending: number;
  readonly exempt: number;
  readonly underived: number;
  /** Never counted as verified. */
  readonly skipped: number;
  /** Drifts that this run found for the first time or reopened. */
  readonly appeared: number;
  readonly resolved: number;
}

export interface KindCount {
  readonly kind: DriftKind;
  /** Open or acknowledged after the run. */
  readonly open: number;
  readonly appeared: number;
}

/** A sum in one asset; sums never cross assets. */
export interface AssetTotal {
  readonly asset: string;
  /** Minor units. */
  readonly amount: bigint;
  /** How many items were added up. */
  readonly count: number;
}

export interface FeeTotal extends AssetTotal {
  /** Who paid: fees less refunds. */
  readonly account: string;
}

/** A balance that can't be derived: reported with its amounts, never accused. */
export interface UnderivedItem {
  readonly account: string;
  readonly asset: string;
  readonly ledgerAmount: bigint | null;
  readonly bookAmount: bigint | null;
  readonly reasons: readonly string[];
}

export interface RunProgress {
  readonly phase: 'cutting' | 'reading' | 'comparing' | 'storing';
  readonly itemsDone: number;
  readonly itemsTotal: number | null;
  readonly updatedAt: Date;
}

/** Everything that a finished run found, apart from the drifts themselves. */
export interface RunSummary {
  readonly scope: RunScope | null;
  /** What was used; `infer` only where the run ended before it looked at the keys. */
  readonly join: Join;
  readonly layer: Layer;
  readonly cut: Cut | null;
  readonly window: RunWindow | null;
  readonly sides: { readonly ledger: LedgerSideRead; readonly book: BookSideRead } | null;
  readonly counts: RunCounts | null;
  readonly inconclusive: readonly Inconclusive[];
  readonly kindCounts: readonly KindCount[];
  /** At most 1,000. */
  readonly feeTotals: readonly FeeTotal[];
  readonly toleranceAbsorbed: readonly AssetTotal[];
  /** At most 1,000; all of them are in the counts. */
  readonly underivedItems: readonly UnderivedItem[];
  readonly valueAtRisk: readonly AssetTotal[];
  /** Open and acknowledged drifts by age at the end of the run, every bucket; absent in runs of before they were counted. */
  readonly ages?: readonly AgeCount[];
  /** What a reader should know beside the verdict, in sentences; at most 100. Absent from runs of earlier releases. */
  readonly notes?: readonly string[];
  /** Hex: the same sides, cut and policy give the same digest. Null until finished. */
  readonly resultDigest: string | null;
}

export interface Run {
  /** UUID. */
  readonly id: string;
  readonly policy: string;
  readonly level: Level;
  readonly trigger: RunTrigger;
  readonly state: RunState;
  /** Null until known, and for ever for a cancelled run. */
  readonly verdict: Verdict | null;
  readonly sandbox: boolean;
  /** Name of the ledger side's stream; null when it isn't known yet. */
  readonly stream: string | null;
  readonly book: string;
  /** Null until the run has fixed its cut. */
  readonly summary: RunSummary | null;
  /** 32 hex digits. */
  readonly traceId: string;
  /** The token's name, or `trueup` for the timetable. */
  readonly actor: string;
  readonly requestId: string | null;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly completedAt: Date | null;
  readonly error: Failure | null;
  /** Null when not begun, or over. */
  readonly progress: RunProgress | null;
}

/** One state of a watched run; the sequence rises with every change and is where a lost watcher resumes. */
export interface RunEvent {
  readonly sequence: bigint;
  readonly run: Run;
}

/** Absent fields, and empty lists, select everything. */
export interface RunFilter {
  readonly policy?: string;
  readonly level?: Level;
  readonly trigger?: RunTrigger;
  readonly states?: readonly RunState[];
  readonly verdicts?: readonly Verdict[];
  /** Inclusive. */
  readonly createdFrom?: Date;
  /** Exclusive. */
  readonly createdTo?: Date;
}

export function isFinished(run: Pick<Run, 'state'>): boolean {
  return run.state === 'succeeded' || run.state === 'failed' || run.state === 'cancelled';
}
