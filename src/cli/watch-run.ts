// Following one run to its end over a stream that may break.
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError, type contract, type TrueUpClient } from '../client/index.ts';
import { isFinished } from './run-lines.ts';

/** A stream that broke this often in a row, without a message in between, is given up. */
const MAX_BREAKS = 5;
const RECONNECT_DELAY_MS = 500;

/** The run as it changes; the last one is finished. A broken stream is taken up where it ended. */
export async function* watchRun(
  client: TrueUpClient,
  started: contract.Reconciliation,
  signal: AbortSignal,
): AsyncGenerator<contract.Reconciliation> {
  let sinceSequence = '';
  let breaks = 0;
  if (isFinished(started)) yield started;
  let run = started;
  while (!isFinished(run)) {
    try {
      const request = { reconciliationId: run.id, sinceSequence };
      for await (const message of client.reconciliation.watchReconciliation(request, { signal })) {
        breaks = 0;
        if (message.sequence !== '') sinceSequence = message.sequence;
        if (message.reconciliation === undefined) continue;
        run = message.reconciliation;
        yield run;
        if (isFinished(run)) return;
      }
      breaks++;
    } catch (error) {
      signal.throwIfAborted();
      const { unreachable, reason } = describeError(error);
      if (reason === 'SEQUENCE_EXPIRED') sinceSequence = '';
      else if (!unreachable && reason !== 'SHUTTING_DOWN' && reason !== 'STREAM_TOO_SLOW') throw error;
      if (++breaks > MAX_BREAKS) throw error;
    }
    if (breaks > MAX_BREAKS) throw new Error(`the server ended the stream ${breaks} times before the run was over`);
    await sleep(RECONNECT_DELAY_MS, undefined, { signal });
  }
}
