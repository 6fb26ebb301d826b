// Goal: clients that other people wrote can speak to us: buf curl by reflection alone, Python's gRPC, and curl-like HTTP with
// Connect's JSON and with GET.
// Method: each makes a unary and a streaming call against a served port, and meets an error with its details.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { anyUnpack, FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type ClientDuplexStream, credentials, makeClientConstructor, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../../gen/google/rpc/status_pb.js';
import {
  GetDriftRequestSchema,
  GetDriftResponseSchema,
  ImportEntriesRequestSchema,
  ImportEntriesResponseSchema,
  ReconciliationService,
  StreamDriftsRequestSchema,
  StreamDriftsResponseSchema,
} from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { TrueUpError } from '../../src/core/errors.ts';
import type { Import } from '../../src/core/listing.ts';
import type { RpcPorts } from '../../src/rpc/ports.ts';
import { sampleDrift } from '../_util/drift-samples.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PYTHON = '/usr/bin/python3';
const hasPython = await run(PYTHON, ['-c', 'import grpc']).then(
  () => true,
  () => false,
);
if (!hasPython) console.warn(`${PYTHON} has no grpc module (Debian: python3-grpcio): its calls are not tested`);

let serving: Serving;
beforeAll(async () => {
  serving = await startServing({ ports: { drifts: DRIFT_PORT, books: BOOK_PORT } });
});
afterAll(() => serving.close(100));

describe('buf curl, by reflection alone', () => {
  const base = [
    '--protocol',
    'grpc',
    '--http2-prior-knowledge',
    '--reflect',
    '-H',
    `authorization: Bearer ${TOKENS.operate}`,
  ];
  const curl = async (flags: string[], method?: string) => {
    const url = `http://127.0.0.1:${serving.grpcPort}${method === undefined ? '' : `/${method}`}`;
    return await run('buf', ['curl', ...base, ...flags, url], { cwd: ROOT, maxBuffer: 16 * 1024 * 1024 }).catch(
      (error: { stdout: string; stderr: string }) => error,
    );
  };

  it('lists every service and method, health too', async () => {
    expect((await curl(['--list-services'])).stdout.trim().split('\n').sort()).toEqual([
      'grpc.health.v1.Health',
      'trueup.v1.BackfillService',
      'trueup.v1.HealthService',
      'trueup.v1.ManifestService',
      'trueup.v1.ReconciliationService',
    ]);
    const methods = (await curl(['--list-methods'])).stdout.trim().split('\n');
    expect(methods).toContain('trueup.v1.ReconciliationService/StreamDrifts');
    expect(methods.length).toBeGreaterThan(50);
  });

  it('makes a unary call and sees absent fields as absent', async () => {
    const { stdout } = await curl(['-d', '{"driftId": "1"}'], 'trueup.v1.ReconciliationService/GetDrift');
    const { drift } = JSON.parse(stdout) as { drift: Record<string, unknown> };
    expect(drift).toMatchObject({
      id: sampleDrift(1).id,
      kinds: ['DRIFT_KIND_AMOUNT_MISMATCH'],
      valueAtRiskMinor: '1000000',
    });
    expect((drift['ledgerSide'] as Record<string, unknown>)['ledger']).toBe(1_001);
  });

  it('makes streaming calls in both directions', async () => {
    const { stdout } = await curl([], 'trueup.v1.ReconciliationService/StreamDrifts');
    expect([...stdout.matchAll(/"sentCount":\s*"(\d+)"/g)].map(([, count]) => count)).toEqual(['2', '4', '6', '6']);
    const messages = [
      '{"header": {"fileName": "b.csv"}}',
      `{"chunk": "${Buffer.from('abc').toString('base64')}"}`,
    ].join('\n');
    const imported = await curl(['-d', messages], 'trueup.v1.ReconciliationService/ImportEntries');
    expect(JSON.parse(imported.stdout)).toMatchObject({
      import: { fileName: 'b.csv', receivedBytes: '3', state: 'IMPORT_STATE_COMMITTED' },
    });
  });

  it('asks for health, and reads an error with its details', async () => {
    expect((await curl(['-d', '{"service": ""}'], 'grpc.health.v1.Health/Check')).stdout).toContain('SERVING');
    const { stderr } = await curl(['-d', '{"driftId": "gone"}'], 'trueup.v1.ReconciliationService/GetDrift');
    expect(stderr).toContain('"code": "not_found"');
    const { details } = JSON.parse(stderr) as { details: { type: string; value: string }[] };
    expect(details[0]!.type).toBe('google.rpc.ErrorInfo');
    expect(fromBinary(ErrorInfoSchema, Buffer.from(details[0]!.value, 'base64')).reason).toBe('DRIFT_NOT_FOUND');
  });
});

