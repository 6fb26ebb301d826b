// What a source gave of ledgers that could not be decoded. It travels beside the error and not in it, so that no log line, no answer and no
// metric ever carries it.
import { isTrueUpError } from './errors.ts';

export interface RawPayload {
  /** What the bytes are, in a few words, such as `LedgerCloseMeta XDR`. */
  readonly format: string;
  readonly bytes: Uint8Array;
}

const payloads = new WeakMap<object, RawPayload>();

/** Runs `decode`; where it finds the ledger's own bytes wrong, its error brings them along. `payload` is asked only then. */
export function decoding<T>(payload: () => RawPayload, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (isTrueUpError(error, 'SOURCE_CORRUPT')) keepPayload(error, payload());
    throw error;
  }
}

/** The first to say what was read knows best. @returns the error */
export function keepPayload<E extends object>(error: E, payload: RawPayload | null): E {
  if (payload !== null && !payloads.has(error)) payloads.set(error, payload);
  return error;
}

/** Null where the source had no bytes to show. */
export function payloadOf(error: unknown): RawPayload | null {
  return (typeof error === 'object' && error !== null && payloads.get(error)) || null;
}
