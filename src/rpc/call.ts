// One call: what a binding knows of it, what a handler sees of it, and how it ends early.
import { randomBytes } from 'node:crypto';
import { TrueUpError } from '../core/errors.ts';
import type { RpcMethod } from './methods.ts';
import type { CallScope } from './observer.ts';
import type { Caller } from './roles.ts';

export type Protocol = 'grpc' | 'grpc-web' | 'connect';

/** What a binding hands over. */
export interface IncomingCall {
  readonly protocol: Protocol;
  /** First value of a header by its lower-case name. */
  readonly header: (name: string) => string | undefined;
  /** Address and port. */
  readonly peer: string;
  /** Unix milliseconds; undefined where the caller gave no deadline. */
  readonly deadlineAt: number | undefined;
  /** Registers what to do when the caller goes away; calling it after the end does no harm. */
  readonly onGone: (gone: () => void) => void;
  /** Wakes a binding that waits for a slow reader; called when the call is aborted. */
  interrupt?: () => void;
}

/** What a handler sees. */
export interface CallContext {
  readonly method: RpcMethod;
  readonly caller: Caller;
  /** From `x-request-id`, else made here; in every log line and in the audit log. */
  readonly requestId: string;
  /** 32 hex digits, from `traceparent`, else made here. */
  readonly traceId: string;
  readonly peer: string;
  /**
   * Aborts when the caller goes away, the deadline passes or the server drains; its reason is a TrueUpError. A
   * streaming handler throws it (`call.signal.throwIfAborted()`), so that the stream ends with the right status.
   */
  readonly signal: AbortSignal;
  /** Unix milliseconds. */
  readonly deadlineAt: number;
}

export class Call implements CallContext {
  readonly method: RpcMethod;
  readonly protocol: Protocol;
  readonly requestId: string;
  readonly traceId: string;
  readonly peer: string;
  readonly deadlineAt: number;
  readonly startedAtMs = performance.now();
  caller: Caller = NOBODY;
  received = 0;
  sent = 0;
  ended = false;
  countedAsStream = false;
  #scope: CallScope | undefined;
  #incoming: IncomingCall;
  #timer: NodeJS.Timeout;
  #controller: AbortController | undefined;
  #abortReason: TrueUpError | undefined;
  #onAbort: ((reason: TrueUpError) => void) | undefined;

  constructor(method: RpcMethod, incoming: IncomingCall) {
    this.method = method;
    this.protocol = incoming.protocol;
    this.peer = incoming.peer;
    this.requestId = readRequestId(incoming.header('x-request-id'));
    this.traceId = readTraceId(incoming.header('traceparent'));
    const now = Date.now();
    this.deadlineAt = Math.min(incoming.deadlineAt ?? Infinity, now + method.maxMs);
    this.#incoming = incoming;
    this.#timer = setTimeout(() => this.abort(deadlineExceeded(method)), Math.max(0, this.deadlineAt - now));
    incoming.onGone(() => this.#gone());
  }

  // Made on demand: most handlers of short calls never look at it.
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#abortReason) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  get scope(): CallScope {
    this.#scope ??= {
      requestId: this.requestId,
      traceId: this.traceId,
      method: this.method.path.slice(1),
      actor: this.caller.name,
    };
    return this.#scope;
  }

  get authorization(): string | undefined {
    return this.#incoming.header('authorization');
  }

  abort(reason: TrueUpError): void {
    if (this.ended || this.#abortReason) return;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
    this.#onAbort?.(reason);
    this.#incoming.interrupt?.();
  }

  throwIfAborted(): void {
    if (this.#abortReason) throw this.#abortReason;
  }

  /** What `work` gives, unless the call is aborted first: a handler that ignores the signal can't hold the caller up. */
  orAbort<T>(work: T | Promise<T>): Promise<T> {
    if (this.#abortReason) {
      Promise.resolve(work).catch(() => {});
      return Promise.reject(this.#abortReason);
    }
    return new Promise<T>((resolve, reject) => {
      this.#onAbort = reject;
      Promise.resolve(work).then(resolve, reject);
    });
  }

  end(): void {
    this.ended = true;
    clearTimeout(this.#timer);
    // Ends whatever the handler left running under its signal; nobody hears of it any more.
    if (!this.#abortReason) this.#controller?.abort(new TrueUpError('CANCELLED', 'the call has ended'));
  }

  // Some bindings report a passed deadline as a caller who went away.
  #gone(): void {
    // grpc-js says so of every call, also of those that ended well.
    if (this.ended) return;
    const late = Date.now() >= this.deadlineAt;
    this.abort(late ? deadlineExceeded(this.method) : new TrueUpError('CANCELLED', 'the caller went away'));
  }
}

/** Before the caller is known, and where nobody asks. */
export const NOBODY: Caller = { name: '', role: 'read' };

function deadlineExceeded(method: RpcMethod): TrueUpError {
  return new TrueUpError('DEADLINE_EXCEEDED', `${method.method} did not end before its deadline`, {
    fix: method.watch
      ? 'watch again with since_sequence'
      : `ask for less or allow more time; this method may take ${method.maxMs} ms at most`,
  });
}

function readRequestId(given: string | undefined): string {
  return given !== undefined && /^[A-Za-z0-9._:/-]{1,128}$/.test(given) ? given : randomHex16();
}

function readTraceId(traceparent: string | undefined): string {
  const traceId = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/.exec(traceparent ?? '')?.[1];
  return traceId === undefined || /^0+$/.test(traceId) ? randomHex16() : traceId;
}

// One draw of the operating system's randomness serves 256 ids: a system call an id would cost more than the rest of it.
const POOL_BYTES = 16 * 256;
let pool = Buffer.alloc(0);
let poolOffset = POOL_BYTES;

function randomHex16(): string {
  if (poolOffset >= POOL_BYTES) {
    pool = randomBytes(POOL_BYTES);
    poolOffset = 0;
  }
  const hex = pool.toString('hex', poolOffset, poolOffset + 16);
  poolOffset += 16;
  return hex;
}
