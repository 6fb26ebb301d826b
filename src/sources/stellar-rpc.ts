// Stellar RPC: both layers from whole ledgers (getLedgers), whose headers, transaction sets and results are hashed.
//
// A node keeps a window of some days. What lies before it is LEDGER_UNAVAILABLE and what lies after is
// LEDGER_NOT_YET_CLOSED; both are decided by what the node returned or says it has, and no range is ever shortened.
// A watch of contracts alone is pushed down: getEvents finds the ledgers that matter and only those are read.
//
// getTransactions is no way around a missing getLedgers: its answers carry no header, so nothing they say could be linked
// to the ledger before. Such endpoints (before stellar-rpc 22.1) are refused with that advice.
import { TrueUpError, isTrueUpError } from '../core/errors.ts';
import type { Layer } from '../core/entry.ts';
import type { LedgerBatch, LedgerRecord } from '../core/ledger.ts';
import { decoding } from '../core/raw-payload.ts';
import { watchPredicate } from '../core/watch.ts';
import type { Watch } from '../core/watch.ts';
import { mapLimited } from './concurrency.ts';
import type { HttpClient } from './http/types.ts';
import { RPC_INVALID_PARAMS, RPC_INVALID_REQUEST, createRpcApi, rpcCodeOf } from './rpc/api.ts';
import type { RpcCall, RpcLedger } from './rpc/api.ts';
import { readRpcBalances } from './rpc/balances.ts';
import { absent, notYet } from './rpc/errors.ts';
import { ledgersWithEvents } from './rpc/event-index.ts';
import type { Source, SourceTip } from './source.ts';
import { readHeaderEntry, verifyChain } from './stellar/header.ts';
import type { VerifiedHeader } from './stellar/header.ts';
import { ledgerCloseMetaReader } from './stellar/ledger-close-meta.ts';
import { checkSpan, plainHeader } from './stellar/reading.ts';
import { corrupt, decodeLedgerCloseMeta, oneLedger } from './stellar/wire.ts';

export interface RpcOptions {
  /** May carry credentials, a path and a query. */
  readonly url: string;
  readonly networkPassphrase: string;
  readonly http: Pick<HttpClient, 'postJson'>;
  /** Ledgers a page, 1 to 200; a busy ledger is some megabytes. Halved where an answer is too large. */
  readonly pageLimit?: number;
  /** Default RPC_SPAN_LEDGERS; RPC_SPAN_CONTRACTS suits a watch of contracts alone. */
  readonly maxSpanLedgers?: number;
  readonly maxBodyBytes?: number;
  readonly maxConcurrentRequests?: number;
  readonly eventPageLimit?: number;
  readonly maxEventsPerRead?: number;
  /** Assets (CODE:ISSUER) whose balances `openingBalances` asks for besides native: RPC can't list an account's assets. */
  readonly balanceAssets?: readonly string[];
}

export const RPC_SPAN_LEDGERS = 64;
export const RPC_SPAN_CONTRACTS = 4_096;

const DEFAULT_PAGE_LIMIT = 16;
const DEFAULT_MAX_BODY_BYTES = 128 * 1024 * 1024;
const DEFAULT_MAX_CONCURRENT_REQUESTS = 4;
const DEFAULT_EVENT_PAGE_LIMIT = 1_000;
const DEFAULT_MAX_EVENTS_PER_READ = 1_000_000;

