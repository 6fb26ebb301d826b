// Rows that are read and changed one by one. Hot tables (entries, coverage, book rows) have no entity: they are
// written and read in bulk by plain statements. bigint and numeric are strings here, timestamptz is Date.
import { defineEntity, p } from '@mikro-orm/core';
import type { InferEntity } from '@mikro-orm/core';

export const Stream = defineEntity({
  name: 'Stream',
  tableName: 'streams',
  properties: {
    id: p.integer().primary(),
    name: p.text(),
    networkPassphrase: p.text(),
    anchorLedger: p.integer(),
    epoch: p.text(),
    sandbox: p.boolean().default(false),
    state: p.text().$type<'active' | 'diverged' | 'retired'>().default('active'),
    createdAt: p.datetime().defaultRaw('now()'),
  },
});

export const SourceRow = defineEntity({
  name: 'SourceRow',
  tableName: 'sources',
  properties: { id: p.smallint().primary(), label: p.text() },
});

export const WatchSet = defineEntity({
  name: 'WatchSet',
  tableName: 'watch_sets',
  properties: {
    id: p.integer().primary(),
    streamId: p.integer(),
    everything: p.boolean(),
    members: p.array(),
    fingerprint: p.text(),
    createdAt: p.datetime().defaultRaw('now()'),
  },
});

export const Follower = defineEntity({
  name: 'Follower',
  tableName: 'followers',
  properties: {
    streamId: p.integer().primary(),
    watchSetId: p.integer(),
    startLedger: p.integer(),
    nextLedger: p.integer(),
    lastHash: p.text().nullable(),
    lastClosedAt: p.datetime().nullable(),
    processedLedgers: p.bigint('string').default('0'),
    tipLedger: p.integer().nullable(),
    tipClosedAt: p.datetime().nullable(),
    oldestLedger: p.integer().nullable(),
    lastSuccessAt: p.datetime().nullable(),
    lastErrorAt: p.datetime().nullable(),
    lastErrorReason: p.text().nullable(),
    lastErrorMessage: p.text().nullable(),
    updatedAt: p.datetime().defaultRaw('now()'),
  },
});

export const Lease = defineEntity({
  name: 'Lease',
  tableName: 'leases',
  properties: { name: p.text().primary(), holder: p.text(), token: p.bigint('string'), expiresAt: p.datetime() },
});

export const Book = defineEntity({
  name: 'Book',
  tableName: 'books',
  properties: {
    id: p.integer().primary(),
    name: p.text(),
    completeThrough: p.datetime().nullable(),
    balancesCompleteThrough: p.datetime().nullable(),
    updatedAt: p.datetime().defaultRaw('now()'),
  },
});

export const Import = defineEntity({
  name: 'Import',
  tableName: 'imports',
  properties: {
    id: p.uuid().primary(),
    requestId: p.text().nullable(),
    book: p.text(),
    level: p.text().$type<'entries' | 'balances'>().nullable(),
    format: p.text(),
    fileName: p.text().nullable(),
    state: p.text().$type<'staging' | 'committed' | 'failed'>(),
    lineCount: p.bigint('string').default('0'),
    insertedCount: p.bigint('string').default('0'),
    revisedCount: p.bigint('string').default('0'),
    unchangedCount: p.bigint('string').default('0'),
    errorCount: p.bigint('string').default('0'),
    retractedCount: p.bigint('string').default('0'),
    receivedBytes: p.bigint('string').default('0'),
    sha256: p.text().nullable(),
    errors: p.json<unknown[]>().defaultRaw(`'[]'`),
    completeThrough: p.datetime().nullable(),
    actor: p.text(),
    createdAt: p.datetime().defaultRaw('now()'),
    heartbeatAt: p.datetime().defaultRaw('now()'),
    completedAt: p.datetime().nullable(),
  },
});

export const Reconciliation = defineEntity({
  name: 'Reconciliation',
  tableName: 'reconciliations',
  properties: {
    id: p.uuid().primary(),
    requestId: p.text().nullable(),
    policy: p.text(),
    level: p.text().$type<'entries' | 'balances'>(),
    trigger: p.text().$type<'scheduled' | 'manual'>(),
    state: p.text().$type<'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled'>(),
    verdict: p.text().$type<'INCONCLUSIVE' | 'DRIFT_DETECTED' | 'CLEAN'>().nullable(),
    sandbox: p.boolean().default(false),
    stream: p.text().nullable(),
    book: p.text(),
    requestedFrom: p.integer().nullable(),
    requestedTo: p.integer().nullable(),
    summary: p.json<unknown>().nullable(),
    progress: p.json<unknown>().nullable(),
    errorReason: p.text().nullable(),
    errorMessage: p.text().nullable(),
    attempt: p.integer().default(0),
    traceId: p.text(),
    actor: p.text(),
    cancelRequested: p.boolean().default(false),
    sequence: p.bigint('string').defaultRaw(`nextval('trueup.change_sequence')`),
    createdAt: p.datetime().defaultRaw('now()'),
    startedAt: p.datetime().nullable(),
    heartbeatAt: p.datetime().nullable(),
    completedAt: p.datetime().nullable(),
  },
});

