// Who pays for the requests of a read: whatever it sends out, pages, retries and redirects too, is counted where it was asked for.
import { AsyncLocalStorage } from 'node:async_hooks';

/** Resolves when the next request may be sent. */
export type Toll = (signal: AbortSignal) => Promise<void>;

const tolls = new AsyncLocalStorage<Toll>();

/** Every HTTP request that `work` causes asks `toll` first. */
export function payingToll<T>(toll: Toll, work: () => Promise<T>): Promise<T> {
  return tolls.run(toll, work);
}

export async function payToll(signal: AbortSignal): Promise<void> {
  await tolls.getStore()?.(signal);
}
