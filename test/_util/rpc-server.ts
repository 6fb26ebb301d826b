// A far system: a server that answers as Stellar RPC does, from recorded ledgers, with faults dialled in.
//
// As in stellar-rpc: a start outside the node's window is a bad request; getLedgers pages by sequence; getEvents scans a
// bounded number of ledgers a call, numbers operations from 0 and answers with a cursor that says how far it looked.
// Requests and faults are matched on parsed JSON.
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { StrKey, xdr } from '@stellar/stellar-sdk/base';
import { sharedData } from './shared-data.ts';

export interface RpcLedger {
  readonly sequence: number;
  readonly hash: string;
  readonly closeTime: string;
  readonly metadataXdr: string;
  readonly headerXdr: string;
  readonly events: readonly RpcEvent[];
}

export interface RpcEvent {
  readonly id: string;
  readonly type: string;
  readonly ledger: number;
  readonly contractId: string;
  readonly transactionIndex: number;
  readonly operationIndex: number;
  readonly txHash: string;
  readonly topic: readonly string[];
  readonly value: string;
}

export interface RpcRequest {
  readonly id: unknown;
  readonly method: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- parameters differ by method, and tests look into them
  readonly params: any;
}

export type RpcFault = {
  readonly when?: (request: RpcRequest) => boolean;
  /** How many requests; default one. */
  times?: number;
} & (
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Record<string, string> }
  | { readonly kind: 'error'; readonly code: number; readonly message?: string }
  | { readonly kind: 'truncate' }
  | { readonly kind: 'stall' }
  /** The whole body, so that a test can break the envelope as well. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- tests reach into whatever the server was about to say
  | { readonly kind: 'rewrite'; readonly body: (body: any) => unknown }
);

export interface RpcServer extends AsyncDisposable {
  readonly url: string;
  readonly requests: RpcRequest[];
  readonly faults: RpcFault[];
  readonly entries: Map<string, string>;
  oldest: number;
  latest: number;
  passphrase: string;
  /** Ledgers that one getEvents call looks at. */
  scanLedgers: number;
  close(): Promise<void>;
}

const MAX_LEDGERS = 200;
const MAX_EVENTS = 10_000;
const MAX_FILTERS = 5;
const BAD_REQUEST = -32600;
const BAD_PARAMS = -32602;

export async function startRpcServer(ledgers: readonly RpcLedger[], passphrase: string): Promise<RpcServer> {
  const server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const request = JSON.parse(Buffer.concat(chunks).toString()) as RpcRequest;
      self.requests.push(request);
      respond(res, request, takeFault(self.faults, request), () => dispatch(request, ledgers, self));
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const close = () => new Promise<void>((done) => (server.close(() => done()), server.closeAllConnections()));
  const self: RpcServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    faults: [],
    entries: new Map(),
    oldest: ledgers[0]!.sequence,
    latest: ledgers.at(-1)!.sequence,
    passphrase,
    scanLedgers: 10_000,
    close,
    [Symbol.asyncDispose]: close,
  };
  return self;
}

class RpcError extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

function dispatch({ method, params }: RpcRequest, all: readonly RpcLedger[], state: RpcServer): object {
  const kept = all.filter((ledger) => ledger.sequence >= state.oldest && ledger.sequence <= state.latest);
  const window = {
    latestLedger: state.latest,
    latestLedgerCloseTime: '0',
    oldestLedger: state.oldest,
    oldestLedgerCloseTime: '0',
  };
  const checkStart = (start: number) => {
    if (start >= state.oldest && start <= state.latest) return;
    throw new RpcError(
      BAD_REQUEST,
      `start ledger (${start}) must be between the oldest ledger: ${state.oldest} and the latest ledger: ${state.latest} for this rpc instance`,
    );
  };
  switch (method) {
    case 'getNetwork':
      return { passphrase: state.passphrase, protocolVersion: 23 };
    case 'getHealth':
      return { status: 'healthy', ...window, ledgerRetentionWindow: state.latest - state.oldest + 1 };
    case 'getLatestLedger':
      return { id: kept.at(-1)!.hash, sequence: state.latest, protocolVersion: 23 };
    case 'getLedgers': {
      const start =
        params.pagination?.cursor === undefined ? (params.startLedger as number) : Number(params.pagination.cursor) + 1;
      const limit = (params.pagination?.limit ?? 50) as number;
      if (limit > MAX_LEDGERS) throw new RpcError(BAD_PARAMS, `limit must not exceed ${MAX_LEDGERS}`);
      checkStart(start);
      const found = kept.filter((ledger) => ledger.sequence >= start).slice(0, limit);
      return {
        ledgers: found.map(({ hash, sequence, closeTime, headerXdr, metadataXdr }) => ({
          hash,
          sequence,
          ledgerCloseTime: closeTime,
          headerXdr,
          metadataXdr,
        })),
        ...window,
        cursor: String(found.at(-1)?.sequence ?? start - 1),
      };
    }
    case 'getEvents':
      return { ...getEvents(params, kept, state, checkStart), ...window };
    case 'getLedgerEntries': {
      const found = (params.keys as string[]).filter((key) => state.entries.has(key));
      return {
        entries: found.map((key) => ({ key, xdr: state.entries.get(key), lastModifiedLedgerSeq: state.latest })),
        latestLedger: state.latest,
      };
    }
    default:
      throw new RpcError(-32601, `no such method ${JSON.stringify(method)}`);
  }
}

