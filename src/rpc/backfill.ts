// Backfills and coverage at the door.
import { askerOf } from './asker.ts';
import { backfillStateIn, fromLimits, toBackfill, toBackfillTransition } from './convert-backfill.ts';
import { fromRange, fromTimestamp, layerIn, orAll, orNull, present, readAll, readSequence } from './convert-common.ts';
import { coverageStateIn, toCoverageRange, toGap } from './convert-coverage.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import { watchMessages } from './watch.ts';
import {
  type BackfillService,
  ListBackfillsRequestSchema,
  ListCoverageRequestSchema,
  ListGapsRequestSchema,
} from '../../gen/trueup/v1/backfill_service_pb.js';

export function backfillHandlers({
  backfills,
  ledger,
}: Pick<RpcPorts, 'backfills' | 'ledger'>): ServiceHandlers<typeof BackfillService> {
  return {
    async startBackfill(request, call) {
      const backfill = await backfills.start(
        {
          stream: orNull(request.stream),
          layer: layerIn(request.layer) ?? null,
          range: fromRange(request),
          source: orNull(request.source),
          watch: request.watch,
          dryRun: request.dryRun,
          reread: request.reread,
          limits: fromLimits(request.limits),
          reason: orNull(request.reason),
          planOf: orNull(request.planOf),
          requestId: orNull(request.requestId),
        },
        askerOf(call),
      );
      return { backfill: toBackfill(backfill) };
    },

    async getBackfill({ backfillId }) {
      const [backfill, transitions] = [await backfills.get(backfillId), await backfills.transitions(backfillId)];
      return { backfill: toBackfill(backfill), transitions: transitions.map(toBackfillTransition) };
    },

    async listBackfills(request) {
      const pager = pagerOf(ListBackfillsRequestSchema, request, PAGE_LIMITS.maxResources);
      const filter = present({
        states: readAll(request.states, backfillStateIn),
        stream: orAll(request.stream),
        dryRun: request.dryRun,
        createdFrom: request.startTime && fromTimestamp(request.startTime, 'start_time'),
        createdTo: request.endTime && fromTimestamp(request.endTime, 'end_time'),
      });
      const page = await backfills.list(filter, pager.page);
      return {
        backfills: page.items.map(toBackfill),
        nextPageToken: pager.nextToken(page),
        totalSize: BigInt(page.totalSize ?? 0),
      };
    },

    watchBackfill(request, call) {
      const since = readSequence(request.sinceSequence);
      const events = backfills.watch(request.backfillId, since, call.signal);
      return watchMessages(events, since, call.signal, ({ backfill }) => ({ backfill: toBackfill(backfill) }));
    },

    async pauseBackfill({ backfillId: id, reason, requestId }, call) {
      const wish = { id, reason: orNull(reason), requestId: orNull(requestId) };
      return { backfill: toBackfill(await backfills.pause(wish, askerOf(call))) };
    },

    async resumeBackfill({ backfillId: id, reason, requestId, limits }, call) {
      const wish = { id, reason: orNull(reason), requestId: orNull(requestId), limits: fromLimits(limits) };
      return { backfill: toBackfill(await backfills.resume(wish, askerOf(call))) };
    },

    async cancelBackfill({ backfillId: id, reason, requestId }, call) {
      const wish = { id, reason: orNull(reason), requestId: orNull(requestId) };
      return { backfill: toBackfill(await backfills.cancel(wish, askerOf(call))) };
    },

    async listCoverage(request) {
      const pager = pagerOf(ListCoverageRequestSchema, request, PAGE_LIMITS.maxRows);
      const filter = {
        stream: orNull(request.stream),
        ...present({
          layer: layerIn(request.layer),
          watch: orAll(request.watch),
          states: readAll(request.states, coverageStateIn),
          range: request.range && fromRange(request.range),
          chunks: request.chunks,
        }),
      };
      const page = await ledger.listCoverage(filter, pager.page);
      return { ranges: page.items.map(toCoverageRange), nextPageToken: pager.nextToken(page) };
    },

    async listGaps(request) {
      const pager = pagerOf(ListGapsRequestSchema, request, PAGE_LIMITS.maxRows);
      const filter = {
        stream: orNull(request.stream),
        ...present({
          layer: layerIn(request.layer),
          watch: orAll(request.watch),
          range: request.range && fromRange(request.range),
        }),
      };
      const page = await ledger.listGaps(filter, pager.page);
      return {
        gaps: page.items.map(toGap),
        nextPageToken: pager.nextToken(page),
        missingLedgerCount: BigInt(page.missingLedgers),
      };
    },
  };
}
