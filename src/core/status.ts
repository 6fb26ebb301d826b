// How a deployment is: its streams, what of them is covered, and what went wrong.
import type { Alert } from './alert.ts';
import type { Layer } from './entry.ts';
import { messageOf, isTrueUpError, REASONS, type Reason } from './errors.ts';
import type { CoverageProof, LedgerRange } from './ledger.ts';
import type { Drift } from './drift.ts';
import type { Run } from './run.ts';

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
  /** The stream's name, unique in the deployment: network and epoch; one gRPC health service bears it. */
  readonly stream: string;
  readonly networkPassphrase: string;
  /** Hex hash of the anchor ledger. */
  readonly epoch: string;
  readonly sandbox: boolean;
  readonly state: 'active' | 'diverged' | 'retired';
  readonly syncStatus: SyncStatus;
  /** Why it is degraded; empty when it isn't. */
  readonly degraded: readonly Failure[];
  readonly startLedger: number | null;
  /** Last ledger to be followed; null: no end. */
  readonly endLedger: number | null;
  readonly layers: readonly LayerStatus[];
  readonly tip: number | null;
  readonly tipClosedAt: Date | null;
  /** Ledgers between the tip and the contiguous part of the layer followed, never below 0; null when either isn't known. */
  readonly lag: number | null;
  /** Oldest ledger that the source still serves. */
  readonly oldest: number | null;
  /** Ledgers that may still pass before the source forgets what we need next; below 0: it has. Null when not known. */
  readonly retentionMargin: number | null;
  readonly retentionMarginMs: number | null;
  readonly processedLedgers: bigint;
  readonly rates: Rates;
  readonly lastSuccessAt: Date | null;
  readonly lastError: Failure | null;
  /** How long its follower runs without a restart; null when it doesn't run. */
  readonly followerUptimeMs: number | null;
  readonly sources: readonly SourceStatus[];
  /** Accounts and contracts; null when everything is watched. */
  readonly watchCount: number | null;
  readonly updatedAt: Date;
}

/** What is covered of one layer of a stream; ranges as numbers here are inclusive ledgers. */
export interface LayerStatus {
  readonly layer: Layer;
  /** First and last ledger of the island that reaches the checkpoint; null when nothing is covered. */
  readonly contiguousFrom: number | null;
  readonly contiguousThrough: number | null;
  readonly contiguousThroughClosedAt: Date | null;
  readonly coveredLedgers: number;
  readonly coveredRanges: number;
  readonly quarantinedLedgers: number;
  readonly unavailableLedgers: number;
  /** Between the stream's first ledger and the tip; null when the tip isn't known. */
  readonly missingLedgers: number | null;
  readonly entryCount: bigint;
}

/** Per second; null before there is anything to measure. */
export interface Rates {
  readonly over10s: number | null;
  readonly over1m: number | null;
  readonly overLife: number | null;
}

export interface SourceStatus {
  /** As configured or as the source labels itself, without credentials. */
  readonly name: string;
  readonly kind: string;
  /** Without credentials, path or query; empty when there is none. */
  readonly host: string;
  /** Whether it is the one being read now. */
  readonly active: boolean;
  readonly breaker: 'closed' | 'open' | 'half_open' | null;
  readonly tip: number | null;
  readonly oldest: number | null;
  readonly lastSuccessAt: Date | null;
  readonly lastError: Failure | null;
}

export interface DeploymentStatus {
  readonly streams: readonly StreamStatus[];
  /** No stream is degraded, and no job. */
  readonly healthy: boolean;
  readonly unhealthy: readonly Failure[];
  readonly version: string;
  readonly startedAt: Date;
  readonly uptimeMs: number;
  readonly sandbox: boolean;
}

export const ACTIVITY_KINDS = [
  'ledgers',
  'stream',
  'reconciliation',
  'drift',
  'backfill',
  'export',
  'alert',
  'book',
  'sweep',
  'operator',
  'error',
] as const;
export type ActivityKind = (typeof ACTIVITY_KINDS)[number];

/** One line of the activity feed. */
export interface Activity {
  readonly kind: ActivityKind;
  /** Stable, such as `ledger_processed` or `drift_opened`. */
  readonly event: string;
  readonly stream: string | null;
  readonly ledger: number | null;
  /** One sentence for people, without secrets. */
  readonly message: string;
  readonly resourceId: string | null;
  readonly at: Date;
}

/** What one may follow; this release sends the first four, alerts, usage and schedules. */
export const WATCH_TOPICS = [
  'streams',
  'activity',
  'reconciliations',
  'drifts',
  'backfills',
  'exports',
  'alerts',
  'usage',
  'slos',
  'ledger_health',
  'schedules',
  'sweep_actions',
] as const;
export type WatchTopic = (typeof WATCH_TOPICS)[number];

