// What the doors ask of the house: one interface a noun, in plain values. The composition root hands in the services.
import type { Alert, AlertFilter } from '../core/alert.ts';
import type { Backfill, BackfillEvent, BackfillFilter } from '../core/backfill.ts';
import type { DriftFilter, Drift, DriftTransitionRecord } from '../core/drift.ts';
import type { ExportJob, ExportListFilter, ExportOrder } from '../core/export.ts';
import type { Hold, ManifestFilter, ShownManifest } from '../core/evidence.ts';
import type { Layer } from '../core/entry.ts';
import type { LedgerHealth } from '../core/ledger-health.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type {
  BalanceFilter,
  BookBalanceFilter,
  BookRowFilter,
  EntryFilter,
  Import,
  ImportHeader,
  ListedBalance,
  ListedBookRow,
  ListedEntry,
  PolicyView,
} from '../core/listing.ts';
import type { Page, PagePosition, PageRequest } from '../core/page.ts';
import type { Level } from '../core/policy.ts';
import type { Quarantine, QuarantineFilter } from '../core/quarantine.ts';
import type { Run, RunEvent, RunFilter } from '../core/run.ts';
import type {
  AuditEntry,
  AuditFilter,
  CoverageFilter,
  CoverageRange,
  DeadLetter,
  DeploymentStatus,
  Diagnostics,
  Gap,
  Schedule,
  StatusEvent,
  StatusWatch,
  StreamStatus,
} from '../core/status.ts';
import type { Verification, VerifyCall } from '../core/verification.ts';
import type { BackfillTransition, BackfillWishCall, StartBackfillCall } from '../services/backfill.ts';
import type { RecordAnswer, RecordCall, StreamMessage } from '../services/book.ts';
import type { TransitionCall } from '../services/drifts.ts';
import type { ArtifactDownload } from '../services/artifact-download.ts';
import type { HoldCall, ReleaseCall } from '../services/manifest-holds.ts';
import type { ManifestVerification, ProvenCheckpoint, ProvenManifest } from '../services/manifests.ts';
import type { AccessRole } from './roles.ts';

/** Who asks, for the audit log: found out by the chain, never said by the caller. */
export interface Asker {
  readonly actor: string;
  readonly role: AccessRole;
  /** `package.Service/Method` */
  readonly method: string;
  /** The call's own id, also where the message carries no request_id. */
  readonly requestId: string;
  readonly traceId: string;
  readonly peer: string;
}

export interface StartRun {
  /** Null: the only policy of the level asked for. */
  readonly policy: string | null;
  /** Null: the policy's own. */
  readonly level: Level | null;
  /** Half-open; null: the window. */
  readonly range: LedgerRange | null;
  /** Null: the policy's own window. */
  readonly windowMs: number | null;
  /** Narrows the policy's scope; null: as it is. */
  readonly scope: {
    readonly accounts: readonly string[];
    readonly assets: readonly string[];
    readonly kinds: readonly string[];
  } | null;
  /** Null: every call counts as new. */
  readonly requestId: string | null;
}

/** A method that gets an id throws the noun's ..._NOT_FOUND where there is no such resource. */
export interface ReconciliationPort {
  listPolicies(page: PageRequest): Promise<Page<PolicyView>>;
  /** Answers with the run of the first call where `requestId` is repeated. @throws RUN_ALREADY_ACTIVE, POLICY_NOT_FOUND */
  start(start: StartRun, asker: Asker): Promise<Run>;
  get(id: string): Promise<Run>;
  /** The newest finished run of the timetable. @throws NO_SCHEDULED_RUN_YET */
  latest(filter: { readonly policy: string | null; readonly level: Level | null }): Promise<Run>;
  list(filter: RunFilter, page: PageRequest): Promise<Page<Run>>;
  /**
   * Every change after `since`, or from the present state (null), until the run has ended; states in between may be
   * left out. Throws `signal.reason` when aborted.
   */
  watch(id: string, since: bigint | null, signal: AbortSignal): AsyncIterable<RunEvent>;
  cancel(
    cancel: { readonly id: string; readonly reason: string; readonly requestId: string | null },
    asker: Asker,
  ): Promise<Run>;
}