function getEvents(
  params: RpcRequest['params'],
  kept: readonly RpcLedger[],
  state: RpcServer,
  checkStart: (start: number) => void,
): object {
  const cursor = params.pagination?.cursor as string | undefined;
  if (cursor !== undefined && (params.startLedger !== undefined || params.endLedger !== undefined)) {
    throw new RpcError(BAD_PARAMS, 'ledger ranges and cursor cannot both be set');
  }
  const filters = (params.filters ?? []) as { type?: string; contractIds?: string[]; topics?: string[][] }[];
  if (
    filters.length > MAX_FILTERS ||
    filters.some((f) => (f.topics?.length ?? 0) > MAX_FILTERS || (f.contractIds?.length ?? 0) > MAX_FILTERS)
  ) {
    throw new RpcError(BAD_PARAMS, 'maximum 5 filters per request');
  }
  const limit = (params.pagination?.limit ?? 100) as number;
  if (limit > MAX_EVENTS) throw new RpcError(BAD_PARAMS, `limit must not exceed ${MAX_EVENTS}`);
  const start = cursor === undefined ? (params.startLedger as number) : Number(BigInt(cursor.split('-')[0]!) >> 32n);
  checkStart(start);
  const end = Math.min(
    state.latest + 1,
    start + state.scanLedgers,
    (params.endLedger as number | undefined) ?? Infinity,
  );
  const matching = kept
    .filter((ledger) => ledger.sequence >= start && ledger.sequence < end)
    .flatMap((ledger) => ledger.events)
    .filter((event) => cursor === undefined || event.id > cursor)
    .filter((event) => filters.length === 0 || filters.some((filter) => matches(filter, event)));
  const events = matching.slice(0, limit);
  return {
    events,
    cursor: events.length === limit ? events.at(-1)!.id : eventId(end - 1, 0xfffff, 0xfff, 0xffff_ffff),
  };
}

function matches(filter: { type?: string; contractIds?: string[]; topics?: string[][] }, event: RpcEvent): boolean {
  if (filter.type !== undefined && filter.type !== event.type) return false;
  if (filter.contractIds?.length && !filter.contractIds.includes(event.contractId)) return false;
  if (!filter.topics?.length) return true;
  return filter.topics.some((pattern) => {
    const open = pattern.at(-1) === '**';
    const segments = open ? pattern.slice(0, -1) : pattern;
    if (open ? event.topic.length < segments.length : event.topic.length !== segments.length) return false;
    return segments.every((segment, i) => segment === '*' || segment === event.topic[i]);
  });
}

/** Whole ledgers recorded from the networks named in the data's own notes. */
export function loadLedgers(
  name: 'pubnet-53312000' | 'pubnet-57500008' | 'pubnet-63092988' | 'loadtest-v23' | 'loadtest-v26',
): RpcLedger[] {
  if (name === 'pubnet-53312000') {
    const bytes = zstdDecompressSync(readFileSync(sharedData('stellar-pubnet-lcm/raw/FCD285FF--53312000.xdr.zstd')));
    return xdr.LedgerCloseMetaBatch.schema.decode(bytes).ledgerCloseMetas.map(ledgerOf);
  }
  if (name.startsWith('pubnet-')) {
    const bytes = gunzipSync(readFileSync(sharedData(`stellar-pubnet-lcm/raw/ledger-${name.slice(7)}.xdr.gz`)));
    return [ledgerOf(xdr.LedgerCloseMeta.schema.decode(bytes))];
  }
  const file = name === 'loadtest-v23' ? 'load-test-ledgers-v23-standalone' : 'load-test-ledgers-v26';
  const bytes = zstdDecompressSync(readFileSync(sharedData(`stellar-loadtest/${file}.xdr.zstd`)));
  const found: RpcLedger[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUInt32BE(at) & 0x7fff_ffff;
    found.push(ledgerOf(xdr.LedgerCloseMeta.schema.decode(bytes.subarray(at + 4, at + 4 + length))));
    at += 4 + length;
  }
  return found;
}

