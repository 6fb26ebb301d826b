// Every metric, defined once, on a registry of its own. Names of the systems that TrueUp replaces are kept as they are.
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { BACKFILL_STATES } from '../core/backfill.ts';
import { DRIFT_KINDS } from '../core/drift.ts';
import { EXPORT_COLUMNS } from '../core/export-columns.ts';
import { EXPORT_OUTCOMES } from './export-events.ts';
import { createRpcMetrics } from './rpc-metrics.ts';
import type { RpcMetrics } from './rpc-metrics.ts';
import { createPaymentsMetrics } from './payments-metrics.ts';
import type { PaymentsMetrics } from './payments-metrics.ts';

export interface Metrics extends RpcMetrics, PaymentsMetrics {
  readonly driftTotal: Counter<'issue'>;
  readonly reconciliationStatus: Gauge;
  readonly reconciliationLastRun: Gauge;
  readonly verdict: Gauge<'policy'>;
  readonly runSeconds: Histogram<'policy' | 'trigger'>;
  readonly runsTotal: Counter<'policy' | 'trigger' | 'verdict'>;
  readonly driftsOpen: Gauge<'policy'>;
  readonly driftsResolvedTotal: Counter<'policy'>;
  readonly coverageRatio: Gauge<'policy'>;
  readonly valueAtRisk: Gauge<'policy' | 'asset'>;
  readonly importsTotal: Counter<'outcome'>;
  readonly exportsTotal: Counter<'kind' | 'outcome'>;
  readonly exportRows: Counter<'kind'>;
  readonly exportSeconds: Histogram<'kind'>;
  readonly deadLetters: Gauge<'job_name'>;
  readonly jobHealth: Gauge<'job_name'>;
  readonly jobRunsTotal: Counter<'job_name' | 'outcome'>;
  readonly jobSeconds: Histogram<'job_name'>;
  readonly jobsInFlight: Gauge<'job_name'>;
  readonly scheduleDue: Gauge<'job'>;
  readonly processedLedgers: Counter;
  readonly processingErrors: Counter;
  readonly latestLedger: Gauge;
  readonly checkpointLedger: Gauge;
  readonly ledgerLag: Gauge;
  readonly syncStatus: Gauge<'status'>;
  readonly entriesCommitted: Counter<'layer'>;
  readonly chunksCommitted: Counter<'writer'>;
  readonly chunkSeconds: Histogram<'step'>;
  readonly coverageRanges: Gauge<'layer' | 'state'>;
  readonly backfillTransitions: Counter<'state'>;
  readonly leasesLost: Counter<'lease'>;
  readonly sourceReadFailures: Counter<'source' | 'reason'>;
  readonly sourceReadBytes: Counter<'source'>;
  readonly httpRequests: Counter<'source' | 'outcome'>;
  readonly httpSeconds: Histogram<'source'>;
  readonly httpRetries: Counter<'source' | 'reason'>;
  readonly circuitState: Gauge<'source'>;
  readonly alertsSent: Counter<'channel' | 'outcome'>;
  readonly alertsUndelivered: Gauge;
  readonly alertsOldestUndelivered: Gauge;
  readonly databaseConnections: Gauge<'state'>;
  readonly evidenceSealed: Counter;
  readonly evidenceTreeSize: Gauge;
  readonly artifactsPruned: Counter;
  readonly buildInfo: Gauge<'version' | 'node'>;
  /** The page of the metrics port. */
  render(): Promise<{ readonly body: string; readonly contentType: string }>;
}

/** Gauges that prom-client names like counters; their twins with a label say the same. */
const MISNAMED_DEFAULTS = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

/**
 * `defaults: false` leaves the process's own metrics out, which need an observer for the event loop. `paymentsPrefix` goes before
 * the names of the payments ledgers' dashboards.
 */
