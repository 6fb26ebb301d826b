// Alerts to messages, and their filters back.
import type { MessageInitShape } from '@bufbuild/protobuf';
import { alertBody, type Alert, type AlertKind, type AlertState, type DeliveryAttempt } from '../core/alert.ts';
import {
  AlertKind as AlertKindMessage,
  type AlertSchema,
  AlertState as AlertStateMessage,
  type DeliveryAttemptSchema,
} from '../../gen/trueup/v1/alert_pb.js';
import { optionalFailure, optionalTimestamp, reader, toDuration, toTimestamp } from './convert-common.ts';

const KIND_OUT: Record<AlertKind, AlertKindMessage> = {
  DRIFT_DETECTED: AlertKindMessage.DRIFT_DETECTED,
  DRIFT_RISING: AlertKindMessage.DRIFT_RISING,
  RESOLVED: AlertKindMessage.RESOLVED,
  INCONCLUSIVE: AlertKindMessage.INCONCLUSIVE,
  STREAM_DEGRADED: AlertKindMessage.STREAM_DEGRADED,
  SLO_BREACH: AlertKindMessage.SLO_BREACH,
  JOB_DEAD_LETTERED: AlertKindMessage.JOB_DEAD_LETTERED,
  LEDGER_HEALTH: AlertKindMessage.LEDGER_HEALTH,
  SWEEP_REFUSED: AlertKindMessage.SWEEP_REFUSED,
};
const STATE_OUT: Record<AlertState, AlertStateMessage> = {
  pending: AlertStateMessage.PENDING,
  delivered: AlertStateMessage.DELIVERED,
  suppressed: AlertStateMessage.SUPPRESSED,
  dead_lettered: AlertStateMessage.DEAD_LETTERED,
};

export const alertKindIn = reader(KIND_OUT);
export const alertStateIn = reader(STATE_OUT);

export function toAlert(alert: Alert): MessageInitShape<typeof AlertSchema> {
  return {
    id: alert.id,
    kind: KIND_OUT[alert.kind],
    state: STATE_OUT[alert.state],
    channel: alert.channel ?? '',
    channelKind: alert.channelKind ?? '',
    policy: alert.policy ?? '',
    reconciliationId: alert.runId ?? '',
    episode: alert.episode,
    title: alert.title,
    body: alertBody(alert),
    suppressReason: alert.suppressReason ?? '',
    attempts: alert.attempts.map(toAttempt),
    createTime: toTimestamp(alert.createdAt),
    nextAttemptTime: optionalTimestamp(alert.state === 'pending' ? (alert.nextAttemptAt ?? alert.createdAt) : null),
    deliverTime: optionalTimestamp(alert.deliveredAt),
    replayCount: alert.replayCount,
    sandbox: alert.sandbox,
  };
}

function toAttempt(attempt: DeliveryAttempt): MessageInitShape<typeof DeliveryAttemptSchema> {
  return {
    attempt: attempt.attempt,
    attemptTime: toTimestamp(attempt.at),
    ...(attempt.httpStatus !== null && { httpStatus: attempt.httpStatus }),
    failure: optionalFailure(attempt.failure),
    duration: toDuration(attempt.durationMs),
  };
}
