// Goal: a stream that is ended early ends with the right status, whoever ends it, and leaves nothing behind.
// Method: callers that leave, lose their connection or run out of time, and handlers that fail or hear nothing, on both doors.
import { request as httpRequest } from 'node:http';
import { connect as http2Connect, constants as http2Constants } from 'node:http2';
import type { Message } from '@bufbuild/protobuf';
import type { ClientReadableStream, StatusObject } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { TrueUpError } from '../../src/core/errors.ts';
import { STATUS_CODES } from '../../src/rpc/error-table.ts';
import type { HealthPort } from '../../src/rpc/ports.ts';
import { connectClient, decode, encode, grpcClient, metadataOf, outcomeOfGrpc, pathOf } from '../_util/clients.ts';
import { driftSource } from '../_util/drift-source.ts';
import { eventually } from '../_util/eventually.ts';
import { framed } from '../_util/frames.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

const { streamDrifts, listDrifts, importEntries } = ReconciliationService.method;
const BATCHES = 12_000;

let serving: Serving | undefined;
afterEach(async () => {
  await serving?.close(100);
  serving = undefined;
});

describe('a stream that is ended early', () => {
  it('by its caller is cancelled, and lets go of the source', async () => {
    const source = driftSource(BATCHES);
    serving = await startServing({ ports: { drifts: source.port } });
    const client = grpcClient(serving.grpcPort);
    const stream = client.raw.makeServerStreamRequest(
      pathOf(streamDrifts),
      encode(streamDrifts),
      decode(streamDrifts),
      {},
      metadataOf(TOKENS.read),
    );
    stream.on('error', () => {});
    stream.once('data', () => stream.cancel());
    await eventually(() =>
      expect(serving!.handled.at(-1)).toMatchObject({ method: 'StreamDrifts', code: 'CANCELLED' }),
    );
    expect(source.returned()).toBe(true);
    expect(serving.rpc.inFlight).toBe(0);
    client.close();
  });

  it.each(['grpc', 'connect'])(
    'by its deadline says DEADLINE_EXCEEDED over %s, however deaf the handler is',
    async (protocol) => {
      const deaf: HealthPort['watch'] = async function* () {
        await new Promise(() => {});
      };
      serving = await startServing({ ports: { health: { watch: deaf, status: () => new Promise(() => {}) } } });
      for (const method of [HealthService.method.watchStatus, HealthService.method.getStatus]) {
        const code =
          protocol === 'grpc'
            ? await deadlineOverGrpc(serving, method)
            : await deadlineOverConnect(serving, method.name);
        expect(code).toBe(STATUS_CODES.DEADLINE_EXCEEDED);
        // A gRPC client has a clock of its own that began earlier: its cancellation may arrive before our deadline strikes.
        const ended = protocol === 'grpc' ? /^(DEADLINE_EXCEEDED|CANCELLED)$/ : /^DEADLINE_EXCEEDED$/;
        await eventually(() =>
          expect(serving!.handled.at(-1)).toMatchObject({ method: method.name, code: expect.stringMatching(ended) }),
        );
      }
      expect(serving.rpc.inFlight).toBe(0);
    },
  );

  it('by its own handler tells the reason after what was sent', async () => {
    const failing: HealthPort['watch'] = async function* () {
      yield {
        sequence: 1n,
        at: new Date(),
        topic: 'activity',
        activity: {
          kind: 'book',
          event: 'e',
          stream: null,
          ledger: null,
          message: 'm',
          resourceId: null,
          at: new Date(),
        },
      };
      throw new TrueUpError('STREAM_TOO_SLOW', 'fell behind');
    };
    serving = await startServing({ ports: { health: { watch: failing } } });
    for (const client of [
      grpcClient(serving.grpcPort),
      connectClient(serving.httpUrl),
      connectClient(serving.httpUrl, 'grpc-web'),
    ]) {
      const outcome = await client.call(HealthService.method.watchStatus, {}, TOKENS.read);
      expect([outcome.messages.length, outcome.code, outcome.reason]).toEqual([
        1,
        STATUS_CODES.ABORTED,
        'STREAM_TOO_SLOW',
      ]);
      client.close();
    }
  });

  it.each(['a cancelled gRPC stream', 'a lost gRPC connection', 'a lost Connect connection'])(
    'in the middle of an import is never taken for its end: %s',
    async (how) => {
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
      const breakOff =
        how === 'a lost Connect connection'
          ? importOverConnect(serving)
          : importOverGrpc(serving, how === 'a lost gRPC connection');
      await chunkCame.promise;
      breakOff();
      await eventually(() => expect(end).toMatchObject({ reason: 'CANCELLED' }));
      await eventually(() =>
        expect(serving!.handled.at(-1)).toMatchObject({ method: 'ImportEntries', code: 'CANCELLED' }),
      );
    },
  );

  it('never leaves a listener or a call behind on short calls either', async () => {
    serving = await startServing({ ports: { drifts: { list: async () => ({ items: [], next: null }) } } });
    const client = grpcClient(serving.grpcPort);
    await Promise.all(Array.from({ length: 200 }, () => client.call(listDrifts, {}, TOKENS.read)));
    expect([serving.rpc.inFlight, serving.handled.length, serving.handled.every(({ code }) => code === 'OK')]).toEqual([
      0,
      200,
      true,
    ]);
    client.close();
  });
});

