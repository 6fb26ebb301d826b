// Horizon's HTTP API as far as TrueUp reads it: requests, pages to their end, and answers checked for shape and order.
import type { z } from 'zod';
import { TrueUpError } from '../../core/errors.ts';
import type { LedgerRange } from '../../core/ledger.ts';
import type { HttpClient } from '../http/types.ts';
import { corrupt } from '../stellar/wire.ts';
import { ACCOUNT, LEDGER, NOT_FOUND, ROOT, TRADE, TRANSACTION, pageOf, token } from './shapes.ts';
import type { HorizonAccount, HorizonLedger, HorizonRoot, HorizonTrade, HorizonTransaction } from './shapes.ts';

/** Bytes read so far, added to by every request of one read. */
export interface ByteMeter {
  bytes: number;
}

export interface CallContext {
  readonly signal: AbortSignal;
  readonly meter: ByteMeter;
  /** The ledgers that the call is about, for errors. */
  readonly range: LedgerRange;
}

export interface HorizonApi {
  readonly host: string;
  root(call: CallContext): Promise<HorizonRoot>;
  /** Undefined where the endpoint has no such ledger. */
  ledger(sequence: number, call: CallContext): Promise<HorizonLedger | undefined>;
  latestLedger(call: CallContext): Promise<HorizonLedger>;
  /** Every ledger of `call.range`, in order. */
  ledgers(call: CallContext): Promise<HorizonLedger[]>;
  /**
   * Every transaction of `call.range`, failed ones included, in order of application, page by page until the range's end.
   * With an account, those that Horizon lists under it; none where Horizon never saw the account.
   */
  transactions(account: string | undefined, call: CallContext): AsyncGenerator<HorizonTransaction[]>;
  /** The one transaction at this TOID. */
  transactionAt(toid: bigint, call: CallContext): Promise<HorizonTransaction>;
  /** TOIDs of the transactions of `call.range` in which an account's offers were traded with. */
  tradedIn(account: string, call: CallContext): Promise<ReadonlySet<bigint>>;
  /** Undefined where the account doesn't exist at `latestLedger`, the ledger of the answer where Horizon says it. */
  account(
    id: string,
    call: CallContext,
  ): Promise<{ account: HorizonAccount | undefined; latestLedger: number | undefined }>;
}

export interface HorizonApiOptions {
  readonly url: string;
  readonly http: Pick<HttpClient, 'getJson'>;
  readonly pageLimit: number;
  readonly maxBodyBytes: number;
}

const OPERATION_MASK = 0xfffn;
const TRANSACTION_SHIFT = 12n;
const LEDGER_SHIFT = 32n;

