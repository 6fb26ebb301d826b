// What grpc-js answers by itself, before any handler of ours sees the call: methods that don't exist, messages that are too
// large or don't inflate, deadlines that pass while the request is still being sent. They get the same details and
// are counted like every other call.
import { status as Status, Metadata, type Server, type ServerInterceptor, type StatusObject } from '@grpc/grpc-js';
import { type Reason, TrueUpError } from '../core/errors.ts';
import { statusDetailsBinary, toWireStatus } from './error-table.ts';
import { RPC_LIMITS } from './limits.ts';
import { type RpcObserver, UNKNOWN_METHOD } from './observer.ts';

/**
 * On a call that reached a handler; the chain reports those. A mark on the call itself, because a WeakSet of calls cost a third of
 * the process in garbage collection.
 */
export const ENTERED = Symbol('entered');

/**
 * Fills in the statuses that grpc-js makes itself: those, and only those, carry no metadata. They leave through the
 * innermost call object, past every interceptor that wraps it, so its own method is replaced instead.
 */
export function reportUnhandled(observer: RpcObserver): ServerInterceptor {
  return (definition, call) => {
    const send = call.sendStatus.bind(call);
    call.sendStatus = (status) => {
      if (status.metadata || status.code === Status.OK) return send(status);
      const error = errorOf(status);
      if (!(ENTERED in call)) reportUncalled(observer, definition.path, error);
      send(explained(error));
    };
    return call as ReturnType<ServerInterceptor>;
  };
}

/**
 * grpc-js answers UNIMPLEMENTED for paths that nobody registered without telling anybody. Its table of handlers is
 * given a last row, which answers the same with the reason and counts the call under one label; should a later
 * release keep its table elsewhere, callers still get grpc-js's own answer.
 */
export function answerUnknownMethods(server: Server, observer: RpcObserver): void {
  const table = (server as unknown as { handlers?: unknown }).handlers;
  if (!(table instanceof Map)) return;
  const get = table.get.bind(table);
  table.get = (path: string) => get(path) ?? unknownMethod(observer, path);
}

function unknownMethod(observer: RpcObserver, path: string): unknown {
  return {
    type: 'bidi',
    path,
    serialize: (bytes: Buffer) => bytes,
    deserialize: (bytes: Buffer) => bytes,
    func(call: { emit(event: 'error', error: Error): void }): void {
      const error = new TrueUpError('METHOD_NOT_FOUND', `there is no method ${path.slice(0, 200)}`, {
        fix: "check the name against the server's reflection",
      });
      observer.started(UNKNOWN_METHOD);
      observer.handled({ ...blank(), ...UNKNOWN_METHOD, code: 'UNIMPLEMENTED', reason: error.reason, error });
      call.emit('error', Object.assign(new Error(error.message), explained(error)));
    },
  };
}

function reportUncalled(observer: RpcObserver, path: string, error: TrueUpError): void {
  const [, service = 'unknown', method = 'unknown'] = path.split('/');
  const labels = { service, method, type: 'unary' } as const;
  const { name, reason } = toWireStatus(error);
  observer.started(labels);
  observer.handled({ ...blank(), ...labels, code: name, reason, error });
}

function explained(error: TrueUpError): StatusObject {
  const wire = toWireStatus(error);
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', Buffer.from(statusDetailsBinary(wire)));
  return { code: wire.code as StatusObject['code'], details: wire.message, metadata };
}

type Given = Parameters<Parameters<ServerInterceptor>[1]['sendStatus']>[0];

const REASON_OF: Partial<Record<number, Reason>> = {
  [Status.RESOURCE_EXHAUSTED]: 'REQUEST_TOO_LARGE',
  [Status.DEADLINE_EXCEEDED]: 'DEADLINE_EXCEEDED',
  [Status.CANCELLED]: 'CANCELLED',
  // A message that doesn't inflate, or an encoding that nobody offered, or no message at all: the caller's to mend.
  [Status.INTERNAL]: 'INVALID_REQUEST',
  [Status.UNIMPLEMENTED]: 'INVALID_REQUEST',
};

function errorOf(status: Given): TrueUpError {
  const reason = REASON_OF[status.code ?? Status.UNKNOWN] ?? 'INTERNAL';
  const message = status.details ?? 'internal error';
  if (reason !== 'REQUEST_TOO_LARGE') return new TrueUpError(reason, message);
  return new TrueUpError(reason, message, {
    metadata: {
      max_receive_bytes: String(RPC_LIMITS.maxReceiveBytes),
      max_send_bytes: String(RPC_LIMITS.maxSendBytes),
    },
    fix: 'send fewer rows or smaller chunks, or ask for a smaller page',
  });
}

function blank() {
  return {
    protocol: 'grpc',
    durationMs: 0,
    requestId: '',
    traceId: '',
    actor: '',
    peer: '',
    received: 0,
    sent: 0,
  } as const;
}
