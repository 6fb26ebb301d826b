// Goal: a replica stops without losing a call that could have ended, and without waiting for one that won't.
// Method: calls of every sort are under way on both doors when the server is closed.
import { type ClientReadableStream, connectivityState, type StatusObject } from '@grpc/grpc-js';
import type { Message } from '@bufbuild/protobuf';
import { Agent, get, request as httpRequest } from 'node:http';
import { connect as http2Connect } from 'node:http2';
import { afterEach, describe, expect, it } from 'vitest';
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
  type HealthCheckResponse,
} from '../../gen/grpc/health/v1/health_pb.js';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { STATUS_CODES } from '../../src/rpc/error-table.ts';
import { streamHealthName } from '../../src/rpc/grpc-health.ts';
import type { HealthPort } from '../../src/rpc/ports.ts';
import { connectClient, decode, encode, grpcClient, metadataOf, outcomeOfGrpc, pathOf } from '../_util/clients.ts';
import { sampleDrift } from '../_util/drift-samples.ts';
import { eventually } from '../_util/eventually.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

const { getDrift } = ReconciliationService.method;
const silence: HealthPort['watch'] = async function* () {
  await new Promise(() => {});
};

let serving: Serving | undefined;
afterEach(async () => {
  await serving?.close(100);
  serving = undefined;
});

describe('a drain', () => {
  it('tells those who watch health first, then ends their stream', async () => {
    serving = await startServing();
    const client = grpcClient(serving.grpcPort);
    const seen: ServingStatus[] = [];
    const stream = client.raw.makeServerStreamRequest(
      pathOf(Health.method.watch),
      encode(Health.method.watch),
      decode(Health.method.watch),
      { service: '' },
      metadataOf(),
    );
    stream.on('data', (message: Message) => seen.push((message as HealthCheckResponse).status));
    const ended = endOf(stream);
    await eventually(() => expect(seen).toEqual([ServingStatus.SERVING]));
    await serving.close();
    expect(await ended).toMatchObject({ code: STATUS_CODES.UNAVAILABLE, reason: 'SHUTTING_DOWN' });
    expect(seen).toEqual([ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
    client.close();
  });

  it('ends Watch streams at once on both doors, with a word on trying again', async () => {
    serving = await startServing({ ports: { health: { watch: silence } } });
    const grpc = grpcClient(serving.grpcPort);
    const outcomes = [grpc, connectClient(serving.httpUrl), connectClient(serving.httpUrl, 'grpc-web')].map((client) =>
      client.call(HealthService.method.watchStatus, {}, TOKENS.read),
    );
    await eventually(() => expect(serving!.rpc.inFlight).toBe(3));
    const startedAt = performance.now();
    await serving.close(30_000);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    for (const outcome of await Promise.all(outcomes)) {
      expect(outcome).toMatchObject({ code: STATUS_CODES.UNAVAILABLE, reason: 'SHUTTING_DOWN', retryDelayMs: 1_000 });
    }
    grpc.close();
  });

  it('lets short calls that are under way end well, and takes no new ones', async () => {
    const gate = Promise.withResolvers<void>();
    const get = async () => {
      await gate.promise;
      return { drift: sampleDrift(1), transitions: [] };
    };
    serving = await startServing({ ports: { drifts: { get } } });
    const [grpc, late] = [
      grpcClient(serving.grpcPort),
      grpcClient(serving.grpcPort, { 'grpc.use_local_subchannel_pool': 1 }),
    ];
    const outcomes = [grpc, connectClient(serving.httpUrl)].map((client) =>
      client.call(getDrift, { driftId: 'x' }, TOKENS.read),
    );
    await eventually(() => expect(serving!.rpc.inFlight).toBe(2));
    const closed = serving.close(30_000);
    expect(await late.call(getDrift, { driftId: 'x' }, TOKENS.read)).toMatchObject({ code: STATUS_CODES.UNAVAILABLE });
    expect(await connectClient(serving.httpUrl).call(getDrift, { driftId: 'x' }, TOKENS.read)).toMatchObject({
      code: STATUS_CODES.UNAVAILABLE,
    });
    gate.resolve();
    expect((await Promise.all(outcomes)).map(({ code }) => code)).toEqual([0, 0]);
    await closed;
    for (const client of [grpc, late]) client.close();
  });

  it('ends what hangs at the deadline, and says why', async () => {
    serving = await startServing({ ports: { drifts: { get: () => new Promise(() => {}) } } });
    const grpc = grpcClient(serving.grpcPort);
    const outcomes = [grpc, connectClient(serving.httpUrl)].map((client) =>
      client.call(getDrift, { driftId: 'x' }, TOKENS.read),
    );
    await eventually(() => expect(serving!.rpc.inFlight).toBe(2));
    const startedAt = performance.now();
    await serving.close(300);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    for (const outcome of await Promise.all(outcomes)) {
      expect(outcome).toMatchObject({ code: STATUS_CODES.UNAVAILABLE, reason: 'SHUTTING_DOWN' });
    }
    expect(serving.rpc.inFlight).toBe(0);
    grpc.close();
  });

  it('does not wait for idle connections', async () => {
    serving = await startServing();
    const client = grpcClient(serving.grpcPort);
    await client.call(HealthService.method.getStatus, {}, TOKENS.read);
    expect(client.raw.getChannel().getConnectivityState(false)).toBe(connectivityState.READY);
    const agent = new Agent({ keepAlive: true });
    await new Promise<void>((resolve) =>
      get(`${serving!.httpUrl}/nothing`, { agent }, (response) => response.resume().on('end', resolve)),
    );
    const startedAt = performance.now();
    await serving.close(30_000);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    agent.destroy();
    client.close();
  });

  it('does not wait for readers who have stopped reading', async () => {
    const drifts = Array.from({ length: 50 }, (_, index) => sampleDrift(index));
    const stream = async function* () {
      for (let batch = 0; ; batch++) yield { items: drifts, position: { batch } };
    };
    serving = await startServing({ ports: { drifts: { stream } } });
    const session = http2Connect(`http://127.0.0.1:${serving.grpcPort}`);
    session.on('error', () => {});
    const path = pathOf(ReconciliationService.method.streamDrifts);
    const authorization = `Bearer ${TOKENS.read}`;
    const stalled = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      authorization,
    });
    stalled.on('error', () => {});
    stalled.end(Buffer.alloc(5));
    const overHttp = httpRequest(`${serving.httpUrl}${path}`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/connect+json' },
    });
    overHttp.on('response', (response) => response.on('error', () => {}).pause()).on('error', () => {});
    overHttp.end(Buffer.concat([Buffer.from([0, 0, 0, 0, 2]), Buffer.from('{}')]));
    await eventually(() => expect(serving!.rpc.inFlight).toBe(2));
    const startedAt = performance.now();
    await serving.close(200);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await eventually(() => expect(serving!.rpc.inFlight).toBe(0));
    session.destroy();
  });
});

