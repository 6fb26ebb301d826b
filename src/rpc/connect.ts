// The HTTP port's half of the contract: Connect and gRPC-Web by connect-node, in front of the same chain.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { DescMessage, Message } from '@bufbuild/protobuf';
import {
  Code,
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
  type ServiceImpl,
} from '@connectrpc/connect';
import type { UniversalHandler } from '@connectrpc/connect/protocol';
import {
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node';
import { type Reason, TrueUpError } from '../core/errors.ts';
import type { IncomingCall, Protocol } from './call.ts';
import { type Chain, type ReadMessage, WireFailure } from './chain.ts';
import type { StatusName } from './error-table.ts';
import { RPC_LIMITS } from './limits.ts';
import type { MethodLabels, Route, ServiceRoutes } from './methods.ts';
import { type RpcObserver, UNKNOWN_METHOD } from './observer.ts';

export interface ConnectHandlerOptions {
  readonly services: readonly ServiceRoutes[];
  readonly chain: Chain;
  readonly observer: RpcObserver;
  /** Gets what is no method at all: the page. */
  readonly fallback: RequestListener;
}

/** A request handler for Node's http server. Plain gRPC is left to the gRPC port: it needs HTTP/2. */
export function createConnectHandler({ services, chain, observer, fallback }: ConnectHandlerOptions): RequestListener {
  const router = createConnectRouter({
    grpc: false,
    readMaxBytes: RPC_LIMITS.maxReceiveBytes,
    writeMaxBytes: RPC_LIMITS.maxSendBytes,
    compressMinBytes: RPC_LIMITS.compressMinBytes,
    acceptCompression: [compressionGzip],
    jsonOptions: { ignoreUnknownFields: true, alwaysEmitImplicit: true },
    binaryOptions: { readUnknownFields: false },
  });
  const routes = new Map<string, Route>();
  for (const { desc, routes: own } of services) {
    const implementation = Object.fromEntries(own.map((route) => [route.method.desc.localName, adapt(chain, route)]));
    for (const route of own) routes.set(route.method.path, route);
    // Strangers are turned away by their headers alone; nothing they send is read.
    const requestGate = (context: HandlerContext): void =>
      refuseStrangers(chain, routes.get(pathOf(context))!, context);
    router.service(desc, implementation as ServiceImpl<typeof desc>, { requestGate });
  }
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  const packages = services.map(({ desc }) => `/${desc.typeName}/`);

  return (request, response) => {
    const path = request.url?.split('?', 1)[0] ?? '';
    const handler = handlers.get(path);
    if (handler === undefined) {
      if (packages.some((prefix) => path.startsWith(prefix)))
        reportUncalled(observer, UNKNOWN_METHOD, 'UNIMPLEMENTED', 'METHOD_NOT_FOUND');
      fallback(request, response);
      return;
    }
    void answer(handler, request, response, observer, routes.get(path)!);
  };
}

/** connect-node's own adapter, but for what it prints when a caller leaves, and with every call counted. */
async function answer(
  handler: UniversalHandler,
  request: IncomingMessage,
  response: ServerResponse,
  observer: RpcObserver,
  { method }: Route,
): Promise<void> {
  const progress: Progress = { reported: false };
  const values = createContextValues().set(PEER, peerOf(request)).set(PROGRESS, progress);
  try {
    const universal = await handler(universalRequestFromNodeRequest(request, response, undefined, values));
    // What connect-node couldn't take in as a message never came to the chain.
    if (!progress.reported && universal.status !== 200) {
      const tooLarge = universal.status === 429;
      reportUncalled(
        observer,
        method,
        tooLarge ? 'RESOURCE_EXHAUSTED' : 'INVALID_ARGUMENT',
        tooLarge ? 'REQUEST_TOO_LARGE' : 'INVALID_REQUEST',
      );
    }
    await universalResponseToNodeResponse(universal, response);
  } catch {
    // The caller left while it was being answered; the chain has said so.
    response.destroy();
  }
}

interface Progress {
  /** Whether the chain has taken over telling of the call. */
  reported: boolean;
}

const PEER = createContextKey('', { description: 'address and port of the caller' });
const PROGRESS = createContextKey<Progress>({ reported: false }, { description: 'how far a call came' });

function pathOf(context: HandlerContext): string {
  return `/${context.service.typeName}/${context.method.name}`;
}

function refuseStrangers(chain: Chain, route: Route, context: HandlerContext): void {
  const failure = chain.refusal(route, incomingOf(context));
  if (failure === undefined) return;
  context.values.get(PROGRESS).reported = true;
  throw connectErrorOf(failure);
}

function adapt(chain: Chain, route: Route): unknown {
  switch (route.method.type) {
    case 'unary':
      return (request: Message, context: HandlerContext) =>
        single(context, (incoming) => chain.unary(route, () => request, incoming));
    case 'client_stream':
      return (requests: AsyncIterable<Message>, context: HandlerContext) =>
        single(context, (incoming) => chain.clientStream(route, readersOf(requests), incoming));
    case 'server_stream':
      return (request: Message, context: HandlerContext) =>
        many(context, (incoming) => chain.serverStream(route, () => request, incoming));
  }
}

async function single(
  context: HandlerContext,
  run: (incoming: IncomingCall) => Promise<{ message: Message; requestId: string }>,
): Promise<Message> {
  context.values.get(PROGRESS).reported = true;
  try {
    const { message, requestId } = await run(incomingOf(context));
    context.responseHeader.set('x-request-id', requestId);
    return message;
  } catch (error) {
    throw connectErrorOf(error);
  }
}

async function* many(
  context: HandlerContext,
  run: (incoming: IncomingCall) => AsyncIterable<Message>,
): AsyncGenerator<Message> {
  context.values.get(PROGRESS).reported = true;
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
  if (error.code === Code.InvalidArgument)
    return new TrueUpError('INVALID_REQUEST', error.rawMessage, { cause: error });
  return error;
}

function peerOf(request: IncomingMessage): string {
  const { remoteAddress, remotePort } = request.socket;
  return remoteAddress === undefined ? 'unknown' : `${remoteAddress}:${remotePort}`;
}

function reportUncalled(observer: RpcObserver, labels: MethodLabels, code: StatusName, reason: Reason): void {
  const { service, method, type } = labels;
  const ids = { requestId: '', traceId: '', actor: '', peer: '' };
  observer.started(labels);
  observer.handled({
    service,
    method,
    type,
    protocol: 'connect',
    code,
    reason,
    durationMs: 0,
    ...ids,
    received: 0,
    sent: 0,
    error: undefined,
  });
}
