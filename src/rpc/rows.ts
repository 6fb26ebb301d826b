// Entries and balances of both sides at the door.
import type { BookRowFilter, EntryFilter } from '../core/listing.ts';
import { entryStatusIn, fromRange, fromTimestamp, layerIn, orAll, orNull, present } from './convert-common.ts';
import { toBalance, toBookRow, toEntry } from './convert-rows.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import { Side } from '../../gen/trueup/v1/common_pb.js';
import {
  ListBalancesRequestSchema,
  type ListEntriesRequest,
  ListEntriesRequestSchema,
  type ReconciliationService,
} from '../../gen/trueup/v1/reconciliation_service_pb.js';

type Handlers = Pick<ServiceHandlers<typeof ReconciliationService>, 'listEntries' | 'listBalances'>;

export function rowHandlers({ books, ledger }: Pick<RpcPorts, 'books' | 'ledger'>): Handlers {
  return {
    async listEntries(request) {
      const pager = pagerOf(ListEntriesRequestSchema, request, PAGE_LIMITS.maxRows);
      if (request.side === Side.BOOK) {
        const page = await books.listRows(bookFilterOf(request), pager.page);
        return { bookRows: page.items.map(toBookRow), nextPageToken: pager.nextToken(page) };
      }
      const page = await ledger.listEntries(entryFilterOf(request), pager.page);
      return { entries: page.items.map(toEntry), nextPageToken: pager.nextToken(page) };
    },

    async listBalances(request) {
      const pager = pagerOf(ListBalancesRequestSchema, request, PAGE_LIMITS.maxRows);
      const { accounts, assets } = request;
      const page =
        request.side === Side.BOOK
          ? await books.listBalances({ book: request.book, accounts, assets }, pager.page)
          : await ledger.listBalances(
              {
                stream: orNull(request.stream),
                layer: layerIn(request.layer) ?? 'operations',
                accounts,
                assets,
                asOfLedger: request.asOfLedger === 0 ? null : request.asOfLedger,
              },
              pager.page,
            );
      return { balances: page.items.map(toBalance), nextPageToken: pager.nextToken(page) };
    },
  };
}

function entryFilterOf(request: ListEntriesRequest): EntryFilter {
  return {
    stream: orNull(request.stream),
    layer: layerIn(request.layer) ?? 'operations',
    ...commonFilterOf(request),
    ...present({ matchKey: orAll(request.matchKey) }),
  };
}

function bookFilterOf(request: ListEntriesRequest): BookRowFilter {
  return { book: request.book, ...commonFilterOf(request), ...present({ key: orAll(request.matchKey) }) };
}

function commonFilterOf(request: ListEntriesRequest) {
  return present({
    accounts: request.accounts,
    assets: request.assets,
    kinds: request.kinds,
    status: entryStatusIn(request.status),
    txHash: orAll(request.transactionHash),
    subAccount: orAll(request.subAccount),
    ledgers: request.range && fromRange(request.range),
    from: request.startTime && fromTimestamp(request.startTime, 'start_time'),
    to: request.endTime && fromTimestamp(request.endTime, 'end_time'),
  });
}
