// Goal: a request that is wrong, too large or a bomb is refused with the reason, and costs no more than its limit.
// Method: bad requests through real clients on each door; bytes that no client would send are written on bare HTTP/2 and HTTP/1.1
// connections.
import { request as httpRequest } from 'node:http';
import { connect as http2Connect, constants } from 'node:http2';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackfillService } from '../../gen/trueup/v1/backfill_service_pb.js';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { STATUS_CODES } from '../../src/rpc/error-table.ts';
import { RPC_LIMITS } from '../../src/rpc/limits.ts';
import type { PageRequest } from '../../src/core/page.ts';
import { type AnyClient, connectClient, grpcClient } from '../_util/clients.ts';
import { framed } from '../_util/frames.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

let serving: Serving;
let pages: PageRequest[] = [];
const clients: Record<string, AnyClient> = {};
const { listDrifts, startReconciliation, recordEntries, getDrift, importEntries, watchReconciliation } =
  ReconciliationService.method;

beforeAll(async () => {
  serving = await startServing({
    ports: {
      drifts: {
        list: async (_filter, page) => {
          pages.push(page);
          return { items: [], next: { id: 'last' }, totalSize: 3 };
        },
      },
      books: {
        async import(_header, chunks) {
          for await (const _ of chunks);
          throw new Error('not reached in these tests');
        },
      },
    },
  });
  clients['grpc'] = grpcClient(serving.grpcPort, { 'grpc.max_send_message_length': -1 });
  clients['connect'] = connectClient(serving.httpUrl);
  clients['grpc-web'] = connectClient(serving.httpUrl, 'grpc-web');
});
afterAll(async () => {
  clients['grpc']!.close();
  await serving.close(100);
});

describe.each(['grpc', 'connect', 'grpc-web'])('over %s', (protocol) => {
  const call: AnyClient['call'] = (method, request) => clients[protocol]!.call(method, request, TOKENS.admin);

  it.each([
    ['a string that is too short', getDrift, { driftId: '' }, ['drift_id']],
    ['a string that is too long', getDrift, { driftId: 'x'.repeat(65) }, ['drift_id']],
    ['a negative page size', listDrifts, { pageSize: -1 }, ['page_size']],
    ['an enum value that does not exist', startReconciliation, { level: 99 }, ['level']],
    ['a request id that is no UUID', startReconciliation, { requestId: 'mine' }, ['request_id']],
    [
      'a field of an element of a list',
      recordEntries,
      { entries: [{ key: 'k', account: 'a', asset: 'native', value: { case: 'amount', value: '1e7' } }] },
      ['entries[0].amount'],
    ],
    [
      'a range turned round, nested in a filter',
      listDrifts,
      { filter: { range: { fromLedger: 9, toLedger: 3 } } },
      ['filter.range'],
    ],
    [
      'a sequence that is no number, on a stream',
      watchReconciliation,
      { reconciliationId: 'x', sinceSequence: '-1' },
      ['since_sequence'],
    ],
    ['an empty message of a client stream', importEntries, [{}], ['message']],
    [
      'a client stream without its header',
      importEntries,
      [{ message: { case: 'chunk', value: new Uint8Array(3) } }],
      ['header'],
    ],
    [
      'a chunk above 1 MiB',
      importEntries,
      [{ message: { case: 'header', value: {} } }, { message: { case: 'chunk', value: new Uint8Array(2 ** 20 + 1) } }],
      ['chunk'],
    ],
    ['a page token that nobody gave', listDrifts, { pageToken: 'bm8' }, ['page_token']],
  ] as const)('names %s', async (_title, method, request, fields) => {
    const outcome = await call(method, request as Record<string, unknown>);
    expect(outcome).toMatchObject({ code: STATUS_CODES.INVALID_ARGUMENT, fields });
    expect(['INVALID_REQUEST', 'INVALID_PAGE_TOKEN']).toContain(outcome.reason);
  });

  it('lowers a page size to the cap and goes on with the token that it gave', async () => {
    pages = [];
    const first = await call(listDrifts, { pageSize: 1_000_000, filter: { policy: 'p' } });
    const { nextPageToken } = first.messages[0] as unknown as { nextPageToken: string };
    await call(listDrifts, { pageToken: nextPageToken, filter: { policy: 'p' } });
    expect(pages).toEqual([
      { size: 1_000, after: null },
      { size: 50, after: { id: 'last' } },
    ]);
    const foreign = await call(BackfillService.method.listGaps, { pageToken: nextPageToken });
    expect(foreign).toMatchObject({ code: STATUS_CODES.INVALID_ARGUMENT, reason: 'INVALID_PAGE_TOKEN' });
  });

  it('refuses a message above the limit without reading it', async () => {
    const filter = { policy: 'x'.repeat(RPC_LIMITS.maxReceiveBytes) };
    const { code } = await call(listDrifts, { filter });
    expect(code).toBe(STATUS_CODES.RESOURCE_EXHAUSTED);
  });
});

