// What the reconcile job does: the run that somebody started, or the run of a tick.
import { tickOf, type ReconciliationService } from './reconciliation.ts';
import { runReconciliation, type RunDeps } from './run-reconciliation.ts';

export interface ReconcileJobDeps extends RunDeps {
  readonly reconciliation: ReconciliationService;
}

export function createReconcileJob(deps: ReconcileJobDeps) {
  return async (
    payload: Readonly<Record<string, unknown>>,
    attempt: { readonly attempt: number; readonly maxAttempts: number; readonly signal: AbortSignal },
  ): Promise<void> => {
    if (typeof payload.run_id === 'string') return runReconciliation(deps, payload.run_id, attempt);
    // A tick of a policy that is no longer configured has nothing to do.
    if (typeof payload.policy !== 'string' || !deps.policies.has(payload.policy)) return;
    const run = await deps.reconciliation.runOfTick(payload.policy, tickOf(payload));
    if (run !== null) await runReconciliation(deps, run.id, attempt);
  };
}
