// A run is one worker's at a time. Whoever finds that it was cancelled, or that another has it, stops at once and writes nothing.
import type { Database } from '../store/database.ts';
import { isHeld, lostRun, type HeldRun } from '../store/runs.ts';

/** How soon a cancel ends a long statement; the steps in between look for themselves. */
const LOOK_INTERVAL_MS = 1_000;

/**
 * Works under a signal that aborts with the caller's, and when the run is lost.
 *
 * @throws TrueUpError RUN_ALREADY_FINISHED where it was lost, whatever the work threw then.
 */
export async function whileHeld<T>(
  db: Database,
  run: HeldRun,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const lost = new AbortController();
  const either = AbortSignal.any([signal, lost.signal]);
  const look = async (): Promise<void> => {
    // A database that doesn't answer is no reason: the work itself will meet it.
    const held = await isHeld(db.em(), run).catch(() => true);
    if (!held) lost.abort(lostRun(run));
  };
  const timer = setInterval(() => void look(), LOOK_INTERVAL_MS);
  try {
    return await work(either);
  } catch (error) {
    throw either.aborted ? either.reason : error;
  } finally {
    clearInterval(timer);
  }
}