describe('what grpc-js answers by itself', () => {
  it('carries the reason too, and is counted', async () => {
    const outcome = await clients['grpc']!.call(
      listDrifts,
      { filter: { policy: 'x'.repeat(RPC_LIMITS.maxReceiveBytes) } },
      TOKENS.admin,
    );
    expect(outcome).toMatchObject({ reason: 'REQUEST_TOO_LARGE', metadata: { max_receive_bytes: '4194304' } });
    expect(serving.handled.at(-1)).toMatchObject({
      method: 'ListDrifts',
      code: 'RESOURCE_EXHAUSTED',
      reason: 'REQUEST_TOO_LARGE',
    });
  });

  it('says of a method that there is none, under one label for all of them', async () => {
    for (const name of ['ListNothing', 'x'.repeat(300)]) {
      const method = { ...listDrifts, name, parent: listDrifts.parent } as typeof listDrifts;
      const outcome = await clients['grpc']!.call(method, {}, TOKENS.admin);
      expect(outcome).toMatchObject({ code: STATUS_CODES.UNIMPLEMENTED, reason: 'METHOD_NOT_FOUND' });
      expect(serving.handled.at(-1)).toMatchObject({ service: 'unknown', method: 'unknown', code: 'UNIMPLEMENTED' });
    }
  });
});

describe('bombs', () => {
  // 255 KiB that inflate to 256 MiB: sixty-four times the limit.
  const bomb = gzipSync(Buffer.alloc(256 * 1024 * 1024));

  it('do not inflate beyond the limit over gRPC', async () => {
    expect(bomb.length).toBeLessThan(256 * 1024);
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 8; round++) {
      const trailers = await rawGrpc(serving.grpcPort, '/trueup.v1.ReconciliationService/ListDrifts', framed(bomb, 1), {
        'grpc-encoding': 'gzip',
      });
      expect(Number(trailers['grpc-status'])).toBe(STATUS_CODES.RESOURCE_EXHAUSTED);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024);
  });

  it('do not inflate beyond the limit over Connect', async () => {
    const before = process.memoryUsage().rss;
    for (let round = 0; round < 8; round++) {
      const { status, body } = await post('/trueup.v1.ReconciliationService/ListDrifts', bomb, {
        'content-type': 'application/json',
        'content-encoding': 'gzip',
      });
      expect([status, (JSON.parse(body) as { code: string }).code]).toEqual([429, 'resource_exhausted']);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024);
  });

  it('are still refused where the bytes are no gzip at all', async () => {
    const path = '/trueup.v1.ReconciliationService/ListDrifts';
    const trailers = await rawGrpc(serving.grpcPort, path, framed(Buffer.from('no gzip'), 1), {
      'grpc-encoding': 'gzip',
    });
    expect(Number(trailers['grpc-status'])).toBe(STATUS_CODES.INVALID_ARGUMENT);
    const garbage = await rawGrpc(serving.grpcPort, path, framed(Buffer.from([0xff, 0xff, 0xff]), 0), {});
    expect(Number(garbage['grpc-status'])).toBe(STATUS_CODES.INVALID_ARGUMENT);
  });
});

describe('unknown fields', () => {
  it('are dropped from JSON and from binary messages', async () => {
    const json = await post('/trueup.v1.ReconciliationService/ListDrifts', Buffer.from('{"noSuchField": 1}'), {
      'content-type': 'application/json',
    });
    expect(json.status).toBe(200);
    const unknown = Buffer.from([0xf8, 0x7f, 0x01]); // field 2047, varint
    const trailers = await rawGrpc(
      serving.grpcPort,
      '/trueup.v1.ReconciliationService/ListDrifts',
      framed(unknown, 0),
      {},
    );
    expect(trailers['grpc-status']).toBe('0');
  });
});

describe('plain HTTP', () => {
  it('answers a JSON call with curl-like means, and a stream of JSON', async () => {
    const { status, body } = await post('/trueup.v1.ReconciliationService/ListDrifts', Buffer.from('{"pageSize": 2}'), {
      'content-type': 'application/json',
    });
    expect([status, JSON.parse(body)]).toEqual([200, expect.objectContaining({ drifts: [], totalSize: '3' })]);
    const envelope = framed(Buffer.from('{}'), 0);
    const stream = await post(`/${HealthService.typeName}/WatchStatus`, envelope, {
      'content-type': 'application/connect+json',
    });
    expect(stream.status).toBe(200);
    expect(stream.body).toContain('"code":"not_found"');
  });
});

async function rawGrpc(
  port: number,
  path: string,
  body: Buffer,
  headers: Record<string, string>,
): Promise<Record<string, string>> {
  const session = http2Connect(`http://127.0.0.1:${port}`);
  try {
    return await new Promise((resolve, reject) => {
      const stream = session.request({
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: path,
        'content-type': 'application/grpc',
        te: 'trailers',
        authorization: `Bearer ${TOKENS.admin}`,
        ...headers,
      });
      let answer: Record<string, string> = {};
      stream.on('response', (head) => (answer = { ...answer, ...(head as Record<string, string>) }));
      stream.on('trailers', (tail) => (answer = { ...answer, ...(tail as Record<string, string>) }));
      stream.on('close', () => resolve(answer));
      stream.on('error', reject);
      stream.resume();
      stream.end(body);
    });
  } finally {
    session.close();
  }
}

function post(path: string, body: Buffer, headers: Record<string, string>): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port: serving.httpPort,
        path,
        method: 'POST',
        headers: { authorization: `Bearer ${TOKENS.admin}`, ...headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode!, body: Buffer.concat(chunks).toString('utf8') }),
        );
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}
