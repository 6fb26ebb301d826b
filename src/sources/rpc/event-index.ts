// Which ledgers hold token events of a few contracts, asked of RPC's getEvents.
//
// The events themselves are not used: they carry no header and no envelope, so a leg made of one alone would lack what
// the same leg has when it is read from its ledger. The caller reads the ledgers that are found.
import { StrKey, xdr } from '@stellar/stellar-sdk/base';
import { TrueUpError } from '../../core/errors.ts';
import type { LedgerRange } from '../../core/ledger.ts';
import { corrupt } from '../stellar/wire.ts';
import type { EventQuery, RpcApi, RpcCall, RpcEvents } from './api.ts';

export interface EventIndexOptions {
  /** Events a page; the server may have a lower limit of its own. */
  readonly pageLimit: number;
  readonly maxEventsPerRead: number;
}

/** What one filter may hold, and one request. */
const MAX_FILTERS = 5;
const LEDGER_SHIFT = 32n;

/**
 * Ledgers of `call.range` in which any of the contracts (C...) is a party of an event, whichever contract speaks.
 *
 * @throws TrueUpError LEDGER_UNAVAILABLE where the endpoint has forgotten part of the range: it would leave that out silently
 */
export async function ledgersWithEvents(
  api: RpcApi,
  contracts: readonly string[],
  options: EventIndexOptions,
  call: RpcCall,
): Promise<Set<number>> {
  const found = new Set<number>();
  for (let at = 0; at < contracts.length; at += MAX_FILTERS) {
    const topics = contracts.slice(at, at + MAX_FILTERS).map(topicPatterns);
    let seen = 0;
    for await (const page of eventPages(api, topics, options.pageLimit, call)) {
      for (const event of page) {
        if (event.ledger < call.range.from)
          throw corrupt(call.range, `${api.host} gave an event of ledger ${event.ledger}`);
        if (event.ledger < call.range.to) found.add(event.ledger);
      }
      seen += page.length;
      if (seen > options.maxEventsPerRead) {
        throw new TrueUpError('SOURCE_ANSWER_TOO_LARGE', `more than ${options.maxEventsPerRead} events in one read`, {
          range: call.range,
          fix: 'Read fewer ledgers at a time.',
        });
      }
    }
  }
  return found;
}

/**
 * A node scans 10,000 ledgers a call at most, so a short or empty page is not the end: the cursor says how far it looked.
 */
async function* eventPages(
  api: RpcApi,
  topics: string[][][],
  limit: number,
  call: RpcCall,
): AsyncGenerator<RpcEvents['events']> {
  const { range } = call;
  let query: EventQuery = { startLedger: range.from, endLedger: range.to, topics };
  let looked = '';
  while (true) {
    const answer: RpcEvents = await api.events(query, limit, call);
    checkWindow(answer, range, api.host);
    for (const event of answer.events) {
      if (event.id <= looked || ledgerOf(event.id) !== event.ledger)
        throw corrupt(range, `${api.host} gave events out of order`);
      looked = event.id;
    }
    yield answer.events;
    // Ids and cursors are padded, so text order is their order.
    const last = answer.events.at(-1);
    const isPast = last !== undefined && last.ledger >= range.to;
    const lookedThrough =
      ledgerOf(answer.cursor) >= range.to || (ledgerOf(answer.cursor) === range.to - 1 && answer.cursor !== last?.id);
    if (isPast || lookedThrough) return;
    if ('cursor' in query && answer.cursor <= query.cursor)
      throw corrupt(range, `${api.host} does not move its cursor on from ${answer.cursor}`);
    query = { cursor: answer.cursor, topics };
    if (answer.cursor > looked) looked = answer.cursor;
  }
}

/** An event's first topic is its name; its parties stand second or third, and it has up to four topics. */
function topicPatterns(contract: string): string[][] {
  const party = Buffer.from(
    xdr.ScVal.schema.encode({ type: 18, address: { type: 1, contractId: StrKey.decodeContract(contract) } }),
  ).toString('base64');
  return [
    ['*', party],
    ['*', party, '*'],
    ['*', party, '*', '*'],
    ['*', '*', party],
    ['*', '*', party, '*'],
  ];
}

function checkWindow(answer: RpcEvents, range: LedgerRange, host: string): void {
  if (answer.oldestLedger > range.from) {
    const lost = { from: range.from, to: Math.min(range.to, answer.oldestLedger) };
    throw new TrueUpError('LEDGER_UNAVAILABLE', `${host} has events from ledger ${answer.oldestLedger} on`, {
      range: lost,
      fix: 'Read this range from a lake (STELLAR_LAKE_URL), or raise the retention window of the RPC node.',
    });
  }
  if (answer.latestLedger < range.to - 1) {
    throw new TrueUpError(
      'LEDGER_NOT_YET_CLOSED',
      `${host} has ledgers up to ${answer.latestLedger}, ledger ${range.to - 1} was asked for`,
      { range },
    );
  }
}

function ledgerOf(id: string): number {
  return Number(BigInt(id.split('-')[0]!) >> LEDGER_SHIFT);
}
