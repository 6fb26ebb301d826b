// Goal: a stream goes at its reader's pace, carries everything once, and ends with the right status whoever ends it.
// Method: long streams to readers that read, stall, leave or run out of time, on both doors; how far the source was asked is counted.
import { request as httpRequest } from 'node:http';
import { connect as http2Connect, constants as http2Constants } from 'node:http2';
import type { ClientReadableStream, StatusObject } from '@grpc/grpc-js';
import type { Message } from '@bufbuild/protobuf';
import { afterEach, describe, expect, it } from 'vitest';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { type StreamDriftsResponse, ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { TrueUpError } from '../../src/core/errors.ts';
import type { DriftPort, HealthPort } from '../../src/rpc/ports.ts';
import { STATUS_CODES } from '../../src/rpc/error-table.ts';
import { withHeartbeats } from '../../src/rpc/heartbeat.ts';
import { connectClient, decode, encode, grpcClient, metadataOf, outcomeOfGrpc, pathOf } from '../_util/clients.ts';
import { sampleDrift } from '../_util/drift-samples.ts';
import { eventually } from '../_util/eventually.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

const { streamDrifts, listDrifts, importEntries } = ReconciliationService.method;
const BATCHES = 12_000;
const DRIFTS = Array.from({ length: 4 }, (_, index) => sampleDrift(index));

let serving: Serving | undefined;
afterEach(async () => {
  await serving?.close(100);
  serving = undefined;
});

describe('a long stream', () => {
  it.each(['grpc', 'connect', 'grpc-web'])('arrives whole over %s, and goes on where it was cut', async (protocol) => {
    const source = driftSource(600);
    serving = await startServing({ ports: { drifts: source.port } });
    const client = protocol === 'grpc' ? grpcClient(serving.grpcPort) : connectClient(serving.httpUrl, protocol as 'connect');
    const { code, messages } = await client.call(streamDrifts, {}, TOKENS.read);
    const all = messages as StreamDriftsResponse[];
    expect([code, all.length]).toEqual([0, 601]);
    expect(all.at(-1)).toMatchObject({ last: true, sentCount: 2_400n, drifts: [] });
    expect(all.slice(0, -1).every((message, index) => !message.last && message.sentCount === BigInt(4 * (index + 1)))).toBe(true);
    const rest = (await client.call(streamDrifts, { resumeToken: all[499]!.resumeToken }, TOKENS.read)).messages as StreamDriftsResponse[];
    expect([rest.length, rest[0]!.sentCount, rest.at(-1)!.sentCount]).toEqual([101, 2_004n, 2_400n]);
    client.close();
  });

  it('waits for a stalled gRPC reader in bounded memory, and goes on when it reads', async () => {
    const source = driftSource(BATCHES);
    serving = await startServing({ ports: { drifts: source.port } });
    // A bare HTTP/2 client: nothing in it reads ahead of us.
    const session = http2Connect(`http://127.0.0.1:${serving.grpcPort}`);
    const headers = { ':method': 'POST', ':path': pathOf(streamDrifts), 'content-type': 'application/grpc', te: 'trailers', authorization: `Bearer ${TOKENS.read}` };
    const stream = session.request(headers).end(framed(Buffer.alloc(0)));
    await source.standsStill();
    // The windows of both ends and the queue, in messages of 2.4 KB.
    expect(source.asked()).toBeLessThan(200);
    const before = process.memoryUsage().rss;
    let highest = 0;
    let status: unknown;
    stream.on('trailers', (trailers) => (status = trailers['grpc-status']));
    let bytes = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      highest = Math.max(highest, process.memoryUsage.rss());
    }
    expect([source.asked(), status]).toEqual([BATCHES, '0']);
    expect(bytes).toBeGreaterThan(BATCHES * 2_000);
    expect(highest - before).toBeLessThan(200 * 1024 * 1024);
    session.close();
  });

  it('waits for a stalled Connect reader too', async () => {
    const source = driftSource(BATCHES);
    serving = await startServing({ ports: { drifts: source.port } });
    const response = await openConnectStream(serving, '/trueup.v1.ReconciliationService/StreamDrifts');
    response.pause();
    await source.standsStill();
    expect(source.asked()).toBeLessThan(BATCHES / 2);
    response.destroy();
    // Its reader gone, the source is let go of.
    await eventually(() => expect(source.returned()).toBe(true));
  });
});

