// What the process was told: read once, validated, in groups; units are in the names, secrets in a group of their own.
import type { KeyRing } from '../core/key-ring.ts';
import type { MarketplaceMapping, MarketplaceThresholds } from '../core/marketplace.ts';
import type { Policy } from '../core/policy.ts';
import type { ConfigEntry } from '../core/status.ts';
import type { Watch } from '../core/watch.ts';

/** The same list as sources/source.ts; a test compares them. */
export const CONFIGURED_SOURCE_KINDS = [
  'stellar-archive',
  'stellar-horizon',
  'stellar-rpc',
  'stellar-lake',
  'sandbox',
] as const;
export type ConfiguredSourceKind = (typeof CONFIGURED_SOURCE_KINDS)[number];
export type ExternalSourceKind = Exclude<ConfiguredSourceKind, 'sandbox'>;
export const EXTERNAL_SOURCE_KINDS = [
  'stellar-archive',
  'stellar-horizon',
  'stellar-rpc',
  'stellar-lake',
] as const satisfies readonly ExternalSourceKind[];

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const SANDBOX_FAULTS = ['gap', 'lag', 'rate-limit', 'divergence', 'retention', 'poison'] as const;
export type SandboxFault = (typeof SANDBOX_FAULTS)[number];

export interface Bind {
  readonly host: string;
  /** 0: the system chooses a free one. */
  readonly port: number;
}

/** A side that trueup.yaml names; the URL of a postgres side is secrets.sideUrls'. */
export type ConfiguredSide =
  | { readonly kind: 'postgres'; readonly query: string; readonly immutable: boolean }
  /** The path is absolute. */
  | { readonly kind: 'file'; readonly path: string; readonly format: 'csv' | 'jsonl' };

export interface Config {
  readonly service: {
    readonly name: string;
    /** Absolute. The embedded PostgreSQL, artifacts and keys live here. */
    readonly dataDir: string;
    /** Longest wait for work in flight between NOT_SERVING and the end of the process. */
    readonly drainTimeoutMs: number;
  };
  readonly database: {
    /** `url`: DATABASE_URL is set, see secrets.databaseUrl. */
    readonly kind: 'embedded' | 'url';
    readonly maxPoolConnections: number;
  };
  readonly serving: {
    readonly grpc: Bind;
    readonly http: Bind;
    readonly metrics: Bind;
    /** Absolute paths, read once at start to prove that they can be; null: cleartext. */
    readonly tls: {
      readonly certFile: string;
      readonly keyFile: string;
      /** Clients must show a certificate of this authority; null: they needn't. */
      readonly clientCaFile: string | null;
    } | null;
    /** Absolute; null: no tokens, every caller is the local operator and the ports bind loopback only. */
    readonly tokensFile: string | null;
  };
  readonly source: {
    readonly kind: ConfiguredSourceKind;
    /** The kinds of secrets.otherSourceUrls that are read when the followed source can't answer, in this order. */
    readonly fallbacks: readonly ExternalSourceKind[];
    /** Null: the source's own word is taken at first contact. Always null for the sandbox, which has its own. */
    readonly networkPassphrase: string | null;
    readonly watch: Watch;
    /** Null: the ledger closed reconciliation.windowHours ago (a real network) or the first one (sandbox). */
    readonly startLedger: number | null;
    /** Inclusive, as people type it; null: follow the tip for ever. */
    readonly endLedgerInclusive: number | null;
    /** False: the SSRF guard refuses private, loopback and link-local addresses that a name resolves to. */
    readonly allowPrivateAddresses: boolean;
    readonly pollIntervalMs: number;
    /** To one host, over all replicas; null: no rate. */
    readonly requestsPerSecond: number | null;
    readonly retry: {
      readonly maxAttempts: number;
      readonly initialBackoffMs: number;
      readonly maxBackoffMs: number;
    };
    readonly circuitBreaker: {
      readonly failureThreshold: number;
      readonly windowMs: number;
      readonly cooldownMs: number;
    };
    readonly sandbox: {
      readonly seed: string;
      readonly ledgersPerSecond: number;
      readonly faults: readonly SandboxFault[];
    };
  };
  readonly backfill: {
    /** Shares that this process works on at once. */
    readonly workers: number;
    readonly retentionDays: number;
  };
  /** Where policies with `book: postgres` read; null: only recorded books. The connection is secrets.bookUrl. */
  readonly book: { readonly queryFile: string; readonly query: string } | null;
  readonly reconciliation: {
    /** False: nothing runs on the clock, whatever a policy's own schedule says. */
    readonly enabled: boolean;
    readonly intervalMs: number;
    readonly windowHours: number;
    /** Time between two full readings of what is sealed, milliseconds. */
    readonly reverifyIntervalMs: number;
    /** Absolute; null: no trueup.yaml, the policies are the environment's two. */
    readonly configFile: string | null;
    readonly policies: readonly Policy[];
    /** By name; those that policies refer to as external. */
    readonly sides: Readonly<Record<string, ConfiguredSide>>;
    readonly alerts: {
      readonly driftThreshold: number;
      readonly cooldownMs: number;
      /** How secrets.alertWebhookUrl is spoken to; null: there is none, alerts go nowhere. */
      readonly channel: 'slack' | 'webhook' | null;
    };
  };
  readonly evidence: {
    /** Keys that are believed: the signing key, those before it, those revoked. The signing key itself is a secret. */
    readonly keys: KeyRing;
    readonly storage: 'database' | 'memory';
    readonly sealIntervalMs: number;
    /** Newest manifests whose artifacts are kept. */
    readonly keepCount: number;
    /** Null: nothing is removed for its age. */
    readonly keepDays: number | null;
  };
  /** The connection is secrets.marketplaceUrl; without one (and but for the sandbox's) nobody looks. */
  readonly marketplace: { readonly mapping: MarketplaceMapping; readonly thresholds: MarketplaceThresholds };
  readonly jobs: { readonly maxAttempts: number; readonly baseDelayMs: number; readonly factor: number };
  readonly telemetry: {
    readonly logLevel: LogLevel;
    /** Of the payments' metrics; empty: none. */
    readonly paymentsPrefix: string;
  };
  /** Things that work but that an operator should know; logged at start. */
  readonly warnings: readonly string[];
  /** What diagnostics may show: each row of the table, secrets without their values; then the policies. */
  readonly entries: readonly ConfigEntry[];
  readonly secrets: Secrets;
}

/** Never logged, never shown; `secretValues` lists what the logger must blank out. */
export interface Secrets {
  /** PEM; null: none is configured. */
  readonly signingKeyPem: string | null;
  readonly databaseUrl: string | null;
  readonly bookUrl: string | null;
  readonly marketplaceUrl: string | null;
  /** URLs of trueup.yaml's postgres sides, by the name of the side. */
  readonly sideUrls: Readonly<Record<string, string>>;
  /** The first URL of source.kind; null only for the sandbox. Providers put keys in paths and queries, hence secret. */
  readonly sourceUrl: string | null;
  /** The other source URLs that are set, for a cross-check or failover, in their order; of source.kind those after the first. */
  readonly otherSourceUrls: Readonly<Partial<Record<ExternalSourceKind, readonly string[]>>>;
  readonly alertWebhookUrl: string | null;
  /** `whsec_...`; null: messages aren't signed. */
  readonly alertWebhookSecret: string | null;
}
