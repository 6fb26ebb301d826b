// The HTTP port's half of the contract: Connect and gRPC-Web by connect-node, in front of the same chain.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { DescMessage, Message } from '@bufbuild/protobuf';
import { Code, ConnectError, createContextKey, createContextValues, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import { compressionGzip, connectNodeAdapter } from '@connectrpc/connect-node';
import { TrueUpError } from '../core/errors.ts';
import type { IncomingCall, Protocol } from './call.ts';
import { type Chain, type ReadMessage, WireFailure } from './chain.ts';
import { RPC_LIMITS } from './limits.ts';
import type { Route, ServiceRoutes } from './methods.ts';
import { type RpcObserver, UNKNOWN_METHOD } from './observer.ts';

export interface ConnectHandlerOptions {
  readonly services: readonly ServiceRoutes[];
  readonly chain: Chain;
  readonly observer: RpcObserver;
  /** Gets what is no method at all: the page. */
  readonly fallback: RequestListener;
}

/** A request handler for Node's http server. Plain gRPC is left to the gRPC port: it needs HTTP/2. */
export function createConnectHandler(options: ConnectHandlerOptions): RequestListener {
  const { services, chain, observer, fallback } = options;
  const packages = services.map(({ desc }) => `/${desc.typeName}/`);
  return connectNodeAdapter({
    grpc: false,
    readMaxBytes: RPC_LIMITS.maxReceiveBytes,
    writeMaxBytes: RPC_LIMITS.maxSendBytes,
    compressMinBytes: RPC_LIMITS.compressMinBytes,
    acceptCompression: [compressionGzip],
    jsonOptions: { ignoreUnknownFields: true, alwaysEmitImplicit: true },
    binaryOptions: { readUnknownFields: false },
    contextValues: (request) => createContextValues().set(PEER, peerOf(request as IncomingMessage)),
    fallback: (request, response) => {
      if (packages.some((prefix) => request.url?.startsWith(prefix))) countUnknown(observer);
      fallback(request as IncomingMessage, response as ServerResponse<IncomingMessage>);
    },
    routes: (router) => {
      for (const { desc, routes } of services) {
        const implementation = Object.fromEntries(routes.map((route) => [route.method.desc.localName, adapt(chain, route)]));
        router.service(desc, implementation as ServiceImpl<typeof desc>);
      }
    },
  });
}

const PEER = createContextKey('', { description: 'address and port of the caller' });

function adapt(chain: Chain, route: Route): unknown {
  switch (route.method.type) {
    case 'unary':
      return (request: Message, context: HandlerContext) => single(context, (incoming) => chain.unary(route, () => request, incoming));
    case 'client_stream':
      return (requests: AsyncIterable<Message>, context: HandlerContext) =>
        single(context, (incoming) => chain.clientStream(route, readersOf(requests), incoming));
    case 'server_stream':
      return (request: Message, context: HandlerContext) => many(context, (incoming) => chain.serverStream(route, () => request, incoming));
  }
}

async function single(
  context: HandlerContext,
  run: (incoming: IncomingCall) => Promise<{ message: Message; requestId: string }>,
): Promise<Message> {
  try {
    const { message, requestId } = await run(incomingOf(context));
    context.responseHeader.set('x-request-id', requestId);
    return message;
  } catch (error) {
    throw connectErrorOf(error);
  }
}

async function* many(context: HandlerContext, run: (incoming: IncomingCall) => AsyncIterable<Message>): AsyncGenerator<Message> {
  try {
    yield* run(incomingOf(context));
  } catch (error) {
    throw connectErrorOf(error);
  }
}

async function* readersOf(requests: AsyncIterable<Message>): AsyncGenerator<ReadMessage, void, void> {
  try {
    for await (const request of requests) yield () => request;
  } catch (error) {
    throw readErrorOf(error);
  }
}

function incomingOf(context: HandlerContext): IncomingCall {
  const timeoutMs = context.timeoutMs();
  return {
    protocol: context.protocolName as Protocol,
    header: (name) => context.requestHeader.get(name) ?? undefined,
    peer: context.values.get(PEER),
    deadlineAt: timeoutMs === undefined ? undefined : Date.now() + timeoutMs,
    onGone: (gone) => {
      if (context.signal.aborted) gone();
      else context.signal.addEventListener('abort', gone, { once: true });
    },
  };
}

function connectErrorOf(error: unknown): ConnectError {
  if (!(error instanceof WireFailure)) return new ConnectError('internal error', Code.Internal);
  const { status, requestId } = error;
  const details = status.details.map(({ desc, value }) => ({ desc: desc as DescMessage, value }));
  return new ConnectError(status.message, status.code as Code, { 'x-request-id': requestId }, details);
}

/** What connect-node says of a message of a stream that it couldn't take in. */
function readErrorOf(error: unknown): unknown {
  if (!(error instanceof ConnectError)) return error;
  if (error.code === Code.ResourceExhausted) {
    return new TrueUpError('REQUEST_TOO_LARGE', error.rawMessage, { fix: 'send fewer rows or smaller chunks' });
  }
  if (error.code === Code.InvalidArgument) return new TrueUpError('INVALID_REQUEST', error.rawMessage, { cause: error });
  return error;
}

function peerOf(request: IncomingMessage): string {
  const { remoteAddress, remotePort } = request.socket;
  return remoteAddress === undefined ? 'unknown' : `${remoteAddress}:${remotePort}`;
}

function countUnknown(observer: RpcObserver): void {
  observer.started(UNKNOWN_METHOD);
  observer.handled({
    ...UNKNOWN_METHOD,
    protocol: 'connect',
    code: 'UNIMPLEMENTED',
    reason: 'METHOD_NOT_FOUND',
    durationMs: 0,
    requestId: '',
    traceId: '',
    actor: '',
    peer: '',
    received: 0,
    sent: 0,
    error: undefined,
  });
}
