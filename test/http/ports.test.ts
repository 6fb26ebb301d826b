// Goal: the HTTP port serves pages of this machine only where nobody needs a token; the metrics port says whether we are alive, ready and
// well, each on its own, and never half of an answer.
// Method: bare HTTP requests with the headers that browsers and probes send.
import { type IncomingHttpHeaders, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problemOf } from '../../src/http/host-guard.ts';
import { HTTP_LIMITS, type HttpListener } from '../../src/http/listener.ts';
import { startMetricsPort } from '../../src/http/metrics-port.ts';
import type { Readiness, Wellness } from '../../src/http/probes.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

const PATH = '/trueup.v1.HealthService/GetStatus';

describe('the HTTP port without tokens', () => {
  let serving: Serving;
  beforeAll(async () => {
    const page = (request: { url?: string | undefined }, response: { end(text: string): void }) => {
      if (request.url !== '/') return false;
      response.end('the page');
      return true;
    };
    serving = await startServing({ auth: 'none', page: page as never });
  });
  afterAll(() => serving.close(100));

  const asOther = (headers: Record<string, string>, path = PATH) =>
    send(serving.httpPort, 'POST', path, { 'content-type': 'application/json', ...headers }, '{}');

  it('answers calls and the page by every name of this machine', async () => {
    for (const host of [
      `127.0.0.1:${serving.httpPort}`,
      `localhost:${serving.httpPort}`,
      'LOCALHOST',
      '[::1]:1',
      '127.0.0.2',
    ]) {
      expect((await asOther({ host })).status).toBe(404); // the stub's answer: the call came through
    }
    expect(await send(serving.httpPort, 'GET', '/', {})).toMatchObject({ status: 200, body: 'the page' });
    expect((await send(serving.httpPort, 'GET', '/other', {})).status).toBe(404);
  });

  it('turns a foreign name away, which a rebound name of a page would be', async () => {
    for (const path of [PATH, '/']) {
      const { status, body } = await asOther({ host: 'evil.example:8080' }, path);
      expect([status, body]).toEqual([403, expect.stringContaining("not this machine's")]);
    }
  });

  it("turns another page's posts away, and takes its own", async () => {
    const host = `127.0.0.1:${serving.httpPort}`;
    for (const origin of [
      'http://evil.example',
      'null',
      `https://evil.example:${serving.httpPort}`,
      `http://127.0.0.1:${serving.httpPort + 1}`,
      'file://',
    ]) {
      const { status, body } = await asOther({ host, origin });
      expect([origin, status]).toEqual([origin, 403]);
      expect(JSON.parse(body)).toMatchObject({ code: 'permission_denied', message: expect.stringContaining('Fix: ') });
    }
    expect((await asOther({ host, origin: `http://${host}` })).status).toBe(404);
  });

  it.each([
    [undefined, undefined, 'names no host'],
    ['', undefined, 'names no host'],
    ['a b', undefined, 'names no host'],
    ['127.0.0.1.evil.example', undefined, "not this machine's"],
    ['localhost.evil.example', undefined, "not this machine's"],
    ['10.1.2.3', undefined, "not this machine's"],
    ['localhost', 'http://localhost:81', "another page's"],
    ['localhost:80', 'http://localhost', undefined],
  ])('judges host %j and origin %j', (host, origin, problem) => {
    const found = problemOf(host, origin, '127.0.0.1');
    if (problem === undefined) expect(found).toBeUndefined();
    else expect(found).toContain(problem);
  });
});

