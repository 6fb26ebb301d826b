// Alerts at the door.
import { askerOf } from './asker.ts';
import { alertKindIn, alertStateIn, toAlert } from './convert-alert.ts';
import { fromTimestamp, orAll, orNull, present, readAll } from './convert-common.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import { ListAlertsRequestSchema, type ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';

type Handlers = Pick<ServiceHandlers<typeof ReconciliationService>, 'listAlerts' | 'replayAlert'>;

export function alertHandlers({ alerts }: Pick<RpcPorts, 'alerts'>): Handlers {
  return {
    async listAlerts(request) {
      const pager = pagerOf(ListAlertsRequestSchema, request, PAGE_LIMITS.maxResources);
      const filter = present({
        states: readAll(request.states, alertStateIn),
        kinds: readAll(request.kinds, alertKindIn),
        policy: orAll(request.policy),
        channel: orAll(request.channel),
        createdFrom: request.startTime && fromTimestamp(request.startTime, 'start_time'),
        createdTo: request.endTime && fromTimestamp(request.endTime, 'end_time'),
      });
      const page = await alerts.list(filter, pager.page);
      return {
        alerts: page.items.map(toAlert),
        nextPageToken: pager.nextToken(page),
        totalSize: BigInt(page.totalSize ?? 0),
      };
    },

    async replayAlert(request, call) {
      const { alertId: id, reason, requestId } = request;
      return { alert: toAlert(await alerts.replay({ id, reason, requestId: orNull(requestId) }, askerOf(call))) };
    },
  };
}
