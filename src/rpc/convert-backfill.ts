// Backfills to messages, and what is asked of them back.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  Backfill,
  BackfillLimits,
  BackfillProgress,
  BackfillState,
  DryRunReport,
  SpanRates,
  StallCause,
} from '../core/backfill.ts';
import type { Reason } from '../core/errors.ts';
import type { BackfillTransition } from '../services/backfill.ts';
import {
  type BackfillLimits as BackfillLimitsMessage,
  type BackfillLimitsSchema,
  type BackfillProgressSchema,
  type BackfillSchema,
  BackfillState as BackfillStateMessage,
  type BackfillTransitionSchema,
  type DryRunReportSchema,
  type RatesSchema,
  StallCause as StallCauseMessage,
} from '../../gen/trueup/v1/backfill_pb.js';
import { Layer } from '../../gen/trueup/v1/entry_pb.js';
import { ErrorReason } from '../../gen/trueup/v1/error_reason_pb.js';
import {
  LAYER_OUT,
  optionalDuration,
  optionalFailure,
  optionalTimestamp,
  reader,
  toRange,
  toReason,
  toTimestamp,
} from './convert-common.ts';

const BACKFILL_STATE_OUT: Record<BackfillState, BackfillStateMessage> = {
  planned: BackfillStateMessage.PLANNED,
  queued: BackfillStateMessage.QUEUED,
  running: BackfillStateMessage.RUNNING,
  throttled: BackfillStateMessage.THROTTLED,
  pausing: BackfillStateMessage.PAUSING,
  paused: BackfillStateMessage.PAUSED,
  cancelling: BackfillStateMessage.CANCELLING,
  cancelled: BackfillStateMessage.CANCELLED,
  blocked: BackfillStateMessage.BLOCKED,
  verifying: BackfillStateMessage.VERIFYING,
  succeeded: BackfillStateMessage.SUCCEEDED,
  failed: BackfillStateMessage.FAILED,
};
const STALL_CAUSE_OUT: Record<StallCause, StallCauseMessage> = {
  fetch: StallCauseMessage.FETCH,
  rate_limit: StallCauseMessage.RATE_LIMIT,
  decode: StallCauseMessage.DECODE,
  write: StallCauseMessage.WRITE,
  throttled: StallCauseMessage.THROTTLED,
  paused: StallCauseMessage.PAUSED,
  no_worker: StallCauseMessage.NO_WORKER,
};

export const backfillStateIn = reader(BACKFILL_STATE_OUT);

export function fromLimits(limits: BackfillLimitsMessage | undefined): BackfillLimits | null {
  if (limits === undefined) return null;
  return {
    ledgersPerSecond: limits.ledgersPerSecond ?? null,
    requestsPerSecond: limits.requestsPerSecond ?? null,
    concurrency: limits.concurrency,
    batchSize: limits.batchSize,
  };
}

export function toBackfill(backfill: Backfill): MessageInitShape<typeof BackfillSchema> {
  return {
    id: backfill.id,
    stream: backfill.stream,
    layer: backfill.layer === null ? Layer.UNSPECIFIED : LAYER_OUT[backfill.layer],
    ...toRange(backfill.range),
    source: backfill.source ?? '',
    watch: [...(backfill.watch ?? [])],
    dryRun: backfill.dryRun,
    reread: backfill.reread,
    limits: limitsOf(backfill.limits),
    state: BACKFILL_STATE_OUT[backfill.state],
    progress: progressOf(backfill.progress),
    dryRunReport: backfill.report === null ? undefined : reportOf(backfill.report),
    error: optionalFailure(backfill.error),
    digest: backfill.digest ?? '',
    reason: backfill.reason ?? '',
    requester: backfill.requester,
    createTime: toTimestamp(backfill.createdAt),
    startTime: optionalTimestamp(backfill.startedAt),
    updateTime: toTimestamp(backfill.updatedAt),
    completeTime: optionalTimestamp(backfill.completedAt),
    requestId: backfill.requestId ?? '',
    sandbox: backfill.sandbox,
  };
}

