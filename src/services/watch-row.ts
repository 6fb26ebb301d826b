// Following a resource that is a row: its states as they change, until it is over.
import { setTimeout as sleep } from 'node:timers/promises';

const WATCH_POLL_MS = 250;

/**
 * Every state after `since`, or from the present one (null); states in between may be left out. Slow readers cost nothing: the row is
 * read when they ask. @throws the signal's reason when it aborts.
 */
export async function* watchRow<Row extends { readonly sequence: bigint }>(
  read: () => Promise<Row>,
  isOver: (row: Row) => boolean,
  since: bigint | null,
  signal: AbortSignal,
): AsyncGenerator<Row> {
  for (let shown = since; ;) {
    signal.throwIfAborted();
    const row = await read();
    if (shown === null || row.sequence > shown) {
      shown = row.sequence;
      yield row;
    }
    if (isOver(row)) return;
    await sleep(WATCH_POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}
