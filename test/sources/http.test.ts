// Goal: the HTTP client never turns a failure into an answer, waits as servers ask, and calls no address it must not.
// Method: a real server on loopback that answers as each test says; a clock that records waits instead of waiting.
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { createAddressGuard, rangeOf } from '../../src/sources/http/address-guard.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import { parseJson } from '../../src/sources/http/json.ts';
import { DEFAULT_RETRY, parseRetryAfter, retryDelayMs } from '../../src/sources/http/retry.ts';
import type { HttpClient, HttpClientOptions, HttpEvent } from '../../src/sources/http/types.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

type Handler = (req: IncomingMessage, res: ServerResponse, count: number) => void;

async function serve(handler: Handler): Promise<{ url: string; requests: IncomingMessage[] }> {
  const requests: IncomingMessage[] = [];
  const listener: RequestListener = (req, res) => {
    requests.push(req);
    req.resume();
    req.on('end', () => handler(req, res, requests.length));
  };
  const server = createServer(listener);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  closers.push(() => new Promise((done) => (server.close(done), server.closeAllConnections())));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

function client(options: HttpClientOptions = {}) {
  let nowMs = 0;
  const waits: number[] = [];
  const events: HttpEvent[] = [];
  const http: HttpClient = createHttpClient({
    allowPrivateAddresses: true,
    random: () => 1,
    onEvent: (event) => events.push(event),
    clock: {
      now: () => nowMs,
      wallMs: () => Date.UTC(2026, 0, 1),
      sleep: (ms, signal) => {
        signal.throwIfAborted();
        waits.push(ms);
        nowMs += ms;
        return Promise.resolve();
      },
    },
    ...options,
  });
  closers.push(() => http.close());
  return { http, waits, events, advance: (ms: number) => (nowMs += ms) };
}

const signal = new AbortController().signal;

async function failureOf(promise: Promise<unknown>): Promise<TrueUpError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => error,
  );
  expect(outcome).toBeInstanceOf(TrueUpError);
  return outcome as TrueUpError;
}

describe('answers', () => {
  it('gives bytes as they are stored and counts them', async () => {
    const { url } = await serve((_req, res) => res.end(Buffer.from([1, 2, 3])));
    const answer = await client().http.getBytes(url, { signal });
    expect(answer).toMatchObject({ status: 200, bytesRead: 3 });
    expect([...answer.body]).toEqual([1, 2, 3]);
  });

  it('undoes gzip and counts the bytes of the wire', async () => {
    const packed = gzipSync(JSON.stringify({ text: 'x'.repeat(10_000) }));
    const { url } = await serve((_req, res) => res.setHeader('content-encoding', 'gzip').end(packed));
    const answer = await client().http.getJson(url, { signal });
    expect(answer.bytesRead).toBe(packed.length);
    expect(answer.body).toEqual({ text: 'x'.repeat(10_000) });
  });

  it('keeps every digit of ids beyond 2^53, quoted or not', () => {
    expect(
      parseJson('{"id":16010972359577600123,"ids":["1",9007199254740993],"n":-9007199254740993,"x":1.5,"s":12}'),
    ).toEqual({
      id: '16010972359577600123',
      ids: ['1', '9007199254740993'],
      n: '-9007199254740993',
      x: 1.5,
      s: 12,
    });
  });

  it('sends a JSON payload and the credentials of the URL as a header only', async () => {
    let received = '';
    const { url, requests } = await serve((_req, res) => res.end('{}'));
    const server = new URL(url);
    server.username = 'ops';
    server.password = 's3cret';
    await client().http.postJson(server, { a: 1 }, { signal });
    received = requests[0]!.headers.authorization ?? '';
    expect(Buffer.from(received.slice(6), 'base64').toString()).toBe('ops:s3cret');
    expect(requests[0]!.url).not.toContain('s3cret');
  });

  it('lets the caller take a 404 for an answer', async () => {
    const { url } = await serve((_req, res) => res.writeHead(404).end('<html>'));
    expect(await client().http.getJson(url, { signal, accept: [404] })).toMatchObject({ status: 404, body: null });
  });
});