export function createHorizonApi(options: HorizonApiOptions): HorizonApi {
  const base = new URL(options.url);
  if (!base.pathname.endsWith('/')) base.pathname += '/';

  const get = async <T>(
    path: string,
    query: Record<string, string>,
    schema: z.ZodType<T>,
    what: string,
    call: CallContext,
    accept: readonly number[] = [],
  ): Promise<{ body: T | undefined; headers: Readonly<Record<string, string>> }> => {
    const url = new URL(base);
    url.pathname += path;
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const answer = await options.http.getJson(url, {
      signal: call.signal,
      what,
      accept: [410, ...accept],
      maxBytes: options.maxBodyBytes,
    });
    call.meter.bytes += answer.bytesRead;
    if (answer.status === 410) throw beforeHistory(base.host, call.range);
    if (answer.status === 404) {
      // A proxy's or a wrong base URL's 404 is not Horizon saying that it knows of no such thing.
      if (!NOT_FOUND.safeParse(answer.body).success)
        throw corrupt(call.range, `${base.host} answered 404 to ${what}, but not as Horizon does`);
      return { body: undefined, headers: answer.headers };
    }
    const parsed = schema.safeParse(answer.body);
    if (!parsed.success) throw misshapen(parsed.error, base.host, what, call.range);
    return { body: parsed.data, headers: answer.headers };
  };

  /** Asks for page after page from `cursor` on; ends at an empty page or where `isPast` says so. */
  const pages = async function* <T extends { paging_token: string }>(
    path: string,
    cursor: string,
    schema: z.ZodType<T>,
    what: string,
    isPast: (record: T) => boolean,
    call: CallContext,
  ): AsyncGenerator<T[]> {
    for (let at = cursor; ;) {
      const query = { cursor: at, order: 'asc', limit: String(options.pageLimit), include_failed: 'true' };
      const { body } = await get(path, query, pageOf(schema), what, call, path.startsWith('accounts/') ? [404] : []);
      if (body === undefined) {
        // Horizon answers 404 for an account that it never saw; once it has shown a page the account is known.
        if (at !== cursor) throw corrupt(call.range, `${base.host} forgot ${what} between two pages`);
        return;
      }
      const records = body._embedded.records;
      for (const record of records) {
        // A server that repeats or reorders a page would make us read in circles, or miss what it left out.
        if (compareTokens(record.paging_token, at) <= 0)
          throw corrupt(call.range, `${base.host} gave ${what} out of order after ${at}`);
        at = record.paging_token;
      }
      const inside = records.filter((record) => !isPast(record));
      if (inside.length > 0) yield inside;
      // Fewer records than asked for are not the end: a provider may cap its pages lower than we ask.
      if (records.length === 0 || inside.length < records.length) return;
    }
  };

  const start = (range: LedgerRange): string => (BigInt(range.from) << LEDGER_SHIFT).toString();

  return {
    host: base.host,

    async root(call) {
      const { body } = await get('', {}, ROOT, 'the root document', call);
      return body!;
    },

    async ledger(sequence, call) {
      const { body } = await get(`ledgers/${sequence}`, {}, LEDGER, 'a ledger', call, [404]);
      if (body !== undefined && body.sequence !== sequence)
        throw corrupt(call.range, `${base.host} gave ledger ${body.sequence} for ${sequence}`);
      return body;
    },

    async latestLedger(call) {
      const { body } = await get('ledgers', { order: 'desc', limit: '1' }, pageOf(LEDGER), 'the latest ledger', call);
      const latest = body!._embedded.records[0];
      if (latest === undefined)
        throw corrupt(call.range, `${base.host} has no ledger at all: it is still being set up`);
      return latest;
    },

    async ledgers(call) {
      const schema = LEDGER.extend({ paging_token: token });
      const cursor = ((BigInt(call.range.from) << LEDGER_SHIFT) - 1n).toString();
      const found: HorizonLedger[] = [];
      for await (const page of pages('ledgers', cursor, schema, 'ledgers', (l) => l.sequence >= call.range.to, call))
        found.push(...page);
      found.forEach((ledger, index) => {
        const expected = call.range.from + index;
        if (ledger.sequence !== expected)
          throw corrupt(
            { from: expected, to: Math.max(expected + 1, ledger.sequence) },
            `${base.host} leaves ledger ${expected} out of its list`,
          );
      });
      const reached = call.range.from + found.length;
      if (reached < call.range.to)
        throw corrupt(
          { from: reached, to: call.range.to },
          `${base.host} ends its list of ledgers before ledger ${reached}`,
        );
      return found;
    },

    async *transactions(account, call) {
      const path = account === undefined ? 'transactions' : `accounts/${account}/transactions`;
      const what = account === undefined ? 'transactions' : 'the transactions of an account';
      const isPast = (tx: HorizonTransaction): boolean => ledgerOf(tx) >= call.range.to;
      for await (const page of pages(path, start(call.range), TRANSACTION, what, isPast, call)) {
        for (const tx of page) checkPosition(tx, call.range);
        yield page;
      }
    },

    async transactionAt(toid, call) {
      const query = { cursor: (toid - 1n).toString(), order: 'asc', limit: '1', include_failed: 'true' };
      const { body } = await get('transactions', query, pageOf(TRANSACTION), 'a transaction', call);
      const tx = body!._embedded.records[0];
      if (tx?.paging_token !== toid.toString())
        throw corrupt(call.range, `${base.host} lists a trade of transaction ${toid} but not the transaction`);
      checkPosition(tx, call.range);
      return tx;
    },

    async tradedIn(account, call) {
      const found = new Set<bigint>();
      const operationOf = (trade: HorizonTrade): bigint => BigInt(trade.paging_token.split('-')[0]!);
      const isPast = (trade: HorizonTrade): boolean => Number(operationOf(trade) >> LEDGER_SHIFT) >= call.range.to;
      for await (const page of pages(
        `accounts/${account}/trades`,
        `${start(call.range)}-0`,
        TRADE,
        'the trades of an account',
        isPast,
        call,
      )) {
        for (const trade of page) found.add(operationOf(trade) & ~OPERATION_MASK);
      }
      return found;
    },

    async account(id, call) {
      const { body, headers } = await get(`accounts/${id}`, {}, ACCOUNT, 'an account', call, [404]);
      if (body !== undefined && body.account_id !== id)
        throw corrupt(call.range, `${base.host} gave another account than was asked for`);
      const stated = Number(headers['latest-ledger']);
      return { account: body, latestLedger: Number.isSafeInteger(stated) && stated > 0 ? stated : undefined };
    },
  };
}

/** The 1-based order of application, which a transaction's paging token carries. */
export function txIndexOf(tx: HorizonTransaction): number {
  return Number((BigInt(tx.paging_token) >> TRANSACTION_SHIFT) & 0xfffffn);
}

function ledgerOf(tx: HorizonTransaction): number {
  return Number(BigInt(tx.paging_token) >> LEDGER_SHIFT);
}

function checkPosition(tx: HorizonTransaction, range: LedgerRange): void {
  const wellFormed = (BigInt(tx.paging_token) & OPERATION_MASK) === 0n && txIndexOf(tx) >= 1;
  const inRange = tx.ledger >= range.from && tx.ledger < range.to;
  if (!wellFormed || !inRange || ledgerOf(tx) !== tx.ledger) {
    throw corrupt(range, `transaction ${tx.hash} of ledger ${tx.ledger} stands at ${tx.paging_token}`);
  }
}

/** Tokens are one number, or two joined by a dash (trades). */
function compareTokens(a: string, b: string): number {
  const [a1 = '0', a2 = '-1'] = a.split('-');
  const [b1 = '0', b2 = '-1'] = b.split('-');
  const difference = BigInt(a1) - BigInt(b1) || BigInt(a2) - BigInt(b2);
  return difference > 0n ? 1 : difference < 0n ? -1 : 0;
}

function misshapen(error: z.ZodError, host: string, what: string, range: LedgerRange): TrueUpError {
  const issue = error.issues[0];
  return corrupt(
    range,
    `${host} answered ${what} in a shape that Horizon doesn't use, at ${issue?.path.join('.') || 'the top'}: ${issue?.message}`,
  );
}

function beforeHistory(host: string, range: LedgerRange): TrueUpError {
  return new TrueUpError('LEDGER_UNAVAILABLE', `${host} no longer has ledgers ${range.from} to ${range.to - 1}`, {
    range,
    fix: 'Read this range from a history archive or a Horizon that keeps whole history.',
  });
}
