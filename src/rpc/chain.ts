// The chain that every call goes through, whichever protocol it came by: observe > map errors > authorize > validate >
// handle, all under a deadline.
import { create, type DescMessage, type Message, type MessageInitShape } from '@bufbuild/protobuf';
import { isTrueUpError, messageOf, TrueUpError } from '../core/errors.ts';
import { Call, type CallContext, type IncomingCall, NOBODY } from './call.ts';
import { toWireStatus, type WireStatus } from './error-table.ts';
import { RPC_LIMITS } from './limits.ts';
import type { Route } from './methods.ts';
import type { RpcObserver } from './observer.ts';
import { type Authenticator, type Caller, includesRole } from './roles.ts';
import type { RequestValidator } from './validate.ts';

/** A failed call as a binding has to send it. */
export class WireFailure extends Error {
  override readonly name = 'WireFailure';
  readonly status: WireStatus;
  readonly requestId: string;

  constructor(status: WireStatus, requestId: string) {
    super(status.message);
    this.status = status;
    this.requestId = requestId;
  }
}

export interface ChainOptions {
  readonly authenticator: Authenticator;
  readonly validator: RequestValidator;
  readonly observer: RpcObserver;
}

type UnaryHandler = (request: Message, call: CallContext) => Promise<MessageInitShape<DescMessage>>;
type ServerStreamHandler = (request: Message, call: CallContext) => AsyncIterable<MessageInitShape<DescMessage>>;
type ClientStreamHandler = (
  requests: AsyncIterable<Message>,
  call: CallContext,
) => Promise<MessageInitShape<DescMessage>>;

/** Hands over a message, decoding it only once the caller is known. */
export type ReadMessage = () => Message;

export class Chain {
  readonly #options: ChainOptions;
  readonly #active = new Set<Call>();
  readonly #streamsOfCaller = new Map<string, number>();
  #draining = false;
  #onIdle: (() => void)[] = [];

  constructor(options: ChainOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#active.size;
  }

  /** @throws WireFailure, and nothing else. */
  async unary(
    route: Route,
    read: ReadMessage,
    incoming: IncomingCall,
  ): Promise<{ message: Message; requestId: string }> {
    const call = this.#open(route, incoming);
    try {
      const handler = this.#admit(route, call) as UnaryHandler;
      const request = this.#take(route, call, read);
      const reply = await call.orAbort(this.#within(call, () => handler(request, call)));
      const message = create(route.method.desc.output, reply);
      call.sent = 1;
      this.#succeed(call);
      return { message, requestId: call.requestId };
    } catch (error) {
      throw this.#fail(call, error);
    }
  }

  /** Sends the messages one at a time: the next one is asked for when the binding asks. @throws WireFailure only. */
  async *serverStream(route: Route, read: ReadMessage, incoming: IncomingCall): AsyncGenerator<Message, void, void> {
    const call = this.#open(route, incoming);
    let iterator: AsyncIterator<MessageInitShape<DescMessage>> | undefined;
    let finished = false;
    try {
      const handler = this.#admit(route, call) as ServerStreamHandler;
      this.#countStream(call);
      const request = this.#take(route, call, read);
      const messages = this.#within(call, () => handler(request, call));
      iterator = messages[Symbol.asyncIterator]();
      const next = iterator.next.bind(iterator);
      for (;;) {
        const step = await call.orAbort(this.#within(call, () => next()));
        if (step.done) break;
        call.sent += 1;
        yield create(route.method.desc.output, step.value);
      }
      finished = true;
      this.#succeed(call);
    } catch (error) {
      finished = true;
      throw this.#fail(call, error);
    } finally {
      // A binding that stops reading has lost its caller.
      if (!finished) this.#fail(call, new TrueUpError('CANCELLED', 'the caller went away'));
      iterator?.return?.()?.catch(() => {});
    }
  }

  /** @throws WireFailure, and nothing else. */
  async clientStream(
    route: Route,
    reads: AsyncIterable<ReadMessage>,
    incoming: IncomingCall,
  ): Promise<{ message: Message; requestId: string }> {
    const call = this.#open(route, incoming);
    try {
      const handler = this.#admit(route, call) as ClientStreamHandler;
      this.#countStream(call);
      const requests = this.#takeEach(route, call, reads);
      const reply = await call.orAbort(this.#within(call, () => handler(requests, call)));
      const message = create(route.method.desc.output, reply);
      call.sent = 1;
      this.#succeed(call);
      return { message, requestId: call.requestId };
    } catch (error) {
      throw this.#fail(call, error);
    }
  }

  /** For bindings that can refuse a call by its headers alone: reported like any other, and undefined where it may go on. */
  refusal(route: Route, incoming: IncomingCall): WireFailure | undefined {
    let caller = NOBODY;
    try {
      caller = this.#callerOf(route, incoming.header('authorization'), incoming.peer);
      checkRole(route, caller);
      return undefined;
    } catch (error) {
      const call = this.#open(route, incoming);
      call.caller = caller;
      return this.#fail(call, error);
    }
  }

  /** From now on new calls are refused, and streams without an end of their own are ended. */
  beginDrain(): void {
    this.#draining = true;
    for (const call of this.#active) {
      if (call.method.watch) call.abort(shuttingDown());
    }
  }

  /** Ends every call that is still open. */
  abortAll(): void {
    for (const call of this.#active) call.abort(shuttingDown());
  }

  /** Resolves once no call is open. */
  idle(): Promise<void> {
    if (this.#active.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onIdle.push(resolve));
  }

  #open(route: Route, incoming: IncomingCall): Call {
    const call = new Call(route.method, incoming);
    this.#active.add(call);
    this.#options.observer.started(route.method);
    return call;
  }

  #admit(route: Route, call: Call): NonNullable<Route['handler']> {
    const { role } = route.method;
    if (this.#draining && role !== 'exempt') throw shuttingDown();
    if (this.#active.size > RPC_LIMITS.maxInFlightCalls) {
      throw new TrueUpError('OVERLOADED', `more than ${RPC_LIMITS.maxInFlightCalls} calls are under way`, {
        retryAfterMs: 1_000,
        fix: 'try again after the delay, or send fewer calls at a time',
      });
    }
    call.caller = this.#callerOf(route, call.authorization, call.peer);
    checkRole(route, call.caller);
    if (route.handler) return route.handler;
    throw new TrueUpError('NOT_IMPLEMENTED', `${route.method.method} is not part of this release`, {
      fix: 'use a release that has it',
    });
  }

  #callerOf({ method }: Route, authorization: string | undefined, peer: string): Caller {
    return method.role === 'exempt' ? NOBODY : this.#options.authenticator.authenticate(authorization, peer);
  }

  #take(route: Route, call: Call, read: ReadMessage): Message {
    let message: Message;
    try {
      message = read();
    } catch (error) {
      throw new TrueUpError('INVALID_REQUEST', `the message can't be read: ${messageOf(error)}`, { cause: error });
    }
    call.received += 1;
    this.#options.validator.check(route.method.desc.input, message);
    return message;
  }

  async *#takeEach(route: Route, call: Call, reads: AsyncIterable<ReadMessage>): AsyncGenerator<Message, void, void> {
    const iterator = reads[Symbol.asyncIterator]();
    try {
      for (;;) {
        const step = await iterator.next();
        call.throwIfAborted();
        if (step.done) return;
        yield this.#take(route, call, step.value);
      }
    } catch (error) {
      // A stream that ends without its end is a caller who left, unless we know better.
      call.throwIfAborted();
      throw isTrueUpError(error) ? error : new TrueUpError('CANCELLED', 'the stream broke off', { cause: error });
    } finally {
      iterator.return?.()?.catch(() => {});
    }
  }

  #countStream(call: Call): void {
    const open = (this.#streamsOfCaller.get(call.caller.name) ?? 0) + 1;
    if (call.method.role !== 'exempt' && open > RPC_LIMITS.maxOpenStreamsPerCaller) {
      throw new TrueUpError(
        'TOO_MANY_STREAMS',
        `${call.caller.name} has ${open - 1} streams open, which is the limit`,
        {
          fix: 'close some; one WatchStatus stream can carry every topic',
        },
      );
    }
    this.#streamsOfCaller.set(call.caller.name, open);
    call.countedAsStream = true;
  }

  #within<T>(call: Call, work: () => T): T {
    return this.#options.observer.within(call.scope, work);
  }

