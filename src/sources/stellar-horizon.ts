// Horizon: the `operations` layer over HTTP, account by account or ledger by ledger.
//
// Whose transactions: Horizon lists a transaction under its source, its fee payer, every account that an operation names
// (destination, trustor, claimant...) and every account whose own entry changed, failed transactions included on request.
// One kind of leg escapes that list: an offer between two issued assets that is filled in part changes trustlines only,
// so the offer's owner is asked for trades as well, and what that adds is fetched one by one.
//
// Proof: a read of accounts is the provider's word. A read of everything gives whole ledgers, whose headers are hashed
// and linked and whose results are hashed against the header, so such a batch is `chained`.
//
// Ascending pages that begin before an endpoint's elder ledger begin, without a word, at the elder ledger. Every read
// therefore compares its range with the root document, and again at the end where the endpoint may have been pruning.
import { TrueUpError } from '../core/errors.ts';
import type { LedgerHeader, LedgerRange, LedgerRecord } from '../core/ledger.ts';
import { watchPredicate } from '../core/watch.ts';
import type { Watch } from '../core/watch.ts';
import { mapLimited } from './concurrency.ts';
import { createHorizonApi } from './horizon/api.ts';
import type { ByteMeter, CallContext } from './horizon/api.ts';
import { readHorizonBalances } from './horizon/balances.ts';
import { createLedgerDecoder } from './horizon/decode.ts';
import type { LedgerDecoder } from './horizon/decode.ts';
import { notYet, tooOld } from './horizon/errors.ts';
import type { HorizonLedger, HorizonRoot, HorizonTransaction } from './horizon/shapes.ts';
import type { HttpClient } from './http/types.ts';
import type { Source, SourceTip } from './source.ts';
import { GENESIS_LEDGER, genesisEntry } from './stellar/genesis.ts';
import { readHeaderXdr, verifyChain } from './stellar/header.ts';
import type { VerifiedHeader } from './stellar/header.ts';
import { checkSpan, plainHeader } from './stellar/reading.ts';
import { networkIdOf } from './stellar/tx-set.ts';
import { oneLedger } from './stellar/wire.ts';

export interface HorizonOptions {
  /** A Horizon's root; may carry credentials and a path. */
  readonly url: string;
  readonly networkPassphrase: string;
  readonly http: Pick<HttpClient, 'getJson'>;
  /** Records a page, 1 to 200. */
  readonly pageLimit?: number;
  /** Accounts read at the same time. */
  readonly maxConcurrentRequests?: number;
  /** Default HORIZON_SPAN_ACCOUNTS; give HORIZON_SPAN_EVERYTHING for a watch of everything. */
  readonly maxSpanLedgers?: number;
  /** A read with more is refused, so that memory stays bounded. */
  readonly maxTransactionsPerRead?: number;
  readonly maxBodyBytes?: number;
  /**
   * Ledgers by which `tip` stays behind the endpoint's latest. Where many replicas stand behind one name, an account's
   * last page may come from one that has not seen the latest ledgers yet, and nothing in the page tells.
   */
  readonly tipMarginLedgers?: number;
}

export const HORIZON_SPAN_ACCOUNTS = 4_096;
export const HORIZON_SPAN_EVERYTHING = 64;

const DEFAULT_PAGE_LIMIT = 200;
const DEFAULT_MAX_CONCURRENT_REQUESTS = 4;
const DEFAULT_MAX_TRANSACTIONS_PER_READ = 100_000;
const DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024;
/** A whole ledger takes about this many pages, an account about as many (transactions and trades). */
const PAGES_PER_LEDGER = 2;
/** An endpoint that prunes could have pruned ledgers this close to its elder one while they were being read. */
const PRUNING_MARGIN_LEDGERS = 1_000;