export function createMetrics({
  defaults = true,
  paymentsPrefix = '',
}: { defaults?: boolean; paymentsPrefix?: string } = {}): Metrics {
  const registry = new Registry();
  const registers = [registry];
  if (defaults) {
    collectDefaultMetrics({ register: registry });
    for (const name of MISNAMED_DEFAULTS) registry.removeSingleMetric(name);
  }
  const counter = <L extends string = never>(name: string, help: string, ...labelNames: L[]) =>
    new Counter<L>({ name, help, labelNames, registers });
  /** Without a sample until it is set: a 0 before the first run looks like drift, and like 1970. */
  const gauge = <L extends string = never>(name: string, help: string, ...labelNames: L[]) => {
    const made = new Gauge<L>({ name, help, labelNames, registers });
    if (labelNames.length === 0) made.remove();
    return made;
  };
  const histogram = <L extends string = never>(name: string, help: string, buckets: number[], ...labelNames: L[]) =>
    new Histogram<L>({ name, help, buckets, labelNames, registers });

  const metrics: Metrics = {
    ...createRpcMetrics(registry),
    ...createPaymentsMetrics(registry, paymentsPrefix),
    driftTotal: counter('reconciliation_drift_total', 'Drifts that appeared, each of its kinds counted once.', 'issue'),
    reconciliationStatus: gauge(
      'reconciliation_status',
      'Worst verdict among the latest runs of all policies: 1 clean, 0 drift, -1 inconclusive. No sample before the first run.',
    ),
    reconciliationLastRun: gauge('reconciliation_last_run_timestamp', 'When the latest run finished, in unix seconds.'),
    verdict: gauge(
      'trueup_reconciliation_verdict',
      'Verdict of the latest run: 1 clean, 0 drift, -1 inconclusive.',
      'policy',
    ),
    runSeconds: histogram(
      'trueup_reconciliation_run_seconds',
      'Time from claim to verdict.',
      RUN_BUCKETS,
      'policy',
      'trigger',
    ),
    runsTotal: counter(
      'trueup_reconciliation_runs_total',
      'Runs that reached a verdict.',
      'policy',
      'trigger',
      'verdict',
    ),
    driftsOpen: gauge('trueup_drifts_open', 'Drifts open or acknowledged after the latest run.', 'policy'),
    driftsResolvedTotal: counter('trueup_drifts_resolved_total', 'Drifts that were resolved.', 'policy'),
    coverageRatio: gauge(
      'trueup_reconciliation_coverage_ratio',
      'Share of the ledgers of the latest run that were read, 0 to 1.',
      'policy',
    ),
    valueAtRisk: gauge(
      'trueup_value_at_risk_minor_units',
      'What may be lost through open drifts, in minor units of the asset; the ten largest by the number of drifts.',
      'policy',
      'asset',
    ),
    importsTotal: counter('trueup_imports_total', 'Book imports that ended.', 'outcome'),
    exportsTotal: counter('trueup_exports_total', 'Exports that ended.', 'kind', 'outcome'),
    exportRows: counter('trueup_export_rows_total', 'Rows of completed exports.', 'kind'),
    exportSeconds: histogram('trueup_export_seconds', 'Duration of an export.', RUN_BUCKETS, 'kind'),
    deadLetters: gauge('job_dead_letter_count', 'Jobs given up after their last attempt.', 'job_name'),
    jobHealth: gauge('job_health_status', '1 healthy, 0 degraded (dead-lettered twice).', 'job_name'),
    jobRunsTotal: counter('trueup_job_runs_total', 'Attempts of jobs that ended.', 'job_name', 'outcome'),
    jobSeconds: histogram('trueup_job_seconds', 'Duration of an attempt of a job.', RUN_BUCKETS, 'job_name'),
    jobsInFlight: gauge('trueup_jobs_in_flight', 'Jobs that this process works on.', 'job_name'),
    scheduleDue: gauge('schedule_due_timestamp_seconds', 'When the job is due next, in unix seconds.', 'job'),
    processedLedgers: counter(
      'processed_ledgers_total',
      'Ledgers processed and committed; idle polls are not counted.',
    ),
    processingErrors: counter('processing_errors_total', 'Failed attempts to read or commit ledgers.'),
    latestLedger: gauge('latest_ledger', 'Latest ledger that the source has closed.'),
    checkpointLedger: gauge('checkpoint_ledger', 'Last ledger up to which everything is committed.'),
    ledgerLag: gauge('ledger_lag', 'Ledgers between the checkpoint and the latest, never below 0.'),
    syncStatus: gauge('trueup_sync_status', '1 for the status that the stream has, 0 for the others.', 'status'),
    entriesCommitted: counter('trueup_entries_committed_total', 'Entries written.', 'layer'),
    chunksCommitted: counter('trueup_chunks_committed_total', 'Chunks of ledgers committed.', 'writer'),
    chunkSeconds: histogram('trueup_chunk_seconds', 'Time of one chunk by step.', FAST_BUCKETS, 'step'),
    coverageRanges: gauge('trueup_coverage_ranges', 'Ranges of ledgers by coverage state.', 'layer', 'state'),
    backfillTransitions: counter('trueup_backfill_transitions_total', 'Changes of state of backfills.', 'state'),
    leasesLost: counter('trueup_leases_lost_total', 'Leases that another process took over.', 'lease'),
    sourceReadFailures: counter(
      'trueup_source_read_failures_total',
      'Reads of a source that failed.',
      'source',
      'reason',
    ),
    sourceReadBytes: counter(
      'trueup_source_read_bytes_total',
      'Bytes read from a source, before decompression.',
      'source',
    ),
    httpRequests: counter(
      'trueup_http_client_requests_total',
      'Requests sent, each attempt counted.',
      'source',
      'outcome',
    ),
    httpSeconds: histogram('trueup_http_client_request_seconds', 'Time of one attempt.', FAST_BUCKETS, 'source'),
    httpRetries: counter('trueup_http_client_retries_total', 'Attempts made again.', 'source', 'reason'),
    circuitState: gauge('trueup_http_client_circuit_state', '0 closed, 1 half open, 2 open.', 'source'),
    alertsSent: counter('trueup_alerts_sent_total', 'Attempts to deliver an alert that ended.', 'channel', 'outcome'),
    alertsUndelivered: gauge('trueup_alerts_undelivered', 'Alerts that wait for their delivery.'),
    alertsOldestUndelivered: gauge(
      'trueup_alerts_oldest_undelivered_seconds',
      'Age of the oldest alert that waits for its delivery; 0 when none does.',
    ),
    databaseConnections: gauge('trueup_database_connections', 'Connections of this process to its database.', 'state'),
    evidenceSealed: counter('trueup_evidence_leaves_sealed_total', 'Leaves of the evidence log that were sealed.'),
    evidenceTreeSize: gauge(
      'trueup_evidence_tree_size',
      'Leaves under the newest checkpoint that this process signed.',
    ),
    artifactsPruned: counter('trueup_artifacts_pruned_total', 'Artifacts that retention removed.'),
    buildInfo: gauge('trueup_build_info', 'Always 1; the labels say what runs.', 'version', 'node'),
    render: async () => ({ body: await registry.metrics(), contentType: registry.contentType }),
  };
  for (const issue of DRIFT_KINDS) metrics.driftTotal.inc({ issue }, 0);
  for (const outcome of ['committed', 'rejected', 'failed']) metrics.importsTotal.inc({ outcome }, 0);
  for (const state of BACKFILL_STATES) metrics.backfillTransitions.inc({ state }, 0);
  for (const kind of Object.keys(EXPORT_COLUMNS))
    for (const outcome of EXPORT_OUTCOMES) metrics.exportsTotal.inc({ kind, outcome }, 0);
  return metrics;
}

const FAST_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const RUN_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900];
