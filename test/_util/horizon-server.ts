// A far system: an HTTP server that answers as Horizon does, from recorded testnet history, with faults dialled in.
//
// As in Horizon: ascending pages that start before the elder ledger begin silently at the elder ledger; a cursor may lie
// beyond the tip; limit is at most 200; the account endpoint alone carries Latest-Ledger; errors are problem+json.
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import type { History, HistoryLedger, HistoryTransaction } from './horizon-history.ts';

export interface HorizonRequest {
  readonly segments: readonly string[];
  readonly query: Readonly<Record<string, string>>;
}

export type HorizonFault = {
  /** Which requests; default all. Matched on the parsed request, never on its text. */
  readonly when?: (request: HorizonRequest) => boolean;
  /** How many of them; default one. */
  times?: number;
} & (
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Record<string, string> }
  /** The connection ends in the middle of the body. */
  | { readonly kind: 'truncate' }
  /** The headers and some of the body come, and then nothing. */
  | { readonly kind: 'stall' }
  /** The page that was asked for before comes again. */
  | { readonly kind: 'ignore-cursor' }
  | { readonly kind: 'rewrite'; readonly body: (body: Body) => unknown }
);

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests reach into whatever the server was about to say
type Body = any;

export interface HorizonServer extends AsyncDisposable {
  readonly url: string;
  readonly requests: HorizonRequest[];
  readonly faults: HorizonFault[];
  /** The ledgers that it has ingested and kept; a test moves them. */
  latest: number;
  elder: number;
  passphrase: string;
  close(): Promise<void>;
}

const MAX_LIMIT = 200;

