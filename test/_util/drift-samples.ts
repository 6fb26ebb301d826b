// Drifts that look like drifts, as many as a test wants.
import type { Drift } from '../../src/core/drift.ts';

const AT = new Date('2026-01-31T12:00:00.250Z');

export function sampleDrift(index: number): Drift {
  const side = {
    account: `G${'A'.repeat(55)}`,
    asset: 'native',
    amount: -125_000_000n - BigInt(index),
    kind: 'payment',
    status: 'success',
    counterparty: null,
    subAccount: null,
    at: AT,
    ledger: 1_000 + index,
    txHash: index.toString(16).padStart(64, '0'),
    rowIds: [`row-${index}`],
    rowCount: 1,
  };
  return {
    id: `00000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`,
    policy: 'default',
    level: 'entries',
    stream: 'testnet',
    sandbox: false,
    matchKey: side.txHash,
    occurrence: 0,
    kinds: ['AMOUNT_MISMATCH'],
    fields: [{ field: 'amount', ledger: '-12.5000000', book: '-12.4000000' }],
    ledgerSide: side,
    bookSide: { ...side, amount: -124_000_000n },
    account: side.account,
    asset: 'native',
    valueAtRisk: 1_000_000n,
    state: 'open',
    resolutionCause: null,
    assignee: null,
    reason: null,
    owner: null,
    exemptUntil: null,
    itemAt: AT,
    firstSeenAt: AT,
    lastSeenAt: AT,
    firstRunId: 'run-1',
    lastRunId: 'run-2',
    episode: 1,
    reopenedCount: 0,
    transitionAt: null,
    transitionActor: null,
    revision: 1,
  };
}
