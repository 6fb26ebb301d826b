// The health of a marketplace's payments: five counts of rows that stand still where they should move.
import type { MarketplaceThresholds } from './marketplace.ts';
import type { Failure } from './status.ts';

/** Names that dashboards and alerts use; `METRICS_PREFIX` goes before them. */
export const LEDGER_GAUGES = [
  'ledger_stuck_orders_pending',
  'ledger_stuck_refunds_pending',
  'ledger_orphan_refund_rows',
  'ledger_failed_transfers_at_max_retry',
  'ledger_reversal_pending_transfers',
] as const;
export type LedgerGaugeName = (typeof LEDGER_GAUGES)[number];

export const LEDGER_GAUGE_WORDS: Readonly<Record<LedgerGaugeName, string>> = {
  ledger_stuck_orders_pending: 'Orders that are pending though their payment was begun at the provider.',
  ledger_stuck_refunds_pending: 'Refunds that are pending though they were begun at the provider.',
  ledger_orphan_refund_rows: 'Refunds that are pending and have no id at the provider: a crash between the two phases.',
  ledger_failed_transfers_at_max_retry: 'Transfers to sellers that failed for good.',
  ledger_reversal_pending_transfers: 'Transfers to sellers whose reversal is not done.',
};

/** What a gauge shows while its query fails. */
export const UNREADABLE_SAMPLE = -1;

export interface LedgerHealthRow {
  readonly rowId: string;
  /** As the marketplace calls it. */
  readonly state: string;
  readonly amountMinor: bigint | null;
  readonly currency: string | null;
  readonly providerId: string | null;
  /** Since when it is in that state, as far as the tables say. */
  readonly since: Date | null;
}

/** `pending`: never sampled yet. */
export type LedgerGaugeState = 'pending' | 'clear' | 'raised' | 'unreadable';

export interface LedgerHealth {
  readonly name: LedgerGaugeName;
  readonly description: string;
  readonly state: LedgerGaugeState;
  /** Null: never sampled, or unreadable. */
  readonly count: number | null;
  /** Null: a row of any age counts. */
  readonly ageThresholdMs: number | null;
  /** Oldest first. */
  readonly rows: readonly LedgerHealthRow[];
  /** When it was last read with success; null: never. */
  readonly sampledAt: Date | null;
  /** Since when it is raised or unreadable, as this process has seen it; null: it isn't. */
  readonly since: Date | null;
  /** Null: it can be read. */
  readonly failure: Failure | null;
}

export function thresholdOf(name: LedgerGaugeName, thresholds: MarketplaceThresholds): number | null {
  return {
    ledger_stuck_orders_pending: thresholds.stuckOrdersMs,
    ledger_stuck_refunds_pending: thresholds.stuckRefundsMs,
    ledger_orphan_refund_rows: thresholds.orphanRefundsMs,
    ledger_failed_transfers_at_max_retry: null,
    ledger_reversal_pending_transfers: thresholds.pendingReversalsMs,
  }[name];
}

/** What a gauge becomes by a reading: a count, or why there is none. */
export function sampled(
  before: LedgerHealth,
  reading: { readonly count: number } | { readonly failure: Failure },
  at: Date,
): LedgerHealth {
  if ('failure' in reading) {
    const since = before.state === 'unreadable' ? before.since : at;
    return { ...before, state: 'unreadable', count: null, since, failure: reading.failure };
  }
  const state = reading.count === 0 ? 'clear' : 'raised';
  const since = state === 'clear' ? null : before.state === 'raised' ? before.since : at;
  return { ...before, state, count: reading.count, sampledAt: at, since, failure: null };
}