export async function startHorizonServer(history: History): Promise<HorizonServer> {
  const view = indexOf(history);
  const server = createServer((req, res) => {
    const request = parse(req);
    self.requests.push(request);
    const fault = takeFault(self.faults, request);
    if (fault?.kind === 'status') return problem(res, fault.status, 'fault', fault.headers);
    const asked =
      fault?.kind === 'ignore-cursor'
        ? { ...request, query: { ...request.query, cursor: self.requests.at(-2)?.query['cursor'] ?? '' } }
        : request;
    const answer = route(asked, view, self);
    if (answer === undefined) return problem(res, 404, 'not_found', latestHeader(request, self));
    if (typeof answer === 'string') return problem(res, 400, answer);
    const body = JSON.stringify(fault?.kind === 'rewrite' ? fault.body(answer) : answer);
    send(req, res, body, latestHeader(request, self), fault?.kind);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const close = () => new Promise<void>((done) => (server.close(() => done()), server.closeAllConnections()));
  const self: HorizonServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    faults: [],
    latest: history.ledgers.at(-1)!.sequence,
    elder: history.ledgers[0]!.sequence,
    passphrase: history.passphrase,
    close,
    [Symbol.asyncDispose]: close,
  };
  return self;
}

interface View {
  readonly history: History;
  readonly bySequence: ReadonlyMap<number, HistoryLedger>;
  readonly transactions: readonly HistoryTransaction[];
  readonly byHash: ReadonlyMap<string, HistoryTransaction>;
  readonly byAccount: ReadonlyMap<string, readonly HistoryTransaction[]>;
}

function indexOf(history: History): View {
  const transactions = history.ledgers.flatMap((ledger) => ledger.transactions);
  const byAccount = new Map<string, HistoryTransaction[]>();
  for (const tx of transactions) {
    for (const account of tx.participants) {
      const list = byAccount.get(account);
      if (list) list.push(tx);
      else byAccount.set(account, [tx]);
    }
  }
  return {
    history,
    transactions,
    byAccount,
    bySequence: new Map(history.ledgers.map((ledger) => [ledger.sequence, ledger])),
    byHash: new Map(transactions.map((tx) => [tx.hash, tx])),
  };
}

/** A body; undefined for 404; a word for 400. */
function route(request: HorizonRequest, view: View, state: HorizonServer): object | string | undefined {
  const [noun, id, verb] = request.segments;
  const kept = (ledger: number) => ledger >= state.elder && ledger <= state.latest;
  const list = (records: readonly HistoryTransaction[]) =>
    page(
      request,
      records.filter((tx) => kept(tx.ledger) && (tx.successful || request.query['include_failed'] === 'true')),
      (tx) => toid(tx.ledger, tx.index),
      (tx) => transactionRecord(tx, view),
    );
  if (noun === undefined) return root(view, state);
  if (noun === 'ledgers' && id === undefined) {
    return page(
      request,
      view.history.ledgers.filter((l) => kept(l.sequence)),
      (l) => toid(l.sequence, 0),
      ledgerRecord,
    );
  }
  if (noun === 'ledgers') {
    const ledger = view.bySequence.get(Number(id));
    if (!ledger || !kept(ledger.sequence)) return undefined;
    if (verb === undefined) return ledgerRecord(ledger);
    return verb === 'transactions' ? list(ledger.transactions) : undefined;
  }
  if (noun === 'transactions') {
    if (id === undefined) return list(view.transactions);
    const tx = view.byHash.get(id);
    return tx && kept(tx.ledger) ? transactionRecord(tx, view) : undefined;
  }
  if (noun === 'payments') return payments(request, view, kept, () => true);
  if (noun !== 'accounts' || id === undefined) return undefined;
  if (verb === undefined) return account(id, view, state);
  if (!view.byAccount.has(id)) return undefined;
  if (verb === 'transactions') return list(view.byAccount.get(id)!);
  if (verb === 'payments') {
    const names = ['from', 'to', 'account', 'into', 'funder', 'source_account'];
    return payments(request, view, kept, (payment) => names.some((name) => payment[name] === id));
  }
  return verb === 'trades' ? trades(request, view, kept, id) : undefined;
}

function page<T>(
  request: HorizonRequest,
  records: readonly T[],
  tokenOf: (record: T) => bigint,
  render: (record: T) => object,
): object | string {
  const { cursor = '', order = 'asc', limit = '10' } = request.query;
  const size = Number(limit);
  if (!Number.isInteger(size) || size < 1 || size > MAX_LIMIT) return 'limit';
  if (!/^\d*$/.test(cursor)) return 'cursor';
  const sorted = order === 'desc' ? records.toReversed() : records;
  const after =
    cursor === ''
      ? sorted
      : sorted.filter((r) => (order === 'desc' ? tokenOf(r) < BigInt(cursor) : tokenOf(r) > BigInt(cursor)));
  return envelope(request, after.slice(0, size).map(render), size, order);
}

function envelope(request: HorizonRequest, records: object[], limit: number, order: string): object {
  const at = (token: unknown, direction: string) => ({
    href: `/${request.segments.join('/')}?${new URLSearchParams({ ...request.query, cursor: String(token ?? ''), limit: String(limit), order: direction })}`,
  });
  const token = (index: number) =>
    (records.at(index) as { paging_token?: string } | undefined)?.paging_token ?? request.query['cursor'];
  return {
    _links: {
      self: at(request.query['cursor'], order),
      next: at(token(-1), order),
      prev: at(token(0), order === 'asc' ? 'desc' : 'asc'),
    },
    _embedded: { records },
  };
}

function root(view: View, state: HorizonServer): object {
  return {
    _links: { self: { href: '/' } },
    horizon_version: '22.0.0',
    history_latest_ledger: state.latest,
    history_latest_ledger_closed_at: view.bySequence.get(state.latest)?.closedAt,
    history_elder_ledger: state.elder,
    core_latest_ledger: state.latest,
    ingest_latest_ledger: state.latest,
    network_passphrase: state.passphrase,
    current_protocol_version: 22,
  };
}

function ledgerRecord(ledger: HistoryLedger): object {
  const successful = ledger.transactions.filter((tx) => tx.successful).length;
  return {
    _links: { self: { href: `/ledgers/${ledger.sequence}` } },
    id: ledger.hash,
    paging_token: toid(ledger.sequence, 0).toString(),
    hash: ledger.hash,
    prev_hash: ledger.prevHash,
    sequence: ledger.sequence,
    successful_transaction_count: successful,
    failed_transaction_count: ledger.transactions.length - successful,
    closed_at: ledger.closedAt,
    header_xdr: ledger.headerXdr,
  };
}

function transactionRecord(tx: HistoryTransaction, view: View): object {
  return {
    _links: { self: { href: `/transactions/${tx.hash}` } },
    id: tx.hash,
    paging_token: toid(tx.ledger, tx.index).toString(),
    successful: tx.successful,
    hash: tx.hash,
    ledger: tx.ledger,
    created_at: view.bySequence.get(tx.ledger)!.closedAt,
    source_account: tx.sourceAccount,
    fee_account: tx.feeAccount,
    fee_charged: tx.feeCharged,
    operation_count: tx.operationCount,
    envelope_xdr: tx.envelopeXdr,
    result_xdr: tx.resultXdr,
  };
}

function payments(
  request: HorizonRequest,
  view: View,
  kept: (ledger: number) => boolean,
  keep: (payment: Record<string, unknown>) => boolean,
): object | string {
  const shown = view.history.payments.filter(
    (payment) =>
      kept(payment['ledger'] as number) &&
      keep(payment) &&
      (payment['transaction_successful'] === true || request.query['include_failed'] === 'true'),
  );
  const render = (payment: Record<string, unknown>) => ({ ...payment, _merged_amount: undefined });
  return page(request, shown, (payment) => BigInt(payment['paging_token'] as string), render);
}

function trades(request: HorizonRequest, view: View, kept: (ledger: number) => boolean, id: string): object | string {
  const [op = '', order = ''] = (request.query['cursor'] ?? '').split('-');
  const all = view.transactions
    .filter((tx) => kept(tx.ledger))
    .flatMap((tx) => tx.trades.map((trade) => ({ tx, trade, op: toid(tx.ledger, tx.index) + BigInt(trade.opIndex) })))
    .filter(({ trade }) => trade.seller === id || trade.taker === id)
    .filter((t) => op === '' || t.op > BigInt(op) || (t.op === BigInt(op) && t.trade.order > Number(order)));
  const limit = Number(request.query['limit'] ?? '10');
  const records = all.slice(0, limit).map(({ tx, trade, op }) => ({
    _links: { operation: { href: `/operations/${op}` } },
    id: `${op}-${trade.order}`,
    paging_token: `${op}-${trade.order}`,
    ledger_close_time: view.bySequence.get(tx.ledger)!.closedAt,
    trade_type: 'orderbook',
    base_account: trade.seller,
    counter_account: trade.taker,
  }));
  return envelope(request, records, limit, 'asc');
}

function account(id: string, view: View, state: HorizonServer): object | undefined {
  const native = view.history.native.get(id);
  if (native === undefined) return undefined;
  const lines = (view.history.trustlines.get(id) ?? []).map(([asset, stroops]) => {
    const [code, issuer] = asset.split(':') as [string, string];
    return {
      balance: decimal(stroops),
      asset_type: code.length > 4 ? 'credit_alphanum12' : 'credit_alphanum4',
      asset_code: code,
      asset_issuer: issuer,
      last_modified_ledger: state.latest,
    };
  });
  return {
    id,
    account_id: id,
    sequence: '1',
    last_modified_ledger: state.latest,
    balances: [...lines, { balance: decimal(native), asset_type: 'native' }],
  };
}

function latestHeader(request: HorizonRequest, state: HorizonServer): Record<string, string> {
  return request.segments[0] === 'accounts' && request.segments.length === 2
    ? { 'latest-ledger': String(state.latest) }
    : {};
}

function send(
  req: IncomingMessage,
  res: ServerResponse,
  body: string,
  headers: Record<string, string>,
  fault: string | undefined,
): void {
  const zip = /gzip/.test(String(req.headers['accept-encoding'])) && fault === undefined;
  const bytes = zip ? gzipSync(body, { level: 1 }) : Buffer.from(body);
  res.writeHead(200, {
    'content-type': 'application/hal+json; charset=utf-8',
    'content-length': bytes.length,
    ...(zip ? { 'content-encoding': 'gzip' } : {}),
    ...headers,
  });
  if (fault !== 'truncate' && fault !== 'stall') return void res.end(bytes);
  res.write(bytes.subarray(0, bytes.length >> 1), () => fault === 'truncate' && res.socket?.end());
}

function problem(res: ServerResponse, status: number, type: string, headers: Record<string, string> = {}): void {
  res.writeHead(status, { 'content-type': 'application/problem+json', ...headers });
  res.end(JSON.stringify({ type: `https://stellar.org/horizon-errors/${type}`, title: type, status }));
}

function takeFault(faults: HorizonFault[], request: HorizonRequest): HorizonFault | undefined {
  const fault = faults.find((candidate) => candidate.when?.(request) ?? true);
  if (!fault) return undefined;
  fault.times = (fault.times ?? 1) - 1;
  if (fault.times <= 0) faults.splice(faults.indexOf(fault), 1);
  return fault;
}

function parse(req: IncomingMessage): HorizonRequest {
  const url = new URL(req.url ?? '/', 'http://horizon');
  return {
    segments: url.pathname.split('/').filter(Boolean).map(decodeURIComponent),
    query: Object.fromEntries(url.searchParams),
  };
}

function decimal(stroops: bigint): string {
  const text = stroops.toString().padStart(8, '0');
  return `${text.slice(0, -7)}.${text.slice(-7)}`;
}

function toid(ledger: number, index: number): bigint {
  return (BigInt(ledger) << 32n) | (BigInt(index) << 12n);
}
