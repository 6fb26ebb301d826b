// Following one run to its end.
import type { contract, TrueUpClient } from '../client/index.ts';
import { isFinished } from './run-lines.ts';
import { watchToEnd } from './watch.ts';

export function watchRun(
  client: TrueUpClient,
  started: contract.Reconciliation,
  signal: AbortSignal,
): AsyncGenerator<contract.Reconciliation> {
  async function* open(sinceSequence: string) {
    const request = { reconciliationId: started.id, sinceSequence };
    for await (const message of client.reconciliation.watchReconciliation(request, { signal }))
      yield { sequence: message.sequence, ...(message.reconciliation && { resource: message.reconciliation }) };
  }
  return watchToEnd(started, { open, isOver: isFinished }, signal);
}
