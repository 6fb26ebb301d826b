// A server that speaks the contract and says what a test tells it to: gRPC over cleartext HTTP/2, and Connect over HTTP/1.1.
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Session } from 'node:http2';
import { type AddressInfo } from 'node:net';
import type { ServiceImpl } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { contract } from '../../src/client/index.ts';

export interface StubHandlers {
  readonly reconciliation?: Partial<ServiceImpl<typeof contract.ReconciliationService>>;
  readonly health?: Partial<ServiceImpl<typeof contract.HealthService>>;
  readonly backfill?: Partial<ServiceImpl<typeof contract.BackfillService>>;
}

export interface StubServer extends AsyncDisposable {
  /** host:port */
  readonly address: string;
}

/** A gRPC server on a port of its own. Methods that aren't given answer UNIMPLEMENTED. */
export async function stubGrpcServer(handlers: StubHandlers): Promise<StubServer> {
  const server = createHttp2Server(adapterOf(handlers) as Parameters<typeof createHttp2Server>[1]);
  const sessions = new Set<ServerHttp2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A Connect server over HTTP/1.1; `before` sees a request first and says whether it answered it. */
export async function stubHttpServer(
  handlers: StubHandlers,
  before: (...request: Parameters<RequestListener>) => boolean,
  port = 0,
): Promise<StubServer> {
  const adapter = adapterOf(handlers) as RequestListener;
  const server = createHttpServer((request, response) => {
    if (!before(request, response)) adapter(request, response);
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function adapterOf(handlers: StubHandlers): unknown {
  return connectNodeAdapter({
    routes: (router) => {
      router.service(contract.ReconciliationService, handlers.reconciliation ?? {});
      router.service(contract.HealthService, handlers.health ?? {});
      router.service(contract.BackfillService, handlers.backfill ?? {});
    },
  });
}
