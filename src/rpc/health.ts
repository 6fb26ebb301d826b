// How the house is, at the door.
import {
  fromTimestamp,
  orAll,
  orNull,
  present,
  readAll,
  readSequence,
  toDuration,
  toTimestamp,
} from './convert-common.ts';
import { toDiagnostics, toStatus, toStatusEvent, topicIn } from './convert-health.ts';
import { toLedgerHealth } from './convert-ledger-health.ts';
import { toAuditEntry, toDeadLetter, toSchedule } from './convert-timetable.ts';
import { HEARTBEAT_INTERVAL_MS, withHeartbeats } from './heartbeat.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import {
  type HealthService,
  ListAuditEntriesRequestSchema,
  ListDeadLettersRequestSchema,
  ListLedgerHealthRequestSchema,
  ListSchedulesRequestSchema,
} from '../../gen/trueup/v1/health_service_pb.js';

export function healthHandlers({ health }: Pick<RpcPorts, 'health'>): ServiceHandlers<typeof HealthService> {
  return {
    async getStatus(request) {
      return toStatus(await health.status(orNull(request.stream)));
    },

    async *watchStatus(request, call) {
      const since = readSequence(request.sinceSequence);
      const topics = readAll(request.topics, topicIn);
      const watch = { topics, since, stream: orNull(request.stream), activityBacklog: request.activityBacklog };
      let sequence = since ?? 0n;
      for await (const event of withHeartbeats(health.watch(watch, call.signal), call.signal)) {
        if (event === 'heartbeat') {
          const heartbeat = { case: 'heartbeat', value: { interval: toDuration(HEARTBEAT_INTERVAL_MS) } } as const;
          yield { sequence: sequence.toString(), eventTime: toTimestamp(new Date()), payload: heartbeat };
          continue;
        }
        sequence = event.sequence;
        yield toStatusEvent(event);
      }
    },

    async getDiagnostics(_request, call) {
      return { diagnostics: toDiagnostics(await health.diagnostics(call.traceId)) };
    },

    async listLedgerHealth(request, call) {
      const pager = pagerOf(ListLedgerHealthRequestSchema, request, PAGE_LIMITS.maxResources);
      const filter = { name: orNull(request.name), rowsLimit: request.rowsLimit };
      const page = await health.listLedgerHealth(filter, pager.page, call.signal);
      return { gauges: page.items.map(toLedgerHealth), nextPageToken: pager.nextToken(page) };
    },

    async listSchedules(request) {
      const pager = pagerOf(ListSchedulesRequestSchema, request, PAGE_LIMITS.maxResources);
      const page = await health.listSchedules(pager.page);
      return { schedules: page.items.map(toSchedule), nextPageToken: pager.nextToken(page) };
    },

    async listDeadLetters(request) {
      const pager = pagerOf(ListDeadLettersRequestSchema, request, PAGE_LIMITS.maxResources);
      const page = await health.listDeadLetters({ job: orNull(request.jobName) }, pager.page);
      return {
        deadLetters: page.items.map(toDeadLetter),
        nextPageToken: pager.nextToken(page),
        totalSize: BigInt(page.totalSize ?? 0),
      };
    },

    async listAuditEntries(request) {
      const pager = pagerOf(ListAuditEntriesRequestSchema, request, PAGE_LIMITS.maxResources);
      const filter = present({
        actor: orAll(request.actor),
        method: orAll(request.method),
        resourceType: orAll(request.resourceType),
        resourceId: orAll(request.resourceId),
        from: request.startTime && fromTimestamp(request.startTime, 'start_time'),
        to: request.endTime && fromTimestamp(request.endTime, 'end_time'),
      });
      const page = await health.listAudit(filter, pager.page);
      return { auditEntries: page.items.map(toAuditEntry), nextPageToken: pager.nextToken(page) };
    },
  };
}
