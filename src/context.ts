// The composition root: builds the rooms from the configuration and hands each the slice that it needs.
import { composeAlerts } from './alerts.ts';
import { join } from 'node:path';
import { composeBackfills } from './backfilling.ts';
import { composeControl } from './controlling.ts';
import { composeExports } from './exporting.ts';
import { composePayments } from './paying.ts';
import type { RpcPorts } from './rpc/ports.ts';
import { createJobs, JOB_NAMES } from './scheduler/jobs.ts';
import type { Job } from './scheduler/scheduler.ts';
import { ALERT_JOB } from './services/alerts.ts';
import type { FollowerOptions } from './services/follower.ts';
import { createGauges } from './services/gauges.ts';
import { createHealthService, type HealthService } from './services/health.ts';
import { keepHouse } from './services/housekeeping.ts';
import { takeOpenings } from './services/openings.ts';
import { createRecheckJob } from './services/rechecks.ts';
import { createReconcileJob } from './services/reconcile-job.ts';
import { tellGivenUp, tellRecovered } from './services/job-alerts.ts';
import { createReconciliationService } from './services/reconciliation.ts';
import type { RunDeps } from './services/run-reconciliation.ts';
import { reverify } from './services/reverify.ts';
import { createSandboxLoop } from './services/sandbox-loop.ts';
import { createFileArtifacts } from './outbound/artifacts.ts';
import type { Source } from './sources/source.ts';
import { createQueue, type Queue } from './store/queue.ts';
import { VERSION } from './version.ts';
import type { Base, Overrides } from './base.ts';
import { disabledFeatures } from './config/disabled-features.ts';
import { createPorts } from './ports.ts';
import { composeEvidence } from './proving.ts';
import { composeSides } from './sides.ts';
import { composeSources } from './sourcing.ts';

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

/** A source that missed this many polls, and has been silent for this long, is unavailable to a run. */
const SILENT_POLLS = 3;
const MIN_SILENCE_MS = 120_000;
const FOLLOWER_LEASE_TTL_MS = 10_000;

export async function createContext(base: Base, overrides: Overrides = {}): Promise<Context> {
  const { config, db, events } = base;
  const isSandbox = config.source.kind === 'sandbox';
  const sources = await composeSources(base, overrides);
  const { source, followed, otherSources, network } = sources;
  const { policies, bookOf: books, ledgerOf, spillFolder } = composeSides(config, db);
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
    members: sources.members,
    circuitState: sources.circuitState,
    endLedger: config.source.endLedgerInclusive,
    version: VERSION,
    startedAt: base.startedAt,
    replica: base.replica,
    configEntries: config.entries,
    disabledFeatures: disabledFeatures(config),
    embedded: config.database.kind === 'embedded',
    queue,
  });
  const artifacts = createFileArtifacts(join(config.service.dataDir, 'artifacts'));
  const { evidence, ...proving } = await composeEvidence({ config, db, artifacts, events });
  const exporting = composeExports({
    db,
    queue,
    artifacts,
    evidence,
    sandbox: isSandbox,
    networkPassphrase: network,
    books: { policies, bookOf: books, spillFolder },
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
  const payments = composePayments({ db, config, events });
  const control = composeControl({
    db,
    queue,
    config,
    sources: [followed, ...otherSources],
    backfills: backfills.service,
    health,
  });
  const following = {
    endLedger: config.source.endLedgerInclusive,
    maxSilenceMs: Math.max(MIN_SILENCE_MS, SILENT_POLLS * config.source.pollIntervalMs),
  };
  const runDeps: RunDeps = {
    db,
    policies,
    bookOf: books,
    ledgerOf,
    spillFolder,
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
      db,
      config,
      source: followed,
      networkPassphrase: network,
      reconciliation,
      health,
      events,
      evidence,
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
      sealIntervalMs: proving.sealIntervalMs,
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
      start: { startLedger: sources.startLedger, windowHours: config.reconciliation.windowHours, sandbox: isSandbox },
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
      ...(isSandbox ? [createSandboxLoop({ db, sandbox: sources.sandbox, networkPassphrase: network })] : []),
      ...proving.loops,
      ...payments.loops,
    ],
    checkSource: sources.check,
    async close() {
      health.close();
      await sources.close();
      await alerts.close();
    },
  };
}