export const Drift = defineEntity({
  name: 'Drift',
  tableName: 'drifts',
  properties: {
    id: p.uuid().primary(),
    policy: p.text(),
    level: p.text().$type<'entries' | 'balances'>(),
    stream: p.text().nullable(),
    sandbox: p.boolean(),
    matchKey: p.text(),
    occurrence: p.integer(),
    kinds: p.array(),
    fields: p.json<unknown>(),
    ledgerSide: p.json<unknown>().nullable(),
    bookSide: p.json<unknown>().nullable(),
    account: p.text(),
    asset: p.text(),
    valueAtRisk: p.decimal('string').precision(39).scale(0).nullable(),
    state: p.text().$type<'open' | 'acknowledged' | 'resolved' | 'exempt'>(),
    resolutionCause: p.text().nullable(),
    assignee: p.text().nullable(),
    reason: p.text().nullable(),
    owner: p.text().nullable(),
    exemptUntil: p.datetime().nullable(),
    itemAt: p.datetime().nullable(),
    firstSeenAt: p.datetime(),
    lastSeenAt: p.datetime(),
    firstRunId: p.uuid(),
    lastRunId: p.uuid(),
    seenRuns: p.integer().default(1),
    episode: p.integer().default(1),
    reopenedCount: p.integer().default(0),
    transitionAt: p.datetime().nullable(),
    transitionActor: p.text().nullable(),
    revision: p.integer().default(1),
  },
});

export const Schedule = defineEntity({
  name: 'Schedule',
  tableName: 'schedules',
  properties: {
    name: p.text().primary(),
    job: p.text(),
    policy: p.text().nullable(),
    intervalMs: p.bigint('string'),
    enabled: p.boolean(),
    dueAt: p.datetime(),
    lastClaimedAt: p.datetime().nullable(),
    updatedAt: p.datetime().defaultRaw('now()'),
  },
});

export const JobHealthRow = defineEntity({
  name: 'JobHealthRow',
  tableName: 'job_health',
  properties: {
    name: p.text().primary(),
    runs: p.bigint('string').default('0'),
    succeeded: p.bigint('string').default('0'),
    failed: p.bigint('string').default('0'),
    deadLettered: p.bigint('string').default('0'),
    consecutiveDeadLetters: p.integer().default(0),
    lastStartedAt: p.datetime().nullable(),
    lastSuccessAt: p.datetime().nullable(),
    lastFailureAt: p.datetime().nullable(),
    lastError: p.text().nullable(),
    lastErrorReason: p.text().nullable(),
    lastErrorFix: p.text().nullable(),
    lastDurationMs: p.bigint('string').nullable(),
    totalDurationMs: p.bigint('string').default('0'),
  },
});

export const DeadLetter = defineEntity({
  name: 'DeadLetter',
  tableName: 'dead_letters',
  properties: {
    id: p.uuid().primary(),
    job: p.text(),
    payload: p.json<unknown>(),
    attempts: p.integer(),
    error: p.text(),
    reason: p.text().default('INTERNAL'),
    fix: p.text().default(''),
    resourceId: p.text().nullable(),
    sentAt: p.datetime().defaultRaw('now()'),
    createdAt: p.datetime().defaultRaw('now()'),
  },
});

export const AuditEntry = defineEntity({
  name: 'AuditEntry',
  tableName: 'audit_log',
  properties: {
    id: p.bigint('string').primary(),
    at: p.datetime().defaultRaw('now()'),
    actor: p.text(),
    role: p.text(),
    method: p.text(),
    requestId: p.text(),
    traceId: p.text().nullable(),
    resource: p.text(),
    before: p.json<unknown>().nullable(),
    after: p.json<unknown>().nullable(),
    reason: p.text().nullable(),
    peer: p.text().nullable(),
  },
});

export type Stream = InferEntity<typeof Stream>;
export type SourceRow = InferEntity<typeof SourceRow>;
export type WatchSet = InferEntity<typeof WatchSet>;
export type Follower = InferEntity<typeof Follower>;
export type Lease = InferEntity<typeof Lease>;
export type Book = InferEntity<typeof Book>;
export type Import = InferEntity<typeof Import>;
export type Reconciliation = InferEntity<typeof Reconciliation>;
export type Drift = InferEntity<typeof Drift>;
export type Schedule = InferEntity<typeof Schedule>;
export type JobHealthRow = InferEntity<typeof JobHealthRow>;
export type DeadLetter = InferEntity<typeof DeadLetter>;
export type AuditEntry = InferEntity<typeof AuditEntry>;

export const ENTITIES = [Stream, SourceRow, WatchSet, Follower, Lease, Book, Import, Reconciliation, Drift, Schedule, JobHealthRow, DeadLetter, AuditEntry];
