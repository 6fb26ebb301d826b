// The business's events: each is one helper that counts and says it in one line, so that metric and log never disagree.
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';
import { alertEvents } from './alert-events.ts';
import { exportEvents } from './export-events.ts';
import { evidenceEvents } from './evidence-events.ts';
import { httpEvents } from './http-events.ts';
import { jobEvents } from './job-events.ts';
import { ledgerEvents } from './ledger-events.ts';
import { paymentsEvents } from './payments-events.ts';
import { reconciliationEvents } from './reconciliation-events.ts';
import { rpcEvents } from './rpc-events.ts';
import { serviceEvents } from './service-events.ts';

export interface EventsDeps {
  readonly log: Logger;
  readonly metrics: Metrics;
}

export type Events = ReturnType<typeof createEvents>;

/** One object with every helper; rooms take this, never the metrics themselves. */
export function createEvents(deps: EventsDeps) {
  return {
    ...serviceEvents(deps),
    ...ledgerEvents(deps),
    ...httpEvents(deps),
    ...evidenceEvents(deps),
    ...reconciliationEvents(deps),
    ...exportEvents(deps),
    ...jobEvents(deps),
    ...rpcEvents(deps),
    ...alertEvents(deps),
    ...paymentsEvents(deps),
  };
}
