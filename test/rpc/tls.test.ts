// Goal: TLS and mTLS on both ports. Method: a private authority made with openssl, real clients with and without its certificates.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, status, type ChannelCredentials, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startHttpServer } from '../../src/http/server.ts';
import { silentObserver } from '../../src/rpc/observer.ts';
import { createRpc } from '../../src/rpc/rpc.ts';
import { anonymousOnLoopback } from '../../src/rpc/tokens.ts';
import { stubPorts } from '../_util/serving.ts';

const hasOpenssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!hasOpenssl)('TLS on the gRPC and HTTP ports', () => {
  const dir = mkdtempSync(join(tmpdir(), 'trueup-tls-'));
  const path = (name: string): string => join(dir, name);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: dir, stdio: 'ignore' });
  const tls = { certFile: path('server.crt'), keyFile: path('server.key'), clientCaFile: path('ca.crt') };

  beforeAll(() => {
    openssl(
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=authority',
      '-keyout',
      'ca.key',
      '-out',
      'ca.crt',
    );
    for (const name of ['server', 'client']) {
      writeFileSync(path(`${name}.ext`), 'subjectAltName=DNS:localhost,IP:127.0.0.1');
      openssl(
        'req',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-subj',
        `/CN=${name}`,
        '-keyout',
        `${name}.key`,
        '-out',
        `${name}.csr`,
      );
      openssl(
        'x509',
        '-req',
        '-in',
        `${name}.csr`,
        '-CA',
        'ca.crt',
        '-CAkey',
        'ca.key',
        '-CAcreateserial',
        '-days',
        '2',
        '-extfile',
        `${name}.ext`,
        '-out',
        `${name}.crt`,
      );
    }
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  /** gRPC status of a health check, as raw bytes: an empty request and whatever comes back. */
  const check = async (port: number, channel: ChannelCredentials): Promise<number> => {
    const client = new Client(`localhost:${port}`, channel);
    try {
      return await new Promise((resolve) => {
        const deadline = { deadline: Date.now() + 5_000 };
        const identity = (bytes: Buffer): Buffer => bytes;
        client.makeUnaryRequest(
          '/grpc.health.v1.Health/Check',
          identity,
          identity,
          Buffer.alloc(0),
          deadline,
          (error: ServiceError | null) => resolve(error?.code ?? status.OK),
        );
      });
    } finally {
      client.close();
    }
  };

  const serve = async (clientCaFile: string | null) => {
    const rpc = createRpc({ ports: stubPorts({}), authenticator: anonymousOnLoopback, observer: silentObserver });
    const grpc = await rpc.startGrpc({ bind: { host: '127.0.0.1', port: 0 }, tls: { ...tls, clientCaFile } });
    const http = await startHttpServer({
      bind: { host: '127.0.0.1', port: 0 },
      tls: { ...tls, clientCaFile },
      connectHandler: (fallback) => rpc.connectHandler(fallback),
      page: null,
      hasTokens: false,
    });
    rpc.health.set('', true);
    return { grpc, http, [Symbol.asyncDispose]: () => rpc.close([grpc, http], 200) };
  };

  it('encrypts both, and a cleartext client is not understood', async () => {
    await using serving = await serve(null);
    const ca = readFileSync(path('ca.crt'));
    expect(await check(serving.grpc.address.port, credentials.createSsl(ca))).toBe(status.OK);
    expect(await check(serving.grpc.address.port, credentials.createInsecure())).toBe(status.UNAVAILABLE);
    expect(await postStatus(serving.http.address.port, { ca })).toBe(404);
  });

  it('refuses a client without a certificate of the authority where one is asked for, and serves one that has it', async () => {
    await using serving = await serve(tls.clientCaFile);
    const ca = readFileSync(path('ca.crt'));
    const own = { key: readFileSync(path('client.key')), cert: readFileSync(path('client.crt')) };
    expect(await check(serving.grpc.address.port, credentials.createSsl(ca))).toBe(status.UNAVAILABLE);
    expect(await check(serving.grpc.address.port, credentials.createSsl(ca, own.key, own.cert))).toBe(status.OK);
    await expect(postStatus(serving.http.address.port, { ca })).rejects.toThrow();
    expect(await postStatus(serving.http.address.port, { ca, ...own })).toBe(404);
  });
});

/** HTTP status of a Connect call by HTTPS; the stub house answers that it has nothing: 404. */
function postStatus(port: number, options: { ca: Buffer; key?: Buffer; cert?: Buffer }): Promise<number> {
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: 'localhost',
        port,
        method: 'POST',
        path: '/trueup.v1.HealthService/GetStatus',
        headers: { 'content-type': 'application/json' },
        ...options,
      },
      (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      },
    );
    call.on('error', reject);
    call.end('{}');
  });
}
