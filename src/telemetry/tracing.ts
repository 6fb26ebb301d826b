// Which request a line of work belongs to: W3C trace context, and a context that follows asynchronous calls.
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomBytes } from 'node:crypto';

export interface Trace {
  /** 32 hex digits, one per request, the caller's own where it sent one. */
  readonly traceId: string;
  /** 16 hex digits: this piece of work. */
  readonly spanId: string;
  /** The caller's span; null when the trace begins here. */
  readonly parentSpanId: string | null;
  readonly sampled: boolean;
}

export interface RequestContext {
  readonly requestId: string;
  readonly traceId: string;
  /** The token's name; empty before the caller is known. */
  readonly actor: string;
  /** `package.Service/Method`, or the job's name. */
  readonly method?: string;
}

const storage = new AsyncLocalStorage<RequestContext>();

/** Everything that `work` calls, also after an await, logs with this context. */
export function withRequest<T>(context: RequestContext, work: () => T): T {
  return storage.run(context, work);
}

export function currentRequest(): RequestContext | undefined {
  return storage.getStore();
}

/** Continues the caller's trace, or begins one where the header is absent or malformed. */
export function startTrace(traceparent?: string | null): Trace {
  const spanId = randomBytes(8).toString('hex');
  const parent = parseTraceparent(traceparent);
  if (parent === null) return { traceId: randomBytes(16).toString('hex'), spanId, parentSpanId: null, sampled: true };
  return { traceId: parent.traceId, spanId, parentSpanId: parent.spanId, sampled: parent.sampled };
}

/** Null where the text is no traceparent. Later versions are read as far as version 00 goes, as the standard asks. */
export function parseTraceparent(header?: string | null): { traceId: string; spanId: string; sampled: boolean } | null {
  const match = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(header?.trim() ?? '');
  if (match === null) return null;
  const [, version, traceId, spanId, flags, rest] = match;
  if (version === 'ff' || (version === '00' && rest !== undefined)) return null;
  if (/^0+$/.test(traceId!) || /^0+$/.test(spanId!)) return null;
  return { traceId: traceId!, spanId: spanId!, sampled: (Number.parseInt(flags!, 16) & 1) === 1 };
}

/** The header to send on with calls of ours. */
export function formatTraceparent(trace: Trace): string {
  return `00-${trace.traceId}-${trace.spanId}-${trace.sampled ? '01' : '00'}`;
}
