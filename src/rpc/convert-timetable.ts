// The timetable, what it gave up, and who changed what, to messages.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AuditEntry, DeadLetter, Schedule } from '../core/status.ts';
import {
  type AuditEntrySchema,
  type DeadLetterSchema,
  JobHealth,
  type ScheduleSchema,
} from '../../gen/trueup/v1/health_pb.js';
import { Role } from '../../gen/trueup/v1/options_pb.js';
import {
  optionalDuration,
  optionalFailure,
  optionalTimestamp,
  toDuration,
  toFailure,
  toTimestamp,
} from './convert-common.ts';

const ROLE_OUT: Record<AuditEntry['role'], Role> = { read: Role.READ, operate: Role.OPERATE, admin: Role.ADMIN };

/** A dead letter's data is shown up to here. */
const MAX_PAYLOAD_BYTES = 4 * 1024;

export function toSchedule(schedule: Schedule): MessageInitShape<typeof ScheduleSchema> {
  return {
    name: schedule.name,
    enabled: schedule.enabled,
    interval: toDuration(schedule.intervalMs),
    nextTime: optionalTimestamp(schedule.dueAt),
    lastStartTime: optionalTimestamp(schedule.lastStartedAt),
    lastSuccessTime: optionalTimestamp(schedule.lastSuccessAt),
    lastFailureTime: optionalTimestamp(schedule.lastFailureAt),
    lastError: optionalFailure(schedule.lastError),
    runCount: BigInt(schedule.runs),
    successCount: BigInt(schedule.succeeded),
    failureCount: BigInt(schedule.failed),
    deadLetterCount: BigInt(schedule.deadLettered),
    inFlightCount: schedule.inFlight,
    lastDuration: optionalDuration(schedule.lastDurationMs),
    meanDuration: optionalDuration(schedule.meanDurationMs),
    health:
      schedule.health === null
        ? JobHealth.UNSPECIFIED
        : schedule.health === 'healthy'
          ? JobHealth.HEALTHY
          : JobHealth.DEGRADED,
  };
}

export function toDeadLetter(letter: DeadLetter): MessageInitShape<typeof DeadLetterSchema> {
  return {
    id: letter.id,
    jobName: letter.job,
    resourceId: letter.resourceId ?? '',
    attemptCount: letter.attempts,
    lastError: toFailure(letter.lastError),
    createTime: toTimestamp(letter.createdAt),
    deadTime: toTimestamp(letter.deadAt),
    payloadJson: cutBytes(letter.payloadJson, MAX_PAYLOAD_BYTES),
  };
}

export function toAuditEntry(entry: AuditEntry): MessageInitShape<typeof AuditEntrySchema> {
  return {
    id: entry.id.toString(),
    createTime: toTimestamp(entry.at),
    actor: entry.actor,
    role: ROLE_OUT[entry.role],
    method: entry.method,
    requestId: entry.requestId ?? '',
    resourceType: entry.resourceType,
    resourceId: entry.resourceId,
    reason: entry.reason ?? '',
    beforeJson: entry.beforeJson ?? '',
    afterJson: entry.afterJson ?? '',
    traceId: entry.traceId ?? '',
    peer: entry.peer ?? '',
  };
}

/** Never cuts a character in two. */
function cutBytes(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return text;
  return bytes.subarray(0, maxBytes).toString('utf8').replace(/�+$/, '');
}
