// A drift: one difference between the two sides, with one identity through all runs.
import type { LedgerRange } from './ledger.ts';
import type { Level } from './policy.ts';

export const DRIFT_KINDS = [
  'MISSING_IN_DB',
  'MISSING_ON_LEDGER',
  'AMOUNT_MISMATCH',
  'TYPE_MISMATCH',
  'ASSET_MISMATCH',
  'ACCOUNT_MISMATCH',
  'TIME_MISMATCH',
  'STATUS_MISMATCH',
  'DUPLICATE_IN_DB',
  'DUPLICATE_ON_LEDGER',
  'BALANCE_MISMATCH',
] as const;
export type DriftKind = (typeof DRIFT_KINDS)[number];

export const DRIFT_STATES = ['open', 'acknowledged', 'resolved', 'exempt'] as const;
export type DriftState = (typeof DRIFT_STATES)[number];

export const RESOLUTION_CAUSES = [
  'sides_agree',
  'book_corrected',
  'coverage_completed',
  'manual',
  'policy_changed',
] as const;
export type ResolutionCause = (typeof RESOLUTION_CAUSES)[number];

export const DRIFT_FIELDS = [
  'amount',
  'asset',
  'account',
  'counterparty',
  'sub_account',
  'kind',
  'status',
  'time',
  'balance',
] as const;

export interface DriftField {
  readonly field: (typeof DRIFT_FIELDS)[number];
  /** As text; null when that side has none. */
  readonly ledger: string | null;
  readonly book: string | null;
}

/** What one side says of the item. */
export interface DriftSide {
  readonly account: string;
  readonly asset: string;
  /** Signed minor units: the leg's, the legs' sum, or the balance. */
  readonly amount: bigint | null;
  readonly kind: string | null;
  /** The ledger's status, or the book's own word. */
  readonly status: string | null;
  readonly counterparty: string | null;
  readonly subAccount: string | null;
  readonly at: Date | null;
  readonly ledger: number | null;
  readonly txHash: string | null;
  /** Entry ids on the ledger side, row ids in the book; at most 100. */
  readonly rowIds: readonly string[];
  /** Also those not listed. */
  readonly rowCount: number;
}

export interface Drift {
  /** UUID, fixed by (policy, matchKey, occurrence). */
  readonly id: string;
  readonly policy: string;
  readonly level: Level;
  readonly stream: string | null;
  readonly sandbox: boolean;
  readonly matchKey: string;
  /** Which of several items with that key, from 0. */
  readonly occurrence: number;
  readonly kinds: readonly DriftKind[];
  readonly fields: readonly DriftField[];
  readonly ledgerSide: DriftSide | null;
  readonly bookSide: DriftSide | null;
  readonly account: string;
  readonly asset: string;
  /** Absolute minor units of `asset`; null when it can't be told. */
  readonly valueAtRisk: bigint | null;
  readonly state: DriftState;
  readonly resolutionCause: ResolutionCause | null;
  readonly assignee: string | null;
  /** Given with the last transition. */
  readonly reason: string | null;
  readonly owner: string | null;
  readonly exemptUntil: Date | null;
  /** The item's own date: the ledger's close time, else the book's. */
  readonly itemAt: Date | null;
  readonly firstSeenAt: Date;
  readonly lastSeenAt: Date;
  readonly firstRunId: string;
  readonly lastRunId: string;
  /** From 1; a reopening within 24 h is the same episode. */
  readonly episode: number;
  readonly reopenedCount: number;
  readonly transitionAt: Date | null;
  readonly transitionActor: string | null;
  /** From 1, higher with every change. */
  readonly revision: number;
}

/** Absent fields, and empty lists, select everything; those of different fields must all hold. */
export interface DriftFilter {
  readonly policy?: string;
  readonly level?: Level;
  readonly states?: readonly DriftState[];
  readonly kinds?: readonly DriftKind[];
  /** On either side. */
  readonly accounts?: readonly string[];
  readonly assets?: readonly string[];
  /** Drifts that this run saw. */
  readonly runId?: string;
  readonly matchKey?: string;
  readonly assignee?: string;
  /** Half-open; of the ledger side. */
  readonly ledgers?: LedgerRange;
  /** Inclusive. */
  readonly firstSeenFrom?: Date;
  /** Exclusive. */
  readonly firstSeenTo?: Date;
}

export const DRIFT_TRANSITIONS = ['assign', 'acknowledge', 'resolve', 'exempt', 'reopen'] as const;
export type DriftTransition = (typeof DRIFT_TRANSITIONS)[number];

/** A change that was made to a drift. */
export interface DriftTransitionRecord {
  readonly transition: DriftTransition;
  readonly from: DriftState;
  readonly to: DriftState;
  readonly reason: string;
  readonly actor: string;
  readonly at: Date;
}
