// Coverage and its gaps to messages.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { CoverageProof } from '../core/ledger.ts';
import type { Quarantine } from '../core/quarantine.ts';
import type { CoverageRange, CoverageState, Gap } from '../core/status.ts';
import {
  type CoverageRangeSchema,
  CoverageState as CoverageStateMessage,
  CoverageTrust,
  type GapSchema,
  type QuarantineSchema,
} from '../../gen/trueup/v1/coverage_pb.js';
import { LAYER_OUT, optionalFailure, reader, toFailure, toProvenance, toRange, toTimestamp } from './convert-common.ts';

const COVERAGE_STATE_OUT: Record<CoverageState, CoverageStateMessage> = {
  done: CoverageStateMessage.DONE,
  quarantined: CoverageStateMessage.QUARANTINED,
  unavailable: CoverageStateMessage.UNAVAILABLE,
};

export const coverageStateIn = reader(COVERAGE_STATE_OUT);

export function toCoverageRange(range: CoverageRange): MessageInitShape<typeof CoverageRangeSchema> {
  return {
    stream: range.stream,
    layer: LAYER_OUT[range.layer],
    watch: range.watch,
    ...toRange(range.range),
    state: COVERAGE_STATE_OUT[range.state],
    trust: toTrust(range.proof),
    entryCount: range.entryCount,
    transactionCount: range.transactionCount ?? undefined,
    firstPreviousHash: range.firstPrevHash ?? '',
    lastHash: range.lastHash ?? '',
    digest: range.digest ?? '',
    source: toProvenance(range.source),
    failure: optionalFailure(range.failure),
    updateTime: toTimestamp(range.updatedAt),
  };
}

export function toTrust(proof: CoverageProof | null): CoverageTrust {
  if (proof === null) return CoverageTrust.UNSPECIFIED;
  return proof === 'chained' ? CoverageTrust.CHAINED : CoverageTrust.PROVIDER_ASSERTED;
}

export function toQuarantine(quarantine: Quarantine): MessageInitShape<typeof QuarantineSchema> {
  const { payload } = quarantine;
  return {
    stream: quarantine.stream,
    layer: LAYER_OUT[quarantine.layer],
    ...toRange(quarantine.range),
    source: toProvenance(quarantine.source),
    failure: toFailure(quarantine.failure),
    attemptCount: quarantine.attempts,
    firstTime: toTimestamp(quarantine.firstAt),
    lastTime: toTimestamp(quarantine.lastAt),
    payloadFormat: payload?.format ?? '',
    payloadSizeBytes: BigInt(payload?.sizeBytes ?? 0),
    payloadKeptBytes: BigInt(payload?.keptBytes ?? 0),
  };
}

export function toGap(gap: Gap): MessageInitShape<typeof GapSchema> {
  return {
    stream: gap.stream,
    layer: LAYER_OUT[gap.layer],
    watch: gap.watch,
    ...toRange(gap.range),
    available: gap.available ?? undefined,
  };
}
