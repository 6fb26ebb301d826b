// Goal: everybody's client can speak with the real service: gRPC, Connect and gRPC-Web, each a call and a stream.
// Method: one service on the sandbox with a verdict; grpc-js, buf in three protocols, Python's gRPC, and plain HTTP ask it for the same drifts.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { type RunningApp, soon, startApp } from '../_util/app.ts';
import { connectClient, grpcClient } from '../_util/clients.ts';

const {
  ListDriftsRequestSchema,
  ListDriftsResponseSchema,
  ReconciliationService,
  StreamDriftsRequestSchema,
  StreamDriftsResponseSchema,
} = contract;
const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SERVICE = ReconciliationService.typeName;
const PYTHON = '/usr/bin/python3';
const hasPython = await run(PYTHON, ['-c', 'import grpc']).then(
  () => true,
  () => false,
);
if (!hasPython) console.warn(`${PYTHON} has no grpc module (Debian: python3-grpcio): its calls are not tested`);

let app: RunningApp;
/** Ids of the drifts, as everybody must see them. */
let ids: string[];
beforeAll(async () => {
  app = await startApp();
  await soon(async () => {
    ids = (await app.client.reconciliation.listDrifts({})).drifts.map(({ id }) => id).sort();
    expect(ids).toHaveLength(5);
  }, 40_000);
});
afterAll(() => app?.close());

const idsIn = (text: string): string[] =>
  [...new Set([...text.matchAll(/"id":\s*"([0-9a-f-]{36})"/g)].map(([, id]) => id!))].sort();

it('grpc-js', async () => {
  const client = grpcClient(Number(app.grpc.split(':')[1]));
  const unary = await client.call(ReconciliationService.method.listDrifts, {});
  const stream = await client.call(ReconciliationService.method.streamDrifts, {});
  client.close();
  expect((unary.messages[0] as contract.ListDriftsResponse).drifts.map(({ id }) => id).sort()).toEqual(ids);
  expect(
    (stream.messages as contract.StreamDriftsResponse[]).flatMap(({ drifts }) => drifts.map(({ id }) => id)).sort(),
  ).toEqual(ids);
  expect((stream.messages.at(-1) as contract.StreamDriftsResponse).last).toBe(true);
});

it.each(['connect', 'grpc-web'] as const)('connect-node with %s', async (protocol) => {
  const client = connectClient(app.http, protocol);
  const unary = await client.call(ReconciliationService.method.listDrifts, {});
  const stream = await client.call(ReconciliationService.method.streamDrifts, {});
  expect((unary.messages[0] as contract.ListDriftsResponse).drifts.map(({ id }) => id).sort()).toEqual(ids);
  expect(
    (stream.messages as contract.StreamDriftsResponse[]).flatMap(({ drifts }) => drifts.map(({ id }) => id)).sort(),
  ).toEqual(ids);
});

describe('buf curl', () => {
  const ask = async (flags: string[], base: string, method: string) =>
    (await run(`${ROOT}node_modules/.bin/buf`, ['curl', ...flags, `${base}/${SERVICE}/${method}`], { cwd: ROOT }))
      .stdout;

  it.each([
    ['grpc, by reflection alone', ['--protocol', 'grpc', '--http2-prior-knowledge'], 'grpc'],
    ['connect, with the contract', ['--protocol', 'connect', '--schema', '.'], 'http'],
    ['gRPC-Web, with the contract', ['--protocol', 'grpcweb', '--schema', '.'], 'http'],
  ] as const)('%s', async (_title, flags, port) => {
    const base = port === 'grpc' ? `http://${app.grpc}` : app.http;
    expect(idsIn(await ask([...flags], base, 'ListDrifts'))).toEqual(expect.arrayContaining(ids));
    const streamed = await ask([...flags], base, 'StreamDrifts');
    expect(idsIn(streamed)).toEqual(expect.arrayContaining(ids));
    expect(streamed).toMatch(/"last":\s*true/);
  });
});

describe('plain HTTP/1.1', () => {
  it('posts JSON and reads JSON', async () => {
    const response = await fetch(`${app.http}/${SERVICE}/ListDrifts`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expect(response.status).toBe(200);
    const { drifts } = (await response.json()) as { drifts: { id: string; sandbox: boolean }[] };
    expect(drifts.map(({ id }) => id).sort()).toEqual(ids);
    expect(drifts.every(({ sandbox }) => sandbox)).toBe(true);
  });

  it('reads a stream of JSON as it comes', async () => {
    const body = Buffer.concat([Buffer.from([0, 0, 0, 0, 2]), Buffer.from('{}')]);
    const response = await fetch(`${app.http}/trueup.v1.HealthService/WatchStatus`, {
      method: 'POST',
      headers: { 'content-type': 'application/connect+json' },
      body,
    });
    const reader = response.body!.getReader();
    let text = '';
    while (!/"stream":/.test(text)) text += Buffer.from((await reader.read()).value!).toString();
    await reader.cancel();
    expect(text).toContain('sandbox');
  });

  it.each(['none', '00000000-0000-4000-8000-000000000000'])(
    'knows no drift, run or import %s, and says so',
    async (id) => {
      for (const [method, field] of [
        ['GetDrift', 'driftId'],
        ['GetReconciliation', 'reconciliationId'],
        ['GetImport', 'importId'],
      ] as const) {
        const response = await fetch(`${app.http}/${SERVICE}/${method}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ [field]: id }),
        });
        expect([method, response.status, ((await response.json()) as { code: string }).code]).toEqual([
          method,
          404,
          'not_found',
        ]);
      }
      const { drifts } = await app.client.reconciliation.listDrifts({ filter: { reconciliationId: id } });
      expect(drifts).toEqual([]);
    },
  );

  it('answers a wrong request with the field that is wrong', async () => {
    const wrong = await fetch(`${app.http}/${SERVICE}/ListDrifts`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"pageSize": -1}',
    });
    expect(wrong.status).toBe(400);
    expect(await wrong.text()).toContain('page_size');
  });
});

it.skipIf(!hasPython)("Python's gRPC", async () => {
  const script = fileURLToPath(new URL('../_util/python/call.py', import.meta.url));
  const call = async (method: string, kind: string, request: Uint8Array) => {
    const { stdout } = await run(
      PYTHON,
      [script, app.grpc, `/${SERVICE}/${method}`, kind, '', Buffer.from(request).toString('hex')],
      { maxBuffer: 16 * 1024 * 1024 },
    );
    const { code, responses } = JSON.parse(stdout) as { code: number; responses: string[] };
    expect(code).toBe(0);
    return responses.map((each) => Buffer.from(each, 'hex'));
  };
  const [list] = await call('ListDrifts', 'unary', toBinary(ListDriftsRequestSchema, create(ListDriftsRequestSchema)));
  expect(
    fromBinary(ListDriftsResponseSchema, list!)
      .drifts.map(({ id }) => id)
      .sort(),
  ).toEqual(ids);
  const stream = await call(
    'StreamDrifts',
    'server_stream',
    toBinary(StreamDriftsRequestSchema, create(StreamDriftsRequestSchema)),
  );
  expect(
    stream.flatMap((each) => fromBinary(StreamDriftsResponseSchema, each).drifts.map(({ id }) => id)).sort(),
  ).toEqual(ids);
});