describe('the HTTP port with tokens', () => {
  it('asks for the token and not for the name', async () => {
    await using serving = await startServing();
    const headers = { 'content-type': 'application/json', host: 'trueup.example', origin: 'https://trueup.example' };
    expect((await send(serving.httpPort, 'POST', PATH, headers, '{}')).status).toBe(401);
    expect(
      (await send(serving.httpPort, 'POST', PATH, { ...headers, authorization: `Bearer ${TOKENS.read}` }, '{}')).status,
    ).toBe(404);
  });

  it('reads nothing of what strangers send', async () => {
    await using serving = await startServing();
    const headers = { 'content-type': 'application/json', 'content-length': '4000000' };
    // The body is never sent; the answer comes all the same.
    const { status } = await send(serving.httpPort, 'POST', PATH, headers, undefined);
    expect(status).toBe(401);
  });

  it('bears paths and heads that make no sense', async () => {
    await using serving = await startServing();
    expect((await sendRaw(serving.httpPort, 'GET //[ HTTP/1.1\r\nhost: x\r\n\r\n')).split('\r\n')[0]).toMatch(
      / 40[04] /,
    );
    expect(
      (
        await sendRaw(
          serving.httpPort,
          `GET / HTTP/1.1\r\nhost: x\r\nlong: ${'x'.repeat(HTTP_LIMITS.maxHeaderBytes)}\r\n\r\n`,
        )
      ).split('\r\n')[0],
    ).toContain('431');
  });
});

describe('the metrics port', () => {
  let port: HttpListener;
  let readiness: () => Promise<Readiness>;
  let wellness: () => Promise<Wellness>;
  let metrics: () => Promise<{ contentType: string; body: string }>;
  const failures: unknown[] = [];
  beforeAll(async () => {
    port = await startMetricsPort({
      bind: { host: '127.0.0.1', port: 0 },
      probes: { readiness: () => readiness(), wellness: () => wellness() },
      metrics: () => metrics(),
      onMetricsFailed: (error) => failures.push(error),
    });
  });
  afterAll(() => port.destroy());
  const get = (path: string, method = 'GET') => send(port.address.port, method, path, {});

  it('is alive while nothing else answers', async () => {
    const fail = (): Promise<never> => Promise.reject(new Error('password=hunter2'));
    [readiness, wellness] = [fail, fail];
    expect(await get('/livez')).toMatchObject({ status: 200 });
    const answers = [await get('/readyz'), await get('/ready'), await get('/health')];
    expect(answers.map(({ status }) => status)).toEqual([503, 503, 503]);
    expect(JSON.stringify(answers)).not.toContain('hunter2');
  });

  it('is ready while a stream is ill, and says which one', async () => {
    readiness = async () => ({ ready: true, problems: [] });
    wellness = async () => ({
      healthy: false,
      degraded: [{ name: 'testnet', reason: 'SOURCE_UNAVAILABLE', message: 'no answer' }],
    });
    expect((await get('/readyz')).status).toBe(200);
    const { status, body } = await get('/health');
    expect([status, JSON.parse(body)]).toEqual([
      503,
      { status: 'degraded', degraded: [{ name: 'testnet', reason: 'SOURCE_UNAVAILABLE', message: 'no answer' }] },
    ]);
    wellness = async () => ({ healthy: true, degraded: [] });
    expect((await get('/health')).status).toBe(200);
    readiness = async () => ({ ready: false, problems: ['the database does not answer'] });
    expect(JSON.parse((await get('/ready')).body)).toEqual({
      status: 'not ready',
      problems: ['the database does not answer'],
    });
  });

  it('gives the whole exposition or an error', async () => {
    metrics = async () => ({ contentType: 'text/plain; version=0.0.4', body: 'up 1\n' });
    expect(await get('/metrics?x=1')).toMatchObject({
      status: 200,
      body: 'up 1\n',
      headers: { 'content-type': 'text/plain; version=0.0.4' },
    });
    expect(await get('/metrics', 'HEAD')).toMatchObject({ status: 200, body: '', headers: { 'content-length': '5' } });
    metrics = () => Promise.reject(new Error('a collector failed'));
    expect(await get('/metrics')).toMatchObject({ status: 500, body: 'the metrics could not be collected\n' });
    expect(failures).toHaveLength(1);
  });

  it('has nothing else, and takes nothing', async () => {
    expect((await get('/')).status).toBe(404);
    expect((await get('/metrics/')).status).toBe(404);
    expect(await get('/metrics', 'POST')).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
  });
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function send(
  port: number,
  method: string,
  path: string,
  headers: Record<string, string>,
  body?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode!, headers: response.headers, body: text });
        request.destroy();
      });
    });
    request.on('error', reject);
    if (body !== undefined || method !== 'POST') request.end(body);
    else request.flushHeaders();
  });
}

function sendRaw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.once('data', (chunk) => {
      resolve(chunk.toString('latin1'));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
