// Domain errors to wire statuses: one exhaustive table, and one function that applies it.
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { anyPack, type Duration } from '@bufbuild/protobuf/wkt';
import { create, toBinary } from '@bufbuild/protobuf';
import { isTrueUpError, type Reason, REASONS, TrueUpError } from '../core/errors.ts';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../../gen/google/rpc/status_pb.js';
import { RPC_LIMITS } from './limits.ts';

/** The canonical codes by number, as gRPC fixed them. */
export const STATUS_CODES = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type StatusName = keyof typeof STATUS_CODES;

const STATUS_NAMES = Object.fromEntries(Object.entries(STATUS_CODES).map(([name, code]) => [code, name])) as Record<
  number,
  StatusName
>;

/**
 * UNAVAILABLE asks the client's library to try again by itself, so it stands only where the same call can succeed on
 * another replica or a moment later. A far system's failure is ours to report, not the caller's to hammer:
 * FAILED_PRECONDITION where somebody has to act, UNAVAILABLE where time alone helps.
 */
export const ERROR_TABLE: Readonly<Record<Reason, StatusName>> = {
  INVALID_REQUEST: 'INVALID_ARGUMENT',
  INVALID_PAGE_TOKEN: 'INVALID_ARGUMENT',
  INVALID_CONFIGURATION: 'FAILED_PRECONDITION',
  REQUEST_ID_REUSED: 'ALREADY_EXISTS',
  REQUEST_TOO_LARGE: 'RESOURCE_EXHAUSTED',
  UNAUTHENTICATED: 'UNAUTHENTICATED',
  PERMISSION_DENIED: 'PERMISSION_DENIED',
  POLICY_NOT_FOUND: 'NOT_FOUND',
  POLICY_INVALID: 'FAILED_PRECONDITION',
  RECONCILIATION_NOT_FOUND: 'NOT_FOUND',
  NO_SCHEDULED_RUN_YET: 'NOT_FOUND',
  DRIFT_NOT_FOUND: 'NOT_FOUND',
  IMPORT_NOT_FOUND: 'NOT_FOUND',
  BOOK_NOT_FOUND: 'NOT_FOUND',
  ALERT_NOT_FOUND: 'NOT_FOUND',
  SWEEP_NOT_FOUND: 'NOT_FOUND',
  BACKFILL_NOT_FOUND: 'NOT_FOUND',
  EXPORT_NOT_FOUND: 'NOT_FOUND',
  MANIFEST_NOT_FOUND: 'NOT_FOUND',
  ARTIFACT_NOT_FOUND: 'NOT_FOUND',
  ARTIFACT_PRUNED: 'NOT_FOUND',
  HOLD_NOT_FOUND: 'NOT_FOUND',
  CHECKPOINT_NOT_FOUND: 'NOT_FOUND',
  QUARANTINE_NOT_FOUND: 'NOT_FOUND',
  SOURCE_NOT_FOUND: 'NOT_FOUND',
  STREAM_NOT_FOUND: 'NOT_FOUND',
  IMPORT_REJECTED: 'INVALID_ARGUMENT',
  RUN_ALREADY_ACTIVE: 'FAILED_PRECONDITION',
  RUN_ALREADY_FINISHED: 'FAILED_PRECONDITION',
  INVALID_TRANSITION: 'FAILED_PRECONDITION',
  REVISION_CONFLICT: 'ABORTED',
  REASON_REQUIRED: 'INVALID_ARGUMENT',
  INVALID_LEDGER_RANGE: 'INVALID_ARGUMENT',
  RANGE_TOO_LARGE: 'INVALID_ARGUMENT',
  RANGE_BEYOND_TIP: 'OUT_OF_RANGE',
  TOO_MANY_ROWS: 'INVALID_ARGUMENT',
  NOT_IMPLEMENTED: 'UNIMPLEMENTED',
  METHOD_NOT_FOUND: 'UNIMPLEMENTED',
  FEATURE_DISABLED: 'FAILED_PRECONDITION',
  RATE_LIMITED: 'RESOURCE_EXHAUSTED',
  TOO_MANY_STREAMS: 'RESOURCE_EXHAUSTED',
  STREAM_TOO_SLOW: 'ABORTED',
  SEQUENCE_EXPIRED: 'OUT_OF_RANGE',
  DEADLINE_EXCEEDED: 'DEADLINE_EXCEEDED',
  CANCELLED: 'CANCELLED',
  // rows and files that a caller sends
  COLUMN_MISSING: 'INVALID_ARGUMENT',
  COLUMN_UNKNOWN: 'INVALID_ARGUMENT',
  VALUE_MISSING: 'INVALID_ARGUMENT',
  VALUE_INVALID: 'INVALID_ARGUMENT',
  VALUE_TOO_LONG: 'INVALID_ARGUMENT',
  AMOUNT_INVALID: 'INVALID_ARGUMENT',
  SCALE_UNKNOWN: 'INVALID_ARGUMENT',
  ACCOUNT_INVALID: 'INVALID_ARGUMENT',
  ASSET_INVALID: 'INVALID_ARGUMENT',
  TIME_INVALID: 'INVALID_ARGUMENT',
  KEY_CONFLICT: 'INVALID_ARGUMENT',
  ENCODING_INVALID: 'INVALID_ARGUMENT',
  FILE_TRUNCATED: 'INVALID_ARGUMENT',
  FILE_EMPTY: 'INVALID_ARGUMENT',
  // the outside world
  SOURCE_UNAVAILABLE: 'UNAVAILABLE',
  SOURCE_TIMEOUT: 'UNAVAILABLE',
  SOURCE_RATE_LIMITED: 'UNAVAILABLE',
  SOURCE_CIRCUIT_OPEN: 'UNAVAILABLE',
  SOURCE_REFUSED: 'FAILED_PRECONDITION',
  SOURCE_CORRUPT: 'FAILED_PRECONDITION',
  SOURCE_LAGGING: 'UNAVAILABLE',
  SOURCE_DIVERGED: 'FAILED_PRECONDITION',
  SOURCE_WRONG_NETWORK: 'FAILED_PRECONDITION',
  SOURCE_ADDRESS_FORBIDDEN: 'FAILED_PRECONDITION',
  SOURCE_ANSWER_TOO_LARGE: 'FAILED_PRECONDITION',
  LEDGER_UNAVAILABLE: 'FAILED_PRECONDITION',
  LEDGER_NOT_YET_CLOSED: 'OUT_OF_RANGE',
  BOOK_UNREADABLE: 'UNAVAILABLE',
  MARKETPLACE_UNREADABLE: 'UNAVAILABLE',
  MARKETPLACE_REFUSED: 'FAILED_PRECONDITION',
  PROVIDER_UNAVAILABLE: 'UNAVAILABLE',
  PROVIDER_MISMATCH: 'FAILED_PRECONDITION',
  CHANNEL_FAILED: 'UNAVAILABLE',
  CHANNEL_NOT_CONFIGURED: 'FAILED_PRECONDITION',
  ALERT_SANDBOX: 'FAILED_PRECONDITION',
  // what is known of a side
  COVERAGE_GAP: 'FAILED_PRECONDITION',
  LEDGER_QUARANTINED: 'FAILED_PRECONDITION',
  SEAL_BROKEN: 'DATA_LOSS',
  NO_OPENING: 'FAILED_PRECONDITION',
  WATCH_EMPTY: 'FAILED_PRECONDITION',
  BOOK_STALE: 'FAILED_PRECONDITION',
  BOOK_EMPTY: 'FAILED_PRECONDITION',
  KEYS_DISJOINT: 'FAILED_PRECONDITION',
  // evidence
  CHECKSUM_MISMATCH: 'DATA_LOSS',
  SIGNATURE_INVALID: 'DATA_LOSS',
  LOG_INCONSISTENT: 'DATA_LOSS',
  SIGNING_KEY_UNAVAILABLE: 'FAILED_PRECONDITION',
  HOLD_ACTIVE: 'FAILED_PRECONDITION',
  // this deployment
  DATABASE_UNAVAILABLE: 'UNAVAILABLE',
  DATABASE_BUSY: 'UNAVAILABLE',
  DATABASE_SCHEMA_NEWER: 'FAILED_PRECONDITION',
  DISK_FULL: 'RESOURCE_EXHAUSTED',
  DATA_DIR_LOCKED: 'FAILED_PRECONDITION',
  ENTRY_CONFLICT: 'FAILED_PRECONDITION',
  LEASE_LOST: 'ABORTED',
  JOB_DEAD_LETTERED: 'FAILED_PRECONDITION',
  WORK_ABANDONED: 'ABORTED',
  SHUTTING_DOWN: 'UNAVAILABLE',
  OVERLOADED: 'RESOURCE_EXHAUSTED',
  INTERNAL: 'INTERNAL',
};

