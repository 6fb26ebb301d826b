// Every environment variable on one screen. This table is what is read, checked, documented and diffed.
import { isStrkey } from '../core/strkey.ts';
import { CONFIGURED_SOURCE_KINDS, EXTERNAL_SOURCE_KINDS, LOG_LEVELS, SANDBOX_FAULTS } from './config.ts';
import * as type from './value-types.ts';
import type { ValueType } from './value-types.ts';

export interface Variable<T = unknown, D extends string | null = string | null> {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly type: ValueType<T>;
  readonly unit: string;
  /** As it would be typed; null: absent. */
  readonly default: D;
  /** The value is never shown, not in part, not in an error. */
  readonly secret: boolean;
  /** Of this secret URL diagnostics show scheme and host. */
  readonly showsHost: boolean;
  readonly group: string;
  /** The part of TrueUp that uses it. */
  readonly since: string;
  readonly description: string;
}

const SECRET = { secret: true } as const;
/** Of each URL of a source. */
const SEVERAL = ' Several are tried in their order; a comma inside one is written %2C.';
const SOURCE_URL = { secret: true, showsHost: true } as const;
const HTTP = type.url('http:', 'https:');
const FILE_OR_HTTP = type.url('file:', 'http:', 'https:');
const POSTGRES = type.url('postgres:', 'postgresql:');
/** From which a row of the marketplace's counts: up to a year. */
const AGE = type.goDuration(0, 31_536_000_000);
const LEDGER = type.integer(1, type.MAX_LEDGER);

const ACCOUNT = type.id('account ids (G...)', (value) => {
  if (isStrkey('account', value)) return undefined;
  if (isStrkey('muxed', value))
    return 'is a muxed account: watch its G... account, the M... part becomes the sub-account';
  if (isStrkey('contract', value)) return 'is a contract: put it into TRUEUP_WATCH_CONTRACTS';
  return 'is no account id: its checksum is wrong or it is not 56 characters that begin with G';
});
const CONTRACT = type.id('contract ids (C...)', (value) => {
  if (isStrkey('contract', value)) return undefined;
  if (isStrkey('account', value)) return 'is an account: put it into TRUEUP_WATCH_ACCOUNTS';
  return 'is no contract id: its checksum is wrong or it is not 56 characters that begin with C';
});
const SOURCE_SHORTHANDS = {
  archive: 'stellar-archive',
  horizon: 'stellar-horizon',
  rpc: 'stellar-rpc',
  lake: 'stellar-lake',
} as const;

const service = group('Service');
const serving = group('Ports and callers');
const database = group('Database');
const source = group('External ledger');
const book = group('Book');
const reconciliation = group('Reconciliation');
const evidence = group('Evidence');
const backfill = group('Backfills');
const payments = group('Payments');
const sandbox = group('Sandbox');
const command = group('The trueup command');

