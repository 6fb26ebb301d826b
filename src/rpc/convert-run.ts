// Runs and policies to messages.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { PolicyView } from '../core/listing.ts';
import { bookNameOf } from '../core/policy.ts';
import type {
  AssetTotal,
  BookSideRead,
  Inconclusive,
  InconclusiveReason,
  LedgerSideRead,
  Run,
  RunState,
  RunSummary,
  RunTrigger,
  Verdict,
} from '../core/run.ts';
import { Side } from '../../gen/trueup/v1/common_pb.js';
import { DriftKind } from '../../gen/trueup/v1/drift_pb.js';
import { FeeMode, type PolicySchema } from '../../gen/trueup/v1/policy_pb.js';
import {
  InconclusiveReason as InconclusiveReasonMessage,
  type InconclusiveSchema,
  type ReconciliationProgressSchema,
  type ReconciliationSchema,
  type ReconciliationSideSchema,
  ReconciliationState,
  ReconciliationTrigger,
  Verdict as VerdictMessage,
} from '../../gen/trueup/v1/reconciliation_pb.js';
import { DRIFT_KIND_OUT } from './convert-drift.ts';
import {
  JOIN_OUT,
  LAYER_OUT,
  LEVEL_OUT,
  optionalDuration,
  optionalFailure,
  optionalTimestamp,
  reader,
  toDuration,
  toMoney,
  toRange,
  toTimestamp,
} from './convert-common.ts';

export const RUN_STATE_OUT: Record<RunState, ReconciliationState> = {
  queued: ReconciliationState.QUEUED,
  running: ReconciliationState.RUNNING,
  succeeded: ReconciliationState.SUCCEEDED,
  failed: ReconciliationState.FAILED,
  cancelled: ReconciliationState.CANCELLED,
};
export const TRIGGER_OUT: Record<RunTrigger, ReconciliationTrigger> = {
  scheduled: ReconciliationTrigger.SCHEDULED,
  manual: ReconciliationTrigger.MANUAL,
};
export const VERDICT_OUT: Record<Verdict, VerdictMessage> = {
  INCONCLUSIVE: VerdictMessage.INCONCLUSIVE,
  DRIFT_DETECTED: VerdictMessage.DRIFT_DETECTED,
  CLEAN: VerdictMessage.CLEAN,
};
const INCONCLUSIVE_OUT: Record<InconclusiveReason, InconclusiveReasonMessage> = {
  SOURCE_UNAVAILABLE: InconclusiveReasonMessage.SOURCE_UNAVAILABLE,
  COVERAGE_GAP: InconclusiveReasonMessage.COVERAGE_GAP,
  BOOK_STALE: InconclusiveReasonMessage.BOOK_STALE,
  KEYS_DISJOINT: InconclusiveReasonMessage.KEYS_DISJOINT,
  NO_OPENING: InconclusiveReasonMessage.NO_OPENING,
  BOOK_UNREADABLE: InconclusiveReasonMessage.BOOK_UNREADABLE,
  SOURCE_DIVERGED: InconclusiveReasonMessage.SOURCE_DIVERGED,
  LEDGER_EMPTY: InconclusiveReasonMessage.LEDGER_EMPTY,
  BOOK_EMPTY: InconclusiveReasonMessage.BOOK_EMPTY,
  LEDGER_QUARANTINED: InconclusiveReasonMessage.LEDGER_QUARANTINED,
  LEDGER_UNAVAILABLE: InconclusiveReasonMessage.LEDGER_UNAVAILABLE,
  SCALE_UNKNOWN: InconclusiveReasonMessage.SCALE_UNKNOWN,
  INTERRUPTED: InconclusiveReasonMessage.INTERRUPTED,
  SEAL_BROKEN: InconclusiveReasonMessage.SEAL_BROKEN,
  SCOPE_EMPTY: InconclusiveReasonMessage.SCOPE_EMPTY,
  LIMIT_REACHED: InconclusiveReasonMessage.LIMIT_REACHED,
};

export const runStateIn = reader(RUN_STATE_OUT);
export const triggerIn = reader(TRIGGER_OUT);
export const verdictIn = reader(VERDICT_OUT);

