// A loop that belongs to this process alone; what must happen once over all replicas is the timetable's.
import { setTimeout as sleep } from 'node:timers/promises';

/** Runs `work` now and `intervalMs()` after each end of it, until aborted. An error is reported and the loop goes on. */
export async function runLoop(
  intervalMs: () => number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
  onError: (error: unknown) => void,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await work(signal);
    } catch (error) {
      if (!signal.aborted) onError(error);
    }
    await sleep(intervalMs(), undefined, { signal }).catch(() => undefined);
  }
}
