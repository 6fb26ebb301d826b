// Stellar RPC's JSON-RPC 2.0 as far as TrueUp reads it. An error inside a 200 is an error, and an answer without a result too.
import { z } from 'zod';
import { TrueUpError } from '../../core/errors.ts';
import type { Reason } from '../../core/errors.ts';
import type { LedgerRange } from '../../core/ledger.ts';
import type { ByteMeter } from '../horizon/api.ts';
import type { HttpClient } from '../http/types.ts';
import { corrupt } from '../stellar/wire.ts';

export interface RpcCall {
  readonly signal: AbortSignal;
  readonly meter: ByteMeter;
  /** The ledgers that the call is about, for errors. */
  readonly range: LedgerRange;
}

const hash = z.string().regex(/^[0-9a-f]{64}$/);

/** The part of its history that the endpoint says it has, carried by most answers. */
const WINDOW = { latestLedger: z.int(), oldestLedger: z.int() };

const NETWORK = z.object({ passphrase: z.string() });
const HEALTH = z.object({ ...WINDOW });
const LATEST = z.object({ id: hash, sequence: z.int() });
const LEDGERS = z.object({
  ...WINDOW,
  ledgers: z.array(z.object({ hash, sequence: z.int(), headerXdr: z.string().min(1), metadataXdr: z.string().min(1) })),
});
const EVENTS = z.object({
  ...WINDOW,
  events: z.array(z.object({ id: z.string().regex(/^\d{19}-\d{10}$/), ledger: z.int() })),
  cursor: z.string().regex(/^\d{19}-\d{10}$/),
});
const ENTRIES = z.object({
  entries: z.array(z.object({ key: z.string(), xdr: z.string() })).nullish(),
  latestLedger: z.int(),
});

export type RpcLedgers = z.infer<typeof LEDGERS>;
export type RpcLedger = RpcLedgers['ledgers'][number];
export type RpcEvents = z.infer<typeof EVENTS>;

export type EventQuery =
  | { readonly startLedger: number; readonly endLedger: number; readonly topics: readonly (readonly string[])[][] }
  | { readonly cursor: string; readonly topics: readonly (readonly string[])[][] };

export interface RpcApi {
  readonly host: string;
  passphrase(call: RpcCall): Promise<string>;
  window(call: RpcCall): Promise<z.infer<typeof HEALTH>>;
  latestLedger(call: RpcCall): Promise<z.infer<typeof LATEST>>;
  /** @param limit at most 200 */
  ledgers(startLedger: number, limit: number, call: RpcCall): Promise<RpcLedgers>;
  /** @param query.topics one filter per element, each with up to five topic patterns; at most five filters */
  events(query: EventQuery, limit: number, call: RpcCall): Promise<RpcEvents>;
  /** XDR of ledger entries by key (both base64); a key without an entry is left out. At most 200 keys. */
  entries(
    keys: readonly string[],
    call: RpcCall,
  ): Promise<{ entries: ReadonlyMap<string, string>; latestLedger: number }>;
}

export interface RpcApiOptions {
  readonly url: string;
  readonly http: Pick<HttpClient, 'postJson'>;
  readonly maxBodyBytes: number;
}

export function createRpcApi(options: RpcApiOptions): RpcApi {
  const { host } = new URL(options.url);
  let lastId = 0;

  const ask = async <T>(
    method: string,
    params: object | undefined,
    schema: z.ZodType<T>,
    call: RpcCall,
  ): Promise<T> => {
    const id = (lastId += 1);
    const payload = { jsonrpc: '2.0', id, method, ...(params === undefined ? {} : { params }) };
    const answer = await options.http.postJson(options.url, payload, {
      signal: call.signal,
      what: method,
      maxBytes: options.maxBodyBytes,
      check: (body) => checkEnvelope(body, id, method, host, call.range),
    });
    call.meter.bytes += answer.bytesRead;
    const parsed = schema.safeParse((answer.body as { result: unknown }).result);
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    throw corrupt(
      call.range,
      `${host} answered ${method} in a shape that Stellar RPC doesn't use, at ${issue?.path.join('.') || 'the top'}: ${issue?.message}`,
    );
  };

  return {
    host,
    passphrase: async (call) => (await ask('getNetwork', undefined, NETWORK, call)).passphrase,
    window: (call) => ask('getHealth', undefined, HEALTH, call),
    latestLedger: (call) => ask('getLatestLedger', undefined, LATEST, call),
    ledgers: (startLedger, limit, call) => ask('getLedgers', { startLedger, pagination: { limit } }, LEDGERS, call),
    events({ topics, ...from }, limit, call) {
      const filters = topics.map((patterns) => ({ type: 'contract', topics: patterns }));
      const start =
        'cursor' in from ? { pagination: { cursor: from.cursor, limit } } : { ...from, pagination: { limit } };
      return ask('getEvents', { ...start, filters }, EVENTS, call);
    },
    async entries(keys, call) {
      const { entries, latestLedger } = await ask('getLedgerEntries', { keys }, ENTRIES, call);
      return { entries: new Map((entries ?? []).map((entry) => [entry.key, entry.xdr])), latestLedger };
    },
  };
}

/** The JSON-RPC code that made the error, for callers that know what it means for their method. */
export function rpcCodeOf(error: unknown): number | undefined {
  const code = error instanceof TrueUpError ? error.details.metadata?.['rpc_code'] : undefined;
  return code === undefined ? undefined : Number(code);
}

export const RPC_METHOD_NOT_FOUND = -32601;
export const RPC_INVALID_REQUEST = -32600;
export const RPC_INVALID_PARAMS = -32602;

const ENVELOPE = z.object({
  id: z.union([z.number(), z.string(), z.null()]).optional(),
  result: z.unknown().optional(),
  error: z.object({ code: z.int(), message: z.string().default('') }).nullish(),
});

function checkEnvelope(body: unknown, id: number, method: string, host: string, range: LedgerRange): void {
  const parsed = ENVELOPE.safeParse(body);
  if (!parsed.success) throw corrupt(range, `${host} answered ${method} with something that is no JSON-RPC response`);
  const { error, result } = parsed.data;
  if (error) throw errorOf(error.code, error.message, method, host);
  if (result === undefined || result === null)
    throw corrupt(range, `${host} answered ${method} with neither a result nor an error`);
  if (String(parsed.data.id) !== String(id)) throw corrupt(range, `${host} answered another request than ${method}`);
}

function errorOf(code: number, message: string, method: string, host: string): TrueUpError {
  const words = message.replace(/\w+:\/\/\S+/g, '(a URL)').slice(0, 200);
  return new TrueUpError(reasonOf(code), `${host} answered ${method} with error ${code}: ${words}`, {
    metadata: { host, rpc_code: String(code) },
    ...(code === RPC_METHOD_NOT_FOUND
      ? { fix: 'Use an endpoint that runs stellar-rpc 22.1 or newer; older ones carry no ledgers.' }
      : {}),
  });
}

/** JSON-RPC 2.0's own codes, and those that gateways in front of a node use for their limits. */
function reasonOf(code: number): Reason {
  if (code === -32001 || code === -32005 || code === -32029 || code === -32097 || code === 429)
    return 'SOURCE_RATE_LIMITED';
  if (code === -32603 || (code <= -32000 && code >= -32099)) return 'SOURCE_UNAVAILABLE';
  return 'SOURCE_REFUSED';
}
