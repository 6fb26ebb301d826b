// A policy is a named reconciliation: two sides and the rules by which they are compared.
import type { DriftField } from './drift.ts';
import type { EntryKind, Layer } from './entry.ts';
import type { Exemption } from './exemption.ts';
import type { AmountTolerance } from './tolerance.ts';

export const LEVELS = ['entries', 'balances'] as const;
export type Level = (typeof LEVELS)[number];

/**
 * What makes two rows the same movement. `infer` looks at the book's keys: 64 hex digits are transaction hashes,
 * hash:operation or a Horizon operation id are operations. Which one was used is printed on the run. `sub_account` needs no key:
 * account, sub-account, asset and amount are the key.
 */
export const JOINS = ['infer', 'operation', 'tx_hash', 'sub_account'] as const;
export type Join = (typeof JOINS)[number];

/** What a book's status words mean on the ledger. */
export type LedgerStatus = 'success' | 'failed' | 'pending';

/** A side that trueup.yaml names: somebody else's table, or a file. */
export interface ExternalSide {
  readonly kind: 'external';
  /** Its name under `sides`. */
  readonly name: string;
  readonly type: 'postgres' | 'file';
  /** Rows that were read once never change and are never deleted. */
  readonly immutable: boolean;
}

/** Fields that can be asked to be equal; time is compared where there is a tolerance for it. */
export const EXACT_FIELDS = [
  'amount',
  'asset',
  'account',
  'counterparty',
  'sub_account',
  'kind',
  'status',
] as const satisfies readonly DriftField['field'][];
export type ExactField = (typeof EXACT_FIELDS)[number];

export interface Policy {
  readonly name: string;
  readonly level: Level;
  /** What is taken for the truth: the stream that is followed, or a side of trueup.yaml. */
  readonly ledger: { readonly kind: 'stream' } | ExternalSide;
  /** The book's name among TrueUp's own, `postgres`: the configured query, or a side of trueup.yaml. */
  readonly book: { readonly kind: 'recorded'; readonly name: string } | { readonly kind: 'postgres' } | ExternalSide;
  readonly layer: Layer;
  readonly join: Join;
  /** Absent lists mean: the account and asset pairs that the book itself has, and every kind but fees and genesis. */
  readonly scope: {
    readonly accounts?: readonly string[];
    readonly assets?: readonly string[];
    readonly kinds?: readonly EntryKind[];
  };
  /** Fields that must be equal where both sides state them. */
  readonly exact: readonly ExactField[];
  /** Where two amounts may differ and still count as equal; empty: nowhere. */
  readonly amountTolerances: readonly AmountTolerance[];
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
  /** Null: everything that both sides have; never so where one of them is the stream. */
  readonly windowHours: number | null;
  /** How far outside the window's times book rows are read, so that late rows meet their entry, milliseconds. */
  readonly lookaroundMs: number;
  /** A book whose `complete_through` lags the cut by more than this is BOOK_STALE, milliseconds. */
  readonly bookMaxLatenessMs: number;
  readonly schedule: { readonly enabled: boolean; readonly intervalMs: number };
  /** Null: as the environment says. */
  readonly alert: {
    readonly enabled: boolean;
    /** Open drifts from which on it alerts, 1 or more. */
    readonly threshold: number | null;
    readonly cooldownMs: number | null;
  };
  /** Differences that are known and accepted, each until a day. */
  readonly exemptions: readonly Exemption[];
}

/** How a policy's side is called where people read it. */
export function bookNameOf({ book }: Pick<Policy, 'book'>): string {
  return book.kind === 'postgres' ? 'postgres' : book.name;
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
  ledger: { kind: 'stream' },
  book: { kind: 'recorded', name: 'default' },
  layer: 'operations',
  join: 'infer',
  scope: {},
  exact: EXACT_FIELDS,
  amountTolerances: [],
  statusMap: DEFAULT_STATUS_MAP,
  timeToleranceMs: null,
  grace: { missingInDbMs: 5 * 60_000, missingOnLedgerMs: 15 * 60_000 },
  windowHours: 24,
  lookaroundMs: 60 * 60_000,
  bookMaxLatenessMs: 60 * 60_000,
  schedule: { enabled: true, intervalMs: 300_000 },
  alert: { enabled: true, threshold: null, cooldownMs: null },
  exemptions: [],
} as const satisfies Omit<Policy, 'name' | 'level'>;
