// Work on many things with a bound on how many at once.

/**
 * The results in the order of the items. The first failure aborts what is still running, waits for it to end, and is thrown.
 *
 * @param work gets a signal that is aborted with `signal`, and when another item failed
 */
export async function mapLimited<T, R>(
  items: readonly T[],
  maxConcurrent: number,
  signal: AbortSignal,
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  let next = 0;
  let failure: { readonly error: unknown } | undefined;
  const worker = async (): Promise<void> => {
    while (next < items.length && failure === undefined) {
      const index = next++;
      try {
        results[index] = await work(items[index]!, both);
      } catch (error) {
        failure ??= { error };
        stop.abort(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(maxConcurrent, items.length) }, worker));
  if (failure) throw failure.error;
  return results;
}
