// One error tree: rooms throw TrueUpError with a reason from a closed list, rpc/error-table.ts gives it a status.
import type { LedgerRange } from './ledger.ts';

/** Each reason: can the same call succeed later without anybody changing anything? */
export const REASONS = {
  // what a caller can mend
  INVALID_REQUEST: { retryable: false },
  INVALID_PAGE_TOKEN: { retryable: false },
  INVALID_CONFIGURATION: { retryable: false },
  REQUEST_ID_REUSED: { retryable: false },
  REQUEST_TOO_LARGE: { retryable: false },
  UNAUTHENTICATED: { retryable: false },
  PERMISSION_DENIED: { retryable: false },
  POLICY_NOT_FOUND: { retryable: false },
  POLICY_INVALID: { retryable: false },
  RECONCILIATION_NOT_FOUND: { retryable: false },
  NO_SCHEDULED_RUN_YET: { retryable: true },
  DRIFT_NOT_FOUND: { retryable: false },
  IMPORT_NOT_FOUND: { retryable: false },
  BOOK_NOT_FOUND: { retryable: false },
  ALERT_NOT_FOUND: { retryable: false },
  SWEEP_NOT_FOUND: { retryable: false },
  BACKFILL_NOT_FOUND: { retryable: false },
  EXPORT_NOT_FOUND: { retryable: false },
  MANIFEST_NOT_FOUND: { retryable: false },
  ARTIFACT_NOT_FOUND: { retryable: false },
  ARTIFACT_PRUNED: { retryable: false },
  HOLD_NOT_FOUND: { retryable: false },
  CHECKPOINT_NOT_FOUND: { retryable: false },
  QUARANTINE_NOT_FOUND: { retryable: false },
  SOURCE_NOT_FOUND: { retryable: false },
  STREAM_NOT_FOUND: { retryable: false },
  IMPORT_REJECTED: { retryable: false },
  RUN_ALREADY_ACTIVE: { retryable: true },
  RUN_ALREADY_FINISHED: { retryable: false },
  INVALID_TRANSITION: { retryable: false },
  REVISION_CONFLICT: { retryable: true },
  REASON_REQUIRED: { retryable: false },
  INVALID_LEDGER_RANGE: { retryable: false },
  RANGE_TOO_LARGE: { retryable: false },
  RANGE_BEYOND_TIP: { retryable: true },
  TOO_MANY_ROWS: { retryable: false },
  NOT_IMPLEMENTED: { retryable: false },
  METHOD_NOT_FOUND: { retryable: false },
  FEATURE_DISABLED: { retryable: false },
  RATE_LIMITED: { retryable: true },
  TOO_MANY_STREAMS: { retryable: true },
  STREAM_TOO_SLOW: { retryable: true },
  SEQUENCE_EXPIRED: { retryable: false },
  DEADLINE_EXCEEDED: { retryable: true },
  CANCELLED: { retryable: false },
  // rows and files that a caller sends
  COLUMN_MISSING: { retryable: false },
  COLUMN_UNKNOWN: { retryable: false },
  VALUE_MISSING: { retryable: false },
  VALUE_INVALID: { retryable: false },
  VALUE_TOO_LONG: { retryable: false },
  AMOUNT_INVALID: { retryable: false },
  SCALE_UNKNOWN: { retryable: false },
  ACCOUNT_INVALID: { retryable: false },
  ASSET_INVALID: { retryable: false },
  TIME_INVALID: { retryable: false },
  KEY_CONFLICT: { retryable: false },
  ENCODING_INVALID: { retryable: false },
  FILE_TRUNCATED: { retryable: false },
  FILE_EMPTY: { retryable: false },
  // the outside world
  SOURCE_UNAVAILABLE: { retryable: true },
  SOURCE_TIMEOUT: { retryable: true },
  SOURCE_RATE_LIMITED: { retryable: true },
  SOURCE_CIRCUIT_OPEN: { retryable: true },
  SOURCE_REFUSED: { retryable: false },
  SOURCE_CORRUPT: { retryable: false },
  SOURCE_LAGGING: { retryable: true },
  SOURCE_DIVERGED: { retryable: false },
  SOURCE_WRONG_NETWORK: { retryable: false },
  SOURCE_ADDRESS_FORBIDDEN: { retryable: false },
  SOURCE_ANSWER_TOO_LARGE: { retryable: false },
  LEDGER_UNAVAILABLE: { retryable: false },
  LEDGER_NOT_YET_CLOSED: { retryable: true },
  BOOK_UNREADABLE: { retryable: true },
  MARKETPLACE_UNREADABLE: { retryable: true },
  MARKETPLACE_REFUSED: { retryable: true },
  PROVIDER_UNAVAILABLE: { retryable: true },
  PROVIDER_MISMATCH: { retryable: false },
  CHANNEL_FAILED: { retryable: true },
  CHANNEL_NOT_CONFIGURED: { retryable: false },
  ALERT_SANDBOX: { retryable: false },
  // what is known of a side
  COVERAGE_GAP: { retryable: false },
  LEDGER_QUARANTINED: { retryable: false },
  SEAL_BROKEN: { retryable: false },
  NO_OPENING: { retryable: false },
  WATCH_EMPTY: { retryable: false },
  BOOK_STALE: { retryable: false },
  BOOK_EMPTY: { retryable: false },
  KEYS_DISJOINT: { retryable: false },
  // evidence
  CHECKSUM_MISMATCH: { retryable: false },
  SIGNATURE_INVALID: { retryable: false },
  LOG_INCONSISTENT: { retryable: false },
  SIGNING_KEY_UNAVAILABLE: { retryable: false },
  HOLD_ACTIVE: { retryable: false },
  // this deployment
  DATABASE_UNAVAILABLE: { retryable: true },
  DATABASE_BUSY: { retryable: true },
  DATABASE_SCHEMA_NEWER: { retryable: false },
  DISK_FULL: { retryable: false },
  DATA_DIR_LOCKED: { retryable: false },
  ENTRY_CONFLICT: { retryable: false },
  LEASE_LOST: { retryable: true },
  JOB_DEAD_LETTERED: { retryable: false },
  WORK_ABANDONED: { retryable: true },
  SHUTTING_DOWN: { retryable: true },
  OVERLOADED: { retryable: true },
  INTERNAL: { retryable: false },
} as const satisfies Record<string, { retryable: boolean }>;

export type Reason = keyof typeof REASONS;

export interface FieldViolation {
  /** Path of the field as the contract names it, for example `entries[3].amount`. */
  readonly field: string;
  readonly description: string;
}

export interface ErrorDetails {
  /** What to do about it, as a sentence that names the next command or variable. */
  readonly fix?: string;
  /** Ledgers that the failure concerns. */
  readonly range?: LedgerRange;
  /** Earliest time at which trying again makes sense, milliseconds from now (Retry-After). */
  readonly retryAfterMs?: number;
  readonly fields?: readonly FieldViolation[];
  /** Low-cardinality facts for ErrorInfo.metadata; never secrets. */
  readonly metadata?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

export class TrueUpError extends Error {
  override readonly name = 'TrueUpError';
  readonly reason: Reason;
  readonly details: ErrorDetails;

  constructor(reason: Reason, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.reason = reason;
    this.details = details;
  }

  get retryable(): boolean {
    return REASONS[this.reason].retryable;
  }
}

export function isTrueUpError<R extends Reason>(error: unknown, ...reasons: R[]): error is TrueUpError {
  return error instanceof TrueUpError && (reasons.length === 0 || (reasons as Reason[]).includes(error.reason));
}

/** The words of any thrown thing, for a message; never its stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
