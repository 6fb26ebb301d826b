// Status, the feed and diagnostics to messages.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  Activity,
  ActivityKind,
  DeploymentStatus,
  Diagnostics,
  RuntimeInfo,
  SourceStatus,
  StatusEvent,
  StreamStatus,
  SyncStatus,
  WatchTopic,
} from '../core/status.ts';
import {
  ActivityKind as ActivityKindMessage,
  type ActivitySchema,
  BreakerState,
  type DiagnosticsSchema,
  type RuntimeInfoSchema,
  type SourceStatusSchema,
  type StreamStatusSchema,
  SyncStatus as SyncStatusMessage,
} from '../../gen/trueup/v1/health_pb.js';
import {
  type GetStatusResponseSchema,
  type WatchStatusResponseSchema,
  WatchTopic as WatchTopicMessage,
} from '../../gen/trueup/v1/health_service_pb.js';
import {
  LAYER_OUT,
  optionalDuration,
  optionalFailure,
  optionalTimestamp,
  reader,
  toDuration,
  toFailure,
  toTimestamp,
} from './convert-common.ts';
import { toAlert } from './convert-alert.ts';
import { toDrift } from './convert-drift.ts';
import { toReconciliation } from './convert-run.ts';
import { toSchedule } from './convert-timetable.ts';

const SYNC_OUT: Record<SyncStatus, SyncStatusMessage> = {
  starting: SyncStatusMessage.STARTING,
  catching_up: SyncStatusMessage.CATCHING_UP,
  synced: SyncStatusMessage.SYNCED,
  degraded: SyncStatusMessage.DEGRADED,
};
const BREAKER_OUT: Record<NonNullable<SourceStatus['breaker']>, BreakerState> = {
  closed: BreakerState.CLOSED,
  open: BreakerState.OPEN,
  half_open: BreakerState.HALF_OPEN,
};
const ACTIVITY_OUT: Record<ActivityKind, ActivityKindMessage> = {
  ledgers: ActivityKindMessage.LEDGERS,
  stream: ActivityKindMessage.STREAM,
  reconciliation: ActivityKindMessage.RECONCILIATION,
  drift: ActivityKindMessage.DRIFT,
  backfill: ActivityKindMessage.BACKFILL,
  export: ActivityKindMessage.EXPORT,
  alert: ActivityKindMessage.ALERT,
  book: ActivityKindMessage.BOOK,
  sweep: ActivityKindMessage.SWEEP,
  operator: ActivityKindMessage.OPERATOR,
  error: ActivityKindMessage.ERROR,
};
const TOPIC_OUT: Record<WatchTopic, WatchTopicMessage> = {
  streams: WatchTopicMessage.STREAMS,
  activity: WatchTopicMessage.ACTIVITY,
  reconciliations: WatchTopicMessage.RECONCILIATIONS,
  drifts: WatchTopicMessage.DRIFTS,
  backfills: WatchTopicMessage.BACKFILLS,
  exports: WatchTopicMessage.EXPORTS,
  alerts: WatchTopicMessage.ALERTS,
  usage: WatchTopicMessage.USAGE,
  slos: WatchTopicMessage.SLOS,
  ledger_health: WatchTopicMessage.LEDGER_HEALTH,
  schedules: WatchTopicMessage.SCHEDULES,
  sweep_actions: WatchTopicMessage.SWEEP_ACTIONS,
};
export const topicIn = reader(TOPIC_OUT);

export function toStatus(status: DeploymentStatus): MessageInitShape<typeof GetStatusResponseSchema> {
  return {
    streams: status.streams.map(toStreamStatus),
    healthy: status.healthy,
    unhealthyReasons: status.unhealthy.map(toFailure),
    version: status.version,
    startTime: toTimestamp(status.startedAt),
    uptime: toDuration(status.uptimeMs),
    sandbox: status.sandbox,
  };
}

export function toStreamStatus(status: StreamStatus): MessageInitShape<typeof StreamStatusSchema> {
  const active = status.sources.find((source) => source.active);
  return {
    stream: status.stream,
    networkPassphrase: status.networkPassphrase,
    epoch: status.epoch,
    source: active?.name ?? '',
    sourceKind: active?.kind ?? '',
    sandbox: status.sandbox,
    layers: status.layers.map((layer) => ({
      layer: LAYER_OUT[layer.layer],
      contiguousFrom: layer.contiguousFrom ?? undefined,
      contiguousThrough: layer.contiguousThrough ?? undefined,
      contiguousThroughTime: optionalTimestamp(layer.contiguousThroughClosedAt),
      coveredLedgerCount: BigInt(layer.coveredLedgers),
      coveredRangeCount: BigInt(layer.coveredRanges),
      quarantinedLedgerCount: BigInt(layer.quarantinedLedgers),
      unavailableLedgerCount: BigInt(layer.unavailableLedgers),
      missingLedgerCount: layer.missingLedgers === null ? undefined : BigInt(layer.missingLedgers),
      entryCount: layer.entryCount,
    })),
    syncStatus: SYNC_OUT[status.syncStatus],
    degradedReasons: status.degraded.map(toFailure),
    tipLedger: status.tip ?? undefined,
    tipCloseTime: optionalTimestamp(status.tipClosedAt),
    lagLedgers: status.lag ?? undefined,
    retentionOldestLedger: status.oldest ?? undefined,
    retentionMarginLedgers: status.retentionMargin === null ? undefined : BigInt(status.retentionMargin),
    retentionMargin: optionalDuration(status.retentionMarginMs),
    lastSuccessTime: optionalTimestamp(status.lastSuccessAt),
    lastError: optionalFailure(status.lastError),
    uptime: optionalDuration(status.followerUptimeMs),
    processedLedgerCount: status.processedLedgers,
    ledgerRates: {
      perSecond10s: status.rates.over10s ?? undefined,
      perSecond1m: status.rates.over1m ?? undefined,
      perSecondLife: status.rates.overLife ?? undefined,
    },
    sources: status.sources.map(toSourceStatus),
    startLedger: status.startLedger ?? undefined,
    endLedger: status.endLedger ?? undefined,
    watchCount: status.watchCount === null ? undefined : BigInt(status.watchCount),
    updateTime: toTimestamp(status.updatedAt),
  };
}

