// Goal: the client keeps deadlines, repeats only what can't do anything twice, and understands every error.
// Method: a stub server that counts its calls and fails as told.
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { expect, test } from 'vitest';
import { ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { contract, createTrueUpClient, describeError, serverUrl } from '../../src/client/index.ts';
import { stubGrpcServer } from './stub-server.ts';

const unavailable = (): ConnectError => new ConnectError('try later', Code.Unavailable);

test('repeats a read that was unavailable, and gives up after three attempts', async () => {
  let calls = 0;
  await using server = await stubGrpcServer({
    health: {
      getStatus: () => {
        if (++calls % 3 !== 0) throw unavailable();
        return create(contract.GetStatusResponseSchema, { version: '1.2.3' });
      },
      listSlos: () => {
        calls++;
        throw unavailable();
      },
    },
  });
  using client = createTrueUpClient({ server: server.address });
  expect((await client.health.getStatus({})).version).toBe('1.2.3');
  expect(calls).toBe(3);
  calls = 0;
  await expect(client.health.listSlos({})).rejects.toMatchObject({ code: Code.Unavailable });
  expect(calls).toBe(3);
});

test('never repeats a call that does something', async () => {
  let calls = 0;
  await using server = await stubGrpcServer({
    reconciliation: {
      startReconciliation: () => {
        calls++;
        throw unavailable();
      },
    },
  });
  using client = createTrueUpClient({ server: server.address });
  await expect(client.reconciliation.startReconciliation({})).rejects.toMatchObject({ code: Code.Unavailable });
  expect(calls).toBe(1);
});

test('does not wait for a retry that the deadline would not live to see', async () => {
  let calls = 0;
  await using server = await stubGrpcServer({
    health: {
      getStatus: () => {
        calls++;
        const value = { retryDelay: { seconds: 60n, nanos: 0 } };
        throw new ConnectError('try later', Code.Unavailable, undefined, [{ desc: RetryInfoSchema, value }]);
      },
    },
  });
  using client = createTrueUpClient({ server: server.address, timeoutMs: 5_000 });
  const began = performance.now();
  await expect(client.health.getStatus({})).rejects.toMatchObject({ code: Code.Unavailable });
  expect(performance.now() - began).toBeLessThan(4_000);
  expect(calls).toBe(1);
});

test('ends a call at its deadline', async () => {
  await using server = await stubGrpcServer({
    health: {
      getStatus: (_request, { signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(unavailable()))),
    },
  });
  using client = createTrueUpClient({ server: server.address, timeoutMs: 100, maxAttempts: 1 });
  await expect(client.health.getStatus({})).rejects.toMatchObject({ code: Code.DeadlineExceeded });
});

test('sends its token with every call', async () => {
  const seen: (string | null)[] = [];
  await using server = await stubGrpcServer({
    health: {
      getStatus: (_request, { requestHeader }) => {
        seen.push(requestHeader.get('authorization'));
        return {};
      },
    },
  });
  using client = createTrueUpClient({ server: server.address, token: 'secret' });
  using nobody = createTrueUpClient({ server: server.address });
  await client.health.getStatus({});
  await nobody.health.getStatus({});
  expect(seen).toEqual(['Bearer secret', null]);
});

test('says of an error what TrueUp said of it, and of a silent server that it is unreachable', async () => {
  await using server = await stubGrpcServer({
    reconciliation: {
      getReconciliation: () => {
        const value = {
          reason: 'RECONCILIATION_NOT_FOUND',
          domain: 'trueup.v1',
          metadata: { fix: 'look again', retryable: 'false' },
        };
        throw new ConnectError('no such run', Code.NotFound, undefined, [{ desc: ErrorInfoSchema, value }]);
      },
    },
  });
  using client = createTrueUpClient({ server: server.address });
  const error = await client.reconciliation
    .getReconciliation({ reconciliationId: 'x' })
    .catch((thrown: unknown) => thrown);
  expect(describeError(error)).toEqual({
    code: 'NOT_FOUND',
    reason: 'RECONCILIATION_NOT_FOUND',
    message: 'no such run',
    fix: 'look again',
    fields: [],
    metadata: { retryable: 'false' },
    unreachable: false,
  });
  using nobody = createTrueUpClient({ server: '127.0.0.1:1', timeoutMs: 2_000 });
  const silence = await nobody.health.getStatus({}).catch((thrown: unknown) => thrown);
  expect(describeError(silence)).toMatchObject({ code: 'UNAVAILABLE', reason: 'UNAVAILABLE', unreachable: true });
});

test('takes a server as host and port or as a URL, and refuses anything else', () => {
  expect(serverUrl('127.0.0.1:50051')).toBe('http://127.0.0.1:50051');
  expect(serverUrl('[::1]:50051')).toBe('http://[::1]:50051');
  expect(serverUrl('https://trueup.internal')).toBe('https://trueup.internal');
  for (const text of ['', 'ftp://x', 'http://user:pass@x', 'x/y', 'x:99999'])
    expect(() => serverUrl(text), text).toThrow(/is no server/);
});
