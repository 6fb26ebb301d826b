// A run between two sides as the queue would start it, from its row to its verdict, without a queue.
import { randomUUID } from 'node:crypto';
import type { Book } from '../src/core/book.ts';
import type { Run } from '../src/core/run.ts';
import { POLICY_DEFAULTS, type Policy } from '../src/core/policy.ts';
import { createReconciliationService } from '../src/services/reconciliation.ts';
import { runReconciliation } from '../src/services/run-reconciliation.ts';
import type { Database } from '../src/store/database.ts';

import { createEvents } from '../src/telemetry/events.ts';
import { silentLogger } from '../src/telemetry/logger.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';

const RUN_TIMEOUT_MS = 3_600_000;

export interface BenchSides {
  /** Runs of one name share their drifts. */
  readonly policy: string;
  readonly ledger: { readonly type: 'postgres' | 'file'; readonly side: Book };
  readonly book: { readonly type: 'postgres' | 'file'; readonly side: Book };
  readonly spillFolder: string;
}

export async function runBetweenSides(
  db: Database,
  { policy: name, ledger, book, spillFolder }: BenchSides,
): Promise<Run> {
  const external = { kind: 'external', immutable: false } as const;
  const policy: Policy = {
    ...POLICY_DEFAULTS,
    name,
    level: 'entries',
    ledger: { ...external, type: ledger.type, name: 'theirs' },
    book: { ...external, type: book.type, name: 'ours' },
    join: 'operation',
    windowHours: null,
  };
  const policies = new Map([[name, policy]]);
  const shared = { db, policies, networkPassphrase: name };
  const service = createReconciliationService({
    ...shared,
    queue: { send: () => Promise.resolve('job') },
    sandbox: false,
  });
  const deps = {
    ...shared,
    bookOf: () => book.side,
    ledgerOf: () => ledger.side,
    spillFolder,
    events: createEvents({ metrics: createMetrics({ defaults: false }), log: silentLogger() }),
  };
  const { id } = (await service.runOfTick(name, randomUUID()))!;
  await runReconciliation(deps, id, { attempt: 1, maxAttempts: 1, signal: AbortSignal.timeout(RUN_TIMEOUT_MS) });
  return await service.get(id);
}