export function createRpcSource(options: RpcOptions): Source {
  const api = createRpcApi({
    url: options.url,
    http: options.http,
    maxBodyBytes: options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES,
  });
  const reader = ledgerCloseMetaReader(options.networkPassphrase);
  const maxSpanLedgers = options.maxSpanLedgers ?? RPC_SPAN_LEDGERS;
  const eventIndex = {
    pageLimit: options.eventPageLimit ?? DEFAULT_EVENT_PAGE_LIMIT,
    maxEventsPerRead: options.maxEventsPerRead ?? DEFAULT_MAX_EVENTS_PER_READ,
  };
  let pageLimit = options.pageLimit ?? DEFAULT_PAGE_LIMIT;
  let networkChecked = false;
  let highestSeen = 0;

  const checkNetwork = async (call: RpcCall): Promise<void> => {
    if (networkChecked) return;
    const passphrase = await api.passphrase(call);
    if (passphrase !== options.networkPassphrase) {
      throw new TrueUpError(
        'SOURCE_WRONG_NETWORK',
        `${api.host} serves ${JSON.stringify(passphrase)}, not ${JSON.stringify(options.networkPassphrase)}`,
        {
          fix: 'Set STELLAR_NETWORK_PASSPHRASE to the network of this endpoint, or STELLAR_RPC_URL to an endpoint of this network.',
        },
      );
    }
    networkChecked = true;
  };

  /** Up to `count` ledgers from `first` on: at least one, `first` itself in front, none missing in between. */
  const ledgersFrom = async (first: number, count: number, call: RpcCall): Promise<RpcLedger[]> => {
    for (;;) {
      const limit = Math.min(pageLimit, count);
      try {
        const answer = await api.ledgers(first, limit, call);
        const ledgers = answer.ledgers.slice(0, count);
        if (ledgers[0]?.sequence !== first) throw absent(api.host, first, answer, call.range);
        ledgers.forEach((ledger, index) => {
          if (ledger.sequence !== first + index)
            throw corrupt(oneLedger(first + index), `${api.host} gave ledger ${ledger.sequence} in its place`);
        });
        return ledgers;
      } catch (error) {
        if (isTrueUpError(error, 'SOURCE_ANSWER_TOO_LARGE') && limit > 1) {
          pageLimit = Math.ceil(limit / 2);
          continue;
        }
        throw await explained(error, first, call);
      }
    }
  };

  /** A node refuses a start outside its window as a bad request: its window tells on which side. */
  const explained = async (error: unknown, first: number, call: RpcCall): Promise<unknown> => {
    const code = rpcCodeOf(error);
    if (code !== RPC_INVALID_REQUEST && code !== RPC_INVALID_PARAMS) return error;
    const window = await api.window(call);
    const isOutside = first < window.oldestLedger || first > window.latestLedger;
    return isOutside ? absent(api.host, first, window, call.range) : error;
  };

  const headerOf = (ledger: RpcLedger): VerifiedHeader => {
    const header = readHeaderEntry(Buffer.from(ledger.headerXdr, 'base64'), oneLedger(ledger.sequence));
    if (header.sequence !== ledger.sequence || header.hash !== ledger.hash) {
      throw corrupt(
        oneLedger(ledger.sequence),
        `${api.host} gave the header of ledger ${header.sequence} (${header.hash})`,
      );
    }
    return header;
  };

  const recordOf = (ledger: RpcLedger, layers: readonly Layer[], keep: (id: string) => boolean): LedgerRecord =>
    decoding(
      () => ({ format: 'LedgerCloseMeta XDR', bytes: Buffer.from(ledger.metadataXdr, 'base64') }),
      () => decodeRecord(ledger, layers, keep),
    );

  const decodeRecord: typeof recordOf = (ledger, layers, keep) => {
    const record = reader.read(decodeLedgerCloseMeta(ledger.metadataXdr, ledger.sequence), layers, keep);
    if (record.sequence !== ledger.sequence || record.hash !== ledger.hash) {
      throw corrupt(
        oneLedger(ledger.sequence),
        `${api.host} gave the contents of ledger ${record.sequence} (${record.hash})`,
      );
    }
    return record;
  };

  const readAll = async (
    layers: readonly Layer[],
    keep: (id: string) => boolean,
    timer: Timer,
    call: RpcCall,
  ): Promise<LedgerRecord[]> => {
    const records: LedgerRecord[] = [];
    const { from, to } = call.range;
    const stop = new AbortController();
    const aheadCall = { ...call, signal: AbortSignal.any([call.signal, stop.signal]) };
    // The next page is on its way while this one is decoded.
    let page: Promise<RpcLedger[]> | undefined = ledgersFrom(from, to - from, aheadCall);
    try {
      for (let next = from; page !== undefined;) {
        const ledgers: RpcLedger[] = await page;
        next += ledgers.length;
        page = next < to ? ledgersFrom(next, to - next, aheadCall) : undefined;
        page?.catch(() => undefined);
        timer.time(() => records.push(...ledgers.map((ledger) => recordOf(ledger, layers, keep))));
      }
      timer.time(() => verifyChain(records));
      return records;
    } finally {
      stop.abort();
    }
  };

  const readWhereEventsAre = async (
    watch: Watch,
    layers: readonly Layer[],
    timer: Timer,
    call: RpcCall,
  ): Promise<Omit<LedgerBatch, 'bytesRead' | 'decodeMs' | 'range' | 'layers'>> => {
    const keep = watchPredicate(watch);
    const wanted = await ledgersWithEvents(api, watch.contracts, eventIndex, call).catch(async (error: unknown) => {
      throw await explained(error, call.range.from, call);
    });
    const last = call.range.to - 1;
    // Where most ledgers matter, pages are cheaper than single ledgers, and prove more.
    if (wanted.size * 2 > call.range.to - call.range.from) return wholeBatch(await readAll(layers, keep, timer, call));
    wanted.add(last);
    const sequences = [...wanted].sort((a, b) => a - b);
    const maxConcurrent = options.maxConcurrentRequests ?? DEFAULT_MAX_CONCURRENT_REQUESTS;
    const records = await mapLimited(sequences, maxConcurrent, call.signal, async (sequence, signal) => {
      const [ledger] = await ledgersFrom(sequence, 1, { ...call, signal });
      return timer.time(() => recordOf(ledger!, layers, keep));
    });
    return {
      proof: 'provider-asserted',
      records: records.filter((record) => record.entries.length > 0),
      last: plainHeader(records.at(-1)!),
    };
  };

  return {
    kind: 'stellar-rpc',
    id: `stellar-rpc:${api.host}`,
    networkPassphrase: options.networkPassphrase,
    layers: ['operations', 'token_events'],
    proof: 'chained',
    maxSpanLedgers,

    async tip(signal): Promise<SourceTip> {
      const call: RpcCall = { signal, meter: { bytes: 0 }, range: oneLedger(Math.max(1, highestSeen)) };
      await checkNetwork(call);
      const latest = await api.latestLedger(call);
      // A replica that lags behind what its neighbour told us is no step back, and not a reset either.
      if (latest.sequence < highestSeen) throw notYet(api.host, latest.sequence, highestSeen, oneLedger(highestSeen));
      const [ledger] = await ledgersFrom(latest.sequence, 1, { ...call, range: oneLedger(latest.sequence) });
      const header = headerOf(ledger!);
      if (header.hash !== latest.id)
        throw corrupt(oneLedger(latest.sequence), `${api.host} names it ${latest.id} and gives ${header.hash}`);
      const { oldestLedger } = await api.window(call);
      highestSeen = latest.sequence;
      return { sequence: header.sequence, hash: header.hash, closeTime: header.closeTime, oldest: oldestLedger };
    },

    async header(sequence, signal) {
      const call: RpcCall = { signal, meter: { bytes: 0 }, range: oneLedger(sequence) };
      await checkNetwork(call);
      const [ledger] = await ledgersFrom(sequence, 1, call);
      return plainHeader(headerOf(ledger!));
    },

    async read({ range, layers, watch }, signal) {
      checkSpan(range, maxSpanLedgers);
      const call: RpcCall = { signal, meter: { bytes: 0 }, range };
      await checkNetwork(call);
      const timer = createTimer();
      const batch = isPushedDown(watch, layers)
        ? await readWhereEventsAre(watch, layers, timer, call)
        : wholeBatch(await readAll(layers, watchPredicate(watch), timer, call));
      return { range, layers, ...batch, bytesRead: call.meter.bytes, decodeMs: timer.totalMs() };
    },

    async openingBalances(accounts, signal) {
      const call: RpcCall = { signal, meter: { bytes: 0 }, range: oneLedger(1) };
      await checkNetwork(call);
      return readRpcBalances(api, accounts, options.balanceAssets ?? [], options.networkPassphrase, call);
    },

    close: () => Promise.resolve(),
  };
}

/** Contracts hold balances that contracts alone move, and every such movement is an event; accounts are moved without any. */
function isPushedDown(watch: Watch, layers: readonly Layer[]): boolean {
  return !watch.everything && watch.accounts.length === 0 && layers.every((layer) => layer === 'token_events');
}

function wholeBatch(records: LedgerRecord[]): Pick<LedgerBatch, 'proof' | 'records' | 'last'> {
  return { proof: 'chained', records, last: plainHeader(records.at(-1)!) };
}

interface Timer {
  time<T>(work: () => T): T;
  totalMs(): number;
}

function createTimer(): Timer {
  let total = 0;
  return {
    time(work) {
      const startedAt = performance.now();
      try {
        return work();
      } finally {
        total += performance.now() - startedAt;
      }
    },
    totalMs: () => total,
  };
}
