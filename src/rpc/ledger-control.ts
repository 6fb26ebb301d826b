// Checking ledgers and moving the follower, at the door.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { RangeVerdict, Verification } from '../core/verification.ts';
import {
  type BackfillService,
  RangeVerdict as RangeVerdictMessage,
  type VerifyRangeResponseSchema,
} from '../../gen/trueup/v1/backfill_service_pb.js';
import { askerOf } from './asker.ts';
import { toBackfill } from './convert-backfill.ts';
import { fromRange, layerIn, orNull, present, toFailure, toRange } from './convert-common.ts';
import { toTrust } from './convert-coverage.ts';
import { toStreamStatus } from './convert-health.ts';
import type { ServiceHandlers } from './methods.ts';
import type { RpcPorts } from './ports.ts';

const VERDICT_OUT: Record<RangeVerdict, RangeVerdictMessage> = {
  verified: RangeVerdictMessage.VERIFIED,
  mismatch: RangeVerdictMessage.MISMATCH,
  incomplete: RangeVerdictMessage.INCOMPLETE,
};

export function ledgerControlHandlers({
  control,
}: Pick<RpcPorts, 'control'>): Pick<
  ServiceHandlers<typeof BackfillService>,
  'verifyRange' | 'restartFollower' | 'rescanFromCheckpoint'
> {
  return {
    async verifyRange(request, call) {
      const verify = {
        stream: orNull(request.stream),
        layer: layerIn(request.layer) ?? 'operations',
        range: fromRange(request),
        reread: request.reread,
        source: orNull(request.source),
      };
      return toVerification(await control.verifyRange(verify, call.signal));
    },

    async restartFollower(request, call) {
      const restart = {
        stream: orNull(request.stream),
        reason: request.reason,
        openNewEpoch: request.openNewEpoch,
        requestId: orNull(request.requestId),
      };
      return { stream: toStreamStatus(await control.restart(restart, askerOf(call))) };
    },

    async rescanFromCheckpoint(request, call) {
      const rescan = {
        stream: orNull(request.stream),
        ...present({ layer: layerIn(request.layer) }),
        ledgers: request.ledgerCount,
        reason: request.reason,
        requestId: orNull(request.requestId),
      };
      return { backfill: toBackfill(await control.rescan(rescan, askerOf(call))) };
    },
  };
}

function toVerification(checked: Verification): MessageInitShape<typeof VerifyRangeResponseSchema> {
  return {
    verdict: VERDICT_OUT[checked.verdict],
    checkedLedgerCount: BigInt(checked.checkedLedgers),
    checkedEntryCount: BigInt(checked.checkedEntries),
    digest: checked.digest ?? '',
    findings: checked.findings.map(({ range, failure, expected, actual }) => ({
      ...toRange(range),
      failure: toFailure(failure),
      expectedDigest: expected ?? '',
      actualDigest: actual ?? '',
    })),
    findingCount: BigInt(checked.findingCount),
    trust: toTrust(checked.proof),
  };
}
