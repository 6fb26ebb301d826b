// The one HTTP client of every network source: limits, retry, circuit breaker, address guard.
import { setTimeout as sleepFor } from 'node:timers/promises';
import { Agent, request } from 'undici';
import { TrueUpError } from '../../core/errors.ts';
import { keepPayload } from '../../core/raw-payload.ts';
import { createAddressGuard } from './address-guard.ts';
import { readBoundedBody, tooLarge } from './body.ts';
import { DEFAULT_BREAKER, createBreaker } from './breaker.ts';
import type { Breaker, BreakerOptions } from './breaker.ts';
import { authorizationOf, withoutCredentials } from './credentials.ts';
import { outcomeOf, statusError, transportError } from './failure.ts';
import { parseJson } from './json.ts';
import { DEFAULT_RETRY, parseRetryAfter, retryDelayMs } from './retry.ts';
import type { RetryOptions } from './retry.ts';
import { payToll } from './toll.ts';
import type {
  HttpAnswer,
  HttpCallOptions,
  HttpClient,
  HttpClientOptions,
  HttpClock,
  JsonCallOptions,
} from './types.ts';

const DEFAULT_REQUEST_TIMEOUT_MS = 30_000;
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
const DEFAULT_MAX_BODY_BYTES = 64 * 1024 * 1024;
const DEFAULT_MAX_CONNECTIONS_PER_HOST = 8;
const MAX_REDIRECTS = 3;
const MAX_ERROR_BODY_BYTES = 64 * 1024;

