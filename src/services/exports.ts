// Exports as a resource: started in one transaction with its job, watched by polling its row, cancelled by asking.
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { isExportable } from '../core/export-columns.ts';
import { isExportOver, type ExportJob, type ExportListFilter, type ExportOrder } from '../core/export.ts';
import { TrueUpError } from '../core/errors.ts';
import type { Page, PageRequest } from '../core/page.ts';
import { writeAudit, type Caller } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import { getExport, getExportByRequest, insertExport, listExports, requestExportCancel } from '../store/exports.ts';
import type { Queue } from '../store/queue.ts';
import { watchResource } from './watch-resource.ts';

export const EXPORT_JOB = 'export';

export interface ExportsDeps {
  readonly db: Database;
  readonly queue: Pick<Queue, 'send'>;
  readonly sandbox: boolean;
  /** Throws where no manifest could be made: an export that can't be signed is refused before it is begun. */
  readonly requireSigning: () => void;
}

export type ExportsService = ReturnType<typeof createExportsService>;

export function createExportsService(deps: ExportsDeps) {
  const { db } = deps;

  async function mustGet(id: string): Promise<ExportJob> {
    const job = await getExport(db.em(), id);
    if (job !== null) return job;
    throw new TrueUpError('EXPORT_NOT_FOUND', `there is no export ${id}`, { fix: 'see ListExports for the ids' });
  }

  return {
    async start(order: ExportOrder & { readonly requestId: string | null }, caller: Caller): Promise<ExportJob> {
      requirePossible(order);
      deps.requireSigning();
      const id = randomUUID();
      return db.em().transactional(async (em) => {
        const { sandbox } = deps;
        if (!(await insertExport(em, { ...order, id, requester: caller.actor, sandbox }))) {
          return sameOrder((await getExportByRequest(em, order.requestId!))!, order);
        }
        await deps.queue.send(em, EXPORT_JOB, { id }, { singletonKey: id });
        const { requestId: _, ...after } = order;
        await writeAudit(em, caller, { resourceType: 'export', resourceId: id, after });
        return (await getExport(em, id))!;
      });
    },

    get: mustGet,

    list: (filter: ExportListFilter, page: PageRequest): Promise<Page<ExportJob>> => listExports(db.em(), filter, page),

    async *watch(id: string, since: bigint | null, signal: AbortSignal): AsyncGenerator<ExportJob> {
      const watched = {
        read: () => mustGet(id),
        sequenceOf: (job: ExportJob) => job.sequence,
        isFinished: (job: ExportJob) => isExportOver(job),
      };
      for await (const { state } of watchResource(watched, since, signal)) yield state;
    },

    async cancel(call: { readonly id: string; readonly reason: string }, caller: Caller): Promise<ExportJob> {
      const job = await mustGet(call.id);
      if (job.state === 'cancelled') return job;
      await db.em().transactional(async (em) => {
        if (!(await requestExportCancel(em, call.id))) {
          throw new TrueUpError('RUN_ALREADY_FINISHED', `export ${call.id} has ${job.state} already`, {
            fix: 'there is nothing to cancel',
          });
        }
        await writeAudit(em, caller, {
          resourceType: 'export',
          resourceId: call.id,
          reason: call.reason,
          before: { state: job.state },
        });
      });
      return mustGet(call.id);
    },
  };
}

function requirePossible({ kind, filter }: ExportOrder): void {
  if (!isExportable(kind)) {
    throw new TrueUpError('FEATURE_DISABLED', 'there are no sweep actions to export: the provider sweep is off', {
      fix: 'configure the provider sweep first',
    });
  }
  if (filter.range !== undefined && filter.range.from >= filter.range.to) {
    throw new TrueUpError('INVALID_LEDGER_RANGE', 'the range ends before it begins', { fix: 'swap its two ends' });
  }
  if (kind === 'statement' && (filter.from !== undefined || filter.to !== undefined)) {
    throw new TrueUpError('INVALID_REQUEST', 'a statement is of ledgers, not of times: its closing is a balance', {
      fix: 'give a range of ledgers, or none for all that is covered',
    });
  }
}

function sameOrder(earlier: ExportJob, order: ExportOrder & { readonly requestId: string | null }): ExportJob {
  const of = ({ kind, format, compression, filter, fileName }: ExportOrder): ExportOrder => ({
    kind,
    format,
    compression,
    filter,
    fileName,
  });
  if (isDeepStrictEqual(of(earlier), of(order))) return earlier;
  throw new TrueUpError('REQUEST_ID_REUSED', `request id ${order.requestId} was used for another export`, {
    fix: 'take a new UUID for a new request',
  });
}
