// Checking ledgers, what of them could not be decoded, and moving the follower, at the door.
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { RangeVerdict, Verification } from '../core/verification.ts';
import {
  type BackfillService,
  ListQuarantinesRequestSchema,
  RangeVerdict as RangeVerdictMessage,
  type VerifyRangeResponseSchema,
} from '../../gen/trueup/v1/backfill_service_pb.js';
import { askerOf } from './asker.ts';
import { toBackfill } from './convert-backfill.ts';
import { fromRange, layerIn, orNull, present, toFailure, toRange } from './convert-common.ts';
import { toQuarantine, toTrust } from './convert-coverage.ts';
import { toStreamStatus } from './convert-health.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf } from './page-token.ts';
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
  'verifyRange' | 'listQuarantines' | 'getQuarantine' | 'restartFollower' | 'rescanFromCheckpoint'
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

    async listQuarantines(request) {
      const pager = pagerOf(ListQuarantinesRequestSchema, request, PAGE_LIMITS.maxResources);
      const filter = {
        stream: orNull(request.stream),
        ...present({ layer: layerIn(request.layer), range: request.range && fromRange(request.range) }),
      };
      const page = await control.listQuarantines(filter, pager.page);
      return { quarantines: page.items.map(toQuarantine), nextPageToken: pager.nextToken(page) };
    },

    async getQuarantine({ stream, layer, ledger }) {
      const at = { stream: orNull(stream), ...present({ layer: layerIn(layer) }), ledger };
      const { quarantine, bytes } = await control.getQuarantine(at);
      return { quarantine: toQuarantine(quarantine), payload: bytes ?? new Uint8Array() };
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
