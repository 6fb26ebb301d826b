// Drifts to messages, and their filters back.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  Drift,
  DriftFilter,
  DriftKind,
  DriftSide,
  DriftState,
  DriftTransition,
  DriftTransitionRecord,
  ResolutionCause,
} from '../core/drift.ts';
import {
  DriftKind as DriftKindMessage,
  type DriftSchema,
  type DriftSideSchema,
  DriftState as DriftStateMessage,
  ResolutionCause as ResolutionCauseMessage,
} from '../../gen/trueup/v1/drift_pb.js';
import {
  type DriftFilter as DriftFilterMessage,
  DriftTransition as DriftTransitionMessage,
  type DriftTransitionRecordSchema,
} from '../../gen/trueup/v1/reconciliation_service_pb.js';
import {
  decimalOf,
  fromRange,
  fromTimestamp,
  LEVEL_OUT,
  levelIn,
  optionalTimestamp,
  orAll,
  present,
  readAll,
  reader,
  toDuration,
  toTimestamp,
} from './convert-common.ts';

export const DRIFT_KIND_OUT: Record<DriftKind, DriftKindMessage> = {
  MISSING_IN_DB: DriftKindMessage.MISSING_IN_DB,
  MISSING_ON_LEDGER: DriftKindMessage.MISSING_ON_LEDGER,
  AMOUNT_MISMATCH: DriftKindMessage.AMOUNT_MISMATCH,
  TYPE_MISMATCH: DriftKindMessage.TYPE_MISMATCH,
  ASSET_MISMATCH: DriftKindMessage.ASSET_MISMATCH,
  ACCOUNT_MISMATCH: DriftKindMessage.ACCOUNT_MISMATCH,
  TIME_MISMATCH: DriftKindMessage.TIME_MISMATCH,
  STATUS_MISMATCH: DriftKindMessage.STATUS_MISMATCH,
  DUPLICATE_IN_DB: DriftKindMessage.DUPLICATE_IN_DB,
  DUPLICATE_ON_LEDGER: DriftKindMessage.DUPLICATE_ON_LEDGER,
  BALANCE_MISMATCH: DriftKindMessage.BALANCE_MISMATCH,
};
export const DRIFT_STATE_OUT: Record<DriftState, DriftStateMessage> = {
  open: DriftStateMessage.OPEN,
  acknowledged: DriftStateMessage.ACKNOWLEDGED,
  resolved: DriftStateMessage.RESOLVED,
  exempt: DriftStateMessage.EXEMPT,
};
const CAUSE_OUT: Record<ResolutionCause, ResolutionCauseMessage> = {
  sides_agree: ResolutionCauseMessage.SIDES_AGREE,
  book_corrected: ResolutionCauseMessage.BOOK_CORRECTED,
  coverage_completed: ResolutionCauseMessage.COVERAGE_COMPLETED,
  manual: ResolutionCauseMessage.MANUAL,
  policy_changed: ResolutionCauseMessage.POLICY_CHANGED,
};
const TRANSITION_OUT: Record<DriftTransition, DriftTransitionMessage> = {
  assign: DriftTransitionMessage.ASSIGN,
  acknowledge: DriftTransitionMessage.ACKNOWLEDGE,
  resolve: DriftTransitionMessage.RESOLVE,
  exempt: DriftTransitionMessage.EXEMPT,
  reopen: DriftTransitionMessage.REOPEN,
};
export const driftKindIn = reader(DRIFT_KIND_OUT);
export const driftStateIn = reader(DRIFT_STATE_OUT);
const transitionIn = reader(TRANSITION_OUT);

/** The door has refused what is none of them. */
export function fromTransition(transition: DriftTransitionMessage): DriftTransition {
  return transitionIn(transition)!;
}

/** What a filter without states selects. */
const STANDING: readonly DriftState[] = ['open', 'acknowledged'];

