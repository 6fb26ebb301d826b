// Runs and policies at the door.
import { askerOf } from './asker.ts';
import {
  fromDuration,
  fromRange,
  fromTimestamp,
  levelIn,
  orAll,
  orNull,
  present,
  readAll,
  readSequence,
} from './convert-common.ts';
import { runStateIn, toPolicy, toReconciliation, triggerIn, verdictIn } from './convert-run.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import { watchMessages } from './watch.ts';
import {
  ListPoliciesRequestSchema,
  ListReconciliationsRequestSchema,
  type ReconciliationService,
} from '../../gen/trueup/v1/reconciliation_service_pb.js';

type Handlers = Pick<
  ServiceHandlers<typeof ReconciliationService>,
  | 'listPolicies'
  | 'startReconciliation'
  | 'getReconciliation'
  | 'getLatestReconciliation'
  | 'listReconciliations'
  | 'watchReconciliation'
  | 'cancelReconciliation'
>;

export function reconciliationHandlers({ reconciliations }: Pick<RpcPorts, 'reconciliations'>): Handlers {
  return {
    async listPolicies(request) {
      const pager = pagerOf(ListPoliciesRequestSchema, request, PAGE_LIMITS.maxResources);
      const page = await reconciliations.listPolicies(pager.page);
      return { policies: page.items.map(toPolicy), nextPageToken: pager.nextToken(page) };
    },

    async startReconciliation(request, call) {
      const { range, window, scope } = request;
      const run = await reconciliations.start(
        {
          policy: orNull(request.policy),
          level: levelIn(request.level) ?? null,
          range: range === undefined ? null : fromRange(range),
          windowMs: window === undefined ? null : fromDuration(window),
          scope: scope === undefined ? null : { accounts: scope.accounts, assets: scope.assets, kinds: scope.kinds },
          requestId: orNull(request.requestId),
        },
        askerOf(call),
      );
      return { reconciliation: toReconciliation(run) };
    },

    async getReconciliation(request) {
      return { reconciliation: toReconciliation(await reconciliations.get(request.reconciliationId)) };
    },

    async getLatestReconciliation(request) {
      const run = await reconciliations.latest({
        policy: orNull(request.policy),
        level: levelIn(request.level) ?? null,
      });
      return { reconciliation: toReconciliation(run) };
    },

    async listReconciliations(request) {
      const pager = pagerOf(ListReconciliationsRequestSchema, request, PAGE_LIMITS.maxResources);
      const filter = present({
        policy: orAll(request.policy),
        level: levelIn(request.level),
        trigger: triggerIn(request.trigger),
        states: readAll(request.states, runStateIn),
        verdicts: readAll(request.verdicts, verdictIn),
        createdFrom: request.startTime && fromTimestamp(request.startTime, 'start_time'),
        createdTo: request.endTime && fromTimestamp(request.endTime, 'end_time'),
      });
      const page = await reconciliations.list(filter, pager.page);
      return {
        reconciliations: page.items.map(toReconciliation),
        nextPageToken: pager.nextToken(page),
        totalSize: BigInt(page.totalSize ?? 0),
      };
    },

    watchReconciliation(request, call) {
      const since = readSequence(request.sinceSequence);
      const events = reconciliations.watch(request.reconciliationId, since, call.signal);
      return watchMessages(events, since, call.signal, ({ run }) => ({ reconciliation: toReconciliation(run) }));
    },

    async cancelReconciliation(request, call) {
      const { reconciliationId: id, reason, requestId } = request;
      const run = await reconciliations.cancel({ id, reason, requestId: orNull(requestId) }, askerOf(call));
      return { reconciliation: toReconciliation(run) };
    },
  };
}