export function createHorizonSource(options: HorizonOptions): Source {
  const pageLimit = options.pageLimit ?? DEFAULT_PAGE_LIMIT;
  const api = createHorizonApi({
    url: options.url,
    http: options.http,
    pageLimit,
    maxBodyBytes: options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES,
  });
  const maxConcurrent = options.maxConcurrentRequests ?? DEFAULT_MAX_CONCURRENT_REQUESTS;
  const maxTransactions = options.maxTransactionsPerRead ?? DEFAULT_MAX_TRANSACTIONS_PER_READ;
  const maxSpanLedgers = options.maxSpanLedgers ?? HORIZON_SPAN_ACCOUNTS;
  const networkId = networkIdOf(options.networkPassphrase);
  let highestSeen = 0;

  const checkedRoot = async (call: CallContext): Promise<HorizonRoot> => {
    const root = await api.root(call);
    if (root.network_passphrase !== options.networkPassphrase) {
      throw new TrueUpError(
        'SOURCE_WRONG_NETWORK',
        `${api.host} serves ${JSON.stringify(root.network_passphrase)}, not ${JSON.stringify(options.networkPassphrase)}`,
        {
          fix: 'Set STELLAR_NETWORK_PASSPHRASE to the network of this Horizon, or STELLAR_HORIZON_URL to a Horizon of this network.',
        },
      );
    }
    return root;
  };

  const checkAvailable = (root: HorizonRoot, range: LedgerRange): void => {
    if (range.from < root.history_elder_ledger) throw tooOld(api.host, root, range);
    if (range.to - 1 > root.history_latest_ledger) throw notYet(api.host, root.history_latest_ledger, range);
  };

  const headerAt = async (sequence: number, call: CallContext): Promise<[VerifiedHeader, HorizonLedger]> => {
    const ledger = await api.ledger(sequence, call);
    if (ledger === undefined) {
      checkAvailable(await checkedRoot(call), oneLedger(sequence));
      throw tooOld(api.host, undefined, oneLedger(sequence));
    }
    return [verified(ledger), ledger];
  };

  /** Reads whole ledgers, all of the range, and proves each one. */
  const readWhole = async (decoder: LedgerDecoder, call: CallContext): Promise<VerifiedHeader[]> => {
    const ledgers = await api.ledgers(call);
    const headers = ledgers.map(verified);
    verifyChain(headers);
    for await (const page of api.transactions(undefined, call)) {
      checkBound(decoder.transactionCount + page.length, call.range);
      decoder.add(page);
    }
    ledgers.forEach((ledger, index) => decoder.proveWhole(headers[index]!, countOf(ledger)));
    return headers;
  };

  const checkBound = (transactions: number, range: LedgerRange): void => {
    if (transactions <= maxTransactions) return;
    throw new TrueUpError('SOURCE_ANSWER_TOO_LARGE', `more than ${maxTransactions} transactions in one read`, {
      range,
      fix: 'Read fewer ledgers at a time.',
    });
  };

  /** Reads the transactions of the watched accounts, and the headers of the ledgers they are in. */
  const readAccounts = async (
    accounts: readonly string[],
    decoder: LedgerDecoder,
    call: CallContext,
  ): Promise<Map<number, [VerifiedHeader, number]>> => {
    const found = new Map<bigint, HorizonTransaction>();
    await mapLimited(accounts, maxConcurrent, call.signal, async (account, signal) => {
      for await (const page of api.transactions(account, { ...call, signal })) {
        for (const tx of page) found.set(BigInt(tx.paging_token), tx);
        checkBound(found.size, call.range);
      }
      for (const toid of await api.tradedIn(account, { ...call, signal })) {
        if (!found.has(toid)) found.set(toid, await api.transactionAt(toid, { ...call, signal }));
      }
    });
    const inOrder = [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, tx]) => tx);
    decoder.add(inOrder);
    const opening = call.range.from === GENESIS_LEDGER ? [GENESIS_LEDGER] : [];
    return headersOf([...opening, ...decoder.sequencesWithContent(), call.range.to - 1], call);
  };

  /** One request per ledger where they are few, else the range's pages, which prove the chain as well. */
  const headersOf = async (
    sequences: readonly number[],
    call: CallContext,
  ): Promise<Map<number, [VerifiedHeader, number]>> => {
    const wanted = [...new Set(sequences)].sort((a, b) => a - b);
    const pagesOfRange = Math.ceil((call.range.to - call.range.from) / pageLimit);
    const headers = new Map<number, [VerifiedHeader, number]>();
    const add = (header: VerifiedHeader, ledger: HorizonLedger): void =>
      void headers.set(header.sequence, [
        header,
        ledger.successful_transaction_count + (ledger.failed_transaction_count ?? 0),
      ]);
    if (wanted.length <= pagesOfRange + 1) {
      const pairs = await mapLimited(wanted, maxConcurrent, call.signal, (sequence, signal) =>
        headerAt(sequence, { ...call, signal }),
      );
      for (const pair of pairs) add(...pair);
    } else {
      const ledgers = await api.ledgers(call);
      const all = ledgers.map(verified);
      verifyChain(all);
      all.forEach((header, index) => add(header, ledgers[index]!));
    }
    return headers;
  };

  const read: Source['read'] = async ({ range, layers, watch }, signal) => {
    checkSpan(range, maxSpanLedgers);
    if (layers.some((layer) => layer !== 'operations')) {
      throw new TrueUpError(
        'INVALID_REQUEST',
        'Horizon shows the operations layer only; token events need stellar-rpc or stellar-lake',
      );
    }
    const call: CallContext = { signal, meter: { bytes: 0 }, range };
    const root = await checkedRoot(call);
    checkAvailable(root, range);
    const whole = readsWhole(watch, range);
    const decoder = createLedgerDecoder(networkId, watchPredicate(watch), whole);
    const records: LedgerRecord[] = [];
    let last: LedgerHeader;
    if (whole) {
      const headers = await readWhole(decoder, call);
      for (const header of headers) records.push(recordOf(header, decoder.of(header.sequence).txCount, decoder, watch));
      last = plainHeader(headers.at(-1)!);
    } else {
      const headers = await readAccounts(watch.accounts, decoder, call);
      for (const [header, txCount] of headers.values()) {
        const record = recordOf(header, txCount, decoder, watch);
        if (record.entries.length > 0 || record.underived.length > 0) records.push(record);
      }
      records.sort((a, b) => a.sequence - b.sequence);
      last = plainHeader(headers.get(range.to - 1)![0]);
    }
    if (range.from - root.history_elder_ledger < PRUNING_MARGIN_LEDGERS && root.history_elder_ledger > GENESIS_LEDGER) {
      checkAvailable(await checkedRoot(call), range);
    }
    return {
      range,
      layers,
      proof: whole ? 'chained' : 'provider-asserted',
      records,
      last,
      bytesRead: call.meter.bytes,
      decodeMs: decoder.decodeMs,
    };
  };

  const recordOf = (header: VerifiedHeader, txCount: number, decoder: LedgerDecoder, watch: Watch): LedgerRecord => {
    const { entries, underived } = decoder.of(header.sequence);
    const genesis =
      header.sequence === GENESIS_LEDGER ? [genesisEntry(options.networkPassphrase, header.totalCoins)] : [];
    const watched = genesis.filter((entry) => watchPredicate(watch)(entry.account));
    return { ...plainHeader(header), txCount, entries: [...watched, ...entries], underived };
  };

  return {
    kind: 'stellar-horizon',
    id: `stellar-horizon:${api.host}`,
    networkPassphrase: options.networkPassphrase,
    layers: ['operations'],
    proof: 'provider-asserted',
    maxSpanLedgers,

    async tip(signal): Promise<SourceTip> {
      const call = { signal, meter: { bytes: 0 } satisfies ByteMeter, range: oneLedger(Math.max(1, highestSeen)) };
      const root = await checkedRoot(call);
      const latest = await api.latestLedger(call);
      // A replica that lags behind what its neighbour told us is no step back, and not a reset either.
      if (latest.sequence < highestSeen) throw notYet(api.host, latest.sequence, oneLedger(highestSeen));
      highestSeen = latest.sequence;
      const margin = Math.min(options.tipMarginLedgers ?? 0, latest.sequence - root.history_elder_ledger);
      const [header] = margin > 0 ? await headerAt(latest.sequence - margin, call) : [verified(latest)];
      return {
        sequence: header.sequence,
        hash: header.hash,
        closeTime: header.closeTime,
        oldest: root.history_elder_ledger,
      };
    },

    async header(sequence, signal) {
      const [header] = await headerAt(sequence, { signal, meter: { bytes: 0 }, range: oneLedger(sequence) });
      return plainHeader(header);
    },

    read,

    async openingBalances(accounts, signal) {
      const call: CallContext = { signal, meter: { bytes: 0 }, range: oneLedger(GENESIS_LEDGER) };
      await checkedRoot(call);
      return readHorizonBalances(api, accounts, maxConcurrent, call);
    },

    close: () => Promise.resolve(),
  };
}

function readsWhole(watch: Watch, range: LedgerRange): boolean {
  return watch.everything || watch.accounts.length > (range.to - range.from) * PAGES_PER_LEDGER;
}

function verified(ledger: HorizonLedger): VerifiedHeader {
  return readHeaderXdr(ledger.header_xdr, ledger.hash, ledger.sequence);
}

function countOf(ledger: HorizonLedger): number | undefined {
  const failed = ledger.failed_transaction_count;
  return failed === null || failed === undefined ? undefined : ledger.successful_transaction_count + failed;
}
