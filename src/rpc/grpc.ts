// The gRPC port: @grpc/grpc-js in front of the chain.
import type { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import type { ServerHttp2Stream } from 'node:http2';
import type { Message } from '@bufbuild/protobuf';
import {
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  Server,
  ServerCredentials,
} from '@grpc/grpc-js';
import { TrueUpError } from '../core/errors.ts';
import type { IncomingCall } from './call.ts';
import { type Chain, type ReadMessage, WireFailure } from './chain.ts';
import { toWireStatus } from './error-table.ts';
import { decodeMessage, encoderOf, identity, statusObject } from './grpc-codec.ts';
import { answerUnknownMethods, ENTERED, reportUnhandled } from './grpc-gaps.ts';
import { addReflection } from './grpc-reflection.ts';
import { RPC_LIMITS } from './limits.ts';
import type { Route, ServiceRoutes } from './methods.ts';
import type { RpcObserver } from './observer.ts';

export interface GrpcServerOptions {
  readonly bind: { readonly host: string; readonly port: number };
  readonly services: readonly ServiceRoutes[];
  readonly chain: Chain;
  readonly observer: RpcObserver;
  /** Null: cleartext. With a client CA every caller must show a certificate that it signed. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly clientCaFile: string | null } | null;
}

export interface GrpcServer {
  /** The bound address; its port is the real one where port 0 was asked for. */
  readonly address: { readonly host: string; readonly port: number };
  /** Stops accepting, closes idle connections, and resolves once the calls that are open have ended. */
  drain(): Promise<void>;
  /** Breaks off whatever is left. */
  destroy(): void;
}

/** Binds and serves. @throws TrueUpError INVALID_CONFIGURATION where the address can't be bound. */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { bind, services, chain, observer } = options;
  const server = new Server({
    'grpc.max_receive_message_length': RPC_LIMITS.maxReceiveBytes,
    'grpc.max_send_message_length': RPC_LIMITS.maxSendBytes,
    'grpc.max_concurrent_streams': RPC_LIMITS.maxConcurrentStreamsPerConnection,
    'grpc.keepalive_time_ms': RPC_LIMITS.keepAliveIntervalMs,
    'grpc.keepalive_timeout_ms': RPC_LIMITS.keepAliveTimeoutMs,
    'grpc-node.max_session_memory': RPC_LIMITS.maxSessionMemoryMb,
    // Its registry is global to the process and keeps a record of every connection.
    'grpc.enable_channelz': 0,
    interceptors: [reportUnhandled(observer)],
  });
  for (const { routes } of services) {
    for (const route of routes) register(server, chain, route);
  }
  addReflection(
    server,
    services.map(({ desc }) => desc.typeName),
  );
  answerUnknownMethods(server, observer);

  const port = await listen(server, bind, credentialsOf(options.tls ?? null));
  return {
    address: { host: bind.host, port },
    drain: () => new Promise((resolve) => server.tryShutdown(() => resolve())),
    destroy: () => server.forceShutdown(),
  };
}

function register(server: Server, chain: Chain, route: Route): void {
  const { path, type, desc } = route.method;
  const encode = encoderOf(desc.output);
  switch (type) {
    case 'unary': {
      const handle = (call: UnaryCall, done: sendUnaryData<Message>): void => void answer(chain, route, call, done);
      server.register(path, handle, encode, identity, 'unary');
      return;
    }
    case 'server_stream': {
      const handle = (call: WritableCall): void => void stream(chain, route, call);
      server.register(path, handle, encode, identity, 'serverStream');
      return;
    }
    case 'client_stream': {
      const handle = (call: ReadableCall, done: sendUnaryData<Message>): void => void collect(chain, route, call, done);
      server.register(path, handle, encode, identity, 'clientStream');
      return;
    }
  }
}

type UnaryCall = ServerUnaryCall<Buffer, Message>;
type WritableCall = ServerWritableStream<Buffer, Message>;
type ReadableCall = ServerReadableStream<Buffer, Message>;

async function answer(chain: Chain, route: Route, call: UnaryCall, done: sendUnaryData<Message>): Promise<void> {
  try {
    const { message } = await chain.unary(route, readerOf(route, call.request), incomingOf(call));
    done(null, message);
  } catch (error) {
    done(statusObject(failureOf(error)));
  }
}

