// Drifts at the door.
import { askerOf } from './asker.ts';
import { fromTimestamp, orNull } from './convert-common.ts';
import { fromDriftFilter, fromTransition, toDrift, toTransitionRecord } from './convert-drift.ts';
import { PAGE_LIMITS } from './limits.ts';
import type { ServiceHandlers } from './methods.ts';
import { pagerOf, resumeTokensOf } from './page-token.ts';
import type { RpcPorts } from './ports.ts';
import {
  ListDriftsRequestSchema,
  type ReconciliationService,
  StreamDriftsRequestSchema,
} from '../../gen/trueup/v1/reconciliation_service_pb.js';

type Handlers = Pick<
  ServiceHandlers<typeof ReconciliationService>,
  'listDrifts' | 'streamDrifts' | 'getDrift' | 'transitionDrifts'
>;

export function driftHandlers({ drifts }: Pick<RpcPorts, 'drifts'>): Handlers {
  return {
    async listDrifts(request) {
      const pager = pagerOf(ListDriftsRequestSchema, request, PAGE_LIMITS.maxRows);
      const page = await drifts.list(fromDriftFilter(request.filter), pager.page);
      const now = new Date();
      return {
        drifts: page.items.map((drift) => toDrift(drift, now)),
        nextPageToken: pager.nextToken(page),
        totalSize: BigInt(page.totalSize ?? 0),
      };
    },

    async *streamDrifts(request, call) {
      const resume = resumeTokensOf(StreamDriftsRequestSchema, request);
      const sentBefore = resume.after === null ? 0n : BigInt(resume.after['sent'] ?? 0);
      const after = resume.after === null ? null : withoutSent(resume.after);
      let sent = sentBefore;
      let resumeToken = request.resumeToken;
      for await (const batch of drifts.stream(fromDriftFilter(request.filter), after, call.signal)) {
        call.signal.throwIfAborted();
        sent += BigInt(batch.items.length);
        resumeToken = resume.token({ ...batch.position, sent: sent.toString() });
        const now = new Date();
        yield { drifts: batch.items.map((drift) => toDrift(drift, now)), resumeToken, sentCount: sent, last: false };
      }
      // Said in a message of its own: only the end of the source knows that there is no more.
      yield { drifts: [], resumeToken, sentCount: sent, last: true };
    },

    async getDrift(request) {
      const { drift, transitions } = await drifts.get(request.driftId);
      return { drift: toDrift(drift, new Date()), transitions: transitions.map(toTransitionRecord) };
    },

    async transitionDrifts(request, call) {
      const transition = fromTransition(request.transition);
      const isExempt = transition === 'exempt';
      const changed = await drifts.transition(
        {
          ids: request.driftIds,
          transition,
          reason: request.reason,
          assignee: orNull(request.assignee),
          owner: isExempt ? orNull(request.owner) : null,
          exemptUntil: isExempt && request.exemptUntil ? fromTimestamp(request.exemptUntil, 'exempt_until') : null,
          requestId: orNull(request.requestId),
        },
        askerOf(call),
      );
      const now = new Date();
      return { drifts: changed.map((drift) => toDrift(drift, now)) };
    },
  };
}

type Position = NonNullable<ReturnType<typeof resumeTokensOf>['after']>;

function withoutSent(position: Position): Position {
  return Object.fromEntries(Object.entries(position).filter(([name]) => name !== 'sent'));
}