/** Begins an import; what it returns breaks it off. */
function importOverGrpc(each: Serving, loseConnection: boolean): () => void {
  const session = http2Connect(`http://127.0.0.1:${each.grpcPort}`);
  session.on('error', () => {});
  const headers = {
    ':method': 'POST',
    ':path': pathOf(importEntries),
    'content-type': 'application/grpc',
    te: 'trailers',
    authorization: `Bearer ${TOKENS.admin}`,
  };
  const stream = session.request(headers);
  stream.on('error', () => {});
  for (const message of IMPORT_MESSAGES) stream.write(framed(encode(importEntries)(message)));
  return () =>
    loseConnection
      ? session.socket.resetAndDestroy()
      : stream.close(http2Constants.NGHTTP2_CANCEL, () => session.close());
}

function importOverConnect(each: Serving): () => void {
  const headers = { authorization: `Bearer ${TOKENS.admin}`, 'content-type': 'application/connect+proto' };
  const request = httpRequest({
    host: '127.0.0.1',
    port: each.httpPort,
    path: pathOf(importEntries),
    method: 'POST',
    headers,
  });
  request.on('error', () => {});
  for (const message of IMPORT_MESSAGES) request.write(framed(encode(importEntries)(message)));
  return () => request.destroy();
}

const IMPORT_MESSAGES = [
  { message: { case: 'header', value: {} } },
  { message: { case: 'chunk', value: new Uint8Array(10) } },
];

function deadlineOverGrpc(
  each: Serving,
  method: typeof HealthService.method.watchStatus | typeof HealthService.method.getStatus,
): Promise<number> {
  const client = grpcClient(each.grpcPort);
  return new Promise((resolve) => {
    const options = { deadline: Date.now() + 150 };
    const call =
      method.methodKind === 'unary'
        ? client.raw.makeUnaryRequest(
            pathOf(method),
            encode(method),
            decode(method),
            {},
            metadataOf(TOKENS.read),
            options,
            () => {},
          )
        : (client.raw.makeServerStreamRequest(
            pathOf(method),
            encode(method),
            decode(method),
            {},
            metadataOf(TOKENS.read),
            options,
          ) as ClientReadableStream<Message>);
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
  const response = await postJson(each, path, framed(Buffer.from('{}')), 'application/connect+json', {
    'connect-timeout-ms': '150',
  });
  return response.includes('"deadline_exceeded"') ? STATUS_CODES.DEADLINE_EXCEEDED : -1;
}

function postJson(
  each: Serving,
  path: string,
  body: Buffer,
  contentType: string,
  headers: Record<string, string>,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port: each.httpPort,
        path,
        method: 'POST',
        headers: { authorization: `Bearer ${TOKENS.read}`, 'content-type': contentType, ...headers },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve(text));
      },
    );
    request.on('error', reject).end(body);
  });
}