describe('reflection', () => {
  it('gives the files as they were generated, with the roles and the rules in them', async () => {
    const image = fromBinary(
      FileDescriptorSetSchema,
      readFileSync(new URL('../../gen/descriptors.binpb', import.meta.url)),
    );
    for (const version of ['v1', 'v1alpha']) {
      const given = await reflect(
        version,
        image.file.map(({ name }) => name),
      );
      for (const file of image.file) {
        expect(given.get(file.name)?.equals(Buffer.from(toBinary(FileDescriptorProtoSchema, file))), file.name).toBe(
          true,
        );
      }
    }
  });
});

describe.skipIf(!hasPython)("Python's gRPC", () => {
  const call = async (method: string, kind: string, ...requests: Uint8Array[]) => {
    const script = fileURLToPath(new URL('../_util/python/call.py', import.meta.url));
    const path = `/${ReconciliationService.typeName}/${method}`;
    const hex = requests.map((each) => Buffer.from(each).toString('hex'));
    const { stdout } = await run(
      PYTHON,
      [script, `127.0.0.1:${serving.grpcPort}`, path, kind, TOKENS.operate, ...hex],
      { maxBuffer: 16 * 1024 * 1024 },
    );
    const answer = JSON.parse(stdout) as { code: number; message: string; details: string; responses: string[] };
    return { ...answer, responses: answer.responses.map((each) => Buffer.from(each, 'hex')) };
  };

  it('makes a unary call', async () => {
    const { code, responses } = await call(
      'GetDrift',
      'unary',
      toBinary(GetDriftRequestSchema, create(GetDriftRequestSchema, { driftId: '1' })),
    );
    expect([code, fromBinary(GetDriftResponseSchema, responses[0]!).drift!.id]).toEqual([0, sampleDrift(1).id]);
    expect(serving.handled.at(-1)).toMatchObject({ requestId: 'from-python', actor: 'operate-name', protocol: 'grpc' });
  });

  it('reads a stream and writes one', async () => {
    const { responses } = await call(
      'StreamDrifts',
      'server_stream',
      toBinary(StreamDriftsRequestSchema, create(StreamDriftsRequestSchema)),
    );
    expect(responses.map((each) => fromBinary(StreamDriftsResponseSchema, each).sentCount)).toEqual([2n, 4n, 6n, 6n]);
    const messages = [
      { message: { case: 'header', value: { fileName: 'b.csv' } } },
      { message: { case: 'chunk', value: new Uint8Array(5) } },
    ] as const;
    const sent = await call(
      'ImportEntries',
      'client_stream',
      ...messages.map((each) => toBinary(ImportEntriesRequestSchema, create(ImportEntriesRequestSchema, each))),
    );
    expect(fromBinary(ImportEntriesResponseSchema, sent.responses[0]!).import).toMatchObject({ receivedBytes: 5n });
  });

  it('meets an error with its details', async () => {
    const { code, message, details } = await call(
      'GetDrift',
      'unary',
      toBinary(GetDriftRequestSchema, create(GetDriftRequestSchema, { driftId: 'gone' })),
    );
    const status = fromBinary(StatusSchema, Buffer.from(details, 'hex'));
    const info = status.details.map((any) => anyUnpack(any, ErrorInfoSchema)).find((each) => each !== undefined);
    expect([code, message, info?.reason, info?.domain]).toEqual([
      5,
      'there is no drift gone',
      'DRIFT_NOT_FOUND',
      'trueup.v1',
    ]);
  });
});