export const ERROR_DOMAIN = 'trueup.v1';

export interface ErrorDetail {
  readonly desc: DescMessage;
  readonly value: MessageInitShape<DescMessage>;
}

/** An error as it leaves, the same for every protocol. */
export interface WireStatus {
  readonly name: StatusName;
  readonly code: number;
  readonly reason: Reason;
  readonly message: string;
  readonly details: readonly ErrorDetail[];
}

/** Whatever was thrown, as it may be shown to a caller: an unknown error keeps its words to the log. */
export function toWireStatus(thrown: unknown): WireStatus {
  const error = isTrueUpError(thrown) ? thrown : new TrueUpError('INTERNAL', 'internal error');
  const name = ERROR_TABLE[error.reason];
  const details: ErrorDetail[] = [errorInfo(error)];
  const { fields, retryAfterMs } = error.details;
  if (fields && fields.length > 0) details.push(badRequest(fields));
  if (retryAfterMs !== undefined) {
    details.push({ desc: RetryInfoSchema, value: { retryDelay: durationOf(retryAfterMs) } });
  }
  return {
    name,
    code: STATUS_CODES[name],
    reason: error.reason,
    message: shown(error.message, RPC_LIMITS.maxErrorMessageChars),
    details,
  };
}

/** The bytes of `grpc-status-details-bin`: a google.rpc.Status with every detail packed. */
export function statusDetailsBinary(status: WireStatus): Uint8Array {
  return toBinary(
    StatusSchema,
    create(StatusSchema, {
      code: status.code,
      message: status.message,
      details: status.details.map(({ desc, value }) => anyPack(desc, create(desc, value))),
    }),
  );
}

