// Messages as a sandbox deployment gives them, for tests and for looking at the page.
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { contract } from '../../src/client/index.ts';

export const NOW_MS = Date.parse('2026-11-22T12:00:00Z');
const VAULT = 'GBUVXEPL72HJSTO76CQ2CAX6UE4OPFP36ZZZQBDTOTDYMR7H6PO7QAVB';
const CUSTOMER = 'GBOBPTJOWHAPDNVCDXR7E4ARUDLB3N75RCJGJ2N2OIHKHSQB7WQPJPZQ';
const HASH = '0f3bd07d68c8b1d3a8bfbf3a4f5d2f3e10e83ed22a5b7b9b0c8ad1c7a4a1b2c3';

export const ago = (seconds: number, nowMs = NOW_MS) => timestampFromMs(nowMs - seconds * 1000);
export const seconds = (count: number) => ({ seconds: BigInt(count), nanos: 0 });

export function sampleRun(change: object = {}, nowMs = NOW_MS): contract.Reconciliation {
  return create(contract.ReconciliationSchema, {
    id: '0198f0c2-2b7e-7c11-9d63-6a3f0c7f1a01',
    policy: 'default',
    level: contract.Level.ENTRIES,
    trigger: contract.ReconciliationTrigger.SCHEDULED,
    state: contract.ReconciliationState.SUCCEEDED,
    verdict: contract.Verdict.DRIFT_DETECTED,
    sandbox: true,
    book: 'default',
    stream: 'sandbox-5f1a2b3c',
    window: { fromLedger: 28_131_456, toLedger: 28_133_902, fromTime: ago(2_450, nowMs), toTime: ago(4, nowMs) },
    sides: [
      { side: contract.Side.LEDGER, name: 'sandbox-5f1a2b3c', recordCount: 4_210n, complete: true },
      {
        side: contract.Side.BOOK,
        name: 'default',
        recordCount: 4_211n,
        complete: true,
        completeThrough: ago(3, nowMs),
      },
    ],
    counts: {
      ledgerRecordCount: 4_210n,
      bookRecordCount: 4_211n,
      matchedCount: 4_190n,
      driftedCount: 5n,
      pendingCount: 15n,
      appearedCount: 5n,
    },
    driftKindCounts: [
      { kind: contract.DriftKind.MISSING_IN_DB, count: 1n },
      { kind: contract.DriftKind.AMOUNT_MISMATCH, count: 1n },
    ],
    valueAtRisk: [
      { total: { asset: 'native', amountMinor: '2512500000', amount: '251.2500000', scale: 7 }, driftCount: 5n },
    ],
    createTime: ago(12, nowMs),
    completeTime: ago(9, nowMs),
    ...change,
  });
}

export function sampleDrift(change: object = {}, nowMs = NOW_MS): contract.Drift {
  const side = (amount: string, minor: string) => ({
    account: VAULT,
    asset: 'native',
    amountMinor: minor,
    amount,
    kind: 'payment',
    status: 'success',
    counterparty: CUSTOMER,
    itemTime: ago(1_800, nowMs),
    ledger: 28_132_102,
    transactionHash: HASH,
    rowIds: ['x'],
    rowCount: 1n,
  });
  return create(contract.DriftSchema, {
    id: '7a0d1c52-5d6a-5f7e-8c0e-2f1d1a9b7c01',
    policy: 'default',
    level: contract.Level.ENTRIES,
    stream: 'sandbox-5f1a2b3c',
    matchKey: `${HASH}:1`,
    kinds: [contract.DriftKind.AMOUNT_MISMATCH],
    fields: [{ field: 'amount', ledgerValue: '-125000000', bookValue: '-135000000' }],
    ledgerSide: side('-12.5000000', '-125000000'),
    bookSide: side('-13.5000000', '-135000000'),
    state: contract.DriftState.OPEN,
    firstSeenTime: ago(600, nowMs),
    lastSeenTime: ago(9, nowMs),
    itemTime: ago(1_800, nowMs),
    age: seconds(1_800),
    valueAtRiskMinor: '10000000',
    valueAtRiskAsset: 'native',
    episode: 1,
    revision: 1n,
    sandbox: true,
    ...change,
  });
}

/** One drift of each sort that the sandbox's book holds. */
export function sampleDrifts(nowMs = NOW_MS): contract.Drift[] {
  const base = sampleDrift({}, nowMs);
  const { ledgerSide, bookSide } = base;
  const { MISSING_IN_DB, MISSING_ON_LEDGER, STATUS_MISMATCH, DUPLICATE_IN_DB } = contract.DriftKind;
  return [
    base,
    sampleDrift(
      {
        id: 'd2',
        kinds: [MISSING_IN_DB],
        fields: [],
        bookSide: undefined,
        ledgerSide: { ...ledgerSide, amount: '212.0004100', amountMinor: '2120004100' },
      },
      nowMs,
    ),
    sampleDrift(
      {
        id: 'd3',
        kinds: [STATUS_MISMATCH],
        fields: [{ field: 'status', ledgerValue: 'success', bookValue: 'failed' }],
      },
      nowMs,
    ),
    sampleDrift({ id: 'd4', kinds: [DUPLICATE_IN_DB], fields: [], ledgerSide: undefined }, nowMs),
    sampleDrift(
      {
        id: 'd5',
        kinds: [MISSING_ON_LEDGER],
        fields: [],
        ledgerSide: undefined,
        bookSide: { ...bookSide, amount: '250.0000000', amountMinor: '2500000000' },
      },
      nowMs,
    ),
  ];
}

export function sampleStatus(change: object = {}, nowMs = NOW_MS): contract.GetStatusResponse {
  return create(contract.GetStatusResponseSchema, {
    version: '0.1.0',
    healthy: true,
    sandbox: true,
    startTime: ago(742, nowMs),
    uptime: seconds(742),
    streams: [
      {
        stream: 'sandbox-5f1a2b3c',
        networkPassphrase: 'TrueUp Sandbox Network',
        source: 'sandbox:trueup',
        sourceKind: 'sandbox',
        sandbox: true,
        layers: [
          {
            layer: contract.Layer.OPERATIONS,
            contiguousFrom: 28_131_456,
            contiguousThrough: 28_133_900,
            entryCount: 27_115n,
            missingLedgerCount: 0n,
            contiguousThroughTime: ago(4, nowMs),
          },
        ],
        syncStatus: contract.SyncStatus.SYNCED,
        tipLedger: 28_133_902,
        tipCloseTime: ago(2, nowMs),
        lagLedgers: 2,
        lastSuccessTime: ago(1, nowMs),
        processedLedgerCount: 2_445n,
        uptime: seconds(742),
      },
    ],
    ...change,
  });
}

export function samplePolicy(change: object = {}): contract.Policy {
  return create(contract.PolicySchema, {
    name: 'default',
    level: contract.Level.ENTRIES,
    stream: 'sandbox-5f1a2b3c',
    book: 'default',
    bookKind: 'pushed',
    layer: contract.Layer.OPERATIONS,
    window: seconds(86_400),
    scheduleInterval: seconds(300),
    scheduleEnabled: true,
    sandbox: true,
    ...change,
  });
}
