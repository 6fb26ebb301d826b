// What the HTTP client takes and gives.
import type { Dispatcher } from 'undici';
import type { BreakerOptions, BreakerSnapshot, BreakerState } from './breaker.ts';
import type { Pacer } from './pacer.ts';
import type { RetryOptions } from './retry.ts';

/** Low-cardinality facts for metrics and logs; none carries a path, a query or a credential. */
export type HttpEvent =
  | {
      readonly type: 'attempt';
      readonly host: string;
      readonly status: number | null;
      readonly durationMs: number;
      readonly bytesRead: number;
    }
  | {
      readonly type: 'retry';
      readonly host: string;
      readonly reason: string;
      readonly attempt: number;
      readonly delayMs: number;
    }
  | { readonly type: 'breaker'; readonly host: string; readonly state: BreakerState }
  | { readonly type: 'private_address_allowed'; readonly host: string };

export interface HttpClock {
  /** Milliseconds that never go back. */
  now(): number;
  /** Unix milliseconds, for Retry-After dates. */
  wallMs(): number;
  /** Rejects with the signal's reason when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface HttpClientOptions extends Partial<RetryOptions> {
  /** One try, connect to last byte. */
  readonly requestTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
  /** Default limit of a body, on the wire and decompressed; a call may set its own. */
  readonly maxBodyBytes?: number;
  readonly maxConnectionsPerHost?: number;
  readonly breaker?: Partial<BreakerOptions>;
  readonly allowPrivateAddresses?: boolean;
  /** The URLs of the configuration: one that names a private address literally may be called. */
  readonly operatorUrls?: readonly string[];
  readonly userAgent?: string;
  /** When a request may be sent, shared by all replicas. Absent: at once. */
  readonly pacer?: Pacer;
  /** Replaces the guarded connection pool; tests only. */
  readonly dispatcher?: Dispatcher;
  readonly clock?: HttpClock;
  readonly random?: () => number;
  readonly onEvent?: (event: HttpEvent) => void;
}

export interface HttpCallOptions {
  readonly signal: AbortSignal;
  /** Default: the client's maxBodyBytes. */
  readonly maxBytes?: number;
  /** Statuses outside 2xx that are an answer to this caller, for example 404. Default none. */
  readonly accept?: readonly number[];
  /** Names the call in messages, for example `the root document`; never a URL. */
  readonly what?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface JsonCallOptions extends HttpCallOptions {
  /** Looks at a parsed body; what it throws is this try's failure, so a retryable error inside a 200 is tried again too. */
  readonly check?: (body: unknown) => void;
}

export interface HttpAnswer<T> {
  readonly status: number;
  /** Names in lower case; of a repeated header the first. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: T;
  /** Bytes on the wire, before decompression. */
  readonly bytesRead: number;
}

/**
 * Every method throws TrueUpError: SOURCE_RATE_LIMITED (429, 503), SOURCE_UNAVAILABLE (other 5xx, network), SOURCE_TIMEOUT,
 * SOURCE_REFUSED (other 4xx, redirects to another host), SOURCE_ANSWER_TOO_LARGE, SOURCE_CORRUPT (no JSON, bytes that don't
 * decompress), SOURCE_CIRCUIT_OPEN (with retryAfterMs), SOURCE_ADDRESS_FORBIDDEN; or the signal's reason when aborted.
 * The retryable ones have been tried again `maxAttempts` times in all.
 */
export interface HttpClient {
  /** Asks for the bytes as they are stored; a Content-Encoding the server sets all the same is undone. */
  getBytes(url: string | URL, options: HttpCallOptions): Promise<HttpAnswer<Uint8Array>>;
  /** Integers beyond 2^53 come as strings. The body of an accepted status that is no JSON is null. */
  getJson(url: string | URL, options: JsonCallOptions): Promise<HttpAnswer<unknown>>;
  /** For reads by POST (JSON-RPC): tried again like a GET. */
  postJson(url: string | URL, payload: unknown, options: JsonCallOptions): Promise<HttpAnswer<unknown>>;
  /** Hands a text over: any 2xx is its acceptance, whatever the body; redirects aren't followed. */
  post(url: string | URL, body: string, options: HttpCallOptions): Promise<{ readonly status: number }>;
  /** The circuit of one URL's host; CLOSED for a host never called. */
  state(url: string | URL): BreakerState;
  /** Circuits by host, for diagnostics. */
  breakers(): Readonly<Record<string, BreakerSnapshot>>;
  close(): Promise<void>;
}
