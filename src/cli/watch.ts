// Following a resource to its end over a stream that may break: a lost server is waited for, and nothing is shown twice.
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '../client/index.ts';

/** A stream that broke this often in a row, without a message in between, is given up. */
const MAX_BREAKS = 5;
const RECONNECT_DELAY_MS = 500;

export interface Watched<Resource> {
  /** Messages after a sequence number; '' begins with the present state. */
  readonly open: (sinceSequence: string) => AsyncIterable<{ readonly sequence: string; readonly resource?: Resource }>;
  readonly isOver: (resource: Resource) => boolean;
  /** Breaks in a row that are borne, 5 unless told. */
  readonly maxBreaks?: number;
}

/** The resource as it changes; the last one is over. A broken stream is taken up where it ended. */
export async function* watchToEnd<Resource>(
  started: Resource,
  { open, isOver, maxBreaks = MAX_BREAKS }: Watched<Resource>,
  signal: AbortSignal,
): AsyncGenerator<Resource> {
  if (isOver(started)) {
    yield started;
    return;
  }
  let sinceSequence = '';
  for (let breaks = 0; ;) {
    try {
      for await (const { sequence, resource } of open(sinceSequence)) {
        breaks = 0;
        if (sequence !== '') sinceSequence = sequence;
        if (resource === undefined) continue;
        yield resource;
        if (isOver(resource)) return;
      }
      breaks++;
    } catch (error) {
      signal.throwIfAborted();
      const { unreachable, reason } = describeError(error);
      if (reason === 'SEQUENCE_EXPIRED') sinceSequence = '';
      else if (!unreachable && reason !== 'SHUTTING_DOWN' && reason !== 'STREAM_TOO_SLOW') throw error;
      if (++breaks > maxBreaks) throw error;
    }
    if (breaks > maxBreaks) throw new Error(`the server ended the stream ${breaks} times before the work was over`);
    await sleep(RECONNECT_DELAY_MS, undefined, { signal });
  }
}
