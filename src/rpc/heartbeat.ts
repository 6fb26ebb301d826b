// A Watch stream that has nothing to say says so, or a lost connection would look like a quiet house.

/** The contract's: a heartbeat when nothing else was sent for this long. */
export const HEARTBEAT_INTERVAL_MS = 5_000;

/**
 * The items as they come, and 'heartbeat' for each interval without one. Nothing is read ahead: the timer starts when
 * the reader asks. @throws the signal's reason when it aborts.
 */
export async function* withHeartbeats<T>(
  items: AsyncIterable<T>,
  signal: AbortSignal,
  intervalMs: number = HEARTBEAT_INTERVAL_MS,
): AsyncGenerator<T | 'heartbeat', void, void> {
  const iterator = items[Symbol.asyncIterator]();
  let pending: Promise<IteratorResult<T>> | undefined;
  try {
    for (;;) {
      signal.throwIfAborted();
      pending ??= iterator.next();
      const step = await orAfter(pending, intervalMs, signal);
      if (step === 'heartbeat') {
        yield 'heartbeat';
        continue;
      }
      pending = undefined;
      if (step.done) return;
      yield step.value;
    }
  } finally {
    pending?.catch(() => {});
    iterator.return?.()?.catch(() => {});
  }
}

function orAfter<T>(pending: Promise<T>, intervalMs: number, signal: AbortSignal): Promise<T | 'heartbeat'> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => settle(() => resolve('heartbeat')), intervalMs);
    const onAbort = (): void => settle(() => reject(signal.reason as Error));
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      finish();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    pending.then(
      (value) => settle(() => resolve(value)),
      (error: unknown) => settle(() => reject(error as Error)),
    );
  });
}
