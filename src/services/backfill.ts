// Backfills as a resource: a start stores a job and returns, and refuses at once what cannot work; wishes change its state.
import { hash, randomUUID } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  isFinalState,
  NO_LIMITS,
  stateAfterWish,
  type Backfill,
  type BackfillEvent,
  type BackfillFilter,
  type BackfillLimits,
  type BackfillWish,
} from '../core/backfill.ts';
import { FIRST_PIECE_LEDGERS } from '../core/backfill-pace.ts';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { Page, PageRequest } from '../core/page.ts';
import type { Watch } from '../core/watch.ts';
import type { Source } from '../sources/source.ts';
import { writeAudit, type Caller } from '../store/audit.ts';
import { answerOnce } from '../store/call-answers.ts';
import { silenceChunks } from '../store/backfill-chunks.ts';
import { listBackfills, sequenceOf, viewBackfill } from '../store/backfill-view.ts';
import {
  changeLimits,
  findJob,
  insertBackfill,
  lockStarts,
  moveBackfill,
  transitionsOf,
  type BackfillRequest,
  type BackfillTransition,
} from '../store/backfills.ts';
import type { Database } from '../store/database.ts';
import { ensureWatchSet } from '../store/streams.ts';
import type { Events } from '../telemetry/events.ts';
import type { Bell } from './bell.ts';
import { requireNewestEpoch } from './backfill-epoch.ts';
import {
  chooseLayers,
  chooseSources,
  narrowWatch,
  refuseOldPlan,
  refuseOutside,
  refuseOverlap,
  refuseRange,
  repeated,
} from './backfill-refusals.ts';
import { chooseStream } from './stream-choice.ts';
import { watchResource } from './watch-resource.ts';

export type { BackfillTransition } from '../store/backfills.ts';

export interface StartBackfillCall {
  /** Null: the one that is followed. */
  readonly stream: string | null;
  /** Null: every layer that the source serves. */
  readonly layer: Layer | null;
  readonly range: LedgerRange;
  readonly source: string | null;
  /** Empty: all that are watched. */
  readonly watch: readonly string[];
  readonly dryRun: boolean;
  readonly reread: boolean;
  /** Null: none but the source's. */
  readonly limits: BackfillLimits | null;
  readonly reason: string | null;
  /** A finished dry run of the same range, whose plan must still be what there is to do. */
  readonly planOf: string | null;
  readonly requestId: string | null;
}

export interface BackfillWishCall {
  readonly id: string;
  readonly reason: string | null;
  readonly requestId: string | null;
  /** Of a resumed job, from now on; null: unchanged. */
  readonly limits?: BackfillLimits | null;
}

export interface BackfillDeps {
  readonly db: Database;
  readonly sources: readonly Source[];
  readonly watch: Watch;
  readonly networkPassphrase: string;
  readonly sandbox: boolean;
  readonly bell: Bell;
  readonly events: Pick<Events, 'backfillMoved'>;
}

const WATCH_POLL_MS = 100;
const MAX_TRANSITIONS = 100;

export type BackfillService = ReturnType<typeof createBackfillService>;

