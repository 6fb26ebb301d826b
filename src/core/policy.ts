// A policy is a named reconciliation: two sides and the rules by which they are compared.
import type { EntryKind, Layer } from './entry.ts';

export const LEVELS = ['entries', 'balances'] as const;
export type Level = (typeof LEVELS)[number];

/**
 * What makes two rows the same movement. `infer` looks at the book's keys: 64 hex digits are transaction hashes,
 * hash:operation or a Horizon operation id are operations. Which one was used is printed on the run.
 */
export const JOINS = ['infer', 'operation', 'tx_hash', 'sub_account'] as const;
export type Join = (typeof JOINS)[number];

/** What a book's status words mean on the ledger. */
export type LedgerStatus = 'success' | 'failed' | 'pending';

export interface Policy {
  readonly name: string;
  readonly level: Level;
  /** The book's name among TrueUp's own, or `postgres`: the configured query. */
  readonly book: { readonly kind: 'recorded'; readonly name: string } | { readonly kind: 'postgres' };
  readonly layer: Layer;
  readonly join: Join;
  /** Absent lists mean: the account and asset pairs that the book itself has, and every kind but fees and genesis. */
  readonly scope: {
    readonly accounts?: readonly string[];
    readonly assets?: readonly string[];
    readonly kinds?: readonly EntryKind[];
  };
  /** Book status words (lower case) to ledger status; a word that isn't here is a STATUS_MISMATCH with the word shown. */
  readonly statusMap: Readonly<Record<string, LedgerStatus>>;
  /** Largest difference in time that counts as equal, milliseconds; null: time isn't compared. */
  readonly timeToleranceMs: number | null;
  readonly grace: {
    /** Counted from the ledger's close. */
    readonly missingInDbMs: number;
    /** Counted from the book row's own time. */
    readonly missingOnLedgerMs: number;
  };
  readonly windowHours: number;
  /** How far outside the window's times book rows are read, so that late rows meet their entry, milliseconds. */
  readonly lookaroundMs: number;
  /** A book whose `complete_through` lags the cut by more than this is BOOK_STALE, milliseconds. */
  readonly bookMaxLatenessMs: number;
  readonly schedule: { readonly enabled: boolean; readonly intervalMs: number };
}

export const DEFAULT_STATUS_MAP: Policy['statusMap'] = {
  success: 'success',
  succeeded: 'success',
  successful: 'success',
  completed: 'success',
  complete: 'success',
  confirmed: 'success',
  paid: 'success',
  settled: 'success',
  failed: 'failed',
  failure: 'failed',
  error: 'failed',
  rejected: 'failed',
  pending: 'pending',
  processing: 'pending',
  submitted: 'pending',
  created: 'pending',
};

export const POLICY_DEFAULTS = {
  book: { kind: 'recorded', name: 'default' },
  layer: 'operations',
  join: 'infer',
  scope: {},
  statusMap: DEFAULT_STATUS_MAP,
  timeToleranceMs: null,
  grace: { missingInDbMs: 5 * 60_000, missingOnLedgerMs: 15 * 60_000 },
  windowHours: 24,
  lookaroundMs: 60 * 60_000,
  bookMaxLatenessMs: 60 * 60_000,
  schedule: { enabled: true, intervalMs: 300_000 },
} as const satisfies Omit<Policy, 'name' | 'level'>;
