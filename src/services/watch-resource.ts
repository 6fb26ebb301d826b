// Watching one resource whose row bears a number that rises with every change: by looking, so that a watcher who is slow or
// gone costs nothing, and any replica can go on where another one left off.
import { setTimeout as sleep } from 'node:timers/promises';

export interface Watched<T> {
  /** The resource as it is now. Throws where there is none. */
  read(): Promise<T>;
  sequenceOf(state: T): bigint;
  isFinished(state: T): boolean;
  /** A cheaper question than `read`: the number alone. */
  look?(): Promise<bigint | null>;
  /** 250 unless told. */
  readonly pollMs?: number;
}

const WATCH_POLL_MS = 250;

/** Every change after `since`, or from the present state (null), until the end; states in between may be left out. */
export async function* watchResource<T>(
  watched: Watched<T>,
  since: bigint | null,
  signal: AbortSignal,
): AsyncGenerator<{ sequence: bigint; state: T }> {
  let shown = since;
  for (let first = true; ; first = false) {
    signal.throwIfAborted();
    const looked = first || watched.look === undefined ? null : await watched.look();
    if (looked === null || shown === null || looked > shown) {
      const state = await watched.read();
      const sequence = watched.sequenceOf(state);
      if (shown === null || sequence > shown) {
        shown = sequence;
        yield { sequence, state };
      }
      if (watched.isFinished(state)) return;
    }
    await sleep(watched.pollMs ?? WATCH_POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}
