// The book's intake, and the rows of both sides, at the door.
import { TrueUpError } from '../core/errors.ts';
import type { StreamMessage } from '../services/book.ts';
import { askerOf } from './asker.ts';
import { fromTimestamp, orNull } from './convert-common.ts';
import { fromBookCall, fromImportHeader, toImport, toRecordResults } from './convert-rows.ts';
import type { ServiceHandlers } from './methods.ts';
import type { RpcPorts } from './ports.ts';
import type {
  ImportEntriesRequest,
  ReconciliationService,
  StreamEntriesRequest,
} from '../../gen/trueup/v1/reconciliation_service_pb.js';

type Handlers = Pick<
  ServiceHandlers<typeof ReconciliationService>,
  'recordEntries' | 'streamEntries' | 'importEntries' | 'getImport'
>;

export function bookHandlers({ books }: Pick<RpcPorts, 'books'>): Handlers {
  return {
    async recordEntries(request, call) {
      const { rows, balances } = fromBookCall(request.entries, request.balances);
      const answer = await books.record(
        {
          book: request.book,
          rows,
          balances,
          completeThrough:
            request.completeThrough === undefined ? null : fromTimestamp(request.completeThrough, 'complete_through'),
          requestId: orNull(request.requestId),
        },
        askerOf(call),
      );
      return toRecordResults(answer);
    },

    async streamEntries(requests, call) {
      const { header, rest } = await headerFirst(
        requests,
        (each: StreamEntriesRequest) => each.message.case === 'header' && each.message.value,
      );
      const answer = await books.stream(
        {
          book: header.book,
          completeThrough:
            header.completeThrough === undefined
              ? null
              : fromTimestamp(header.completeThrough, 'header.complete_through'),
          requestId: orNull(header.requestId),
        },
        batchesOf(rest),
        askerOf(call),
      );
      return { ...toRecordResults(answer), batchCount: BigInt(answer.batches) };
    },

    async importEntries(requests, call) {
      const { header, rest } = await headerFirst(
        requests,
        (each: ImportEntriesRequest) => each.message.case === 'header' && each.message.value,
      );
      const done = await books.import(fromImportHeader(header), chunksOf(rest), askerOf(call), call.signal);
      return { import: toImport(done) };
    },

    async getImport(request) {
      return { import: toImport(await books.getImport(request.importId)) };
    },
  };
}

async function headerFirst<T, H>(
  requests: AsyncIterable<T>,
  headerOf: (request: T) => H | false,
): Promise<{ header: H; rest: AsyncIterable<T> }> {
  const iterator = requests[Symbol.asyncIterator]();
  const first = await iterator.next();
  const header = first.done === true ? false : headerOf(first.value);
  if (header === false) {
    await iterator.return?.();
    throw misplaced('header', 'the first message of the stream must be the header');
  }
  return { header, rest: { [Symbol.asyncIterator]: () => iterator } };
}

async function* batchesOf(requests: AsyncIterable<StreamEntriesRequest>): AsyncGenerator<StreamMessage, void, void> {
  for await (const { message } of requests) {
    if (message.case !== 'batch') throw misplaced('header', 'the header stands in the first message only');
    yield fromBookCall(message.value.entries, message.value.balances);
  }
}

async function* chunksOf(requests: AsyncIterable<ImportEntriesRequest>): AsyncGenerator<Uint8Array, void, void> {
  for await (const { message } of requests) {
    if (message.case !== 'chunk') throw misplaced('header', 'the header stands in the first message only');
    yield message.value;
  }
}

function misplaced(field: string, description: string): TrueUpError {
  return new TrueUpError('INVALID_REQUEST', description, { fields: [{ field, description }] });
}