/** @param now the time of the answer, from which ages are counted. */
export function toDrift(drift: Drift, now: Date): MessageInitShape<typeof DriftSchema> {
  return {
    id: drift.id,
    policy: drift.policy,
    level: LEVEL_OUT[drift.level],
    stream: drift.stream ?? '',
    matchKey: drift.matchKey,
    occurrence: drift.occurrence,
    kinds: drift.kinds.map((kind) => DRIFT_KIND_OUT[kind]),
    fields: drift.fields.map(({ field, ledger, book }) => ({
      field,
      ledgerValue: ledger ?? undefined,
      bookValue: book ?? undefined,
    })),
    ledgerSide: sideOf(drift.ledgerSide),
    bookSide: sideOf(drift.bookSide),
    state: DRIFT_STATE_OUT[drift.state],
    resolutionCause:
      drift.resolutionCause === null ? ResolutionCauseMessage.UNSPECIFIED : CAUSE_OUT[drift.resolutionCause],
    assignee: drift.assignee ?? '',
    reason: drift.reason ?? '',
    owner: drift.owner ?? '',
    exemptUntil: optionalTimestamp(drift.exemptUntil),
    firstSeenTime: toTimestamp(drift.firstSeenAt),
    lastSeenTime: toTimestamp(drift.lastSeenAt),
    firstReconciliationId: drift.firstRunId,
    lastReconciliationId: drift.lastRunId,
    itemTime: optionalTimestamp(drift.itemAt),
    age: toDuration(Math.max(0, now.getTime() - (drift.itemAt ?? drift.firstSeenAt).getTime())),
    valueAtRiskMinor: drift.valueAtRisk?.toString() ?? '',
    valueAtRiskAsset: drift.valueAtRisk === null ? '' : drift.asset,
    episode: drift.episode,
    reopenCount: drift.reopenedCount,
    transitionTime: optionalTimestamp(drift.transitionAt),
    transitionActor: drift.transitionActor ?? '',
    revision: BigInt(drift.revision),
    sandbox: drift.sandbox,
  };
}

function sideOf(side: DriftSide | null): MessageInitShape<typeof DriftSideSchema> | undefined {
  if (side === null) return undefined;
  return {
    account: side.account,
    asset: side.asset,
    amountMinor: side.amount?.toString() ?? '',
    amount: side.amount === null ? undefined : decimalOf(side.asset, side.amount),
    kind: side.kind ?? '',
    status: side.status ?? '',
    counterparty: side.counterparty ?? '',
    subAccount: side.subAccount ?? '',
    itemTime: optionalTimestamp(side.at),
    ledger: side.ledger ?? undefined,
    transactionHash: side.txHash ?? '',
    rowIds: [...side.rowIds],
    rowCount: BigInt(side.rowCount),
  };
}

export function toTransitionRecord(
  record: DriftTransitionRecord,
): MessageInitShape<typeof DriftTransitionRecordSchema> {
  return {
    transition: TRANSITION_OUT[record.transition],
    fromState: DRIFT_STATE_OUT[record.from],
    toState: DRIFT_STATE_OUT[record.to],
    reason: record.reason,
    actor: record.actor,
    createTime: toTimestamp(record.at),
  };
}

export function fromDriftFilter(filter: DriftFilterMessage | undefined): DriftFilter {
  if (filter === undefined) return { states: STANDING };
  const states = readAll(filter.states, driftStateIn);
  return present({
    policy: orAll(filter.policy),
    level: levelIn(filter.level),
    // A state that means "every state" stands for exactly that; no state at all means those that stand.
    states: filter.states.length === 0 ? STANDING : states,
    kinds: readAll(filter.kinds, driftKindIn),
    accounts: filter.accounts,
    assets: filter.assets,
    runId: orAll(filter.reconciliationId),
    matchKey: orAll(filter.matchKey),
    assignee: orAll(filter.assignee),
    ledgers: filter.range && fromRange(filter.range),
    firstSeenFrom: filter.startTime && fromTimestamp(filter.startTime, 'filter.start_time'),
    firstSeenTo: filter.endTime && fromTimestamp(filter.endTime, 'filter.end_time'),
  });
}
