// Goal: a stream goes at its reader's pace, in bounded memory, and carries everything once.
// Method: long streams to readers that read and readers that stall, on both doors; how far the source was asked is counted.
import { type IncomingMessage, request as httpRequest } from 'node:http';
import { connect as http2Connect } from 'node:http2';
import { afterEach, describe, expect, it } from 'vitest';
import { type StreamDriftsResponse, ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { TrueUpError } from '../../src/core/errors.ts';
import { withHeartbeats } from '../../src/rpc/heartbeat.ts';
import { connectClient, grpcClient, pathOf } from '../_util/clients.ts';
import { driftSource, DRIFTS_PER_BATCH } from '../_util/drift-source.ts';
import { eventually } from '../_util/eventually.ts';
import { framed } from '../_util/frames.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

const { streamDrifts } = ReconciliationService.method;
const BATCHES = 12_000;

let serving: Serving | undefined;
afterEach(async () => {
  await serving?.close(100);
  serving = undefined;
});

describe('a long stream', () => {
  it.each(['grpc', 'connect', 'grpc-web'])('arrives whole over %s, and goes on where it was cut', async (protocol) => {
    const source = driftSource(600);
    serving = await startServing({ ports: { drifts: source.port } });
    const client =
      protocol === 'grpc' ? grpcClient(serving.grpcPort) : connectClient(serving.httpUrl, protocol as 'connect');
    const { code, messages } = await client.call(streamDrifts, {}, TOKENS.read);
    const all = messages as StreamDriftsResponse[];
    expect([code, all.length]).toEqual([0, 601]);
    expect(all.at(-1)).toMatchObject({ last: true, sentCount: 2_400n, drifts: [] });
    expect(
      all
        .slice(0, -1)
        .every((message, index) => !message.last && message.sentCount === BigInt(DRIFTS_PER_BATCH * (index + 1))),
    ).toBe(true);
    const rest = (await client.call(streamDrifts, { resumeToken: all[499]!.resumeToken }, TOKENS.read))
      .messages as StreamDriftsResponse[];
    expect([rest.length, rest[0]!.sentCount, rest.at(-1)!.sentCount]).toEqual([101, 2_004n, 2_400n]);
    client.close();
  });

  it('waits for a stalled gRPC reader in bounded memory, and goes on when it reads', async () => {
    const source = driftSource(BATCHES);
    serving = await startServing({ ports: { drifts: source.port } });
    // A bare HTTP/2 client: nothing in it reads ahead of us.
    const session = http2Connect(`http://127.0.0.1:${serving.grpcPort}`);
    const headers = {
      ':method': 'POST',
      ':path': pathOf(streamDrifts),
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization: `Bearer ${TOKENS.read}`,
    };
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
    const items = withHeartbeats(
      (async function* () {
        await new Promise(() => {});
      })(),
      controller.signal,
      60_000,
    );
    const first = items.next();
    controller.abort(new TrueUpError('SHUTTING_DOWN', 'stopping'));
    await expect(first).rejects.toMatchObject({ reason: 'SHUTTING_DOWN' });
  });
});

function openConnectStream(each: Serving, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${TOKENS.read}`, 'content-type': 'application/connect+json' };
    const request = httpRequest({ host: '127.0.0.1', port: each.httpPort, path, method: 'POST', headers }, resolve);
    request.on('error', reject).end(framed(Buffer.from('{}')));
  });
}