describe('failures', () => {
  it.each([
    [429, 'SOURCE_RATE_LIMITED', 5],
    [503, 'SOURCE_RATE_LIMITED', 5],
    [500, 'SOURCE_UNAVAILABLE', 5],
    [502, 'SOURCE_UNAVAILABLE', 5],
    [504, 'SOURCE_TIMEOUT', 5],
    [400, 'SOURCE_REFUSED', 1],
    [401, 'SOURCE_REFUSED', 1],
    [404, 'SOURCE_REFUSED', 1],
    [410, 'SOURCE_REFUSED', 1],
  ] as const)('%i is %s after %i tries', async (status, reason, tries) => {
    const { url, requests } = await serve((_req, res) => res.writeHead(status).end('no'));
    const error = await failureOf(client().http.getJson(url, { signal }));
    expect(error.reason).toBe(reason);
    expect(error.details.metadata?.['http_status']).toBe(String(status));
    expect(requests).toHaveLength(tries);
  });

  it('a body cut off in the middle is no answer', async () => {
    const { url, requests } = await serve((_req, res) => {
      res.writeHead(200, { 'content-length': '1000' });
      res.write('{"half":');
      res.socket!.end();
    });
    expect((await failureOf(client().http.getJson(url, { signal }))).reason).toBe('SOURCE_UNAVAILABLE');
    expect(requests).toHaveLength(5);
  });

  it('an answer that is no JSON is corrupt, also when it is empty', async () => {
    for (const text of ['', '<html>hello</html>', '{"a":']) {
      const { url } = await serve((_req, res) => res.end(text));
      expect((await failureOf(client().http.getJson(url, { signal }))).reason).toBe('SOURCE_CORRUPT');
    }
  });

  it('a server that nobody runs is unavailable', async () => {
    const { url } = await serve(() => undefined);
    await closers.pop()!();
    const error = await failureOf(client().http.getJson(url, { signal }));
    expect(error).toMatchObject({ reason: 'SOURCE_UNAVAILABLE', retryable: true });
  });

  it.each(['headers', 'body'])('a server that stalls before its %s times out', async (stage) => {
    const { url } = await serve((_req, res) => {
      if (stage === 'body') res.writeHead(200).write('{');
    });
    const { http } = client({ requestTimeoutMs: 60, maxAttempts: 2 });
    expect((await failureOf(http.getJson(url, { signal }))).reason).toBe('SOURCE_TIMEOUT');
  });

  it('refuses a body over the limit: announced, streamed, or hidden in gzip', async () => {
    const bomb = gzipSync(Buffer.alloc(5_000_000));
    expect(bomb.length).toBeLessThan(10_000);
    const answers: Handler[] = [
      (_req, res) => res.writeHead(200, { 'content-length': '20000' }).end(Buffer.alloc(20_000)),
      (_req, res) => void res.writeHead(200).write(Buffer.alloc(20_000), () => res.end()),
      (_req, res) => res.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb),
    ];
    for (const handler of answers) {
      const { url, requests } = await serve(handler);
      const error = await failureOf(client().http.getBytes(url, { signal, maxBytes: 10_000 }));
      expect(error.reason).toBe('SOURCE_ANSWER_TOO_LARGE');
      expect(requests).toHaveLength(1);
    }
  });

  it('names the host and never a path, a query or a password', async () => {
    const { url } = await serve((_req, res) => res.writeHead(401).end());
    const secret = new URL(`${url}/v2/KEY123?api_key=KEY456`);
    secret.username = 'me';
    secret.password = 'KEY789';
    const error = await failureOf(client().http.getJson(secret, { signal }));
    expect(JSON.stringify([error.message, error.details])).not.toMatch(/KEY\d/);
    expect(error.message).toContain(secret.host);
  });
});

