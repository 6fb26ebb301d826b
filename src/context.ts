// The composition root: builds the rooms from the configuration and hands each the slice that it needs.
import { composeAlerts } from './alerts.ts';
import { join } from 'node:path';
import { composeBackfills } from './backfilling.ts';
import { composeControl } from './controlling.ts';
import { composeExports } from './exporting.ts';
import { composePayments } from './paying.ts';
import type { Config } from './config/config.ts';
import type { Book } from './core/book.ts';
import { isTrueUpError, messageOf, TrueUpError } from './core/errors.ts';
import type { Import } from './core/listing.ts';
import { readSigningKey, type SigningKey } from './core/signing-key.ts';
import type { Policy } from './core/policy.ts';
import type { RpcPorts } from './rpc/ports.ts';
import { createJobs, JOB_NAMES } from './scheduler/jobs.ts';
import type { Job } from './scheduler/scheduler.ts';
import { ALERT_JOB } from './services/alerts.ts';
import { createBalanceLists } from './services/balances.ts';
import { recordEntries, streamEntries } from './services/book.ts';
import { createRecordedBook } from './services/book-side.ts';
import { createCoverageLists } from './services/coverage.ts';
import type { ExportsService } from './services/exports.ts';
import type { FollowerOptions } from './services/follower.ts';
import { createEvidence, type Evidence } from './services/evidence.ts';
import { createGauges } from './services/gauges.ts';
import { createHealthService, type HealthService } from './services/health.ts';
import { keepHouse } from './services/housekeeping.ts';
import { getImport, importBook, type Import as StoredImport } from './services/imports.ts';
import { createEntryLists } from './services/ledger-entries.ts';
import { takeOpenings } from './services/openings.ts';
import { createRecheckJob } from './services/rechecks.ts';
import { createReconcileJob } from './services/reconcile-job.ts';
import { tellGivenUp, tellRecovered } from './services/job-alerts.ts';
import { createReconciliationService, type ReconciliationService } from './services/reconciliation.ts';
import type { RunDeps } from './services/run-reconciliation.ts';
import { reverify } from './services/reverify.ts';
import { createSandboxLoop } from './services/sandbox-loop.ts';
import { createPostgresBook } from './sources/book-postgres.ts';
import { createFileSide } from './sources/side-file.ts';
import { createFileArtifacts } from './outbound/artifacts.ts';
import { developmentKey } from './outbound/development-key.ts';
import { createOtherSources, createSource } from './sources/create-source.ts';
import { createHttpClient, systemClock } from './sources/http/client.ts';
import { createPacer } from './sources/http/pacer.ts';
import { DEFAULT_RETRY } from './sources/http/retry.ts';
import {
  SANDBOX_STARTED_AT_MS,
  sandboxStartLedger,
  type SandboxOptions,
  type SandboxSource,
} from './sources/sandbox.ts';
import { faultsNamed } from './sources/sandbox/faults.ts';
import { createSourceSet } from './sources/source-set.ts';
import type { Source } from './sources/source.ts';
import type { Database } from './store/database.ts';
import { claimRequests, deferRequests } from './store/source-budgets.ts';
import { createQueue, type Queue } from './store/queue.ts';
import type { Events } from './telemetry/events.ts';
import type { Logger } from './telemetry/logger.ts';
import type { Metrics } from './telemetry/metrics.ts';
import { VERSION } from './version.ts';

/** What tests put in place of the outside world. */
export interface Overrides {
  readonly source?: Source;
  readonly otherSources?: readonly Source[];
  readonly log?: Logger;
  /** Where log lines go; standard output when absent. */
  readonly logDestination?: { write(line: string): void };
}

export interface Base {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly events: Events;
  readonly db: Database;
  readonly startedAt: Date;
  /** Names this process among replicas. */
  readonly replica: string;
}