export function createHttpClient(options: HttpClientOptions = {}): HttpClient {
  const requestTimeoutMs = options.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS;
  const maxBodyBytes = options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES;
  const retry: RetryOptions = { ...DEFAULT_RETRY, ...definedOf(options, Object.keys(DEFAULT_RETRY)) };
  const breakerOptions: BreakerOptions = { ...DEFAULT_BREAKER, ...options.breaker };
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const emit = options.onEvent ?? (() => undefined);
  const guard = createAddressGuard({
    allowPrivateAddresses: options.allowPrivateAddresses ?? false,
    operatorUrls: options.operatorUrls ?? [],
  });
  for (const host of guard.exemptHosts) emit({ type: 'private_address_allowed', host });

  const dispatcher =
    options.dispatcher ??
    new Agent({
      connections: options.maxConnectionsPerHost ?? DEFAULT_MAX_CONNECTIONS_PER_HOST,
      headersTimeout: requestTimeoutMs,
      bodyTimeout: requestTimeoutMs,
      connect: { timeout: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS, lookup: guard.lookup as never },
    });
  const breakers = new Map<string, Breaker>();

  const breakerOf = (host: string): Breaker => {
    let breaker = breakers.get(host);
    if (!breaker) {
      breaker = createBreaker(
        breakerOptions,
        () => clock.now(),
        (state) => emit({ type: 'breaker', host, state }),
      );
      breakers.set(host, breaker);
    }
    return breaker;
  };

  /** Before every request that goes out: whoever asked pays for it, and the host's budget has room for it. */
  const admit = async (host: string, signal: AbortSignal): Promise<void> => {
    await payToll(signal);
    await options.pacer?.enter(host, signal);
  };

  /** One try, redirects on the same host included. */
  const attempt = async (call: Call, signal: AbortSignal): Promise<HttpAnswer<Uint8Array>> => {
    let url = call.url;
    for (let redirects = 0; ; redirects += 1) {
      guard.checkUrl(url);
      const answer = await request(withoutCredentials(url), {
        method: call.method,
        dispatcher,
        signal,
        headers: { ...call.headers, ...authorizationOf(url), 'user-agent': options.userAgent ?? 'trueup' },
        ...(call.payload === undefined ? {} : { body: call.payload }),
      });
      const headers = flatten(answer.headers);
      if (call.bodyIsIgnored && answer.statusCode >= 200 && answer.statusCode < 300) {
        // The status is the answer; a body that breaks off or never ends takes nothing back.
        await answer.body.dump({ limit: MAX_ERROR_BODY_BYTES, signal }).catch(() => undefined);
        return { status: answer.statusCode, headers, body: new Uint8Array(), bytesRead: 0 };
      }
      const ok = (answer.statusCode >= 200 && answer.statusCode < 300) || call.accept.includes(answer.statusCode);
      if (ok) {
        if (Number(headers['content-length'] ?? 0) > call.maxBytes) {
          answer.body.on('error', () => undefined).destroy();
          throw tooLarge(call.host, call.maxBytes);
        }
        const body = await readBoundedBody(answer.body, headers['content-encoding'], call.maxBytes, call.host);
        return { status: answer.statusCode, headers, body: body.bytes, bytesRead: body.bytesRead };
      }
      // The words of an error page are not passed on, but reading them keeps the connection.
      await answer.body.dump({ limit: MAX_ERROR_BODY_BYTES, signal });
      const isRedirect = [301, 302, 303, 307, 308].includes(answer.statusCode);
      if (!isRedirect || call.bodyIsIgnored) {
        throw statusError(
          answer.statusCode,
          call.host,
          call.what,
          parseRetryAfter(headers['retry-after'], clock.wallMs()),
        );
      }
      url = redirectTarget(url, headers['location'], answer.statusCode, call, redirects);
      await admit(call.host, signal);
    }
  };

  /** Tries until an answer, a failure that trying again can't mend, or the last attempt. */
  const perform = async <T>(
    call: Call,
    decode: (answer: HttpAnswer<Uint8Array>) => HttpAnswer<T>,
  ): Promise<HttpAnswer<T>> => {
    const breaker = breakerOf(call.host);
    let lastError: TrueUpError | undefined;
    for (let failedAttempts = 0; ;) {
      call.signal.throwIfAborted();
      await admit(call.host, call.signal);
      const admission = breaker.enter();
      if (!admission.admitted) throw lastError ?? circuitOpen(call.host, admission.retryAfterMs);
      const startedAt = clock.now();
      const timeout = new AbortController();
      const timer = setTimeout(
        () => timeout.abort(new DOMException('request timeout', 'TimeoutError')),
        requestTimeoutMs,
      );
      try {
        const answer = decode(await attempt(call, AbortSignal.any([call.signal, timeout.signal])));
        admission.settle('success');
        emit({
          type: 'attempt',
          host: call.host,
          status: answer.status,
          durationMs: clock.now() - startedAt,
          bytesRead: answer.bytesRead,
        });
        return answer;
      } catch (error) {
        if (call.signal.aborted) {
          admission.settle('ignored');
          throw call.signal.reason;
        }
        lastError = transportError(error, call.host, call.what, requestTimeoutMs);
        admission.settle(outcomeOf(lastError));
        const status = lastError.details.metadata?.['http_status'];
        emit({
          type: 'attempt',
          host: call.host,
          status: status === undefined ? null : Number(status),
          durationMs: clock.now() - startedAt,
          bytesRead: 0,
        });
      } finally {
        clearTimeout(timer);
      }
      failedAttempts += 1;
      const retryAfterMs = lastError.details.retryAfterMs;
      if (retryAfterMs !== undefined && retryAfterMs > 0) options.pacer?.defer(call.host, retryAfterMs);
      const isFinal = !lastError.retryable || failedAttempts >= retry.maxAttempts;
      if (isFinal || (retryAfterMs ?? 0) > retry.maxRetryAfterMs) throw lastError;
      const delayMs = retryDelayMs(retry, failedAttempts, retryAfterMs, random);
      emit({ type: 'retry', host: call.host, reason: lastError.reason, attempt: failedAttempts, delayMs });
      await clock.sleep(delayMs, call.signal);
    }
  };

  const callOf = (
    method: 'GET' | 'POST',
    url: string | URL,
    o: HttpCallOptions,
    headers: Record<string, string>,
  ): Call => {
    const parsed = new URL(url);
    return {
      method,
      url: parsed,
      host: parsed.host,
      what: o.what ?? `a ${method} request`,
      signal: o.signal,
      maxBytes: o.maxBytes ?? maxBodyBytes,
      accept: o.accept ?? [],
      headers: { ...headers, ...o.headers },
    };
  };

  return {
    getBytes: async (url, o) => perform(callOf('GET', url, o, { 'accept-encoding': 'identity' }), (answer) => answer),
    async getJson(url, o) {
      const call = callOf('GET', url, o, { accept: 'application/json', 'accept-encoding': 'gzip' });
      return perform(call, (answer) => jsonAnswer(call, answer, o));
    },
    async postJson(url, payload, o) {
      const headers = { accept: 'application/json', 'accept-encoding': 'gzip', 'content-type': 'application/json' };
      const call = { ...callOf('POST', url, o, headers), payload: JSON.stringify(payload) };
      return perform(call, (answer) => jsonAnswer(call, answer, o));
    },
    async post(url, body, o) {
      return perform({ ...callOf('POST', url, o, {}), payload: body, bodyIsIgnored: true }, (answer) => answer);
    },
    state: (url) => breakers.get(new URL(url).host)?.snapshot().state ?? 'CLOSED',
    breakers: () => Object.fromEntries([...breakers].map(([host, breaker]) => [host, breaker.snapshot()])),
    close: () => (options.dispatcher ? Promise.resolve() : dispatcher.destroy()),
  };
}