export function createBackfillService(deps: BackfillDeps) {
  const { db, bell } = deps;

  async function mustView(id: string, em: EntityManager = db.em()): Promise<Backfill> {
    const backfill = await viewBackfill(em, id);
    if (backfill !== null) return backfill;
    throw new TrueUpError('BACKFILL_NOT_FOUND', `there is no backfill ${id}`, {
      fix: 'see ListBackfills for the ids',
    });
  }

  async function start(call: StartBackfillCall, caller: Caller): Promise<Backfill> {
    refuseRange(call.range);
    const stream = await chooseStream(db.em(), call.stream, deps.networkPassphrase);
    await requireNewestEpoch(db.em(), stream);
    const sources = chooseSources(deps.sources, stream, call.source);
    const watch = narrowWatch(deps.watch, call.watch);
    const request: BackfillRequest = {
      streamId: stream.id,
      layers: chooseLayers(sources, call.layer),
      range: call.range,
      source: call.source,
      watch: call.watch.length === 0 ? null : [...call.watch],
      dryRun: call.dryRun,
      reread: call.reread,
      planOf: call.planOf,
      limits: call.limits ?? NO_LIMITS,
      reason: call.reason,
    };
    const known = await repeated(db.em(), request, call.requestId);
    if (known !== null) return mustView(known);
    await refuseOutside(db, sources, stream, call.range);
    const id = await db.em().transactional(async (em) => {
      await lockStarts(em, stream.id);
      const meanwhile = await repeated(em, request, call.requestId);
      if (meanwhile !== null) return meanwhile;
      if (!call.dryRun) await refuseOverlap(em, stream, call.range);
      const watchSetId = await ensureWatchSet(em, stream.id, watch);
      await refuseOldPlan(em, request, watchSetId);
      const job = { ...request, id: randomUUID(), requestId: call.requestId, watchSetId };
      await insertBackfill(em, {
        ...job,
        sandbox: deps.sandbox,
        actor: caller.actor,
        pieceLedgers: FIRST_PIECE_LEDGERS,
      });
      await writeAudit(em, caller, {
        resourceType: 'backfill',
        resourceId: job.id,
        reason: call.reason,
        after: { from_ledger: call.range.from, to_ledger: call.range.to - 1, dry_run: call.dryRun },
      });
      return job.id;
    });
    bell.ring();
    return mustView(id);
  }

  async function wish(what: BackfillWish, call: BackfillWishCall, caller: Caller): Promise<Backfill> {
    await mustView(call.id);
    const request = { backfill_id: call.id, reason: call.reason, limits: call.limits ?? null };
    const digest = hash('sha256', JSON.stringify(request));
    const moves: Parameters<BackfillDeps['events']['backfillMoved']>[0][] = [];
    const carryOut = async (em: EntityManager): Promise<null> => {
      const job = (await findJob(em, call.id, true))!;
      let next = stateAfterWish(job.state, what);
      if (call.limits) await changeLimits(em, call.id, call.limits);
      const cause = { actor: caller.actor, reason: call.reason };
      while (next !== null) {
        const from = await moveBackfill(em, call.id, next, cause);
        if (from !== null) moves.push({ id: call.id, from, to: next });
        // Where nobody has a share in hand there is nothing to wait for.
        const waits = next === 'pausing' || next === 'cancelling';
        next = waits && (await silenceChunks(em, call.id)) ? (next === 'pausing' ? 'paused' : 'cancelled') : null;
      }
      await writeAudit(
        em,
        { ...caller, requestId: call.requestId ?? caller.requestId },
        {
          resourceType: 'backfill',
          resourceId: call.id,
          reason: call.reason,
          before: { state: job.state },
          after: { request, state: moves.at(-1)?.to ?? job.state },
        },
      );
      return null;
    };
    await db
      .em()
      .transactional((em) =>
        answerOnce(em, { method: caller.method, requestId: call.requestId, digest }, () => carryOut(em)),
      );
    for (const move of moves) deps.events.backfillMoved(move);
    bell.ring();
    return mustView(call.id);
  }

  return {
    start,
    get: (id: string): Promise<Backfill> => mustView(id),
    /** The newest changes of its state, oldest of them first. */
    async transitions(id: string): Promise<readonly BackfillTransition[]> {
      await mustView(id);
      return transitionsOf(db.em(), id, MAX_TRANSITIONS);
    },
    list: (filter: BackfillFilter, page: PageRequest): Promise<Page<Backfill>> => listBackfills(db.em(), filter, page),
    pause: (call: BackfillWishCall, caller: Caller): Promise<Backfill> => wish('pause', call, caller),
    resume: (call: BackfillWishCall, caller: Caller): Promise<Backfill> => wish('resume', call, caller),
    cancel: (call: BackfillWishCall, caller: Caller): Promise<Backfill> => wish('cancel', call, caller),

    async *watch(id: string, since: bigint | null, signal: AbortSignal): AsyncGenerator<BackfillEvent> {
      const watched = {
        read: () => mustView(id),
        look: () => sequenceOf(db.em(), id),
        sequenceOf: (backfill: Backfill) => backfill.progress.sequence,
        isFinished: (backfill: Backfill) => isFinalState(backfill.state),
        pollMs: WATCH_POLL_MS,
      };
      for await (const { sequence, state } of watchResource(watched, since, signal))
        yield { sequence, backfill: state };
    },
  };
}