export interface Context extends Base {
  readonly source: Source;
  readonly queue: Queue;
  readonly ports: RpcPorts;
  readonly health: HealthService;
  readonly jobs: readonly Job[];
  readonly follower: FollowerOptions;
  /** Works on backfills until the signal aborts. */
  readonly backfilling: (signal: AbortSignal) => Promise<void>;
  readonly gauges: { refresh(): Promise<void> };
  /** Loops of this process alone, beside the follower. */
  readonly loops: readonly { name: string; intervalMs: number; run(signal: AbortSignal): Promise<void> }[];
  /** Stops the start where the source says that the configuration can't be right; one that doesn't answer doesn't. */
  checkSource(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const SANDBOX_INTERVAL_MS = 15_000;
/** A source that missed this many polls, and has been silent for this long, is unavailable to a run. */
const SILENT_POLLS = 3;
const MIN_SILENCE_MS = 120_000;
const FOLLOWER_LEASE_TTL_MS = 10_000;
/** Waiting for a source at start any longer would keep a service from starting that can serve what it has. */
const SOURCE_CHECK_TIMEOUT_MS = 3_000;

export async function createContext(base: Base, overrides: Overrides = {}): Promise<Context> {
  const { config, db, events } = base;
  const isSandbox = config.source.kind === 'sandbox';
  const http = createHttpClient({
    ...config.source.retry,
    breaker: config.source.circuitBreaker,
    allowPrivateAddresses: config.source.allowPrivateAddresses,
    operatorUrls: [config.secrets.sourceUrl, ...Object.values(config.secrets.otherSourceUrls).flat()].filter(
      (url) => url !== null,
    ),
    userAgent: `trueup/${VERSION}`,
    pacer: createPacer({
      budget: {
        claim: (host, count) => claimRequests(db.em(), host, count, config.source.requestsPerSecond),
        defer: (host, waitMs) => deferRequests(db.em(), host, waitMs),
      },
      requestsPerSecond: config.source.requestsPerSecond,
      maxWaitMs: DEFAULT_RETRY.maxRetryAfterMs,
      clock: systemClock,
    }),
    onEvent: (event) => events.httpClient(config.source.kind, event),
  });
  const sandbox = sandboxOptions(config);
  const followed =
    overrides.source ??
    (await createSource(
      { ...config.source, url: config.secrets.sourceUrl, sandbox },
      http,
      AbortSignal.timeout(SOURCE_CHECK_TIMEOUT_MS),
    ));
  const otherSources =
    overrides.source === undefined
      ? await createOtherSources(config.secrets.otherSourceUrls, followed, { ...config.source, sandbox }, http)
      : (overrides.otherSources ?? []);
  const fallbacks = config.source.fallbacks.flatMap((kind) => otherSources.filter((each) => each.kind === kind));
  const set = createSourceSet({
    sources: [followed, ...fallbacks],
    onSwitch: ({ from, to, error }) => events.sourceSwitched({ from, to, error }),
  });
  const source = fallbacks.length === 0 ? followed : set;
  const policies = new Map(
    config.reconciliation.policies.map((policy) => [policy.name, isSandbox ? shownSoon(policy) : policy]),
  );
  const { bookOf: books, ledgerOf } = sideOpeners(config, db);
  const queue = createQueue({
    db,
    jobs: JOB_NAMES.map((name) => ({
      name,
      maxAttempts: config.jobs.maxAttempts,
      retryBaseMs: config.jobs.baseDelayMs,
    })),
    log: base.log,
    whenGivenUp: (em, job) => tellGivenUp(em, { queue, sandbox: isSandbox }, job),
    whenRecovered: (em, name) => tellRecovered(em, { queue, sandbox: isSandbox }, name),
    onDeadLetter: async (job) => {
      events.jobDeadLettered({ job: job.healthName, jobId: job.id, attempt: job.attempts, reason: job.failure.reason });
      const payload = job.payload as Readonly<Record<string, unknown>>;
      if (job.job === ALERT_JOB) await alerts.delivery.abandon(payload);
      else await reconciliation.abandon(payload);
    },
  });
  const network = source.networkPassphrase;
  const alerts = composeAlerts({ config, db, queue, events });
  const reconciliation = createReconciliationService({
    db,
    queue,
    policies,
    networkPassphrase: network,
    sandbox: isSandbox,
    alertRuleOf: alerts.shownRuleOf,
    events,
  });
  const health = createHealthService({
    db,
    source,
    members: () => set.members(),
    circuitState: (host) => http.breakers()[host]?.state ?? 'CLOSED',
    endLedger: config.source.endLedgerInclusive,
    version: VERSION,
    startedAt: base.startedAt,
    replica: base.replica,
    configEntries: config.entries,
    disabledFeatures: disabledFeatures(config),
    embedded: config.database.kind === 'embedded',
    queue,
  });
  const signingKey = await signingKeyOf(config, events);
  const signs = signingKey !== null;
  const artifacts = createFileArtifacts(join(config.service.dataDir, 'artifacts'));
  const evidence = createEvidence({
    ...config.evidence,
    db,
    artifacts,
    signingKey,
    serviceName: config.service.name,
    events,
  });
  await evidence.log.open();
  const exporting = composeExports({
    db,
    queue,
    artifacts,
    evidence,
    networkPassphrase: network,
    sandbox: isSandbox,
    books: { policies, bookOf: books, spillFolder: spillFolder(config) },
    events,
  });
  const backfills = composeBackfills({
    db,
    queue,
    config,
    sources: [source, ...otherSources],
    replica: base.replica,
    events,
  });
  const control = composeControl({
    db,
    queue,
    config,
    sources: [followed, ...otherSources],
    backfills: backfills.service,
    health,
  });
  const payments = composePayments({ db, config, events });
  const startLedger =
    config.source.startLedger ?? (isSandbox ? sandboxStartLedger(source as SandboxSource, Date.now()) : null);
  const following = {
    endLedger: config.source.endLedgerInclusive,
    maxSilenceMs: Math.max(MIN_SILENCE_MS, SILENT_POLLS * config.source.pollIntervalMs),
  };
  const runDeps: RunDeps = {
    db,
    policies,
    bookOf: books,
    ledgerOf,
    spillFolder: spillFolder(config),
    networkPassphrase: network,
    following,
    alerts: alerts.runs,
    events,
  };
  return {
    ...base,
    source,
    queue,
    health,
    ports: createPorts({
      ...{
        db,
        networkPassphrase: network,
        source: followed,
        otherSources,
        config,
        reconciliation,
        health,
        events,
        evidence,
      },
      exports: exporting.service,
      alerts: alerts.service,
      backfills: backfills.service,
      control: control.port,
      listLedgerHealth: payments.list,
    }),
    backfilling: backfills.run,
    jobs: createJobs({
      policies: policies.values(),
      reconciliationEnabled: config.reconciliation.enabled,
      hasOpenings: source.openingBalances !== undefined,
      reconcile: createReconcileJob({ ...runDeps, reconciliation }),
      recheck: createRecheckJob(runDeps),
      takeOpenings: async (_payload, { signal }) => {
        await takeOpenings({ db, source, watch: config.source.watch, policies, bookOf: books }, signal);
      },
      deliverAlert: alerts.delivery.deliver,
      keepHouse: async () => {
        await keepHouse({ db, backfillRetentionDays: config.backfill.retentionDays });
        await exporting.removeOrphans();
      },
      runExport: exporting.run,
      tendEvidence: () => evidence.tend(),
      sealIntervalMs: config.evidence.storage === 'memory' || !signs ? null : config.evidence.sealIntervalMs,
      reverify: (_payload, { signal }) => reverify(runDeps, signal),
      reverifyIntervalMs: config.reconciliation.reverifyIntervalMs,
      watchRetention: control.watchRetention,
      backfillNewMembers: async () => void (await control.backfillNewMembers()),
      events,
    }),
    follower: {
      db,
      source,
      watch: config.source.watch,
      start: { startLedger, windowHours: config.reconciliation.windowHours, sandbox: isSandbox },
      endLedger: config.source.endLedgerInclusive,
      pollIntervalMs: isSandbox ? 1_000 : config.source.pollIntervalMs,
      leaseTtlMs: FOLLOWER_LEASE_TTL_MS,
      holder: base.replica,
      onTerm: (since) => health.noteFollowerRunning(since),
      events: {
        ...events,
        sourceReadFailed: (event) => {
          health.noteSourceFailure(event.error);
          events.sourceReadFailed(event);
        },
        tipSeen: (event) => {
          health.noteSourceAnswer();
          events.tipSeen(event);
        },
      },
    },
    gauges: createGauges({
      db,
      events,
      policies,
      networkPassphrase: network,
      syncStatusNow: () => health.syncStatus(),
    }),
    loops: [
      ...payments.loops,
      ...(isSandbox ? [createSandboxLoop({ db, sandbox, networkPassphrase: network })] : []),
      // A log in memory is each process's own, so each seals its own.
      ...(config.evidence.storage === 'memory' && signs
        ? [{ name: 'evidence', intervalMs: config.evidence.sealIntervalMs, run: () => evidence.tend() }]
        : []),
    ],
    checkSource: (signal) =>
      checkSource(source, startLedger, config, AbortSignal.any([signal, AbortSignal.timeout(SOURCE_CHECK_TIMEOUT_MS)])),
    async close() {
      health.close();
      for (const each of [followed, ...otherSources]) await each.close();
      await http.close();
      await alerts.close();
    },
  };
}

interface Services {
  readonly db: Database;
  readonly networkPassphrase: string;
  readonly source: Source;
  readonly config: Config;
  readonly reconciliation: ReconciliationService;
  readonly exports: ExportsService;
  readonly health: HealthService;
  readonly alerts: RpcPorts['alerts'];
  readonly backfills: RpcPorts['backfills'];
  readonly control: RpcPorts['control'];
  readonly listLedgerHealth: RpcPorts['health']['listLedgerHealth'];
  readonly events: Events;
  readonly evidence: Evidence;
}

/** What the doors ask of the house, answered by the services. */
function createPorts({
  db,
  networkPassphrase,
  source,
  config,
  reconciliation,
  health,
  alerts,
  events,
  exports,
  evidence,
  backfills,
  control,
  listLedgerHealth,
}: Services): RpcPorts {
  const { drifts, ...reconciliations } = reconciliation;
  const entryLists = createEntryLists({ db, networkPassphrase });
  const balanceLists = createBalanceLists({ db, networkPassphrase });
  const coverage = createCoverageLists({
    db,
    networkPassphrase,
    layers: source.layers,
    endLedger: config.source.endLedgerInclusive,
  });
  return {
    reconciliations,
    drifts,
    alerts,
    backfills,
    books: {
      record: (call, asker) => recordEntries({ db }, call, asker),
      stream: (header, messages, asker) => streamEntries({ db }, header, messages, asker),
      async import(header, chunks, asker) {
        const startedMs = performance.now();
        const done = await importBook({ db }, header, chunks, asker);
        const outcome = done.state === 'committed' ? 'committed' : 'rejected';
        events.importFinished({
          importId: done.id,
          book: done.book,
          outcome,
          rows: done.lineCount,
          durationMs: performance.now() - startedMs,
        });
        return listedImport(done);
      },
      getImport: async (id) => listedImport(await getImport({ db }, id)),
      listRows: (filter, page) => entryLists.listRows(filter, page),
      listBalances: (filter, page) => balanceLists.listBookBalances(filter, page),
    },
    ledger: {
      listEntries: (filter, page) => entryLists.listEntries(filter, page),
      listBalances: (filter, page) => balanceLists.listLedgerBalances(filter, page),
      listCoverage: (filter, page) => coverage.listCoverage(filter, page),
      listGaps: (filter, page) => coverage.listGaps(filter, page),
    },
    control,
    exports,
    health: { ...health.port, listLedgerHealth },
    manifests: {
      ...evidence.manifests,
      download: evidence.download,
      placeHold: (call, asker) => evidence.holds.place(call, asker),
      releaseHold: (call, asker) => evidence.holds.release(call, asker),
    },
  };
}

function listedImport({ counts, lineCount, errors, ...rest }: StoredImport): Import {
  return {
    ...rest,
    ...counts,
    lines: lineCount,
    errors: errors.map(({ code, ...error }) => ({ ...error, reason: code })),
  };
}

interface SideOpeners {
  readonly bookOf: (policy: Policy) => Book;
  readonly ledgerOf: (policy: Policy) => Book;
}

/** The sides of each policy, opened anew for each run. */
function sideOpeners(config: Config, db: Database): SideOpeners {
  const postgres =
    config.book !== null && config.secrets.bookUrl !== null
      ? createPostgresBook({ url: config.secrets.bookUrl, query: config.book.query })
      : null;
  const external = new Map(Object.keys(config.reconciliation.sides).map((name) => [name, externalSide(config, name)]));
  const sideOf = (policy: Policy, side: Policy['book'] | Policy['ledger']): Book => {
    const found =
      side.kind === 'external'
        ? external.get(side.name)
        : side.kind === 'recorded'
          ? createRecordedBook({ db }, side.name)
          : side.kind === 'postgres'
            ? postgres
            : null;
    if (found) return found;
    throw new TrueUpError('INVALID_CONFIGURATION', `policy ${policy.name} reads a side that is not configured`, {
      fix: 'set TRUEUP_BOOK_URL, or declare the side in trueup.yaml',
    });
  };
  return { bookOf: (policy) => sideOf(policy, policy.book), ledgerOf: (policy) => sideOf(policy, policy.ledger) };
}

function externalSide(config: Config, name: string): Book {
  const side = config.reconciliation.sides[name]!;
  if (side.kind === 'postgres') return createPostgresBook({ url: config.secrets.sideUrls[name]!, query: side.query });
  return createFileSide({ ...side, spillFolder: spillFolder(config) });
}

function spillFolder(config: Config): string {
  return join(config.service.dataDir, 'spill');
}

/** The key that is configured; the sandbox makes one of its own, and says that it is worth nothing elsewhere. */
async function signingKeyOf(config: Config, events: Events): Promise<SigningKey | null> {
  const { signingKeyPem } = config.secrets;
  if (signingKeyPem !== null) return readSigningKey(signingKeyPem);
  if (config.source.kind !== 'sandbox') return null;
  const path = join(config.service.dataDir, 'evidence', 'development-key.pem');
  events.configWarning({ message: `evidence is signed with a DEVELOPMENT key, made for this sandbox: ${path}` });
  return await developmentKey(path);
}

/** Parts that are off because nothing configures them, said rather than left to be found out. */
function disabledFeatures(config: Config): string[] {
  const features: [boolean, string][] = [
    [config.reconciliation.enabled, 'scheduled reconciliation (LEDGER_RECONCILIATION_ENABLED=false)'],
    [config.book !== null, 'a book read from PostgreSQL (TRUEUP_BOOK_URL is unset)'],
    [
      config.reconciliation.alerts.channel !== null,
      'alerts (RECONCILIATION_ALERT_WEBHOOK_URL and SLACK_WEBHOOK_URL are unset)',
    ],
    [
      config.secrets.signingKeyPem !== null || config.source.kind === 'sandbox',
      'exports and evidence (TRUEUP_SIGNING_KEY_FILE is unset)',
    ],
    [
      config.secrets.marketplaceUrl !== null || config.source.kind === 'sandbox',
      "the health of a marketplace's payments (MARKETPLACE_DATABASE_URL is unset)",
    ],
    [config.evidence.storage === 'database', 'evidence that outlives the process (EXPORT_MANIFEST_STORAGE=memory)'],
    [config.serving.tokensFile !== null, 'tokens (TRUEUP_TOKENS_FILE is unset: callers on this machine only)'],
  ];
  return features.filter(([on]) => !on).map(([, name]) => name);
}

/** The sandbox shows within a minute what a business sees in hours; its book states balances too. */
function shownSoon(policy: Policy): Policy {
  const intervalMs = Math.min(SANDBOX_INTERVAL_MS, policy.schedule.intervalMs);
  return { ...policy, schedule: { enabled: policy.schedule.enabled || policy.book.kind === 'recorded', intervalMs } };
}

function sandboxOptions(config: Config): SandboxOptions {
  const { seed, ledgersPerSecond, faults } = config.source.sandbox;
  return {
    seed,
    ledgersPerSecond,
    startedAtMs: SANDBOX_STARTED_AT_MS,
    faults: faultsNamed(faults, config.source.startLedger ?? 1),
  };
}

/** Reasons for which no amount of waiting helps: somebody has to change the configuration. */
const FATAL = ['SOURCE_WRONG_NETWORK', 'SOURCE_ADDRESS_FORBIDDEN', 'INVALID_CONFIGURATION'] as const;

async function checkSource(
  source: Source,
  startLedger: number | null,
  config: Config,
  signal: AbortSignal,
): Promise<void> {
  try {
    const tip = await source.tip(signal);
    const end = config.source.endLedgerInclusive;
    const variable =
      startLedger !== null && (startLedger < tip.oldest || startLedger > tip.sequence) ? 'TRUEUP_START_LEDGER' : null;
    if (variable !== null || (end !== null && end < tip.oldest)) {
      throw new TrueUpError(
        'INVALID_CONFIGURATION',
        `${variable ?? 'TRUEUP_END_LEDGER'} ${variable === null ? end : startLedger} is outside what ${source.id} serves: ledgers ${tip.oldest}-${tip.sequence}`,
        { fix: `choose a ledger between ${tip.oldest} and ${tip.sequence}, or a source with older history` },
      );
    }
  } catch (error) {
    if (isTrueUpError(error, ...FATAL)) {
      throw new TrueUpError('INVALID_CONFIGURATION', messageOf(error), { ...error.details, cause: error });
    }
  }
}