interface Call {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly host: string;
  readonly what: string;
  readonly signal: AbortSignal;
  readonly maxBytes: number;
  readonly accept: readonly number[];
  readonly headers: Readonly<Record<string, string>>;
  readonly payload?: string;
  /** A message rather than a question: only the status counts, and it goes to nobody else. */
  readonly bodyIsIgnored?: boolean;
}

export const systemClock: HttpClock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: async (ms, signal) => {
    try {
      await sleepFor(ms, undefined, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  },
};

function jsonAnswer(call: Call, answer: HttpAnswer<Uint8Array>, options: JsonCallOptions): HttpAnswer<unknown> {
  const body = parseBody(call, answer);
  if (!call.accept.includes(answer.status)) options.check?.(body);
  return { ...answer, body };
}

function parseBody(call: Call, answer: HttpAnswer<Uint8Array>): unknown {
  try {
    return parseJson(Buffer.from(answer.body).toString('utf8'));
  } catch (error) {
    if (call.accept.includes(answer.status)) return null;
    const bad = new TrueUpError('SOURCE_CORRUPT', `${call.host} answered ${call.what} with something that is no JSON`, {
      metadata: { host: call.host },
      cause: error,
    });
    throw keepPayload(bad, { format: 'the body of the answer', bytes: answer.body });
  }
}

/** @throws TrueUpError SOURCE_REFUSED for another host, a downgrade to http, or too many hops. */
function redirectTarget(from: URL, location: string | undefined, status: number, call: Call, redirects: number): URL {
  const to = location !== undefined && URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  const sameHost = to?.hostname === from.hostname && (to.protocol === from.protocol || to.protocol === 'https:');
  const keepsMethod = call.method === 'GET' || status === 307 || status === 308;
  if (!to || !sameHost || !keepsMethod || redirects >= MAX_REDIRECTS) {
    throw new TrueUpError('SOURCE_REFUSED', `${call.host} redirected ${call.what} to where TrueUp does not follow`, {
      fix: 'Configure the URL that the redirect leads to.',
      metadata: { host: call.host, http_status: String(status) },
    });
  }
  to.username = from.username;
  to.password = from.password;
  return to;
}

function circuitOpen(host: string, retryAfterMs: number): TrueUpError {
  return new TrueUpError('SOURCE_CIRCUIT_OPEN', `${host} failed too often and is left alone for ${retryAfterMs} ms`, {
    retryAfterMs,
    metadata: { host },
  });
}

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const pairs = Object.entries(headers).map(([name, value]) => [
    name.toLowerCase(),
    Array.isArray(value) ? value[0] : value,
  ]);
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined)) as Record<string, string>;
}

function definedOf(source: object, keys: readonly string[]): Partial<RetryOptions> {
  return Object.fromEntries(Object.entries(source).filter(([key, value]) => keys.includes(key) && value !== undefined));
}
