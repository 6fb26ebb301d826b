// Goal: the metrics keep the names and meanings that dashboards and alerts rely on, without the old systems' defects.
// Method: events happen, the page is rendered and read as Prometheus reads it (promtool, where it is installed).
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { DRIFT_KINDS } from '../../src/core/drift.ts';
import { TrueUpError } from '../../src/core/errors.ts';
import type { RunCounts } from '../../src/core/run.ts';
import type { RpcObserver } from '../../src/rpc/observer.ts';
import { createEvents } from '../../src/telemetry/events.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const promtool = spawnSync('promtool', ['--version']).error === undefined;
/** Names that older dashboards use and that we keep though promtool finds fault with them. */
const KEPT_NAMES = ['job_dead_letter_count'];
const COUNTS: RunCounts = {
  ledgerRecords: 3,
  bookRecords: 3,
  matched: 2,
  drifted: 1,
  pending: 0,
  exempt: 0,
  underived: 0,
  skipped: 0,
  appeared: 1,
  resolved: 0,
} as RunCounts;
const METHOD = { service: 'trueup.v1.HealthService', method: 'GetStatus', type: 'unary' } as const;
const CALL = {
  protocol: 'grpc',
  code: 'OK',
  reason: undefined,
  durationMs: 2,
  requestId: 'r',
  traceId: 't',
  actor: '',
  peer: '127.0.0.1:1',
  received: 1,
  sent: 2,
  error: undefined,
} as const;