export function toBackfillTransition(change: BackfillTransition): MessageInitShape<typeof BackfillTransitionSchema> {
  return {
    transitionTime: toTimestamp(change.at),
    fromState: change.from === null ? BackfillStateMessage.UNSPECIFIED : BACKFILL_STATE_OUT[change.from],
    toState: BACKFILL_STATE_OUT[change.to],
    actor: change.actor,
    reason: change.reason ?? '',
    errorReason: change.errorReason === null ? ErrorReason.UNSPECIFIED : toReason(change.errorReason as Reason),
  };
}

function limitsOf(limits: BackfillLimits): MessageInitShape<typeof BackfillLimitsSchema> {
  return {
    ledgersPerSecond: limits.ledgersPerSecond ?? undefined,
    requestsPerSecond: limits.requestsPerSecond ?? undefined,
    concurrency: limits.concurrency,
    batchSize: limits.batchSize,
  };
}

function progressOf(progress: BackfillProgress): MessageInitShape<typeof BackfillProgressSchema> {
  return {
    sequence: progress.sequence.toString(),
    totalLedgerCount: BigInt(progress.totalLedgers),
    missingLedgerCount: BigInt(progress.missingLedgers),
    scannedLedgerCount: BigInt(progress.scannedLedgers),
    skippedLedgerCount: BigInt(progress.skippedLedgers),
    quarantinedLedgerCount: BigInt(progress.quarantinedLedgers),
    unavailableLedgerCount: BigInt(progress.unavailableLedgers),
    insertedEntryCount: progress.insertedEntries,
    duplicateEntryCount: progress.duplicateEntries,
    contiguousThrough: progress.contiguousThrough ?? undefined,
    lastLedger: progress.lastLedger ?? undefined,
    totalChunkCount: BigInt(progress.totalChunks),
    doneChunkCount: BigInt(progress.doneChunks),
    percent: progress.percent,
    ledgerRates: ratesOf(progress.ledgerRates),
    entryRates: ratesOf(progress.entryRates),
    retryCount: progress.retries,
    stallCause: progress.stall === null ? StallCauseMessage.UNSPECIFIED : STALL_CAUSE_OUT[progress.stall.cause],
    stallTime: optionalTimestamp(progress.stall?.since ?? null),
    eta: optionalDuration(progress.etaMs),
    etaUncertainty: optionalDuration(progress.etaUncertaintyMs),
    workerCount: progress.workers,
    updateTime: toTimestamp(progress.updatedAt),
    retentionMarginLedgerCount:
      progress.retentionMarginLedgers === null ? undefined : BigInt(progress.retentionMarginLedgers),
  };
}

function ratesOf(rates: SpanRates): MessageInitShape<typeof RatesSchema> {
  return {
    perSecond10s: rates.last10s ?? undefined,
    perSecond1m: rates.last1m ?? undefined,
    perSecondLife: rates.life ?? undefined,
  };
}

function reportOf(report: DryRunReport): MessageInitShape<typeof DryRunReportSchema> {
  return {
    missingRanges: report.missingRanges.map(toRange),
    missingRangeCount: BigInt(report.missingRangeCount),
    unavailableRanges: report.unavailableRanges.map(toRange),
    chunkCount: BigInt(report.chunks),
    // Every ledger is read: the sample is the whole, and the estimate is what was counted.
    sampledEntryCount: report.insertEntries,
    sampledLedgerCount: BigInt(report.readLedgers),
    estimatedEntryCount: report.insertEntries,
    estimatedRequestCount: BigInt(report.requests),
    estimatedDuration: optionalDuration(report.estimatedDurationMs),
    duplicateEntryCount: report.duplicateEntries,
    conflictLedgerCount: BigInt(report.conflictLedgers),
    conflictRanges: report.conflictRanges.map(toRange),
    readByteCount: report.bytes,
  };
}
