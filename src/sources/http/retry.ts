// How long to wait before trying again.

export interface RetryOptions {
  /** Tries in all, the first included (RPC_MAX_ATTEMPTS). */
  readonly maxAttempts: number;
  /** RPC_INITIAL_BACKOFF_MS */
  readonly initialBackoffMs: number;
  /** RPC_MAX_BACKOFF_SECS, in milliseconds. */
  readonly maxBackoffMs: number;
  /** A Retry-After longer than this is handed to the caller instead of waited for. */
  readonly maxRetryAfterMs: number;
}

export const DEFAULT_RETRY: RetryOptions = {
  maxAttempts: 5,
  initialBackoffMs: 250,
  maxBackoffMs: 5_000,
  maxRetryAfterMs: 30_000,
};

/**
 * Full jitter: anything between 0 and the doubled backoff, so that replicas that failed together do not come back
 * together; never earlier than the server asked.
 *
 * @param failedAttempts tries that have failed so far, from 1
 * @param random between 0 and 1
 */
export function retryDelayMs(
  options: RetryOptions,
  failedAttempts: number,
  retryAfterMs: number | undefined,
  random: () => number,
): number {
  const ceiling = Math.min(options.maxBackoffMs, options.initialBackoffMs * 2 ** (failedAttempts - 1));
  return Math.max(retryAfterMs ?? 0, Math.floor(random() * ceiling));
}

/** Milliseconds from a Retry-After header (seconds or an HTTP date); undefined where it is absent or unreadable. */
export function parseRetryAfter(value: string | undefined, wallClockMs: number): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (/^\d{1,9}(\.\d+)?$/.test(text)) return Math.ceil(Number(text) * 1_000);
  // Only the forms of RFC 9110, which all name a weekday: Date.parse alone would take "5 apples" for a date.
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : Math.max(0, at - wallClockMs);
}
