// How much a backfill's worker takes at once, and how long the rest will take. Pure arithmetic.
import type { BackfillLimits, SpanRates, StallCause, BackfillState } from './backfill.ts';
import { chunkOf } from './coverage.ts';
import { isTrueUpError } from './errors.ts';
import { CHUNK_LEDGERS, type LedgerRange } from './ledger.ts';

/** What a new job begins with; it grows or shrinks from there. */
export const FIRST_PIECE_LEDGERS = 256;
/** Above this a commit holds its locks, and a read its memory, longer than the gain is worth. */
export const MAX_PIECE_LEDGERS = 8_192;
/** A commit should take this long: shorter ones pay more for what each costs anyway, longer ones lose more with a crash. */
const COMMIT_TARGET_MS = 1_000;
const GROWTH = 1.2;
const SHRINKAGE = 0.5;

/** The next size in ledgers: a fifth more after a quick commit, half after a slow one. A fraction, so that small sizes grow too. */
export function nextPieceSize(ledgers: number, commitMs: number): number {
  const size = commitMs <= COMMIT_TARGET_MS ? ledgers * GROWTH : ledgers * SHRINKAGE;
  return Math.min(MAX_PIECE_LEDGERS, Math.max(1, size));
}

/** After a timeout of the database or the source. */
export function halvedPieceSize(ledgers: number): number {
  return Math.max(1, ledgers * SHRINKAGE);
}

/** A job that is held back commits about once a second all the same, so that it is seen to move and loses little. */
export function limitedPieceSize({ ledgersPerSecond, requestsPerSecond }: BackfillLimits, spanLedgers: number): number {
  return Math.max(1, Math.min(ledgersPerSecond ?? Infinity, (requestsPerSecond ?? Infinity) * spanLedgers));
}

/** Where a worker's share ends that begins at `from`: on a multiple of 64, so that chunks of coverage are written whole. */
export function leaseEnd(range: LedgerRange, sizeLedgers: number): number {
  const aligned = Math.floor((range.from + sizeLedgers) / CHUNK_LEDGERS) * CHUNK_LEDGERS;
  const whole = (chunkOf(range.from) + 1) * CHUNK_LEDGERS;
  return Math.min(range.to, Math.max(aligned, whole));
}

/** Chunks of 64 ledgers that ranges touch. */
export function unitsOf(ranges: readonly LedgerRange[]): number {
  return ranges.reduce((sum, { from, to }) => sum + (from < to ? chunkOf(to - 1) - chunkOf(from) + 1 : 0), 0);
}

/** Time left and how far it may be off: the spans' rates disagree by as much as the speed has changed lately. */
export function estimateEta(
  remainingLedgers: number,
  rates: SpanRates,
): { etaMs: number; uncertaintyMs: number } | null {
  if (remainingLedgers <= 0) return { etaMs: 0, uncertaintyMs: 0 };
  const known = [rates.last1m, rates.last10s, rates.life].filter((rate) => rate !== null && rate > 0) as number[];
  const [best] = known;
  if (best === undefined) return null;
  const times = known.map((rate) => (remainingLedgers / rate) * 1_000);
  const etaMs = (remainingLedgers / best) * 1_000;
  const spread = Math.max(...times.map((time) => Math.abs(time - etaMs)));
  // One span alone can't disagree with itself: it is trusted to a fifth.
  return { etaMs, uncertaintyMs: Math.max(spread, etaMs * (known.length > 1 ? 0.05 : 0.2)) };
}

/** A job that has moved this recently doesn't stall. */
const STALL_AFTER_MS = 5_000;

export interface StallFacts {
  readonly state: BackfillState;
  readonly now: Date;
  readonly stateSince: Date;
  /** When a ledger was last counted; null: never. */
  readonly movedAt: Date | null;
  readonly workers: number;
  /** What the workers do now. */
  readonly writing: boolean;
  /** Share of the last piece's reading that was decoding, 0 to 1. */
  readonly decodeShare: number;
  /** Whether the source asked for the pause. */
  readonly sourceAsked: boolean;
}

/** Why nothing moves; null where something does, or nothing has to. */
export function stallOf(facts: StallFacts): { cause: StallCause; since: Date } | null {
  switch (facts.state) {
    case 'paused':
    case 'pausing':
      return { cause: 'paused', since: facts.stateSince };
    case 'throttled':
      return { cause: facts.sourceAsked ? 'rate_limit' : 'throttled', since: facts.stateSince };
    case 'blocked':
      return { cause: 'fetch', since: facts.stateSince };
    case 'planned':
    case 'queued':
    case 'running':
    case 'verifying': {
      const since = facts.movedAt !== null && facts.movedAt > facts.stateSince ? facts.movedAt : facts.stateSince;
      if (facts.now.getTime() - since.getTime() < STALL_AFTER_MS) return null;
      if (facts.workers === 0) return { cause: 'no_worker', since };
      if (facts.writing || facts.state === 'verifying') return { cause: 'write', since };
      return { cause: facts.decodeShare > 0.5 ? 'decode' : 'fetch', since };
    }
    case 'cancelling':
    case 'cancelled':
    case 'succeeded':
    case 'failed':
      return null;
  }
}

const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 30_000;
/** Failures in a row after which a job says that it is blocked. */
const BLOCKED_AFTER_FAILURES = 3;
/** Faults of our own are tried this often. */
const MAX_UNKNOWN_FAILURES = 5;

export type AfterFailure =
  | { readonly kind: 'fail' }
  | { readonly kind: 'retry'; readonly delayMs: number; readonly state: BackfillState | null };

/**
 * What becomes of a job whose read or write failed: what nobody can mend by waiting ends it, what may pass is tried again after as
 * long as the source asked for, or longer each time.
 *
 * @param failures in a row before this one
 * @param chance 0 to 1, spreads the replicas
 */
export function afterFailure(error: unknown, failures: number, chance: number): AfterFailure {
  const known = isTrueUpError(error);
  if (known ? !error.retryable : failures + 1 >= MAX_UNKNOWN_FAILURES) return { kind: 'fail' };
  const asked = known ? (error.details.retryAfterMs ?? 0) : 0;
  const backoff = Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** Math.min(failures, 10)) * (0.5 + chance / 2);
  const limited = known && error.reason === 'SOURCE_RATE_LIMITED';
  const state = limited ? 'throttled' : failures + 1 >= BLOCKED_AFTER_FAILURES ? 'blocked' : null;
  return { kind: 'retry', delayMs: Math.max(asked, backoff), state };
}