describe('health', () => {
  it('follows each name, knows of no other, and lists them all', async () => {
    serving = await startServing();
    const { rpc } = serving;
    const client = grpcClient(serving.grpcPort);
    const check = async (service: string) => {
      const { code, messages } = await client.call(Health.method.check, { service });
      return code === 0 ? (messages[0] as HealthCheckResponse).status : code;
    };
    const name = streamHealthName('testnet-1');
    expect([await check(''), await check('trueup.v1.HealthService'), await check(name)]).toEqual([
      1,
      1,
      STATUS_CODES.NOT_FOUND,
    ]);
    rpc.health.set(name, false);
    expect([await check(''), await check(name)]).toEqual([1, ServingStatus.NOT_SERVING]);
    rpc.health.set('', false);
    expect([await check(''), await check('trueup.v1.ManifestService')]).toEqual([2, 2]);
    rpc.health.remove(name);
    expect(await check(name)).toBe(STATUS_CODES.NOT_FOUND);
    const { messages } = await client.call(Health.method.list, {});
    expect(Object.keys((messages[0] as unknown as { statuses: object }).statuses).sort()).toEqual([
      '',
      'trueup.v1.BackfillService',
      'trueup.v1.HealthService',
      'trueup.v1.ManifestService',
      'trueup.v1.ReconciliationService',
    ]);
    client.close();
  });

  it('watches a name before it is known, and each change of it', async () => {
    serving = await startServing();
    const client = grpcClient(serving.grpcPort);
    const seen: ServingStatus[] = [];
    const stream = client.raw.makeServerStreamRequest(
      pathOf(Health.method.watch),
      encode(Health.method.watch),
      decode(Health.method.watch),
      { service: 'x' },
      metadataOf(),
    );
    stream.on('data', (message: Message) => seen.push((message as HealthCheckResponse).status)).on('error', () => {});
    await eventually(() => expect(seen).toEqual([ServingStatus.SERVICE_UNKNOWN]));
    serving.rpc.health.set('x', true);
    await eventually(() => expect(seen.at(-1)).toBe(ServingStatus.SERVING));
    serving.rpc.health.set('x', true);
    serving.rpc.health.set('x', false);
    await eventually(() =>
      expect(seen).toEqual([ServingStatus.SERVICE_UNKNOWN, ServingStatus.SERVING, ServingStatus.NOT_SERVING]),
    );
    stream.cancel();
    client.close();
  });
});

function endOf(stream: ClientReadableStream<Message>): Promise<ReturnType<typeof outcomeOfGrpc>> {
  stream.on('error', () => {});
  return new Promise((resolve) => stream.on('status', (status: StatusObject) => resolve(outcomeOfGrpc(status))));
}