function toSourceStatus(source: SourceStatus): MessageInitShape<typeof SourceStatusSchema> {
  return {
    source: source.name,
    kind: source.kind,
    host: source.host,
    active: source.active,
    breaker: source.breaker === null ? BreakerState.UNSPECIFIED : BREAKER_OUT[source.breaker],
    tipLedger: source.tip ?? undefined,
    oldestLedger: source.oldest ?? undefined,
    lastSuccessTime: optionalTimestamp(source.lastSuccessAt),
    lastError: optionalFailure(source.lastError),
  };
}

export function toStatusEvent(event: StatusEvent): MessageInitShape<typeof WatchStatusResponseSchema> {
  return {
    sequence: event.sequence.toString(),
    eventTime: toTimestamp(event.at),
    topic: TOPIC_OUT[event.topic],
    payload: payloadOf(event),
  };
}

function payloadOf(event: StatusEvent): NonNullable<MessageInitShape<typeof WatchStatusResponseSchema>['payload']> {
  switch (event.topic) {
    case 'streams':
      return { case: 'stream', value: toStreamStatus(event.stream) };
    case 'activity':
      return { case: 'activity', value: toActivity(event.activity) };
    case 'reconciliations':
      return { case: 'reconciliation', value: toReconciliation(event.run) };
    case 'drifts':
      return { case: 'drift', value: toDrift(event.drift, event.at) };
    case 'alerts':
      return { case: 'alert', value: toAlert(event.alert) };
    case 'usage':
      return { case: 'runtime', value: toRuntimeInfo(event.runtime) };
    case 'schedules':
      return { case: 'schedule', value: toSchedule(event.schedule) };
  }
}

function toActivity(activity: Activity): MessageInitShape<typeof ActivitySchema> {
  return {
    kind: ACTIVITY_OUT[activity.kind],
    event: activity.event,
    stream: activity.stream ?? '',
    ledger: activity.ledger ?? undefined,
    message: activity.message,
    resourceId: activity.resourceId ?? '',
    createTime: toTimestamp(activity.at),
  };
}

function toRuntimeInfo(runtime: RuntimeInfo): MessageInitShape<typeof RuntimeInfoSchema> {
  return {
    version: runtime.version,
    nodeVersion: runtime.nodeVersion,
    platform: runtime.platform,
    pid: runtime.pid,
    replica: runtime.replica,
    startTime: toTimestamp(runtime.startedAt),
    uptime: toDuration(runtime.uptimeMs),
    usage: {
      cpuPercent: runtime.cpuPercent ?? undefined,
      rssBytes: optionalBigInt(runtime.rssBytes),
      heapUsedBytes: optionalBigInt(runtime.heapUsedBytes),
      heapLimitBytes: optionalBigInt(runtime.heapLimitBytes),
      eventLoopDelayP99Ms: runtime.eventLoopDelayP99Ms ?? undefined,
    },
  };
}

export function toDiagnostics(diagnostics: Diagnostics): MessageInitShape<typeof DiagnosticsSchema> {
  const { database } = diagnostics;
  return {
    generateTime: toTimestamp(diagnostics.at),
    traceId: diagnostics.traceId,
    runtime: toRuntimeInfo(diagnostics.runtime),
    config: diagnostics.config.map(({ name, value, redacted, origin }) => ({
      name,
      value: redacted ? '' : (value ?? ''),
      redacted,
      origin,
    })),
    database: {
      reachable: database.reachable,
      embedded: database.embedded,
      serverVersion: database.serverVersion ?? '',
      schemaVersion: database.schemaVersion ?? '',
      latency: optionalDuration(database.latencyMs),
      usedConnections: database.usedConnections,
      idleConnections: database.idleConnections,
      waitingCallers: database.waitingCallers,
      maxConnections: database.maxConnections,
      failure: optionalFailure(database.failure),
    },
    streams: diagnostics.streams.map(toStreamStatus),
    schedules: diagnostics.schedules.map(toSchedule),
    deadLetterCount: BigInt(diagnostics.deadLetterCount),
    lastReconciliations: diagnostics.lastRuns.map(toReconciliation),
    disabledFeatures: [...diagnostics.disabledFeatures],
  };
}

function optionalBigInt(value: number | null): bigint | undefined {
  return value === null ? undefined : BigInt(Math.round(value));
}