export interface DriftBatch {
  /** At most 500. */
  readonly items: readonly Drift[];
  /** Where to go on after these. */
  readonly position: PagePosition;
}

export interface DriftPort {
  /** An empty `states` stands for open and acknowledged; the door has filled it in. */
  list(filter: DriftFilter, page: PageRequest): Promise<Page<Drift>>;
  /** Every drift selected, in batches as they are asked for; ends by itself. Throws `signal.reason` when aborted. */
  stream(filter: DriftFilter, after: PagePosition | null, signal: AbortSignal): AsyncIterable<DriftBatch>;
  get(id: string): Promise<{ readonly drift: Drift; readonly transitions: readonly DriftTransitionRecord[] }>;
  /** All of those named or none; as they are then, in the order of the call. @throws DRIFT_NOT_FOUND, INVALID_TRANSITION */
  transition(call: TransitionCall, asker: Asker): Promise<readonly Drift[]>;
}

export interface AlertPort {
  list(filter: AlertFilter, page: PageRequest): Promise<Page<Alert>>;
  /** @throws ALERT_NOT_FOUND, ALERT_SANDBOX, CHANNEL_NOT_CONFIGURED */
  replay(
    replay: { readonly id: string; readonly reason: string; readonly requestId: string | null },
    asker: Asker,
  ): Promise<Alert>;
}

export interface BookPort {
  record(call: RecordCall, asker: Asker): Promise<RecordAnswer>;
  stream(
    header: Pick<RecordCall, 'book' | 'completeThrough' | 'requestId'>,
    messages: AsyncIterable<StreamMessage>,
    asker: Asker,
  ): Promise<RecordAnswer & { readonly batches: number }>;
  /** Reads `chunks` to their end, or as far as it takes to know. The import is committed or failed when it resolves. */
  import(header: ImportHeader, chunks: AsyncIterable<Uint8Array>, asker: Asker, signal: AbortSignal): Promise<Import>;
  getImport(id: string): Promise<Import>;
  listRows(filter: BookRowFilter, page: PageRequest): Promise<Page<ListedBookRow>>;
  listBalances(filter: BookBalanceFilter, page: PageRequest): Promise<Page<ListedBalance>>;
}

/** Jobs that fill ranges of ledgers. */
export interface BackfillPort {
  /** Stores a job and returns. @throws RANGE_BEYOND_TIP, LEDGER_UNAVAILABLE, RUN_ALREADY_ACTIVE and others, each with what would work */
  start(start: StartBackfillCall, asker: Asker): Promise<Backfill>;
  get(id: string): Promise<Backfill>;
  transitions(id: string): Promise<readonly BackfillTransition[]>;
  list(filter: BackfillFilter, page: PageRequest): Promise<Page<Backfill>>;
  /** Every change after `since`, or from the present state (null), until the end. Throws `signal.reason` when aborted. */
  watch(id: string, since: bigint | null, signal: AbortSignal): AsyncIterable<BackfillEvent>;
  pause(wish: BackfillWishCall, asker: Asker): Promise<Backfill>;
  resume(wish: BackfillWishCall, asker: Asker): Promise<Backfill>;
  cancel(wish: BackfillWishCall, asker: Asker): Promise<Backfill>;
}

/** The ledger side, as stored. */
export interface LedgerPort {
  listEntries(filter: EntryFilter, page: PageRequest): Promise<Page<ListedEntry>>;
  listBalances(filter: BalanceFilter, page: PageRequest): Promise<Page<ListedBalance>>;
  listCoverage(filter: CoverageFilter, page: PageRequest): Promise<Page<CoverageRange>>;
  /** `missingLedgers` counts those of all pages. */
  listGaps(
    filter: Pick<CoverageFilter, 'stream' | 'layer' | 'watch' | 'range'>,
    page: PageRequest,
  ): Promise<Page<Gap> & { readonly missingLedgers: number }>;
}

