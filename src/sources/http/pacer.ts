// When a request may be sent: at a rate that all replicas share, and never before the host wants one again.
import { TrueUpError } from '../../core/errors.ts';
import type { HttpClock } from './types.ts';

/** The budget that replicas share; a row of the database, or a fake of it. */
export interface SharedBudget {
  /** Reserves the next `count` requests to a host. @returns milliseconds until the first of them may be sent */
  claim(host: string, count: number): Promise<number>;
  /** The host wants no request for so long, from anybody. */
  defer(host: string, waitMs: number): Promise<void>;
}

export interface PacerOptions {
  readonly budget: SharedBudget;
  /** Null: no rate, only the host's own wish to be left alone counts. */
  readonly requestsPerSecond: number | null;
  /** A longer wait is handed to the caller. */
  readonly maxWaitMs: number;
  readonly clock: Pick<HttpClock, 'now' | 'sleep'>;
}

export interface Pacer {
  /** Resolves when one request may be sent. @throws TrueUpError SOURCE_RATE_LIMITED with retryAfterMs where that is too long; the signal's reason */
  enter(host: string, signal: AbortSignal): Promise<void>;
  /** The host answered that it wants to be left alone. */
  defer(host: string, waitMs: number): void;
}

/**
 * Time that the requests of one claim may take at most: so long may another replica go on before it learns that the host wants to
 * be left alone, and so much is lost when nobody uses them.
 */
const CLAIM_SPAN_MS = 250;

/** Without a rate, whether the host is to be left alone is asked this often. */
const LOOK_INTERVAL_MS = 1_000;

/** What one process holds of a host's budget. */
interface Held {
  /** When the next of them may be sent, on this process's clock. */
  nextAt: number;
  left: number;
  /** How many are claimed next: doubled while all are used, down to one where they are not. */
  size: number;
  notBefore: number;
  claiming: Promise<void> | null;
}

export function createPacer({ budget, requestsPerSecond, maxWaitMs, clock }: PacerOptions): Pacer {
  const hosts = new Map<string, Held>();
  const gapMs = requestsPerSecond === null ? 0 : 1_000 / requestsPerSecond;
  const maxSize = requestsPerSecond === null ? Infinity : Math.max(1, Math.floor(CLAIM_SPAN_MS / gapMs));

  const heldOf = (host: string): Held => {
    const known = hosts.get(host);
    if (known) return known;
    const fresh = { nextAt: 0, left: 0, size: 1, notBefore: -Infinity, claiming: null };
    hosts.set(host, fresh);
    return fresh;
  };

  async function claim(host: string, held: Held): Promise<void> {
    const count = requestsPerSecond === null ? 1 : held.size;
    const waitMs = await budget.claim(host, count);
    held.nextAt = clock.now() + waitMs;
    held.left = requestsPerSecond === null ? Infinity : count;
  }

  /** Whether what is held may still be used: a time that has passed unused is lost, so that nobody saves up a burst. */
  function isStale(held: Held): boolean {
    return clock.now() - held.nextAt > (requestsPerSecond === null ? LOOK_INTERVAL_MS : CLAIM_SPAN_MS);
  }

  return {
    async enter(host, signal) {
      const held = heldOf(host);
      for (;;) {
        signal.throwIfAborted();
        if (held.left > 0 && isStale(held)) {
          held.left = 0;
          held.size = 1;
        }
        if (held.left === 0) {
          held.claiming ??= claim(host, held).finally(() => (held.claiming = null));
          await held.claiming;
          continue;
        }
        const sendAt = Math.max(held.nextAt, held.notBefore);
        const waitMs = sendAt - clock.now();
        if (waitMs > maxWaitMs) {
          throw new TrueUpError('SOURCE_RATE_LIMITED', `${host} wants no request for another ${Math.ceil(waitMs)} ms`, {
            retryAfterMs: Math.ceil(waitMs),
            metadata: { host },
          });
        }
        // Taken before the wait, so that of many who wait each has a time of its own.
        held.left--;
        held.nextAt = requestsPerSecond === null ? held.nextAt : sendAt + gapMs;
        if (held.left === 0) held.size = Math.min(maxSize, held.size * 2);
        if (waitMs > 0) await clock.sleep(waitMs, signal);
        // Asked to be left alone meanwhile: this one's time is over, it takes another.
        if (held.notBefore <= clock.now()) return;
      }
    },
    defer(host, waitMs) {
      const held = heldOf(host);
      held.notBefore = Math.max(held.notBefore, clock.now() + waitMs);
      held.left = 0;
      // The others learn it with their next claim; where the database can't be told, each learns it from the host itself.
      budget.defer(host, waitMs).catch(() => undefined);
    },
  };
}