export function toReconciliation(run: Run): MessageInitShape<typeof ReconciliationSchema> {
  return {
    id: run.id,
    policy: run.policy,
    level: LEVEL_OUT[run.level],
    trigger: TRIGGER_OUT[run.trigger],
    state: RUN_STATE_OUT[run.state],
    verdict: run.verdict === null ? VerdictMessage.UNSPECIFIED : VERDICT_OUT[run.verdict],
    sandbox: run.sandbox,
    stream: run.stream ?? '',
    book: run.book,
    traceId: run.traceId,
    createTime: toTimestamp(run.createdAt),
    startTime: optionalTimestamp(run.startedAt),
    completeTime: optionalTimestamp(run.completedAt),
    error: optionalFailure(run.error),
    progress: progressOf(run),
    requestId: run.requestId ?? '',
    requester: run.actor,
    ...(run.summary === null ? {} : summaryOf(run.summary, run)),
  };
}

function summaryOf(summary: RunSummary, run: Run) {
  const { cut, window, scope, counts, sides } = summary;
  return {
    cut:
      cut === null
        ? undefined
        : {
            ledger: cut.ledger ?? undefined,
            closeTime: optionalTimestamp(cut.closedAt),
            commitPosition: cut.commitPosition,
            cutTime: toTimestamp(cut.cutAt),
          },
    window:
      window === null
        ? undefined
        : {
            fromLedger: window.ledgers?.from,
            toLedger: window.ledgers === null ? undefined : window.ledgers.to - 1,
            fromTime: optionalTimestamp(window.fromTime),
            toTime: optionalTimestamp(window.toTime),
          },
    scope:
      scope === null
        ? undefined
        : {
            accounts: [...scope.accounts],
            assets: [...scope.assets],
            kinds: [...scope.kinds],
            accountCount: BigInt(scope.accountCount),
            assetCount: BigInt(scope.assetCount),
          },
    join: JOIN_OUT[summary.join],
    layer: LAYER_OUT[summary.layer],
    sides: sides === null ? [] : [ledgerSideOf(sides.ledger, run.stream ?? ''), bookSideOf(sides.book, run.book)],
    counts:
      counts === null
        ? undefined
        : {
            ledgerRecordCount: BigInt(counts.ledgerRecords),
            bookRecordCount: BigInt(counts.bookRecords),
            matchedCount: BigInt(counts.matched),
            driftedCount: BigInt(counts.drifted),
            pendingCount: BigInt(counts.pending),
            exemptCount: BigInt(counts.exempt),
            underivedCount: BigInt(counts.underived),
            skippedCount: BigInt(counts.skipped),
            appearedCount: BigInt(counts.appeared),
            resolvedCount: BigInt(counts.resolved),
          },
    inconclusiveReasons: summary.inconclusive.map(inconclusiveOf),
    driftKindCounts: summary.kindCounts.map(({ kind, open, appeared }) => ({
      kind: DRIFT_KIND_OUT[kind],
      count: BigInt(open),
      appearedCount: BigInt(appeared),
    })),
    feeTotals: summary.feeTotals.map(({ account, asset, amount, count }) => ({
      account,
      total: toMoney(asset, amount),
      feeCount: BigInt(count),
    })),
    toleranceAbsorbed: summary.toleranceAbsorbed.map((total) => ({
      total: totalOf(total),
      itemCount: BigInt(total.count),
    })),
    underivedItems: summary.underivedItems.map(({ account, asset, ledgerAmount, bookAmount, reasons }) => ({
      account,
      asset,
      ledgerAmount: ledgerAmount === null ? undefined : toMoney(asset, ledgerAmount),
      bookAmount: bookAmount === null ? undefined : toMoney(asset, bookAmount),
      reasons: [...reasons],
    })),
    driftAgeCounts: (summary.ages ?? []).map(({ fromDays, throughDays, count }) => ({
      fromDays,
      throughDays: throughDays ?? undefined,
      count: BigInt(count),
    })),
    valueAtRisk: summary.valueAtRisk.map((total) => ({ total: totalOf(total), driftCount: BigInt(total.count) })),
    resultDigest: summary.resultDigest ?? '',
    notes: [...(summary.notes ?? [])],
  };
}

function totalOf({ asset, amount }: AssetTotal) {
  return toMoney(asset, amount);
}