/** An operator's hand on the follower, and a look at whether what is stored is still what was read. */
export interface LedgerControlPort {
  /** What can't be checked is a finding; nothing is changed. */
  verifyRange(call: VerifyCall, signal: AbortSignal): Promise<Verification>;
  listQuarantines(filter: QuarantineFilter, page: PageRequest): Promise<Page<Quarantine>>;
  /** The one that holds the ledger; null bytes where none are kept. @throws QUARANTINE_NOT_FOUND */
  getQuarantine(at: {
    readonly stream: string | null;
    readonly layer?: Layer;
    readonly ledger: number;
  }): Promise<{ readonly quarantine: Quarantine; readonly bytes: Uint8Array | null }>;
  /** Answers with the stream as it is then; a repeated `requestId` restarts nothing again. */
  restart(
    call: {
      readonly stream: string | null;
      readonly reason: string;
      readonly openNewEpoch: boolean;
      readonly requestId: string | null;
    },
    asker: Asker,
  ): Promise<StreamStatus>;
  /** Starts a backfill that compares the ledgers below the checkpoint with what is stored. */
  rescan(
    call: {
      readonly stream: string | null;
      readonly layer?: Layer;
      /** 0: as many as by default. */
      readonly ledgers: number;
      readonly reason: string;
      readonly requestId: string | null;
    },
    asker: Asker,
  ): Promise<Backfill>;
}

export interface HealthPort {
  /** @throws STREAM_NOT_FOUND for a name that there isn't; null asks for all. */
  status(stream: string | null): Promise<DeploymentStatus>;
  /** Until aborted; throws `signal.reason` then, and SEQUENCE_EXPIRED where `since` is no longer kept. */
  watch(watch: StatusWatch, signal: AbortSignal): AsyncIterable<StatusEvent>;
  diagnostics(traceId: string): Promise<Diagnostics>;
  listSchedules(page: PageRequest): Promise<Page<Schedule>>;
  /** Empty where no marketplace is configured. */
  listLedgerHealth(
    filter: { readonly name: string | null; readonly rowsLimit: number },
    page: PageRequest,
    signal: AbortSignal,
  ): Promise<Page<LedgerHealth>>;
  listDeadLetters(filter: { readonly job: string | null }, page: PageRequest): Promise<Page<DeadLetter>>;
  listAudit(filter: AuditFilter, page: PageRequest): Promise<Page<AuditEntry>>;
}

export interface ExportPort {
  /** Answers with the export of the first call where `requestId` is repeated. @throws FEATURE_DISABLED, SIGNING_KEY_UNAVAILABLE */
  start(order: ExportOrder & { readonly requestId: string | null }, asker: Asker): Promise<ExportJob>;
  get(id: string): Promise<ExportJob>;
  list(filter: ExportListFilter, page: PageRequest): Promise<Page<ExportJob>>;
  /** As ReconciliationPort's. */
  watch(id: string, since: bigint | null, signal: AbortSignal): AsyncIterable<ExportJob>;
  cancel(cancel: { readonly id: string; readonly reason: string }, asker: Asker): Promise<ExportJob>;
}

export interface ManifestPort {
  get(id: string): Promise<ShownManifest>;
  list(filter: ManifestFilter, page: PageRequest): Promise<Page<ShownManifest>>;
  /** Reads the stored bytes to their end. Throws `signal.reason` when aborted. */
  verify(id: string, checksum: string | null, signal: AbortSignal): Promise<ManifestVerification>;
  /** Null: the newest checkpoint. @throws CHECKPOINT_NOT_FOUND, also for a manifest that isn't sealed yet */
  proveInclusion(id: string, size: number | null): Promise<ProvenManifest>;
  checkpoint(size: number | null, fromSize: number | null): Promise<ProvenCheckpoint>;
  /** The stored bytes from an offset to the end. @throws ARTIFACT_NOT_FOUND, ARTIFACT_PRUNED */
  download(artifactId: string, offsetBytes: number, signal: AbortSignal): Promise<ArtifactDownload>;
  placeHold(call: HoldCall, asker: Asker): Promise<Hold>;
  releaseHold(call: ReleaseCall, asker: Asker): Promise<Hold>;
}

export interface RpcPorts {
  readonly manifests: ManifestPort;
  readonly reconciliations: ReconciliationPort;
  readonly drifts: DriftPort;
  readonly alerts: AlertPort;
  readonly books: BookPort;
  readonly backfills: BackfillPort;
  readonly ledger: LedgerPort;
  readonly control: LedgerControlPort;
  readonly exports: ExportPort;
  readonly health: HealthPort;
}
