// Exports and their bytes at the door.
import { askerOf } from './asker.ts';
import { orAll, orNull, present, readAll, readSequence } from './convert-common.ts';
import {
  exportCompressionIn,
  exportFormatIn,
  exportKindIn,
  exportStateIn,
  fromExportFilter,
  toExport,
} from './convert-export.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import { watchMessages } from './watch.ts';
import { ListExportsRequestSchema, type ManifestService } from '../../gen/trueup/v1/manifest_service_pb.js';

type Handlers = Pick<
  ServiceHandlers<typeof ManifestService>,
  'startExport' | 'getExport' | 'listExports' | 'watchExport' | 'cancelExport'
>;

export function exportHandlers({ exports }: Pick<RpcPorts, 'exports'>): Handlers {
  return {
    async startExport(request, call) {
      const order = {
        // The contract's own annotation has refused the kind that selects nothing.
        kind: exportKindIn(request.kind)!,
        format: exportFormatIn(request.format) ?? ('csv' as const),
        compression: exportCompressionIn(request.compression) ?? ('none' as const),
        filter: fromExportFilter(request.filter),
        fileName: orNull(request.fileName),
        requestId: orNull(request.requestId),
      };
      return { export: toExport(await exports.start(order, askerOf(call))) };
    },

    async getExport(request) {
      return { export: toExport(await exports.get(request.exportId)) };
    },

    async listExports(request) {
      const pager = pagerOf(ListExportsRequestSchema, request, PAGE_LIMITS.maxResources);
      const filter = present({
        states: readAll(request.states, exportStateIn),
        kinds: readAll(request.kinds, exportKindIn),
        requester: orAll(request.requester),
      });
      const page = await exports.list(filter, pager.page);
      return {
        exports: page.items.map(toExport),
        nextPageToken: pager.nextToken(page),
        totalSize: BigInt(page.totalSize ?? 0),
      };
    },

    watchExport(request, call) {
      const since = readSequence(request.sinceSequence);
      const events = exports.watch(request.exportId, since, call.signal);
      return watchMessages(events, since, call.signal, (job) => ({ export: toExport(job) }));
    },

    async cancelExport({ exportId: id, reason }, call) {
      return { export: toExport(await exports.cancel({ id, reason }, askerOf(call))) };
    },
  };
}