function ledgerSideOf(side: LedgerSideRead, name: string): MessageInitShape<typeof ReconciliationSideSchema> {
  return {
    side: Side.LEDGER,
    name,
    recordCount: side.records === null ? undefined : BigInt(side.records),
    complete: side.complete,
    completeThrough: optionalTimestamp(side.completeThrough),
    coveredRanges: side.covered.map(toRange),
    missingRanges: side.missing.map(toRange),
    missingLedgerCount: BigInt(side.missingLedgers),
    missing: side.missingText ?? '',
    digest: side.digest ?? '',
  };
}

function bookSideOf(side: BookSideRead, name: string): MessageInitShape<typeof ReconciliationSideSchema> {
  return {
    side: Side.BOOK,
    name,
    recordCount: side.records === null ? undefined : BigInt(side.records),
    complete: side.complete,
    completeThrough: optionalTimestamp(side.completeThrough),
    missing: side.missingText ?? '',
    digest: side.digest ?? '',
  };
}

function inconclusiveOf(item: Inconclusive): MessageInitShape<typeof InconclusiveSchema> {
  return {
    reason: INCONCLUSIVE_OUT[item.reason],
    side: item.side === null ? Side.UNSPECIFIED : item.side === 'ledger' ? Side.LEDGER : Side.BOOK,
    message: item.message,
    fix: item.fix,
    ranges: item.ranges.map(toRange),
    accounts: [...item.accounts],
    itemCount: BigInt(item.itemCount),
  };
}

function progressOf(run: Run): MessageInitShape<typeof ReconciliationProgressSchema> | undefined {
  if (run.progress === null) return undefined;
  const { phase, itemsDone, itemsTotal, updatedAt } = run.progress;
  return {
    phase,
    itemDoneCount: BigInt(itemsDone),
    itemTotalCount: itemsTotal === null ? undefined : BigInt(itemsTotal),
    updateTime: toTimestamp(updatedAt),
  };
}

export function toPolicy({
  policy,
  stream,
  sandbox,
  alert,
  failure,
}: PolicyView): MessageInitShape<typeof PolicySchema> {
  const { scope } = policy;
  return {
    name: policy.name,
    level: LEVEL_OUT[policy.level],
    stream: policy.ledger.kind === 'stream' ? (stream ?? '') : policy.ledger.name,
    ledgerKind: policy.ledger.kind === 'stream' ? 'stream' : policy.ledger.type,
    book: bookNameOf(policy),
    bookKind:
      policy.book.kind === 'recorded' ? 'pushed' : policy.book.kind === 'postgres' ? 'postgres' : policy.book.type,
    layer: LAYER_OUT[policy.layer],
    join: JOIN_OUT[policy.join],
    statusMap: { ...policy.statusMap },
    scope: {
      accounts: [...(scope.accounts ?? [])],
      assets: [...(scope.assets ?? [])],
      kinds: [...(scope.kinds ?? [])],
      accountCount: BigInt(scope.accounts?.length ?? 0),
      assetCount: BigInt(scope.assets?.length ?? 0),
    },
    feeMode: FeeMode.SEPARATE,
    exactFields: [...policy.exact],
    amountTolerances: policy.amountTolerances.map(({ asset, minor, basisPoints }) => ({
      asset,
      amountMinor: minor === null ? '' : minor.toString(),
      basisPoints: basisPoints ?? undefined,
    })),
    exemptions: policy.exemptions.map(({ match, reason, owner, expiresAt }) => ({
      matchKey: match.key ?? '',
      account: match.account ?? '',
      asset: match.asset ?? '',
      kind: match.kind === undefined ? DriftKind.UNSPECIFIED : DRIFT_KIND_OUT[match.kind],
      reason,
      owner,
      expireTime: toTimestamp(expiresAt),
    })),
    timeTolerance: optionalDuration(policy.timeToleranceMs),
    missingInDbGrace: toDuration(policy.grace.missingInDbMs),
    missingOnLedgerGrace: toDuration(policy.grace.missingOnLedgerMs),
    window: optionalDuration(policy.windowHours === null ? null : policy.windowHours * 3_600_000),
    scheduleInterval: toDuration(policy.schedule.intervalMs),
    scheduleEnabled: policy.schedule.enabled,
    alertRule:
      alert === null
        ? undefined
        : {
            driftThreshold: alert.driftThreshold,
            cooldown: toDuration(alert.cooldownMs),
            channels: [...alert.channels],
            alertInconclusive: alert.alertInconclusive,
          },
    failure: optionalFailure(failure),
    sandbox,
  };
}