describe('plain HTTP', () => {
  const url = () => `${serving.httpUrl}/${ReconciliationService.typeName}`;
  const authorization = `Bearer ${TOKENS.read}`;

  it('reads by GET what has no side effects', async () => {
    const message = encodeURIComponent(JSON.stringify({ driftId: '1' }));
    const response = await fetch(`${url()}/GetDrift?connect=v1&encoding=json&message=${message}`, {
      headers: { authorization },
    });
    expect([response.status, await response.json()]).toEqual([
      200,
      expect.objectContaining({ drift: expect.objectContaining({ id: sampleDrift(1).id }) }),
    ]);
    const write = await fetch(`${url()}/StartReconciliation?connect=v1&encoding=json&message=%7B%7D`, {
      headers: { authorization },
    });
    expect(write.status).toBe(405);
  });

  it('posts JSON, reads a stream of JSON, and meets an error with its details', async () => {
    const headers = { authorization, 'content-type': 'application/json', 'x-request-id': 'from-curl' };
    const response = await fetch(`${url()}/GetDrift`, { method: 'POST', headers, body: '{"driftId": "1"}' });
    expect([response.status, response.headers.get('x-request-id')]).toEqual([200, 'from-curl']);

    const body = Buffer.concat([Buffer.from([0, 0, 0, 0, 2]), Buffer.from('{}')]);
    const stream = await fetch(`${url()}/StreamDrifts`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/connect+json' },
      body,
    });
    expect([...(await stream.text()).matchAll(/"sentCount":"(\d+)"/g)].map(([, count]) => count)).toEqual([
      '2',
      '4',
      '6',
      '6',
    ]);

    const failed = await fetch(`${url()}/GetDrift`, { method: 'POST', headers, body: '{"driftId": "gone"}' });
    expect([failed.status, await failed.json()]).toEqual([
      404,
      expect.objectContaining({ code: 'not_found', message: 'there is no drift gone' }),
    ]);
  });
});

/** Every file asked for by name, as bytes. */
function reflect(version: string, names: readonly string[]): Promise<Map<string, Buffer>> {
  const folder = dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json'));
  const definition = loadSync(join(folder, `build/proto/grpc/reflection/${version}/reflection.proto`));
  const service = definition[`grpc.reflection.${version}.ServerReflection`] as ServiceDefinition;
  const Client = makeClientConstructor(service, 'ServerReflection');
  const client = new Client(`127.0.0.1:${serving.grpcPort}`, credentials.createInsecure());
  const stream = (
    client['ServerReflectionInfo'] as () => ClientDuplexStream<
      object,
      { fileDescriptorResponse: { fileDescriptorProto: Buffer[] } }
    >
  ).call(client);
  const files = new Map<string, Buffer>();
  return new Promise((resolve, reject) => {
    stream.on('data', ({ fileDescriptorResponse }) => {
      for (const bytes of fileDescriptorResponse.fileDescriptorProto)
        files.set(fromBinary(FileDescriptorProtoSchema, bytes).name, bytes);
    });
    stream.on('error', reject);
    stream.on('end', () => {
      client.close();
      resolve(files);
    });
    for (const fileByFilename of names) stream.write({ fileByFilename });
    stream.end();
  });
}

const DRIFT_PORT: Partial<RpcPorts['drifts']> = {
  async get(id) {
    if (id === 'gone') throw new TrueUpError('DRIFT_NOT_FOUND', 'there is no drift gone');
    return { drift: sampleDrift(1), transitions: [] };
  },
  async *stream() {
    for (let batch = 0; batch < 3; batch++)
      yield { items: [sampleDrift(2 * batch), sampleDrift(2 * batch + 1)], position: { batch } };
  },
};

const BOOK_PORT: Partial<RpcPorts['books']> = {
  async import(header, chunks, asker) {
    let receivedBytes = 0;
    for await (const chunk of chunks) receivedBytes += chunk.length;
    const counts = { lines: 0, inserted: 0, revised: 0, unchanged: 0, retracted: 0, errors: [], errorCount: 0 };
    const at = new Date();
    const done: Import = {
      ...counts,
      id: 'i',
      book: 'default',
      level: 'entries',
      format: 'csv',
      state: 'committed',
      fileName: header.fileName,
      receivedBytes,
      sha256: null,
      completeThrough: header.completeThrough,
      actor: asker.actor,
      createdAt: at,
      completedAt: at,
      requestId: header.requestId,
    };
    return done;
  },
};