/** One event of the multiplexed feed; the sequence rises and is where a lost watcher resumes. */
export type StatusEvent = { readonly sequence: bigint; readonly at: Date } & (
  | { readonly topic: 'streams'; readonly stream: StreamStatus }
  | { readonly topic: 'activity'; readonly activity: Activity }
  | { readonly topic: 'reconciliations'; readonly run: Run }
  | { readonly topic: 'drifts'; readonly drift: Drift }
  | { readonly topic: 'alerts'; readonly alert: Alert }
  | { readonly topic: 'usage'; readonly runtime: RuntimeInfo }
  | { readonly topic: 'schedules'; readonly schedule: Schedule }
);

export interface StatusWatch {
  /** Empty: streams and activity. */
  readonly topics: readonly WatchTopic[];
  /** Null: begin with the present state of every topic. */
  readonly since: bigint | null;
  readonly stream: string | null;
  /** Past lines of activity to begin with. */
  readonly activityBacklog: number;
}

/** The process that answers; null where something can't be measured. */
export interface RuntimeInfo {
  readonly version: string;
  readonly nodeVersion: string;
  readonly platform: string;
  readonly pid: number;
  readonly replica: string;
  readonly startedAt: Date;
  readonly uptimeMs: number;
  readonly cpuPercent: number | null;
  readonly rssBytes: number | null;
  readonly heapUsedBytes: number | null;
  readonly heapLimitBytes: number | null;
  readonly eventLoopDelayP99Ms: number | null;
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

export interface CoverageFilter {
  /** Null: the stream that is followed. */
  readonly stream: string | null;
  readonly layer?: Layer;
  readonly watch?: string;
  readonly states?: readonly CoverageState[];
  /** Half-open; ranges that touch it. */
  readonly range?: LedgerRange;
  /** Single chunks with their digests instead of merged ranges. */
  readonly chunks?: boolean;
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

/** A job of the timetable, with its record over all replicas. */
export interface Schedule {
  readonly name: string;
  readonly enabled: boolean;
  readonly intervalMs: number;
  /** Null when it is switched off. */
  readonly dueAt: Date | null;
  readonly lastStartedAt: Date | null;
  readonly lastSuccessAt: Date | null;
  readonly lastFailureAt: Date | null;
  readonly lastError: Failure | null;
  readonly runs: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly deadLettered: number;
  readonly inFlight: number;
  readonly lastDurationMs: number | null;
  readonly meanDurationMs: number | null;
  /** Null: it never ran. */
  readonly health: 'healthy' | 'degraded' | null;
}

/** A job that was given up after its last attempt. */
export interface DeadLetter {
  readonly id: string;
  readonly job: string;
  readonly resourceId: string | null;
  readonly attempts: number;
  readonly lastError: Failure;
  readonly createdAt: Date;
  readonly deadAt: Date;
  /** JSON text of the job's data, without secrets; cut at the door. */
  readonly payloadJson: string;
}

/** One change that somebody made. */
export interface AuditEntry {
  readonly id: bigint;
  readonly at: Date;
  /** The token's name; `trueup` for the service itself. */
  readonly actor: string;
  readonly role: 'read' | 'operate' | 'admin';
  /** package.Service/Method, or the job's name. */
  readonly method: string;
  readonly requestId: string | null;
  readonly resourceType: string;
  readonly resourceId: string;
  readonly reason: string | null;
  /** JSON text; null when there was nothing. */
  readonly beforeJson: string | null;
  readonly afterJson: string | null;
  readonly traceId: string | null;
  readonly peer: string | null;
}

export interface AuditFilter {
  readonly actor?: string;
  readonly method?: string;
  readonly resourceType?: string;
  readonly resourceId?: string;
  readonly from?: Date;
  readonly to?: Date;
}

export interface Diagnostics {
  readonly at: Date;
  readonly traceId: string;
  readonly runtime: RuntimeInfo;
  /** By allow-list; a secret has no value here, not even part of one. */
  readonly config: readonly ConfigEntry[];
  readonly database: DatabaseDiagnostics;
  readonly streams: readonly StreamStatus[];
  readonly schedules: readonly Schedule[];
  readonly deadLetterCount: number;
  /** The newest finished run of each policy. */
  readonly lastRuns: readonly Run[];
  /** Parts that are switched off, each with the variable that would switch it on. */
  readonly disabledFeatures: readonly string[];
}

export interface ConfigEntry {
  readonly name: string;
  /** Null: unset, or redacted. */
  readonly value: string | null;
  readonly redacted: boolean;
  readonly origin: 'environment' | 'file' | 'default';
}

export interface DatabaseDiagnostics {
  readonly reachable: boolean;
  readonly embedded: boolean;
  readonly serverVersion: string | null;
  readonly schemaVersion: string | null;
  readonly latencyMs: number | null;
  readonly usedConnections: number;
  readonly idleConnections: number;
  readonly waitingCallers: number;
  readonly maxConnections: number;
  readonly failure: Failure | null;
}
