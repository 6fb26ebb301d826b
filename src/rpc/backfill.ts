// Coverage at the door; backfills themselves are not part of this release.
import { fromRange, layerIn, orAll, orNull, present, readAll } from './convert-common.ts';
import { coverageStateIn, toCoverageRange, toGap } from './convert-coverage.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import {
  type BackfillService,
  ListCoverageRequestSchema,
  ListGapsRequestSchema,
} from '../../gen/trueup/v1/backfill_service_pb.js';

export function backfillHandlers({ ledger }: Pick<RpcPorts, 'ledger'>): ServiceHandlers<typeof BackfillService> {
  return {
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
