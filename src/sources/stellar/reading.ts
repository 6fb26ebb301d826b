// Small things that every file-shaped Stellar source does alike.
import { isTrueUpError, TrueUpError } from '../../core/errors.ts';
import type { LedgerHeader, LedgerRange } from '../../core/ledger.ts';
import { keepPayload, payloadOf } from '../../core/raw-payload.ts';

/** @throws TrueUpError INVALID_REQUEST for an empty range, one before ledger 1 or one too long. */
export function checkSpan(range: LedgerRange, maxSpanLedgers: number): void {
  const span = range.to - range.from;
  if (range.from >= 1 && span >= 1 && span <= maxSpanLedgers) return;
  throw new TrueUpError(
    'INVALID_REQUEST',
    `a read takes 1 to ${maxSpanLedgers} ledgers from ledger 1 on, not [${range.from}, ${range.to})`,
  );
}

/** Only what a header is known by; sources hold more about theirs. */
export function plainHeader({ sequence, hash, prevHash, closeTime }: LedgerHeader): LedgerHeader {
  return { sequence, hash, prevHash, closeTime };
}

/** A bad file may reach beyond what was asked for; the caller hears of its own ledgers only. */
export function insideRequest(error: unknown, request: LedgerRange): unknown {
  if (!isTrueUpError(error) || error.details.range === undefined) return error;
  const { from, to } = error.details.range;
  const range = { from: Math.max(from, request.from), to: Math.min(to, request.to) };
  const inside = new TrueUpError(error.reason, error.message, { ...error.details, range, cause: error.cause });
  return keepPayload(inside, payloadOf(error));
}

export interface BoundedCache<T> {
  get(key: number): T | undefined;
  set(key: number, value: T): void;
  clear(): void;
}

/** Forgets what was stored longest ago. */
export function boundedCache<T>(maxEntries: number): BoundedCache<T> {
  const entries = new Map<number, T>();
  return {
    get: (key) => entries.get(key),
    set(key, value) {
      entries.delete(key);
      entries.set(key, value);
      if (entries.size > maxEntries) entries.delete(entries.keys().next().value!);
    },
    clear: () => entries.clear(),
  };
}
