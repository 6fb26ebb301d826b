// What went wrong on the wire, as one of our reasons. Messages name the host only: paths and queries can carry keys.
import { TrueUpError, isTrueUpError, messageOf } from '../../core/errors.ts';
import type { Reason } from '../../core/errors.ts';
import type { Outcome } from './breaker.ts';

/** An HTTP answer that is no success. */
export function statusError(status: number, host: string, what: string, retryAfterMs: number | undefined): TrueUpError {
  const details = {
    metadata: { host, http_status: String(status) },
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
  return new TrueUpError(reasonOfStatus(status), `${host} answered ${status} to ${what}`, details);
}

function reasonOfStatus(status: number): Reason {
  if (status === 429 || status === 503) return 'SOURCE_RATE_LIMITED';
  if (status === 408 || status === 504) return 'SOURCE_TIMEOUT';
  if (status >= 500) return 'SOURCE_UNAVAILABLE';
  return 'SOURCE_REFUSED';
}

/** An exception of the transport (undici, sockets, DNS, TLS) or of our own rooms. */
export function transportError(error: unknown, host: string, what: string, timeoutMs: number): TrueUpError {
  for (const cause of causesOf(error)) {
    if (isTrueUpError(cause)) return cause;
    const code = (cause as { code?: unknown }).code;
    if (
      (cause as Error).name === 'TimeoutError' ||
      /^UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT$|^ETIMEDOUT$/.test(String(code))
    ) {
      return new TrueUpError('SOURCE_TIMEOUT', `${host} did not answer ${what} within ${timeoutMs} ms`, {
        metadata: { host },
        cause: error,
      });
    }
  }
  const code = [...causesOf(error)]
    .map((cause) => (cause as { code?: unknown }).code)
    .find((c) => typeof c === 'string');
  return new TrueUpError(
    'SOURCE_UNAVAILABLE',
    `${host} could not be reached for ${what}: ${code ?? messageOf(error)}`,
    {
      metadata: { host },
      cause: error,
    },
  );
}

/** Whether a failed call says that the host is unwell. A refusal or a rate limit is the answer of a host that works. */
export function outcomeOf(error: TrueUpError): Outcome {
  switch (error.reason) {
    case 'SOURCE_UNAVAILABLE':
    case 'SOURCE_TIMEOUT':
      return 'failure';
    case 'SOURCE_RATE_LIMITED':
      return error.details.metadata?.['http_status'] === '503' ? 'failure' : 'success';
    case 'SOURCE_ADDRESS_FORBIDDEN':
      return 'ignored';
    default:
      return 'success';
  }
}

function* causesOf(error: unknown): Generator<object> {
  const seen = new Set<unknown>();
  const queue: unknown[] = [error];
  while (queue.length > 0) {
    const next = queue.shift();
    if (typeof next !== 'object' || next === null || seen.has(next)) continue;
    seen.add(next);
    yield next;
    queue.push((next as { cause?: unknown }).cause);
    // Happy eyeballs reports one error per address tried.
    if (next instanceof AggregateError) queue.push(...(next.errors as unknown[]));
  }
}