// One variable a line reads as the table that it is.
// prettier-ignore
export const VARIABLES = {
  serviceName: service('SERVICE_NAME', type.matching(/^[\w.-]{1,63}$/, 'up to 63 letters, digits, dots, dashes'), 'trueup', 'Name of this deployment in log lines and diagnostics.'),
  logLevel: service('LOG_LEVEL', type.oneOf(LOG_LEVELS), 'info', 'Least severe log line that is written.'),
  configFile: service('TRUEUP_CONFIG', type.path, null, 'The file with the policies. Unset: `./trueup.yaml` if it is there.'),
  dataDir: service('TRUEUP_DATA_DIR', type.path, './.trueup', 'Folder of the embedded PostgreSQL and of everything else TrueUp keeps as files.'),
  drainTimeoutMs: service('TRUEUP_DRAIN_TIMEOUT_MS', type.integer(0, 600_000), '10000', 'Longest wait for work in flight when the process is asked to stop.', { unit: 'ms' }),

  grpcBind: serving('GRPC_BIND', type.bind, '127.0.0.1:50051', 'Where gRPC is served. Without a tokens file: loopback only.'),
  httpBind: serving('HTTP_BIND', type.bind, '127.0.0.1:8080', 'Where Connect, gRPC-Web and the console page are served. Without a tokens file: loopback only.'),
  metricsBind: serving('METRICS_BIND', type.bind, '127.0.0.1:9464', 'Where /metrics, /livez, /readyz (= /ready) and /health are served. It holds no data of the books and may bind any address.', { aliases: ['BIND_ADDR'] }),
  tokensFile: serving('TRUEUP_TOKENS_FILE', type.path, null, 'Who may call: one token a line (name, role, hash).'),
  tlsCertFile: serving('TRUEUP_TLS_CERT_FILE', type.path, null, 'Certificate chain (PEM) of the gRPC and HTTP ports; goes with TRUEUP_TLS_KEY_FILE.'),
  tlsKeyFile: serving('TRUEUP_TLS_KEY_FILE', type.path, null, 'Private key (PEM) of TRUEUP_TLS_CERT_FILE.'),
  tlsClientCaFile: serving('TRUEUP_TLS_CLIENT_CA_FILE', type.path, null, 'Authority (PEM) whose client certificates are demanded (mutual TLS).'),

  databaseUrl: database('DATABASE_URL', POSTGRES, null, 'PostgreSQL for TrueUp\'s own tables, in schema `trueup`. Unset: an embedded PostgreSQL under TRUEUP_DATA_DIR.', SECRET),
  poolMax: database('TRUEUP_POOL_MAX', type.integer(2, 500), '10', 'Most connections this process opens to its database.', { unit: 'connections' }),

  sourceKind: source('TRUEUP_SOURCE', type.oneOf(CONFIGURED_SOURCE_KINDS, SOURCE_SHORTHANDS), null, 'Which source is followed. Unset: the one whose URL is set; `sandbox` only when no source, database or book is configured at all.'),
  sourceFallbacks: source('TRUEUP_SOURCE_FALLBACKS', type.listOf(type.oneOf(EXTERNAL_SOURCE_KINDS, SOURCE_SHORTHANDS)), null, 'Kinds of source that are read when the followed one fails, lags or no longer keeps a ledger, in this order, after the other URLs of its own kind; the URL of each must be set. The others whose URLs are set are only compared.'),
  archiveUrl: source('STELLAR_ARCHIVE_URL', type.listOf(FILE_OR_HTTP), null, `A Stellar history archive.${SEVERAL}`, SOURCE_URL),
  lakeUrl: source('STELLAR_LAKE_URL', type.listOf(FILE_OR_HTTP), null, `A data lake of LedgerCloseMeta batches (SEP-54).${SEVERAL}`, SOURCE_URL),
  rpcUrl: source('STELLAR_RPC_URL', type.listOf(HTTP), null, `A Stellar RPC endpoint.${SEVERAL}`, SOURCE_URL),
  horizonUrl: source('STELLAR_HORIZON_URL', type.listOf(HTTP), null, `A Horizon endpoint.${SEVERAL}`, SOURCE_URL),
  networkPassphrase: source('STELLAR_NETWORK_PASSPHRASE', type.text, null, 'The network that the source must be on; `pubnet` and `testnet` stand for theirs. Unset: the source\'s own word at first contact.'),
  watch: source('TRUEUP_WATCH', type.oneOf(['all']), null, '`all`: every account and contract is watched. The sandbox\'s default; a real network needs this or a list.'),
  watchAccounts: source('TRUEUP_WATCH_ACCOUNTS', type.listOf(ACCOUNT), null, 'Accounts whose movements become entries.', { aliases: ['VAULT_PUBLIC_ADDRESS'] }),
  watchContracts: source('TRUEUP_WATCH_CONTRACTS', type.listOf(CONTRACT), null, 'Contracts whose movements become entries.', { aliases: ['VAULT_CONTRACT_ID'] }),
  startLedger: source('TRUEUP_START_LEDGER', LEDGER, null, 'First ledger to follow, inclusive. Unset: the ledger closed RECONCILIATION_WINDOW_HOURS ago; on the sandbox its first.', { unit: 'ledger' }),
  endLedger: source('TRUEUP_END_LEDGER', LEDGER, null, 'Last ledger to follow, inclusive. Unset: the tip is followed for ever.', { unit: 'ledger' }),
  allowPrivateAddresses: source('TRUEUP_ALLOW_PRIVATE_ADDRESSES', type.boolean, 'false', 'Whether source URLs may lead to private, loopback or link-local addresses.'),
  pollIntervalSecs: source('POLL_INTERVAL_SECS', type.integer(1, 86_400), '5', 'Pause between two looks at the tip when nothing is left to read.', { unit: 's' }),
  requestsPerSecond: source('TRUEUP_SOURCE_REQUESTS_PER_SECOND', type.decimal(0.01, 100_000), null, 'Most requests to one host of a source, over all replicas together. Unset: no rate; a Retry-After is obeyed by all replicas either way.', { unit: 'requests/s' }),
  rpcMaxAttempts: source('RPC_MAX_ATTEMPTS', type.integer(1, 20), '5', 'Attempts of one request to a source, the first included.', { unit: 'attempts' }),
  rpcInitialBackoffMs: source('RPC_INITIAL_BACKOFF_MS', type.integer(1, 60_000), '250', 'Wait before the second attempt; doubles, with jitter. A Retry-After is honoured.', { unit: 'ms' }),
  rpcMaxBackoffSecs: source('RPC_MAX_BACKOFF_SECS', type.integer(1, 3600), '5', 'Longest wait between two attempts.', { unit: 's' }),
  circuitFailureThreshold: source('CIRCUIT_BREAKER_FAILURE_THRESHOLD', type.integer(1, 1000), '5', 'Failures within the window that open the circuit.', { unit: 'failures' }),
  circuitWindowMs: source('CIRCUIT_BREAKER_WINDOW_MS', type.timerMs, '30000', 'The window in which failures are counted.', { unit: 'ms' }),
  circuitCooldownMs: source('CIRCUIT_BREAKER_COOLDOWN_MS', type.timerMs, '30000', 'How long an open circuit refuses before one request may try.', { unit: 'ms' }),

  bookUrl: book('TRUEUP_BOOK_URL', POSTGRES, null, 'Your own PostgreSQL, through a read-only role; goes with TRUEUP_BOOK_QUERY_FILE.', SECRET),
  bookQueryFile: book('TRUEUP_BOOK_QUERY_FILE', type.path, null, 'A file with one SELECT whose columns have the book\'s names.'),

  reconciliationEnabled: reconciliation('LEDGER_RECONCILIATION_ENABLED', type.onUnlessFalse, 'true', 'Whether policies run on the clock.'),
  reconciliationIntervalMs: reconciliation('LEDGER_RECONCILIATION_INTERVAL_MS', type.timerMs, '300000', 'Time between two scheduled runs of a policy that doesn\'t say its own.', { unit: 'ms' }),
  windowHours: reconciliation('RECONCILIATION_WINDOW_HOURS', type.decimal(0.01, 87_600), '24', 'How far back from the cut a run looks, for a policy that doesn\'t say its own.', { unit: 'h' }),
  reverifyIntervalMs: reconciliation('TRUEUP_REVERIFY_INTERVAL_MS', type.timerMs, '86400000', 'Time between two full readings of sealed chunks, which distrust their seals.', { unit: 'ms' }),
  driftAlertThreshold: reconciliation('RECONCILIATION_DRIFT_ALERT_THRESHOLD', type.integer(1, 1_000_000_000), '1', 'Drifts from which an alert is sent; each must have been seen by two scheduled runs.', { unit: 'drifts', since: 'alerts' }),
  alertCooldownMs: reconciliation('RECONCILIATION_ALERT_COOLDOWN_MS', type.integer(0, type.MAX_TIMER_MS), '900000', 'Shortest time between two drift alerts of one policy, from the delivery of the first, unless drift grows.', { unit: 'ms', since: 'alerts' }),
  alertWebhookUrl: reconciliation('RECONCILIATION_ALERT_WEBHOOK_URL', HTTP, null, 'Where alerts go; else SLACK_WEBHOOK_URL. Slack\'s own host gets its JSON, any other Standard Webhooks (docs/alerts.md).', { ...SECRET, since: 'alerts' }),
  alertWebhookSecret: reconciliation('RECONCILIATION_ALERT_WEBHOOK_SECRET', type.matching(/^whsec_[A-Za-z0-9+/]{32,88}={0,2}$/, 'whsec_ and 24 to 64 bytes in base64'), null, 'Signs what is sent to RECONCILIATION_ALERT_WEBHOOK_URL as Standard Webhooks. Unset: not signed.', { ...SECRET, since: 'alerts' }),
  slackWebhookUrl: reconciliation('SLACK_WEBHOOK_URL', HTTP, null, 'Where alerts go, as Slack\'s JSON, when RECONCILIATION_ALERT_WEBHOOK_URL is unset.', { ...SECRET, since: 'alerts' }),

  signingKeyFile: evidence('TRUEUP_SIGNING_KEY_FILE', type.path, null, 'Private Ed25519 key (PEM) that signs manifests and checkpoints. Unset: the sandbox makes one of its own, elsewhere nothing is exported.', { since: 'evidence' }),
  signingKey: evidence('TRUEUP_SIGNING_KEY', type.text, null, 'The same key itself, for where there are no files; `\\n` stands for a line break.', { ...SECRET, since: 'evidence' }),
  verifyKeysFile: evidence('TRUEUP_VERIFY_KEYS', type.path, null, 'Public keys that signed before, with their last day, and revoked ones.', { since: 'evidence' }),
  sealIntervalSecs: evidence('TRUEUP_SEAL_INTERVAL', type.integer(1, 86_400), '10', 'Time between two looks at what has to be sealed: the longest that a manifest waits for its checkpoint.', { unit: 's', since: 'evidence' }),
  manifestStorage: evidence('EXPORT_MANIFEST_STORAGE', type.oneOf(['database', 'memory'], { postgres: 'database' }), 'database', '`memory`: manifests and the log are lost when the process ends, and each replica has its own.', { since: 'evidence' }),
  manifestRetention: evidence('EXPORT_MANIFEST_RETENTION', type.integer(1, 100_000_000), '500', 'Newest manifests whose artifacts are kept; holds come on top.', { unit: 'manifests', since: 'evidence' }),
  manifestRetentionDays: evidence('TRUEUP_MANIFEST_RETENTION_DAYS', type.integer(1, 36_500), null, 'Age at which an artifact is removed. Unset: none is for its age.', { unit: 'd', since: 'evidence' }),

  backfillWorkers: backfill('BACKFILL_WORKERS', type.integer(0, 64), '2', 'Shares of backfills that this process works on at once. 0: it leaves them to others.', { unit: 'shares', since: 'backfills' }),
  backfillRetentionDays: backfill('BACKFILL_JOB_RETENTION_DAYS', type.integer(1, 3650), '30', 'How long a backfill that ended is kept, counted from its end.', { unit: 'days', since: 'backfills' }),

  marketplaceUrl: payments('MARKETPLACE_DATABASE_URL', POSTGRES, null, 'The marketplace\'s own PostgreSQL, through a read-only role. Unset: its payments are not looked at; the sandbox has a small one.', { ...SECRET, since: 'payments' }),
  metricsPrefix: payments('METRICS_PREFIX', type.matching(/^[A-Za-z_:][A-Za-z0-9_:]{0,62}$/, 'up to 63 letters, digits, _ and :, no digit first'), null, 'Goes before the names of the payments\' own metrics, as in `veza_ledger_orphan_refund_rows`. Unset: nothing does.', { since: 'payments' }),
  orderStuckAfterMs: payments('RECONCILE_ORDER_STUCK_AFTER', AGE, '30m', 'Age from which a pending order with a payment counts as stuck.', { since: 'payments' }),
  refundStuckAfterMs: payments('RECONCILE_REFUND_STUCK_AFTER', AGE, '30m', 'Age from which a pending refund that the provider knows counts as stuck.', { since: 'payments' }),
  refundOrphanAfterMs: payments('RECONCILE_REFUND_ORPHAN_AFTER', AGE, '5m', 'Age from which a pending refund without an id at the provider counts as an orphan.', { since: 'payments' }),

  sandboxSeed: sandbox('TRUEUP_SANDBOX_SEED', type.matching(/^[\w.-]{1,64}$/, 'up to 64 letters, digits, dots, dashes'), '1', 'The sandbox\'s ledgers follow from this: the same seed, the same ledgers.'),
  sandboxLedgersPerSecond: sandbox('TRUEUP_SANDBOX_LEDGERS_PER_SECOND', type.decimal(0.01, 10_000), '1', 'How fast the sandbox closes ledgers.', { unit: 'ledgers/s' }),
  sandboxFaults: sandbox('TRUEUP_SANDBOX_FAULTS', type.listOf(type.oneOf(SANDBOX_FAULTS)), null, 'Faults that the sandbox plays.'),

  // Read by the command, not by the service; here so that the service doesn't take them for typing mistakes.
  commandServer: command('TRUEUP_SERVER', type.text, null, 'The server that the command asks. Unset: 127.0.0.1:50051. The service ignores it.'),
  commandToken: command('TRUEUP_TOKEN', type.text, null, 'The token that the command sends. The service ignores it.', SECRET),
} as const;

export type VariableKey = keyof typeof VARIABLES;

type ValueOf<V> = V extends Variable<infer T, infer D> ? (D extends null ? T | null : T) : never;
/** A value per row of the table: null only where the row has no default. */
export type VariableValues = { readonly [K in VariableKey]: ValueOf<(typeof VARIABLES)[K]> };

interface Extras {
  readonly aliases?: readonly string[];
  readonly unit?: string;
  readonly secret?: boolean;
  readonly showsHost?: boolean;
  readonly since?: string;
}

function group(name: string) {
  return function variable<T, D extends string | null>(
    variableName: string,
    valueType: ValueType<T>,
    defaultText: D,
    description: string,
    extras: Extras = {},
  ): Variable<T, D> {
    return {
      name: variableName,
      aliases: extras.aliases ?? [],
      type: valueType,
      unit: extras.unit ?? '',
      default: defaultText,
      secret: extras.secret ?? false,
      showsHost: extras.showsHost ?? false,
      group: name,
      since: extras.since ?? 'first house',
      description,
    };
  };
}