async function stream(chain: Chain, route: Route, call: WritableCall): Promise<void> {
  const incoming = incomingOf(call);
  try {
    for await (const message of chain.serverStream(route, readerOf(route, call.request), incoming)) {
      if (call.destroyed) break;
      if (!call.write(message)) await drained(call, incoming);
    }
    call.end();
  } catch (error) {
    const { code, details, metadata } = statusObject(failureOf(error));
    call.emit('error', Object.assign(new Error(details), { code, details, metadata }));
  }
}

async function collect(chain: Chain, route: Route, call: ReadableCall, done: sendUnaryData<Message>): Promise<void> {
  queueOneMessage(call);
  try {
    const { message } = await chain.clientStream(route, readersOf(route, call), incomingOf(call));
    done(null, message);
  } catch (error) {
    done(statusObject(failureOf(error)));
  }
}

function readerOf(route: Route, bytes: Buffer): ReadMessage {
  return () => decodeMessage(route.method.desc.input, bytes);
}

/**
 * A stream that its caller reset looks to grpc-js like one that was sent to its end, and only afterwards like a call that was
 * cancelled: half a file would pass for a whole one. So the end is believed only of a stream that wasn't reset.
 */
async function* readersOf(route: Route, call: ReadableCall): AsyncGenerator<ReadMessage, void, void> {
  for await (const bytes of call) yield readerOf(route, bytes);
  await new Promise((resolve) => setImmediate(resolve));
  const http2Stream = innerOf(call)?.stream;
  if (call.cancelled || http2Stream?.aborted || (http2Stream?.rstCode ?? 0) !== 0) {
    throw new TrueUpError('CANCELLED', 'the stream broke off before its end');
  }
}

interface InnerCall {
  readonly stream?: ServerHttp2Stream;
  [ENTERED]?: boolean;
}

/** grpc-js' own side of a call, which it keeps private. */
function innerOf(call: object): InnerCall | undefined {
  return (call as { call?: InnerCall }).call;
}

function incomingOf(call: UnaryCall | WritableCall | ReadableCall): IncomingCall {
  const inner = innerOf(call);
  if (inner) inner[ENTERED] = true;
  const deadline = call.getDeadline();
  return {
    protocol: 'grpc',
    header: (name) => call.metadata.get(name)[0]?.toString(),
    peer: call.getPeer(),
    deadlineAt: deadline === Infinity ? undefined : Number(deadline),
    onGone: (gone) => void (call as EventEmitter).on('cancelled', gone),
  };
}

/** Waits until the reader has taken what is queued, or the call is over: a stalled reader holds no more than the queue. */
function drained(call: WritableCall, incoming: IncomingCall): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      call.off('drain', wake).off('close', wake).off('cancelled', wake);
      delete incoming.interrupt;
      resolve();
    };
    call.once('drain', wake).once('close', wake).once('cancelled', wake);
    incoming.interrupt = wake;
  });
}

/** grpc-js would read 16 messages ahead of a client stream's handler, each up to the receive limit. */
function queueOneMessage(call: ReadableCall): void {
  const state = (call as unknown as { _readableState?: { highWaterMark: number } })._readableState;
  if (state) state.highWaterMark = 1;
}

function failureOf(error: unknown): WireFailure {
  return error instanceof WireFailure ? error : new WireFailure(toWireStatus(error), '');
}

function listen(server: Server, bind: GrpcServerOptions['bind'], credentials: ServerCredentials): Promise<number> {
  const address = `${bind.host.includes(':') ? `[${bind.host}]` : bind.host}:${bind.port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (!error) return resolve(port);
      reject(
        new TrueUpError('INVALID_CONFIGURATION', `GRPC_BIND ${address} can't be bound: ${error.message}`, {
          cause: error,
          fix: 'choose a free port, or stop what listens there',
        }),
      );
    });
  });
}

function credentialsOf(tls: GrpcServerOptions['tls']): ServerCredentials {
  if (!tls) return ServerCredentials.createInsecure();
  const clientCa = tls.clientCaFile === null ? null : readFileSync(tls.clientCaFile);
  const pair = { private_key: readFileSync(tls.keyFile), cert_chain: readFileSync(tls.certFile) };
  return ServerCredentials.createSsl(clientCa, [pair], clientCa !== null);
}
