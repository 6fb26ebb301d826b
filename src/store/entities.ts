// The resources that callers ask for one by one or in pages, as the ORM reads them. What is written or read in bulk, claimed,
// merged or stamped by the database's clock has no entity, or not for that: those are plain statements.
// A column that nobody reads through its entity is left out.
import { defineEntity, p } from '@mikro-orm/core';
import type { InferEntity } from '@mikro-orm/core';
import type { AlertKind, AlertSeverity, AlertState, DeliveryAttempt } from '../core/alert.ts';
import type {
  ExportCompression,
  ExportFilter,
  ExportFormat,
  ExportKind,
  ExportProgress,
  ExportState,
} from '../core/export.ts';
import type { Level, Policy } from '../core/policy.ts';
import type { RunProgress, RunState, RunSummary, RunTrigger, Verdict } from '../core/run.ts';
import type { AuditEntry } from '../core/status.ts';
import { exactTime, jsonText, keptJson } from './columns.ts';

export const StreamEntity = defineEntity({
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

export const FollowerEntity = defineEntity({
  name: 'Follower',
  tableName: 'followers',
  properties: {
    streamId: p.integer().primary(),
    watchSetId: p.integer(),
    startLedger: p.integer(),
    nextLedger: p.integer(),
    lastHash: p.text().strictNullable(),
    lastClosedAt: p.datetime().strictNullable(),
    processedLedgers: p.bigint().default('0'),
    tipLedger: p.integer().strictNullable(),
    tipClosedAt: p.datetime().strictNullable(),
    oldestLedger: p.integer().strictNullable(),
    lastSuccessAt: p.datetime().strictNullable(),
    lastErrorAt: p.datetime().strictNullable(),
    lastErrorReason: p.text().strictNullable(),
    lastErrorMessage: p.text().strictNullable(),
    restartedAt: p.datetime().strictNullable(),
    newEpochAllowed: p.boolean().default(false),
    firstOldestLedger: p.integer().strictNullable(),
  },
});

export const BookEntity = defineEntity({
  name: 'Book',
  tableName: 'books',
  properties: {
    id: p.integer().primary(),
    name: p.text(),
    completeThrough: p.datetime().strictNullable(),
    balancesCompleteThrough: p.datetime().strictNullable(),
  },
});

export const ImportEntity = defineEntity({
  name: 'Import',
  tableName: 'imports',
  properties: {
    id: p.uuid().primary(),
    requestId: p.text().strictNullable(),
    book: p.text(),
    level: p.text().$type<'entries' | 'balances'>().strictNullable(),
    format: p.text().$type<'csv' | 'jsonl'>(),
    fileName: p.text().strictNullable(),
    state: p.text().$type<'staging' | 'committed' | 'failed'>(),
    lineCount: p.bigint('number').default(0),
    insertedCount: p.bigint('number').default(0),
    revisedCount: p.bigint('number').default(0),
    unchangedCount: p.bigint('number').default(0),
    errorCount: p.bigint('number').default(0),
    retractedCount: p.bigint('number').default(0),
    receivedBytes: p.bigint('number').default(0),
    sha256: p.text().strictNullable(),
    errors: p.json<unknown>().defaultRaw(`'[]'`),
    completeThrough: p.datetime().strictNullable(),
    actor: p.text(),
    createdAt: p.datetime().defaultRaw('now()'),
    completedAt: p.datetime().strictNullable(),
  },
});

export const RunEntity = defineEntity({
  name: 'Run',
  tableName: 'reconciliations',
  properties: {
    id: p.uuid().primary(),
    requestId: p.text().strictNullable(),
    policy: p.text(),
    level: p.text().$type<Level>(),
    trigger: p.text().$type<RunTrigger>(),
    state: p.text().$type<RunState>(),
    verdict: p.text().$type<Verdict>().strictNullable(),
    sandbox: p.boolean().default(false),
    stream: p.text().strictNullable(),
    book: p.text(),
    requestedFrom: p.integer().strictNullable(),
    requestedTo: p.integer().strictNullable(),
    requestedWindowMs: p.bigint('number').strictNullable(),
    requestedScope: keptJson<Policy['scope']>().strictNullable(),
    summary: keptJson<RunSummary>().strictNullable(),
    progress: keptJson<RunProgress>().strictNullable(),
    errorReason: p.text().strictNullable(),
    errorMessage: p.text().strictNullable(),
    attempt: p.integer().default(0),
    traceId: p.text(),
    actor: p.text(),
    cancelRequested: p.boolean().default(false),
    sequence: p.bigint().defaultRaw(`nextval('trueup.change_sequence')`),
    createdAt: exactTime().defaultRaw('now()'),
    startedAt: p.datetime().strictNullable(),
    completedAt: p.datetime().strictNullable(),
  },
});

export const ScheduleEntity = defineEntity({
  name: 'Schedule',
  tableName: 'schedules',
  properties: {
    name: p.text().primary(),
    intervalMs: p.bigint('number'),
    enabled: p.boolean(),
    dueAt: p.datetime(),
  },
});

export const JobHealthEntity = defineEntity({
  name: 'JobHealth',
  tableName: 'job_health',
  properties: {
    name: p.text().primary(),
    runs: p.bigint('number').default(0),
    succeeded: p.bigint('number').default(0),
    failed: p.bigint('number').default(0),
    deadLettered: p.bigint('number').default(0),
    consecutiveDeadLetters: p.integer().default(0),
    lastStartedAt: p.datetime().strictNullable(),
    lastSuccessAt: p.datetime().strictNullable(),
    lastFailureAt: p.datetime().strictNullable(),
    lastError: p.text().strictNullable(),
    lastErrorReason: p.text().strictNullable(),
    lastErrorFix: p.text().strictNullable(),
    lastDurationMs: p.bigint('number').strictNullable(),
    totalDurationMs: p.bigint('number').default(0),
  },
});

export const DeadLetterEntity = defineEntity({
  name: 'DeadLetter',
  tableName: 'dead_letters',
  properties: {
    id: p.uuid().primary(),
    job: p.text(),
    payload: jsonText(),
    attempts: p.integer(),
    error: p.text(),
    reason: p.text().default('INTERNAL'),
    fix: p.text().default(''),
    resourceId: p.text().strictNullable(),
    sentAt: p.datetime().defaultRaw('now()'),
    createdAt: exactTime().defaultRaw('now()'),
  },
});

export const AlertEntity = defineEntity({
  name: 'Alert',
  tableName: 'alerts',
  properties: {
    id: p.uuid().primary(),
    messageId: p.uuid(),
    dedupeKey: p.text(),
    openKey: p.text().strictNullable(),
    resolves: p.uuid().strictNullable(),
    kind: p.text().$type<AlertKind>(),
    severity: p.text().$type<AlertSeverity>(),
    state: p.text().$type<AlertState>(),
    channel: p.text().default(''),
    channelKind: p.text().default(''),
    policy: p.text().strictNullable(),
    stream: p.text().strictNullable(),
    runId: p.uuid().strictNullable(),
    episode: p.text().default(''),
    title: p.text(),
    details: keptJson<Readonly<Record<string, string>>>(),
    sandbox: p.boolean().default(false),
    suppressReason: p.text().strictNullable(),
    attempts: keptJson<readonly DeliveryAttempt[]>().defaultRaw(`'[]'`),
    tries: p.integer().default(0),
    attemptCount: p.integer().default(0),
    replayCount: p.integer().default(0),
    createdAt: exactTime().defaultRaw('now()'),
    nextAttemptAt: p.datetime().strictNullable(),
    deliveredAt: p.datetime().strictNullable(),
  },
});

export const AuditEntity = defineEntity({
  name: 'Audit',
  tableName: 'audit_log',
  properties: {
    id: p.bigint().primary(),
    at: p.datetime().defaultRaw('now()'),
    actor: p.text(),
    role: p.text().$type<AuditEntry['role']>(),
    method: p.text(),
    requestId: p.text(),
    traceId: p.text().strictNullable(),
    resource: p.text(),
    before: jsonText().strictNullable(),
    after: jsonText().strictNullable(),
    reason: p.text().strictNullable(),
    peer: p.text().strictNullable(),
  },
});

export const ExportEntity = defineEntity({
  name: 'Export',
  tableName: 'exports',
  properties: {
    id: p.uuid().primary(),
    requestId: p.text().strictNullable(),
    kind: p.text().$type<ExportKind>(),
    format: p.text().$type<ExportFormat>(),
    compression: p.text().$type<ExportCompression>(),
    filter: keptJson<ExportFilter>(),
    fileName: p.text().strictNullable(),
    state: p.text().$type<ExportState>(),
    progress: keptJson<ExportProgress>().strictNullable(),
    manifestId: p.text().strictNullable(),
    artifactId: p.text().strictNullable(),
    errorReason: p.text().strictNullable(),
    errorMessage: p.text().strictNullable(),
    errorFix: p.text().strictNullable(),
    requester: p.text(),
    sandbox: p.boolean(),
    attempt: p.integer().default(0),
    sequence: p.bigint().defaultRaw(`nextval('trueup.change_sequence')`),
    createdAt: exactTime().defaultRaw('now()'),
    startedAt: p.datetime().strictNullable(),
    completedAt: p.datetime().strictNullable(),
  },
});

export const ManifestEntity = defineEntity({
  name: 'Manifest',
  tableName: 'manifests',
  properties: {
    id: p.uuid().primary(),
    exportId: p.text(),
    artifactId: p.text(),
    requester: p.text(),
    kind: p.text().$type<ExportKind>(),
    format: p.text().$type<ExportFormat>(),
    checksum: p.text(),
    fileName: p.text(),
    rowCount: p.bigint('number'),
    generatedAt: p.datetime(),
    sandbox: p.boolean(),
    envelope: p.blob(),
    holdCount: p.integer().default(0),
    prunedAt: p.datetime().strictNullable(),
  },
});

export const HoldEntity = defineEntity({
  name: 'Hold',
  tableName: 'manifest_holds',
  properties: {
    id: p.uuid().primary(),
    manifestId: p.uuid(),
    reason: p.text(),
    placedBy: p.text(),
    createdAt: p.datetime().defaultRaw('now()'),
    releasedAt: p.datetime().strictNullable(),
    releasedBy: p.text().strictNullable(),
    releaseReason: p.text().strictNullable(),
    requestId: p.text().strictNullable(),
    releaseRequestId: p.text().strictNullable(),
  },
});

export type RunRow = InferEntity<typeof RunEntity>;
export type ImportRow = InferEntity<typeof ImportEntity>;
export type JobHealthRow = InferEntity<typeof JobHealthEntity>;
export type DeadLetterRow = InferEntity<typeof DeadLetterEntity>;
export type AlertRow = InferEntity<typeof AlertEntity>;
export type AuditRow = InferEntity<typeof AuditEntity>;
export type ExportRow = InferEntity<typeof ExportEntity>;
export type ManifestRow = InferEntity<typeof ManifestEntity>;
export type HoldRow = InferEntity<typeof HoldEntity>;

export const ENTITIES = [
  StreamEntity,
  FollowerEntity,
  BookEntity,
  ImportEntity,
  RunEntity,
  ScheduleEntity,
  JobHealthEntity,
  DeadLetterEntity,
  AlertEntity,
  AuditEntity,
  ExportEntity,
  ManifestEntity,
  HoldEntity,
];
