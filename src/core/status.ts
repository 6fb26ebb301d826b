// How a deployment is: its streams, what of them is covered, and what went wrong.
import type { Layer } from './entry.ts';
import { messageOf, isTrueUpError, REASONS, type Reason } from './errors.ts';
import type { CoverageProof, LedgerRange } from './ledger.ts';

/** Why something failed or is degraded, as kept in rows and shown to people. Its words carry no secrets. */
export interface Failure {
  readonly reason: Reason;
  readonly message: string;
  /** Empty: nothing beyond what the reason's own documentation says. */
  readonly fix: string;
  readonly retryable: boolean;
  readonly at: Date | null;
}

/** What a thrown thing becomes when it is kept: a fault of ours keeps no words of its own. */
export function failureOf(error: unknown, at: Date | null): Failure {
  if (!isTrueUpError(error)) {
    return { reason: 'INTERNAL', message: 'internal error', fix: '', retryable: false, at };
  }
  return {
    reason: error.reason,
    message: messageOf(error),
    fix: error.details.fix ?? '',
    retryable: REASONS[error.reason].retryable,
    at,
  };
}

export const SYNC_STATUSES = ['starting', 'catching_up', 'synced', 'degraded'] as const;
export type SyncStatus = (typeof SYNC_STATUSES)[number];

export interface StreamStatus {
  /** The stream's name, unique in the deployment, for example `testnet-gdrx2e`; one gRPC health service bears it. */
  readonly stream: string;
  readonly networkPassphrase: string;
  /** Hex hash of the anchor ledger. */
  readonly epoch: string;
  readonly anchorLedger: number;
  readonly sandbox: boolean;
  readonly state: 'active' | 'diverged' | 'retired';
  readonly syncStatus: SyncStatus;
  /** Why it is degraded; empty when it isn't. */
  readonly degraded: readonly Failure[];
  readonly startLedger: number | null;
  /** Every ledger from startLedger up to here is covered; null when not even the first is. */
  readonly contiguousThrough: number | null;
  readonly contiguousThroughClosedAt: Date | null;
  readonly tip: number | null;
  readonly tipClosedAt: Date | null;
  /** Ledgers between tip and contiguousThrough, never below 0; null when either isn't known. */
  readonly lag: number | null;
  /** Oldest ledger that the source still serves. */
  readonly oldest: number | null;
  /** Ledgers that may still pass before the source forgets what we need next; null when it isn't known. */
  readonly retentionMargin: number | null;
  readonly processedLedgers: bigint;
  /** Over the last minute; null before there is anything to measure. */
  readonly ledgersPerSecond: number | null;
  readonly lastSuccessAt: Date | null;
  readonly lastError: Failure | null;
  readonly sources: readonly SourceStatus[];
}

export interface SourceStatus {
  /** As configured or as the source labels itself, without credentials. */
  readonly name: string;
  readonly kind: string;
  readonly proof: CoverageProof;
  readonly circuit: 'CLOSED' | 'OPEN' | 'HALF_OPEN' | null;
  readonly tip: number | null;
  readonly lastSuccessAt: Date | null;
  readonly lastError: Failure | null;
}

export interface DeploymentStatus {
  readonly version: string;
  readonly startedAt: Date;
  /** The time of this answer, by the same clock as the rest of it. */
  readonly now: Date;
  readonly streams: readonly StreamStatus[];
}

/** Kinds of what happens, as the console's one feed carries them. */
export const ACTIVITY_KINDS = ['stream', 'reconciliation', 'drift', 'import', 'job', 'ledger'] as const;
export type ActivityKind = (typeof ACTIVITY_KINDS)[number];

/** One thing that happened; the sequence rises and is where a lost watcher resumes. */
export interface Activity {
  readonly sequence: bigint;
  readonly at: Date;
  readonly kind: ActivityKind;
  /** Id or name of what it happened to. */
  readonly resource: string;
  /** One line for people, without secrets. */
  readonly message: string;
  /** The stream's status after it, where the kind is `stream` or `ledger`. */
  readonly stream?: StreamStatus;
  readonly run?: import('./run.ts').Run;
}

export type CoverageState = 'done' | 'quarantined' | 'unavailable';

export interface CoverageRange {
  readonly stream: string;
  readonly layer: Layer;
  /** An account or contract, or `*`: all that is watched. */
  readonly watch: string;
  /** Half-open. */
  readonly range: LedgerRange;
  readonly state: CoverageState;
  readonly proof: CoverageProof | null;
  readonly entryCount: bigint;
  readonly transactionCount: bigint | null;
  readonly firstPrevHash: string | null;
  readonly lastHash: string | null;
  /** Hex; null when it isn't sealed, or spans several sealed chunks. */
  readonly digest: string | null;
  readonly source: Provenance | null;
  readonly failure: Failure | null;
  readonly updatedAt: Date;
}

export interface Gap {
  readonly stream: string;
  readonly layer: Layer;
  readonly watch: string;
  /** Half-open. */
  readonly range: LedgerRange;
  /** Whether a configured source still keeps it; null when it isn't known. */
  readonly available: boolean | null;
}

/** Where a piece of ledger data was read. */
export interface Provenance {
  readonly source: string;
  readonly kind: string;
  readonly readAt: Date | null;
}

export interface Schedule {
  readonly name: string;
  readonly job: string;
  readonly policy: string | null;
  readonly intervalMs: number;
  readonly enabled: boolean;
  readonly dueAt: Date | null;
  readonly lastClaimedAt: Date | null;
  readonly health: JobHealth | null;
}

export interface JobHealth {
  readonly job: string;
  readonly status: 'healthy' | 'degraded';
  readonly runs: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly deadLettered: number;
  readonly inFlight: number;
  readonly lastStartedAt: Date | null;
  readonly lastSuccessAt: Date | null;
  readonly lastFailureAt: Date | null;
  readonly lastError: string | null;
  readonly lastDurationMs: number | null;
  readonly meanDurationMs: number | null;
}

export interface DeadLetter {
  readonly id: string;
  readonly job: string;
  /** JSON text of the job's data, redacted. */
  readonly payloadJson: string;
  readonly attempts: number;
  readonly error: string;
  readonly at: Date;
}

export interface AuditEntry {
  readonly id: bigint;
  readonly at: Date;
  readonly actor: string;
  readonly role: string;
  readonly method: string;
  readonly requestId: string;
  readonly traceId: string | null;
  readonly resource: string;
  /** JSON text; null when there was nothing. */
  readonly beforeJson: string | null;
  readonly afterJson: string | null;
}

export interface Diagnostics {
  readonly at: Date;
  readonly traceId: string;
  readonly runtime: {
    readonly version: string;
    readonly nodeVersion: string;
    readonly platform: string;
    readonly pid: number;
    readonly uptimeMs: number;
    readonly rssBytes: number;
    readonly heapUsedBytes: number;
    readonly heapTotalBytes: number;
    readonly cpuUserMs: number;
    readonly cpuSystemMs: number;
  };
  /** By allow-list and already redacted. */
  readonly config: readonly { readonly name: string; readonly value: string; readonly isSet: boolean }[];
  readonly database: {
    readonly reachable: boolean;
    readonly serverVersion: string | null;
    readonly schemaVersion: string | null;
    readonly embedded: boolean;
    readonly poolInUse: number;
    readonly poolIdle: number;
    readonly poolMax: number;
    readonly sizeBytes: bigint | null;
    readonly failure: Failure | null;
  };
  readonly sources: readonly SourceStatus[];
  readonly jobs: readonly JobHealth[];
  readonly lastRun: import('./run.ts').Run | null;
}