function setUp(defaults = false) {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger({
    level: 'trace',
    name: 'test',
    secrets: [],
    destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  const metrics = createMetrics({ defaults });
  const page = async () => (await metrics.render()).body;
  /** Undefined: no sample. Labels as the page prints them, in its order. */
  const sample = async (name: string, labels = ''): Promise<number | undefined> => {
    const line = (await page())
      .split('\n')
      .find((candidate) => candidate.startsWith(`${name}${labels === '' ? ' ' : `{${labels}} `}`));
    return line === undefined ? undefined : Number(line.slice(line.lastIndexOf(' ') + 1));
  };
  return { events: createEvents({ log, metrics }), lines, page, sample };
}

function finished(policy: string, verdict: 'CLEAN' | 'DRIFT_DETECTED' | 'INCONCLUSIVE', at: number) {
  return {
    runId: 'r',
    policy,
    trigger: 'scheduled',
    verdict,
    counts: COUNTS,
    durationMs: 12,
    finishedAt: new Date(at),
    inconclusive: [],
    standing: { drifted: 1, coverage: 0.75, valueAtRisk: [{ asset: 'native', amount: 50n, count: 1 }] },
  } as const;
}

function everything(events: ReturnType<typeof setUp>['events']): void {
  events.serverStarted({ version: '1', grpc: 'a', http: 'b', metrics: 'c', sandbox: true, startMs: 1 });
  events.rpcMethodsKnown([METHOD]);
  events.rpcStarted(METHOD);
  events.rpcHandled({ ...METHOD, ...CALL });
  events.jobsKnown(['reconcile']);
  events.jobStarted({ job: 'reconcile', jobId: '1', attempt: 1 });
  events.jobSucceeded({ job: 'reconcile', jobId: '1', attempt: 1, durationMs: 5 });
  events.jobDeadLettered({ job: 'reconcile', jobId: '1', attempt: 5, reason: 'INTERNAL' });
  events.scheduleDue({ job: 'reconcile', dueAt: new Date(1000) });
  events.tipSeen({ stream: 's', tip: 10, checkpoint: 8 });
  events.followerStatusChanged({ stream: 's', status: 'synced', previous: 'catching_up' });
  events.chunkCommitted({
    stream: 's',
    range: { from: 1, to: 65 },
    writer: 'follower',
    source: 'sandbox',
    entries: { operations: 7 },
    newLedgers: 64,
    bytesRead: 10,
    readMs: 1,
    decodeMs: 1,
    commitMs: 1,
  });
  events.coverageCounted({ layer: 'operations', ranges: { done: 1, quarantined: 0, unavailable: 0 } });
  events.sourceReadFailed({ source: 'sandbox', error: new TrueUpError('SOURCE_TIMEOUT', 'late'), attempt: 1 });
  events.httpClient('stellar-rpc rpc.example', {
    type: 'attempt',
    host: 'rpc.example',
    status: 200,
    durationMs: 4,
    bytesRead: 3,
  });
  events.httpClient('stellar-rpc rpc.example', { type: 'breaker', host: 'rpc.example', state: 'OPEN' });
  events.runFinished(finished('default', 'CLEAN', 5000));
  events.driftsAppeared([{ policy: 'default', kinds: ['AMOUNT_MISMATCH'] }]);
  events.importFinished({ importId: 'i', book: 'b', outcome: 'committed', rows: 1, durationMs: 1 });
  events.leaseLost({ lease: 'follower/1', kind: 'follower' });
  events.databaseConnections({ used: 1, idle: 2, waiting: 0 });
}

test.skipIf(!promtool)('promtool (Debian package prometheus) finds no fault but with the names we keep', async () => {
  const { events, page } = setUp(true);
  everything(events);
  const result = spawnSync('promtool', ['check', 'metrics'], { input: await page(), encoding: 'utf8' });
  const faults = `${result.stdout}${result.stderr}`
    .split('\n')
    .filter((line) => line !== '' && !KEPT_NAMES.some((name) => line.startsWith(`${name} `)));
  expect(faults).toEqual([]);
});

test('every metric has its help, and the process its usual metrics', async () => {
  const { events, page } = setUp(true);
  everything(events);
  const text = await page();
  const types = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  for (const name of types) expect(text).toMatch(new RegExp(`^# HELP ${name!} \\S`, 'm'));
  for (const name of [
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'process_start_time_seconds',
    'nodejs_eventloop_lag_seconds',
  ]) {
    expect(types).toContain(name);
  }
});

test('A19: gauges have no sample before the first value, so nothing looks like drift or like 1970', async () => {
  const { sample, events } = setUp();
  const gauges = [
    'reconciliation_status',
    'reconciliation_last_run_timestamp',
    'latest_ledger',
    'checkpoint_ledger',
    'ledger_lag',
  ];
  for (const name of gauges) expect(await sample(name), name).toBeUndefined();
  events.tipSeen({ stream: 's', tip: 100, checkpoint: null });
  expect(await sample('latest_ledger')).toBe(100);
  expect(await sample('ledger_lag')).toBeUndefined();
  events.runFinished(finished('default', 'INCONCLUSIVE', 1_800_000_000_500));
  expect(await sample('reconciliation_status')).toBe(-1);
  // Nothing was verified yet, so there is no last run to be looked at.
  expect(await sample('reconciliation_last_run_timestamp')).toBeUndefined();
  events.runFinished(finished('default', 'CLEAN', 1_800_000_000_500));
  expect(await sample('reconciliation_last_run_timestamp')).toBe(1_800_000_000.5);
  events.runFinished(finished('default', 'INCONCLUSIVE', 1_800_000_300_500));
  expect(await sample('reconciliation_last_run_timestamp')).toBe(1_800_000_000.5);
});

test('all kinds of drift are there at 0 from the start', async () => {
  const { sample } = setUp();
  expect(DRIFT_KINDS).toHaveLength(11);
  for (const issue of DRIFT_KINDS) expect(await sample('reconciliation_drift_total', `issue="${issue}"`)).toBe(0);
});

test('a drift counts each of its kinds once', async () => {
  const { sample, events, lines } = setUp();
  events.driftsAppeared([
    { policy: 'p', kinds: ['AMOUNT_MISMATCH', 'TYPE_MISMATCH', 'AMOUNT_MISMATCH'] },
    { policy: 'p', kinds: ['AMOUNT_MISMATCH'] },
  ]);
  expect(await sample('reconciliation_drift_total', 'issue="AMOUNT_MISMATCH"')).toBe(2);
  expect(await sample('reconciliation_drift_total', 'issue="TYPE_MISMATCH"')).toBe(1);
  expect(lines.filter(({ event }) => event === 'drifts_appeared')).toMatchObject([
    { policy: 'p', count: 2, kinds: { AMOUNT_MISMATCH: 2, TYPE_MISMATCH: 1 } },
  ]);
});

test('reconciliation_status is the worst of all policies, and a narrowed run leaves it alone', async () => {
  const { sample, events } = setUp();
  events.runFinished(finished('a', 'DRIFT_DETECTED', 1000));
  events.runFinished(finished('b', 'CLEAN', 3000));
  expect(await sample('reconciliation_status')).toBe(0);
  events.runFinished({ ...finished('a', 'CLEAN', 4000), partial: true });
  expect(await sample('reconciliation_status')).toBe(0);
  expect(await sample('reconciliation_last_run_timestamp')).toBe(3);
  expect(await sample('trueup_reconciliation_coverage_ratio', 'policy="a"')).toBe(0.75);
  expect(await sample('trueup_value_at_risk_minor_units', 'policy="a",asset="native"')).toBe(50);
  const standing = { drifted: 0, coverage: null, valueAtRisk: [] };
  events.runRestored({ policy: 'a', verdict: 'CLEAN', finishedAt: new Date(2000), standing });
  expect(await sample('trueup_value_at_risk_minor_units', 'policy="a",asset="native"')).toBeUndefined();
  expect(await sample('reconciliation_status')).toBe(1);
  expect(await sample('reconciliation_last_run_timestamp')).toBe(3);
  expect(await sample('trueup_reconciliation_verdict', 'policy="b"')).toBe(1);
});

test('the lag is never negative, also when the source steps back', async () => {
  const { sample, events } = setUp();
  events.tipSeen({ stream: 's', tip: 90, checkpoint: 100 });
  expect(await sample('ledger_lag')).toBe(0);
  expect(await sample('latest_ledger')).toBe(90);
  events.followerReleased({ stream: 's' });
  expect(await sample('ledger_lag')).toBeUndefined();
});

test('processed_ledgers_total counts ledgers that are new, not chunks, re-reads or polls', async () => {
  const { sample, events } = setUp();
  expect(await sample('processed_ledgers_total')).toBe(0);
  const chunk = {
    stream: 's',
    range: { from: 64, to: 128 },
    writer: 'follower',
    source: 'x',
    entries: {},
    bytesRead: 0,
    readMs: 0,
    decodeMs: 0,
    commitMs: 0,
  } as const;
  events.chunkCommitted({ ...chunk, newLedgers: 64 });
  events.chunkCommitted({ ...chunk, newLedgers: 0 });
  events.tipSeen({ stream: 's', tip: 127, checkpoint: 127 });
  expect(await sample('processed_ledgers_total')).toBe(64);
});

test('a failed read is an error counted with its reason, and says no more than it must', async () => {
  const { sample, events, lines } = setUp();
  events.sourceReadFailed({
    source: 'horizon h',
    error: new TrueUpError('SOURCE_RATE_LIMITED', 'slow down'),
    attempt: 2,
    range: { from: 1, to: 3 },
  });
  expect(await sample('processing_errors_total')).toBe(1);
  expect(await sample('trueup_source_read_failures_total', 'source="horizon h",reason="SOURCE_RATE_LIMITED"')).toBe(1);
  expect(lines[0]).toMatchObject({
    event: 'source_read_failed',
    attempt: 2,
    from_ledger: 1,
    to_ledger: 2,
    level: 'warn',
  });
  expect(lines[0]).not.toHaveProperty('err');
});

test('methods are there at 0 before the first call, and paths that strangers make up share one label', async () => {
  const { sample, events, page } = setUp();
  events.rpcMethodsKnown([METHOD]);
  const labels = 'grpc_type="unary",grpc_service="trueup.v1.HealthService",grpc_method="GetStatus"';
  expect(await sample('grpc_server_handled_total', `${labels},grpc_code="OK"`)).toBe(0);
  expect(await sample('grpc_server_started_total', labels)).toBe(0);
  const before = (await page()).split('\n').length;
  for (let n = 0; n < 50; n += 1) {
    const method = { service: `made.Up${n}`, method: 'X', type: 'unary' } as const;
    events.rpcStarted(method);
    events.rpcHandled({ ...method, ...CALL, code: 'UNIMPLEMENTED' });
  }
  expect(
    await sample(
      'grpc_server_handled_total',
      'grpc_type="unknown",grpc_service="unknown",grpc_method="unknown",grpc_code="Unimplemented"',
    ),
  ).toBe(50);
  expect((await page()).split('\n').length - before).toBeLessThan(25);
});

test('a call is observed as the doors report it: counted, timed, its messages counted, one line with its ids', async () => {
  const { sample, events, lines } = setUp();
  const observer: RpcObserver = events.rpcObserver;
  events.rpcMethodsKnown([METHOD]);
  observer.started(METHOD);
  observer.handled({ ...METHOD, ...CALL, code: 'INTERNAL', reason: 'INTERNAL', error: new Error('boom') });
  const labels = 'grpc_type="unary",grpc_service="trueup.v1.HealthService",grpc_method="GetStatus"';
  expect(await sample('grpc_server_started_total', labels)).toBe(1);
  expect(await sample('grpc_server_handled_total', `${labels},grpc_code="Internal"`)).toBe(1);
  expect(await sample('grpc_server_msg_sent_total', labels)).toBe(2);
  expect(await sample('grpc_server_handling_seconds_count', labels)).toBe(1);
  expect(lines).toMatchObject([
    {
      event: 'rpc_handled',
      level: 'error',
      request_id: 'r',
      trace_id: 't',
      rpc: 'trueup.v1.HealthService/GetStatus',
      err: { message: 'boom' },
    },
  ]);
});

test('a job has its samples from the start, and a dead letter shows', async () => {
  const { sample, events } = setUp();
  events.jobsKnown(['reconcile']);
  expect(await sample('job_dead_letter_count', 'job_name="reconcile"')).toBe(0);
  expect(await sample('job_health_status', 'job_name="reconcile"')).toBe(1);
  events.jobHealth({ job: 'reconcile', deadLetters: 2, healthy: false });
  expect(await sample('job_dead_letter_count', 'job_name="reconcile"')).toBe(2);
  expect(await sample('job_health_status', 'job_name="reconcile"')).toBe(0);
});