describe('a stream that is ended early', () => {
  it('by its caller is cancelled, and lets go of the source', async () => {
    const source = driftSource(BATCHES);
    serving = await startServing({ ports: { drifts: source.port } });
    const client = grpcClient(serving.grpcPort);
    const stream = client.raw.makeServerStreamRequest(pathOf(streamDrifts), encode(streamDrifts), decode(streamDrifts), {}, metadataOf(TOKENS.read));
    stream.on('error', () => {});
    stream.once('data', () => stream.cancel());
    await eventually(() => expect(serving!.handled.at(-1)).toMatchObject({ method: 'StreamDrifts', code: 'CANCELLED' }));
    expect(source.returned()).toBe(true);
    expect(serving.rpc.inFlight).toBe(0);
    client.close();
  });

  it.each(['grpc', 'connect'])('by its deadline says DEADLINE_EXCEEDED over %s, however deaf the handler is', async (protocol) => {
    const deaf: HealthPort['watch'] = async function* () {
      await new Promise(() => {});
    };
    serving = await startServing({ ports: { health: { watch: deaf, status: () => new Promise(() => {}) } } });
    for (const method of [HealthService.method.watchStatus, HealthService.method.getStatus]) {
      const code = protocol === 'grpc' ? await deadlineOverGrpc(serving, method) : await deadlineOverConnect(serving, method.name);
      expect(code).toBe(STATUS_CODES.DEADLINE_EXCEEDED);
      await eventually(() => expect(serving!.handled.at(-1)).toMatchObject({ method: method.name, code: 'DEADLINE_EXCEEDED' }));
    }
    expect(serving.rpc.inFlight).toBe(0);
  });

  it('by its own handler tells the reason after what was sent', async () => {
    const failing: HealthPort['watch'] = async function* () {
      yield { sequence: 1n, at: new Date(), topic: 'activity', activity: { kind: 'book', event: 'e', stream: null, ledger: null, message: 'm', resourceId: null, at: new Date() } };
      throw new TrueUpError('STREAM_TOO_SLOW', 'fell behind');
    };
    serving = await startServing({ ports: { health: { watch: failing } } });
    for (const client of [grpcClient(serving.grpcPort), connectClient(serving.httpUrl), connectClient(serving.httpUrl, 'grpc-web')]) {
      const outcome = await client.call(HealthService.method.watchStatus, {}, TOKENS.read);
      expect([outcome.messages.length, outcome.code, outcome.reason]).toEqual([1, STATUS_CODES.ABORTED, 'STREAM_TOO_SLOW']);
      client.close();
    }
  });

  it.each(['a cancelled gRPC stream', 'a lost gRPC connection', 'a lost Connect connection'])('in the middle of an import is never taken for its end: %s', async (how) => {
    let end: unknown;
    const chunkCame = Promise.withResolvers<void>();
    serving = await startServing({
      ports: {
        books: {
          async import(_header, chunks) {
            try {
              for await (const _ of chunks) chunkCame.resolve();
              end = 'well';
            } catch (error) {
              end = error;
              throw error;
            }
            throw new Error('the stream ended well');
          },
        },
      },
    });
    const breakOff = how === 'a lost Connect connection' ? importOverConnect(serving) : importOverGrpc(serving, how === 'a lost gRPC connection');
    await chunkCame.promise;
    breakOff();
    await eventually(() => expect(end).toMatchObject({ reason: 'CANCELLED' }));
    await eventually(() => expect(serving!.handled.at(-1)).toMatchObject({ method: 'ImportEntries', code: 'CANCELLED' }));
  });

  it('never leaves a listener or a call behind on short calls either', async () => {
    serving = await startServing({ ports: { drifts: { list: async () => ({ items: [], next: null }) } } });
    const client = grpcClient(serving.grpcPort);
    await Promise.all(Array.from({ length: 200 }, () => client.call(listDrifts, {}, TOKENS.read)));
    expect([serving.rpc.inFlight, serving.handled.length, serving.handled.every(({ code }) => code === 'OK')]).toEqual([0, 200, true]);
    client.close();
  });
});

describe('heartbeats', () => {
  it('come only while nothing else does', async () => {
    const never = new AbortController().signal;
    async function* source() {
      yield 1;
      yield 2;
      await new Promise(() => {});
    }
    const seen: unknown[] = [];
    for await (const item of withHeartbeats(source(), never, 1)) {
      seen.push(item);
      if (seen.length === 4) break;
    }
    expect(seen).toEqual([1, 2, 'heartbeat', 'heartbeat']);
  });

  it('end with the reason of the abort', async () => {
    const controller = new AbortController();
    const items = withHeartbeats((async function* () { await new Promise(() => {}); })(), controller.signal, 60_000);
    const first = items.next();
    controller.abort(new TrueUpError('SHUTTING_DOWN', 'stopping'));
    await expect(first).rejects.toMatchObject({ reason: 'SHUTTING_DOWN' });
  });
});