export function statusNameOf(code: number): StatusName {
  return STATUS_NAMES[code] ?? 'UNKNOWN';
}

function errorInfo(error: TrueUpError): ErrorDetail {
  const { fix, range, metadata } = error.details;
  return {
    desc: ErrorInfoSchema,
    value: {
      reason: error.reason,
      domain: ERROR_DOMAIN,
      metadata: {
        ...metadata,
        retryable: String(REASONS[error.reason].retryable),
        ...(fix === undefined ? {} : { fix: shown(fix, RPC_LIMITS.maxErrorMessageChars) }),
        // People and the contract count both ends in.
        ...(range === undefined ? {} : { from_ledger: String(range.from), to_ledger: String(range.to - 1) }),
      },
    },
  };
}

function badRequest(fields: NonNullable<TrueUpError['details']['fields']>): ErrorDetail {
  return {
    desc: BadRequestSchema,
    value: {
      fieldViolations: fields.slice(0, RPC_LIMITS.maxErrorFields).map(({ field, description }) => ({
        field: shown(field, RPC_LIMITS.maxErrorFieldChars),
        description: shown(description, RPC_LIMITS.maxErrorFieldChars),
      })),
    },
  };
}

/** grpc-message is percent-encoded UTF-8: a lone surrogate would make the encoder throw. */
function shown(text: string, maxChars: number): string {
  const cut = text.length > maxChars ? `${text.slice(0, maxChars - 1)}…` : text;
  return cut.toWellFormed();
}

function durationOf(ms: number): Pick<Duration, 'seconds' | 'nanos'> {
  const whole = Math.max(0, Math.ceil(ms));
  return { seconds: BigInt(Math.floor(whole / 1_000)), nanos: (whole % 1_000) * 1_000_000 };
}