describe('waiting', () => {
  it('defect B: Retry-After is honoured and backoff has jitter', async () => {
    const { url } = await serve((_req, res, count) => {
      if (count === 1) return res.writeHead(429, { 'retry-after': '7' }).end();
      if (count === 2) return res.writeHead(503, { 'retry-after': 'Thu, 01 Jan 2026 00:00:09 GMT' }).end();
      if (count === 3) return res.writeHead(500).end();
      return res.end('{}');
    });
    const { http, waits } = client({ random: () => 0.5 });
    await http.getJson(url, { signal });
    expect(waits).toEqual([7_000, 9_000, 500]);

    const spread = new Set(Array.from({ length: 200 }, () => retryDelayMs(DEFAULT_RETRY, 3, undefined, Math.random)));
    expect(spread.size).toBeGreaterThan(50);
    expect(Math.max(...spread)).toBeLessThanOrEqual(1_000);
  });

  it('doubles the ceiling from 250 ms and stops at 5 s', () => {
    const ceilings = [1, 2, 3, 4, 5, 6, 7].map((n) => retryDelayMs(DEFAULT_RETRY, n, undefined, () => 1));
    expect(ceilings).toEqual([250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
  });

  it('hands a Retry-After beyond its patience to the caller', async () => {
    const { url, requests } = await serve((_req, res) => res.writeHead(429, { 'retry-after': '3600' }).end());
    const error = await failureOf(client().http.getJson(url, { signal }));
    expect(error.details.retryAfterMs).toBe(3_600_000);
    expect(requests).toHaveLength(1);
  });

  it('reads only the two forms of Retry-After that exist', () => {
    const now = Date.UTC(2026, 0, 1);
    expect(parseRetryAfter('120', now)).toBe(120_000);
    expect(parseRetryAfter('Thu, 01 Jan 2026 00:01:00 GMT', now)).toBe(60_000);
    expect(parseRetryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now)).toBe(0);
    for (const text of [undefined, '', 'soon', '-5', '5 apples', '1e9'])
      expect(parseRetryAfter(text, now)).toBeUndefined();
  });

  it('an abort ends the call at once with its own reason: while waiting, while reading, before starting', async () => {
    const { url } = await serve((req, res) => {
      if (req.url === '/fail') res.writeHead(500).end();
      else res.writeHead(200).write('{');
    });
    const early = new AbortController();
    early.abort(new Error('shutting down'));
    await expect(client().http.getJson(url, { signal: early.signal })).rejects.toThrow('shutting down');

    const waiting = new AbortController();
    const real = createHttpClient({
      allowPrivateAddresses: true,
      initialBackoffMs: 60_000,
      maxBackoffMs: 60_000,
      random: () => 1,
      onEvent: (e) => e.type === 'retry' && waiting.abort(new Error('stop waiting')),
    });
    closers.push(() => real.close());
    await expect(real.getJson(`${url}/fail`, { signal: waiting.signal })).rejects.toThrow('stop waiting');

    const reading = new AbortController();
    const pending = client().http.getJson(url, { signal: reading.signal });
    reading.abort(new Error('stop reading'));
    await expect(pending).rejects.toThrow('stop reading');
  });
});

describe('the breaker in the client', () => {
  it('opens after five failures, refuses without calling, and closes after a good probe', async () => {
    let healthy = false;
    const { url, requests } = await serve((_req, res) => (healthy ? res.end('{}') : res.writeHead(500).end()));
    const { http, events, advance } = client();
    expect(http.state(url)).toBe('CLOSED');
    expect((await failureOf(http.getJson(url, { signal }))).reason).toBe('SOURCE_UNAVAILABLE');
    expect(http.state(url)).toBe('OPEN');
    const refused = await failureOf(http.getJson(url, { signal }));
    expect(refused).toMatchObject({ reason: 'SOURCE_CIRCUIT_OPEN', retryable: true });
    expect(refused.details.retryAfterMs).toBe(30_000);
    expect(requests).toHaveLength(5);
    healthy = true;
    advance(30_000);
    await http.getJson(url, { signal });
    expect(http.state(url)).toBe('CLOSED');
    expect(events.filter((e) => e.type === 'breaker').map((e) => e.state)).toEqual(['OPEN', 'HALF_OPEN', 'CLOSED']);
    expect(Object.keys(http.breakers())).toEqual([new URL(url).host]);
  });

  it('keeps one host apart from another, and refusals and rate limits open nothing', async () => {
    const bad = await serve((_req, res) => res.writeHead(500).end());
    const good = await serve((req, res) => res.writeHead(req.url === '/limited' ? 429 : 404).end());
    const { http } = client();
    await failureOf(http.getJson(bad.url, { signal }));
    for (let i = 0; i < 8; i += 1) await failureOf(http.getJson(good.url, { signal }));
    await failureOf(http.getJson(`${good.url}/limited`, { signal }));
    expect([http.state(bad.url), http.state(good.url)]).toEqual(['OPEN', 'CLOSED']);
  });
});

describe('addresses', () => {
  it.each([
    ['127.0.0.1', 'loopback'],
    ['10.1.2.3', 'private'],
    ['192.168.1.1', 'private'],
    ['172.16.0.1', 'private'],
    ['169.254.169.254', 'linkLocal'],
    ['100.64.0.1', 'carrierGradeNat'],
    ['0.0.0.0', 'unspecified'],
    ['224.0.0.1', 'multicast'],
    ['::1', 'loopback'],
    ['fc00::1', 'uniqueLocal'],
    ['fe80::1', 'linkLocal'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['::ffff:a9fe:a9fe', 'linkLocal'],
    ['64:ff9b::7f00:1', 'rfc6052'],
    ['93.184.215.14', 'unicast'],
    ['2606:2800:21f::1', 'unicast'],
  ])('%s is %s', (address, range) => {
    expect(rangeOf(address)).toBe(range);
  });

  it.each([
    'http://127.0.0.1:9',
    'http://[::1]:9',
    'http://2130706433/',
    'http://0x7f.1/',
    'http://169.254.169.254/latest',
    'http://[::ffff:10.0.0.1]/',
  ])('refuses the literal %s without connecting', async (url) => {
    const { http } = client({ allowPrivateAddresses: false });
    expect((await failureOf(http.getJson(url, { signal }))).reason).toBe('SOURCE_ADDRESS_FORBIDDEN');
  });

  it('refuses a name that resolves to a private address, at the moment of connecting', async () => {
    const { http } = client({ allowPrivateAddresses: false });
    const { url, requests } = await serve((_req, res) => res.end('{}'));
    const error = await failureOf(http.getJson(`http://localhost:${new URL(url).port}`, { signal }));
    expect(error.reason).toBe('SOURCE_ADDRESS_FORBIDDEN');
    expect(error.details.fix).toContain('TRUEUP_ALLOW_PRIVATE_ADDRESSES');
    expect(requests).toHaveLength(0);
  });

  it('refuses a name if any of its addresses is forbidden', async () => {
    const answers = [
      { address: '93.184.215.14', family: 4 },
      { address: '10.0.0.7', family: 4 },
    ];
    const resolve = ((_host: string, _options: unknown, done: (e: null, a: unknown) => void) =>
      done(null, answers)) as never;
    const guard = createAddressGuard({ allowPrivateAddresses: false, operatorUrls: [] }, resolve);
    const error = await new Promise((done) => guard.lookup('rebind.example', { all: true }, (e) => done(e)));
    expect((error as TrueUpError).reason).toBe('SOURCE_ADDRESS_FORBIDDEN');
  });

  it("takes a private address written in the configuration for the operator's will, and says so", async () => {
    const { url } = await serve((_req, res) => res.end('{}'));
    const { http, events } = client({ allowPrivateAddresses: false, operatorUrls: [url, 'http://169.254.169.254/'] });
    await http.getJson(url, { signal });
    expect(events.filter((e) => e.type === 'private_address_allowed')).toEqual([
      { type: 'private_address_allowed', host: '127.0.0.1' },
    ]);
    expect((await failureOf(http.getJson('http://169.254.169.254/', { signal }))).reason).toBe(
      'SOURCE_ADDRESS_FORBIDDEN',
    );
  });

  it('follows redirects on one host and none to another', async () => {
    const inner = await serve((_req, res) => res.end('{"secret":true}'));
    const outer = await serve((req, res) => {
      if (req.url === '/there') return res.end('{"here":true}');
      if (req.url === '/loop') return res.writeHead(302, { location: '/loop' }).end();
      const location = req.url === '/same' ? '/there' : inner.url.replace('127.0.0.1', 'localhost');
      return res.writeHead(302, { location }).end();
    });
    const { http } = client({ allowPrivateAddresses: false, operatorUrls: [outer.url] });
    expect((await http.getJson(`${outer.url}/same`, { signal })).body).toEqual({ here: true });
    expect((await failureOf(http.getJson(`${outer.url}/other`, { signal }))).reason).toBe('SOURCE_REFUSED');
    expect((await failureOf(http.getJson(`${outer.url}/loop`, { signal }))).reason).toBe('SOURCE_REFUSED');
    expect(inner.requests).toHaveLength(0);
  });
});
