// The health of the marketplace's payments, to messages.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { LedgerGaugeState, LedgerHealth, LedgerHealthRow } from '../core/ledger-health.ts';
import { GaugeState, type LedgerHealthRowSchema, type LedgerHealthSchema } from '../../gen/trueup/v1/health_pb.js';
import { optionalDuration, optionalFailure, optionalTimestamp, present } from './convert-common.ts';

const STATE_OUT: Record<LedgerGaugeState, GaugeState> = {
  pending: GaugeState.PENDING,
  clear: GaugeState.CLEAR,
  raised: GaugeState.RAISED,
  unreadable: GaugeState.UNREADABLE,
};

export function toLedgerHealth(gauge: LedgerHealth): MessageInitShape<typeof LedgerHealthSchema> {
  return present({
    name: gauge.name,
    description: gauge.description,
    state: STATE_OUT[gauge.state],
    count: gauge.count === null ? undefined : BigInt(gauge.count),
    ageThreshold: optionalDuration(gauge.ageThresholdMs),
    rows: gauge.rows.map(toRow),
    sampleTime: optionalTimestamp(gauge.sampledAt),
    sinceTime: optionalTimestamp(gauge.since),
    failure: optionalFailure(gauge.failure),
  });
}

function toRow(row: LedgerHealthRow): MessageInitShape<typeof LedgerHealthRowSchema> {
  return present({
    rowId: row.rowId,
    state: row.state,
    amountMinor: row.amountMinor?.toString() ?? '',
    currency: row.currency ?? '',
    providerId: row.providerId ?? '',
    sinceTime: optionalTimestamp(row.since),
  });
}