function ledgerOf(meta: xdr.LedgerCloseMetaWire): RpcLedger {
  const arm = meta.v === 0 ? meta.v0 : meta.v === 1 ? meta.v1 : meta.v2;
  const { header, hash } = arm.ledgerHeader;
  return {
    sequence: header.ledgerSeq,
    hash: Buffer.from(hash).toString('hex'),
    closeTime: header.scpValue.closeTime.toString(),
    metadataXdr: base64(xdr.LedgerCloseMeta.schema.encode(meta)),
    headerXdr: base64(xdr.LedgerHeaderHistoryEntry.schema.encode(arm.ledgerHeader)),
    events: eventsOf(arm.txProcessing, header.ledgerSeq),
  };
}

/** Events in the order of their ids: fees before all transactions, then by transaction and operation, then what comes after all. */
function eventsOf(
  processed: readonly (xdr.TransactionResultMetaWire | xdr.TransactionResultMetaV1Wire)[],
  ledger: number,
): RpcEvent[] {
  const events: RpcEvent[] = [];
  const counters = new Map<number, number>();
  processed.forEach(({ result, txApplyProcessing: meta }, at) => {
    const tx = at + 1;
    const add = (event: xdr.ContractEventWire, txIndex: number, opIndex: number, index: number) => {
      if (event.type === 2 || event.contractId === null) return;
      events.push({
        id: eventId(ledger, txIndex, opIndex, index),
        type: event.type === 1 ? 'contract' : 'system',
        ledger,
        contractId: StrKey.encodeContract(Buffer.from(event.contractId)),
        transactionIndex: txIndex,
        operationIndex: opIndex,
        txHash: Buffer.from(result.transactionHash).toString('hex'),
        topic: event.body.v0.topics.map((topic) => base64(xdr.ScVal.schema.encode(topic))),
        value: base64(xdr.ScVal.schema.encode(event.body.v0.data)),
      });
    };
    if (meta.v === 3) meta.v3.sorobanMeta?.events.forEach((event, index) => add(event, tx, 0, index));
    if (meta.v !== 4) return;
    meta.v4.operations.forEach((operation, op) =>
      operation.events.forEach((event, index) => add(event, tx, op, index)),
    );
    for (const { stage, event } of meta.v4.events) {
      const [txIndex, opIndex] = stage === 0 ? [0, 0] : stage === 1 ? [tx, 0xfff] : [0xfffff, 0];
      const key = txIndex * 0x1000 + opIndex;
      add(event, txIndex, opIndex, counters.get(key) ?? 0);
      counters.set(key, (counters.get(key) ?? 0) + 1);
    }
  });
  return events.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function eventId(ledger: number, tx: number, op: number, event: number): string {
  const toid = (BigInt(ledger) << 32n) | (BigInt(tx) << 12n) | BigInt(op);
  return `${toid.toString().padStart(19, '0')}-${event.toString().padStart(10, '0')}`;
}

function respond(res: ServerResponse, request: RpcRequest, fault: RpcFault | undefined, answer: () => object): void {
  if (fault?.kind === 'status') return void res.writeHead(fault.status, fault.headers).end('upstream');
  let body: unknown;
  try {
    if (fault?.kind === 'error') throw new RpcError(fault.code, fault.message ?? 'fault');
    body = { jsonrpc: '2.0', id: request.id, result: answer() };
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    body = { jsonrpc: '2.0', id: request.id, error: { code: error.code, message: error.message } };
  }
  const text = JSON.stringify(fault?.kind === 'rewrite' ? fault.body(body) : body) ?? '';
  res.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  if (fault?.kind !== 'truncate' && fault?.kind !== 'stall') return void res.end(text);
  res.write(text.slice(0, text.length >> 1), () => fault.kind === 'truncate' && res.socket?.end());
}

function takeFault(faults: RpcFault[], request: RpcRequest): RpcFault | undefined {
  const fault = faults.find((candidate) => candidate.when?.(request) ?? true);
  if (!fault) return undefined;
  fault.times = (fault.times ?? 1) - 1;
  if (fault.times <= 0) faults.splice(faults.indexOf(fault), 1);
  return fault;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
