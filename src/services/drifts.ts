// Drifts as people handle them: listed, sent in full, read with their history, and moved from state to state with a reason.
import { createHash } from 'node:crypto';
import type { Drift, DriftFilter, DriftTransition, DriftTransitionRecord } from '../core/drift.ts';
import { TrueUpError } from '../core/errors.ts';
import type { Page, PagePosition, PageRequest } from '../core/page.ts';
import { afterTransition, transitionsFrom } from '../core/transitions.ts';
import { writeAudits, type Caller } from '../store/audit.ts';
import { answerOnce } from '../store/call-answers.ts';
import type { Database } from '../store/database.ts';
import { lockDrifts } from '../store/drift-counts.ts';
import {
  changeDrifts,
  endExemptions,
  lockDriftsById,
  policiesWithEndedExemptions,
  transitionsOf,
  type DriftChange,
} from '../store/drift-transitions.ts';
import { getDrift, listDrifts, pageOfDrifts } from '../store/drifts.ts';
import { toJson } from '../store/json.ts';
import type { Events } from '../telemetry/events.ts';

/** Drifts of one message of a stream. */
const STREAM_BATCH_ROWS = 500;
/** Ids named in a message of an error. */
const MAX_NAMED_IDS = 5;

export interface TransitionCall {
  /** At most 1,000, none twice. */
  readonly ids: readonly string[];
  readonly transition: DriftTransition;
  readonly reason: string;
  /** Null leaves the assignee as it is. */
  readonly assignee: string | null;
  /** Of an exemption, as the next; null otherwise. */
  readonly owner: string | null;
  readonly exemptUntil: Date | null;
  /** Null: every call counts as new. */
  readonly requestId: string | null;
}

export interface DriftsDeps {
  readonly db: Database;
  readonly events?: Pick<Events, 'driftsTransitioned'>;
}

export function createDrifts({ db, events }: DriftsDeps) {
  return {
    list: (filter: DriftFilter, page: PageRequest): Promise<Page<Drift>> => listDrifts(db.em(), filter, page),

    /** A page at a time, when the receiver asks for it: no more is in memory, and no transaction waits for a slow one. */
    async *stream(
      filter: DriftFilter,
      after: PagePosition | null,
      signal: AbortSignal,
    ): AsyncGenerator<{ items: readonly Drift[]; position: PagePosition }> {
      for (let position = after; ;) {
        signal.throwIfAborted();
        const page = await pageOfDrifts(db.em(), filter, { size: STREAM_BATCH_ROWS, after: position });
        const last = page.items.at(-1);
        if (last === undefined) return;
        position = page.next ?? { firstSeenAt: last.firstSeenAt.toISOString(), id: last.id };
        yield { items: page.items, position };
        if (page.next === null) return;
      }
    },

    async get(id: string): Promise<{ drift: Drift; transitions: readonly DriftTransitionRecord[] }> {
      const em = db.em();
      const drift = await getDrift(em, id);
      if (drift === null) throw notFound([id]);
      return { drift, transitions: await transitionsOf(em, drift.id) };
    },

    /** Changes all the drifts named or none; returns them as they are then. */
    async transition(call: TransitionCall, caller: Caller): Promise<readonly Drift[]> {
      checkExemption(call);
      const { requestId, ...content } = call;
      const digest = createHash('sha256').update(toJson(content)).digest('hex');
      let isRepeated = true;
      const drifts = await db.em().transactional((em) =>
        answerOnce(em, { method: caller.method, requestId, digest }, async () => {
          isRepeated = false;
          const before = await lockDriftsById(em, call.ids);
          const after = await changeDrifts(em, {
            ...content,
            changes: allowedChanges(call, before),
            actor: caller.actor,
          });
          await writeAudits(
            em,
            caller,
            after.map((drift, i) => ({
              resourceType: 'drifts',
              resourceId: drift.id,
              reason: call.reason,
              before: handlingOf(before[i]!),
              after: handlingOf(drift),
            })),
          );
          return after;
        }),
      );
      if (!isRepeated) {
        events?.driftsTransitioned({ transition: call.transition, count: drifts.length, actor: caller.actor });
      }
      return drifts;
    },
  };
}

/** Opens again every drift whose exemption has ended, of one policy or of all (null), also those that no run looks at. */
export async function endExemptionsOf(db: Database, policy: string | null): Promise<number> {
  let ended = 0;
  for (const each of await policiesWithEndedExemptions(db.em(), policy)) {
    ended += await db.em().transactional(async (em) => {
      await lockDrifts(em, [each]);
      return endExemptions(em, each);
    });
  }
  return ended;
}

/** What a person changes of a drift, as the audit log shows it. */
function handlingOf({ state, resolutionCause, assignee, reason, owner, exemptUntil, revision }: Drift) {
  return { state, resolutionCause, assignee, reason, owner, exemptUntil, revision };
}

function checkExemption({ transition, exemptUntil }: TransitionCall): void {
  if (transition !== 'exempt' || (exemptUntil !== null && exemptUntil.getTime() > Date.now())) return;
  throw new TrueUpError('INVALID_REQUEST', 'exempt_until must lie in the future', {
    fix: 'give a later time, or resolve the drift',
    fields: [{ field: 'exempt_until', description: 'must lie in the future' }],
  });
}

function allowedChanges({ ids, transition }: TransitionCall, drifts: readonly Drift[]): DriftChange[] {
  const found = new Set(drifts.map((drift) => drift.id));
  const missing = ids.filter((id) => !found.has(id.toLowerCase()));
  if (missing.length > 0) throw notFound(missing);
  const changes = drifts.map((drift) => ({
    id: drift.id,
    from: drift.state,
    to: afterTransition(drift.state, transition),
  }));
  const refused = changes.filter((change) => change.to === null);
  if (refused.length === 0) return changes as DriftChange[];
  const { from } = refused[0]!;
  throw new TrueUpError(
    'INVALID_TRANSITION',
    `can't ${transition} what is ${from}: ${named(refused.map((change) => change.id))}; nothing was changed`,
    { fix: `a drift that is ${from} can be changed by: ${transitionsFrom(from).join(', ')}` },
  );
}

function notFound(ids: readonly string[]): TrueUpError {
  return new TrueUpError('DRIFT_NOT_FOUND', `there is no drift ${named(ids)}`, { fix: 'see ListDrifts for the ids' });
}

function named(ids: readonly string[]): string {
  const more = ids.length - MAX_NAMED_IDS;
  return `${ids.slice(0, MAX_NAMED_IDS).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