/** A source of batches that counts how often it was asked and knows whether it was let go of. */
function driftSource(batches: number): { port: Partial<DriftPort>; asked: () => number; returned: () => boolean; standsStill: () => Promise<void> } {
  let asked = 0;
  let returned = false;
  return {
    asked: () => asked,
    returned: () => returned,
    async standsStill() {
      let last = -1;
      await eventually(() => {
        const now = asked;
        const moved = now !== last;
        last = now;
        expect([now > 0, moved]).toEqual([true, false]);
      });
    },
    port: {
      async *stream(_filter, after) {
        try {
          for (let batch = after === null ? 0 : Number(after['batch']); batch < batches; batch++) {
            asked++;
            yield { items: DRIFTS, position: { batch: batch + 1 } };
          }
        } finally {
          returned = true;
        }
      },
    },
  };
}

/** Begins an import; what it returns breaks it off. */
function importOverGrpc(each: Serving, loseConnection: boolean): () => void {
  const session = http2Connect(`http://127.0.0.1:${each.grpcPort}`);
  session.on('error', () => {});
  const headers = { ':method': 'POST', ':path': pathOf(importEntries), 'content-type': 'application/grpc', te: 'trailers', authorization: `Bearer ${TOKENS.admin}` };
  const stream = session.request(headers);
  stream.on('error', () => {});
  for (const message of IMPORT_MESSAGES) stream.write(framed(encode(importEntries)(message)));
  return () => (loseConnection ? session.socket.resetAndDestroy() : stream.close(http2Constants.NGHTTP2_CANCEL, () => session.close()));
}

function importOverConnect(each: Serving): () => void {
  const headers = { authorization: `Bearer ${TOKENS.admin}`, 'content-type': 'application/connect+proto' };
  const request = httpRequest({ host: '127.0.0.1', port: each.httpPort, path: pathOf(importEntries), method: 'POST', headers });
  request.on('error', () => {});
  for (const message of IMPORT_MESSAGES) request.write(framed(encode(importEntries)(message)));
  return () => request.destroy();
}

const IMPORT_MESSAGES = [{ message: { case: 'header', value: {} } }, { message: { case: 'chunk', value: new Uint8Array(10) } }];

function deadlineOverGrpc(each: Serving, method: typeof HealthService.method.watchStatus | typeof HealthService.method.getStatus): Promise<number> {
  const client = grpcClient(each.grpcPort);
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 150 };
    const call =
      method.methodKind === 'unary'
        ? client.raw.makeUnaryRequest(pathOf(method), encode(method), decode(method), {}, metadataOf(TOKENS.read), options, () => {})
        : (client.raw.makeServerStreamRequest(pathOf(method), encode(method), decode(method), {}, metadataOf(TOKENS.read), options) as ClientReadableStream<Message>);
    call.on('error', () => {});
    call.on('status', (status: StatusObject) => {
      client.close();
      resolve(outcomeOfGrpc(status).code);
    });
  });
}

async function deadlineOverConnect(each: Serving, name: string): Promise<number> {
  const path = `/trueup.v1.HealthService/${name}`;
  if (name === 'GetStatus') {
    const response = await postJson(each, path, Buffer.from('{}'), 'application/json', { 'connect-timeout-ms': '150' });
    return response.includes('"deadline_exceeded"') ? STATUS_CODES.DEADLINE_EXCEEDED : -1;
  }
  const response = await postJson(each, path, envelope('{}'), 'application/connect+json', { 'connect-timeout-ms': '150' });
  return response.includes('"deadline_exceeded"') ? STATUS_CODES.DEADLINE_EXCEEDED : -1;
}

function postJson(each: Serving, path: string, body: Buffer, contentType: string, headers: Record<string, string>): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port: each.httpPort, path, method: 'POST', headers: { authorization: `Bearer ${TOKENS.read}`, 'content-type': contentType, ...headers } },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve(text));
      },
    );
    request.on('error', reject).end(body);
  });
}

function openConnectStream(each: Serving, path: string): Promise<import('node:http').IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${TOKENS.read}`, 'content-type': 'application/connect+json' };
    const request = httpRequest({ host: '127.0.0.1', port: each.httpPort, path, method: 'POST', headers }, resolve);
    request.on('error', reject).end(envelope('{}'));
  });
}

function envelope(json: string): Buffer {
  return framed(Buffer.from(json));
}

function framed(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}
