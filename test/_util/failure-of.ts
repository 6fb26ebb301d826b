// The domain error that a call ended with, for tests that look at its reason and range.
import { isTrueUpError, type TrueUpError } from '../../src/core/errors.ts';

/** @throws Error where the call succeeded or failed with anything else. */
export async function failureOf(promise: Promise<unknown>): Promise<TrueUpError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isTrueUpError(error)) throw new Error(`expected a TrueUpError, got ${String(error)}`);
  return error;
}