  #succeed(call: Call): void {
    this.#close(call, undefined, undefined);
  }

  #fail(call: Call, error: unknown): WireFailure {
    const status = toWireStatus(error);
    this.#close(call, status, error);
    return new WireFailure(status, call.requestId);
  }

  /** Reports the end of a call, once. */
  #close(call: Call, status: WireStatus | undefined, error: unknown): void {
    if (call.ended) return;
    call.end();
    this.#active.delete(call);
    if (call.countedAsStream) this.#uncountStream(call.caller.name);
    this.#options.observer.handled({
      service: call.method.service,
      method: call.method.method,
      type: call.method.type,
      protocol: call.protocol,
      code: status?.name ?? 'OK',
      reason: status?.reason,
      durationMs: performance.now() - call.startedAtMs,
      requestId: call.requestId,
      traceId: call.traceId,
      actor: call.caller.name,
      peer: call.peer,
      received: call.received,
      sent: call.sent,
      error,
    });
    if (this.#active.size === 0 && this.#onIdle.length > 0) this.#becomeIdle();
  }

  #uncountStream(name: string): void {
    const open = (this.#streamsOfCaller.get(name) ?? 1) - 1;
    if (open === 0) this.#streamsOfCaller.delete(name);
    else this.#streamsOfCaller.set(name, open);
  }

  #becomeIdle(): void {
    const waiting = this.#onIdle;
    this.#onIdle = [];
    for (const resolve of waiting) resolve();
  }
}

function checkRole({ method: { method, role } }: Route, caller: Caller): void {
  if (role === 'exempt' || includesRole(caller.role, role)) return;
  throw new TrueUpError('PERMISSION_DENIED', `${method} needs the role ${role}`, {
    metadata: { role, have: caller.role },
    fix: `use a token with the role ${role}`,
  });
}

function shuttingDown(): TrueUpError {
  return new TrueUpError('SHUTTING_DOWN', 'this replica is stopping', {
    retryAfterMs: 1_000,
    fix: 'try again: another replica, or this one after its restart, will answer',
  });
}
