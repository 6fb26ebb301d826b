// Legal holds: while one is in force, no policy removes what it is on. Placed and released by name, with a reason, and logged.
import { randomUUID } from 'node:crypto';
import { TrueUpError } from '../core/errors.ts';
import type { Hold } from '../core/evidence.ts';
import { writeAudit, type Caller } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import type { EvidenceStore, RequestedHold } from '../store/evidence.ts';

export interface HoldCall {
  readonly manifestId: string;
  readonly reason: string;
  readonly requestId: string | null;
}

export interface ReleaseCall {
  readonly holdId: string;
  readonly reason: string;
  readonly requestId: string | null;
}

export function createManifestHolds({ db, store }: { readonly db: Database; readonly store: EvidenceStore }) {
  return {
    async place({ manifestId, reason, requestId }: HoldCall, caller: Caller): Promise<Hold> {
      return await db.em().transactional(async (em) => {
        const earlier = requestId === null ? null : await store.findHoldByRequest(em, requestId);
        if (earlier !== null) {
          if (earlier.requestId === requestId && earlier.manifestId === manifestId && earlier.reason === reason)
            return withoutRequests(earlier);
          throw reused(requestId!);
        }
        const id = randomUUID();
        if (!(await store.placeHold(em, { id, manifestId, reason, placedBy: caller.actor, requestId })))
          throw nothingToHold(manifestId, (await store.findManifest(em, manifestId)) !== null);
        const hold = (await store.findHold(em, id))!;
        await store.append(em, {
          ...{ kind: 'hold', holdId: id, manifestId, actor: caller.actor, reason },
          at: hold.createdAt.toISOString(),
        });
        await writeAudit(em, caller, { resourceType: 'manifest', resourceId: manifestId, reason, after: { hold: id } });
        return withoutRequests(hold);
      });
    },

    async release({ holdId, reason, requestId }: ReleaseCall, caller: Caller): Promise<Hold> {
      return await db.em().transactional(async (em) => {
        const earlier = requestId === null ? null : await store.findHoldByRequest(em, requestId);
        if (earlier !== null) {
          if (earlier.releaseRequestId === requestId && earlier.id === holdId && earlier.releaseReason === reason)
            return withoutRequests(earlier);
          throw reused(requestId!);
        }
        const before = await store.findHold(em, holdId);
        if (before === null)
          throw new TrueUpError('HOLD_NOT_FOUND', `there is no hold ${holdId}`, {
            fix: 'take its id from the manifest',
          });
        if (!(await store.releaseHold(em, holdId, { releasedBy: caller.actor, releaseReason: reason, requestId })))
          throw new TrueUpError('INVALID_TRANSITION', `hold ${holdId} was released already`, {
            fix: 'there is nothing left to release',
          });
        const { manifestId } = before;
        const at = new Date().toISOString();
        await store.append(em, { kind: 'hold-release', holdId, manifestId, actor: caller.actor, reason, at });
        await writeAudit(em, caller, {
          resourceType: 'manifest',
          resourceId: manifestId,
          reason,
          before: { hold: holdId },
        });
        const released = { releasedAt: new Date(at), releasedBy: caller.actor, releaseReason: reason };
        return withoutRequests({ ...before, ...released });
      });
    },
  };
}

function withoutRequests({ requestId: _placed, releaseRequestId: _released, ...hold }: RequestedHold): Hold {
  return hold;
}

function nothingToHold(id: string, isThere: boolean): TrueUpError {
  return isThere
    ? new TrueUpError('ARTIFACT_PRUNED', `the artifact of manifest ${id} was removed by retention before`, {
        fix: 'export again, and hold the new manifest',
      })
    : notFound(id);
}

export function notFound(id: string): TrueUpError {
  return new TrueUpError('MANIFEST_NOT_FOUND', `there is no manifest ${id}`, { fix: 'take an id from ListManifests' });
}

function reused(requestId: string): TrueUpError {
  return new TrueUpError('REQUEST_ID_REUSED', `request id ${requestId} was used for something else`, {
    fix: 'take a new UUID for a new request',
  });
}
