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
  RECONCILIATION_NOT_FOUND: { retryable: false },
  NO_SCHEDULED_RUN_YET: { retryable: true },
  DRIFT_NOT_FOUND: { retryable: false },
  IMPORT_NOT_FOUND: { retryable: false },
  BOOK_NOT_FOUND: { retryable: false },
  IMPORT_REJECTED: { retryable: false },
  RUN_ALREADY_ACTIVE: { retryable: true },
  RUN_ALREADY_FINISHED: { retryable: false },
  NOT_IMPLEMENTED: { retryable: false },
  METHOD_NOT_FOUND: { retryable: false },
  STREAM_NOT_FOUND: { retryable: false },
  TOO_MANY_STREAMS: { retryable: true },
  STREAM_TOO_SLOW: { retryable: true },
  SEQUENCE_EXPIRED: { retryable: false },
  DEADLINE_EXCEEDED: { retryable: true },
  CANCELLED: { retryable: false },
  // the outside world
  SOURCE_UNAVAILABLE: { retryable: true },
  SOURCE_TIMEOUT: { retryable: true },
  SOURCE_RATE_LIMITED: { retryable: true },
  SOURCE_CIRCUIT_OPEN: { retryable: true },
  SOURCE_REFUSED: { retryable: false },
  SOURCE_CORRUPT: { retryable: false },
  SOURCE_DIVERGED: { retryable: false },
  SOURCE_LAGGING: { retryable: true },
  SOURCE_WRONG_NETWORK: { retryable: false },
  SOURCE_ADDRESS_FORBIDDEN: { retryable: false },
  SOURCE_ANSWER_TOO_LARGE: { retryable: false },
  LEDGER_UNAVAILABLE: { retryable: false },
  LEDGER_NOT_YET_CLOSED: { retryable: true },
  BOOK_UNREADABLE: { retryable: true },
  // this deployment
  DATABASE_UNAVAILABLE: { retryable: true },
  DATABASE_SCHEMA_NEWER: { retryable: false },
  DATA_DIR_LOCKED: { retryable: false },
  ENTRY_CONFLICT: { retryable: false },
  LEASE_LOST: { retryable: true },
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
