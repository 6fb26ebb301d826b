// The loop of one process that works on backfills, beside those of other processes: takes shares, keeps their leases, gives them back.
import { setTimeout as sleep } from 'node:timers/promises';
import type { BackfillState } from '../core/backfill.ts';
import { afterFailure } from '../core/backfill-pace.ts';
import { isTrueUpError, messageOf, TrueUpError } from '../core/errors.ts';
import { failureOf } from '../core/status.ts';
import type { Source } from '../sources/source.ts';
import { noteFailure, sampleProgress } from '../store/backfill-counts.ts';
import { claimChunk, keepChunks, releaseChunk, type HeldChunk } from '../store/backfill-chunks.ts';
import { activeJobs, moveBackfill, statesOf, type BackfillJob } from '../store/backfills.ts';
import type { Database } from '../store/database.ts';
import { streamById } from '../store/streams.ts';
import type { Events } from '../telemetry/events.ts';
import type { Bell } from './bell.ts';
import { requireNewestEpoch, requireSameEpoch } from './backfill-epoch.ts';
import { isLost, workOnShare } from './backfill-share.ts';
import { tendBackfill, type OnFilled } from './backfill-steps.ts';

export interface BackfillWorkerOptions {
  readonly db: Database;
  /** The first that is of the job's network, or the one that it names. */
  readonly sources: readonly Source[];
  /** Names this process among replicas. */
  readonly holder: string;
  /** Shares that this process works on at once. */
  readonly workers: number;
  /** A share whose worker was not heard of for so long is taken by others. */
  readonly leaseMs?: number;
  readonly events: Pick<
    Events,
    | 'chunkCommitted'
    | 'rangeQuarantined'
    | 'sourceReadFailed'
    | 'backfillMoved'
    | 'leaseLost'
    | 'commitFailed'
    | 'unexpectedError'
  >;
  /** Rung when there may be something to do. */
  readonly bell: Bell;
  readonly onFilled?: OnFilled;
}

/** A dead replica's share is free after this at the latest, and taken with the next look. */
export const BACKFILL_LEASE_MS = 3_000;
/** Between two looks for work that nobody rang for. */
const IDLE_POLL_MS = 500;
const ACTIVE_POLL_MS = 200;
/** Between two looks at the wishes of callers while there is work in hand. */
const WISH_POLL_MS = 100;

interface Held {
  readonly job: BackfillJob;
  readonly chunk: HeldChunk;
  readonly stop: AbortController;
  phase: 'reading' | 'writing';
}

/** Works until the signal aborts; what is in hand then is given back at once. */
export async function runBackfillWorker(options: BackfillWorkerOptions, signal: AbortSignal): Promise<void> {
  const leaseMs = options.leaseMs ?? BACKFILL_LEASE_MS;
  const networks = options.sources.map((source) => source.networkPassphrase);
  const held = new Map<string, Held>();
  const working = new Set<Promise<void>>();
  const heartbeat = beat(options, leaseMs, held, signal);
  const onMoved = (job: { readonly id: string }, from: BackfillState, to: BackfillState): void =>
    options.events.backfillMoved({ id: job.id, from, to });
  const tend = (id: string): Promise<void> => tendBackfill({ ...options, onMoved }, id);

  /** One job's trouble is not the others'. */
  async function tendAll(): Promise<number> {
    const jobs = await activeJobs(options.db.em());
    for (const { id, state } of jobs) {
      if (state !== 'paused') await tend(id).catch((error: unknown) => giveUp(options, id, error));
    }
    return jobs.length;
  }

  async function work(job: BackfillJob, chunk: HeldChunk): Promise<void> {
    const mine: Held = { job, chunk, stop: new AbortController(), phase: 'reading' };
    held.set(chunk.token, mine);
    try {
      await workOn(options, leaseMs, mine, AbortSignal.any([signal, mine.stop.signal]));
    } finally {
      held.delete(chunk.token);
    }
    await tend(job.id).catch((error: unknown) => giveUp(options, job.id, error));
  }

  while (!signal.aborted) {
    try {
      // Before the look, so that no ring is lost between the look and the wait.
      const rung = options.bell.next();
      const taken =
        working.size < options.workers ? await claimChunk(options.db.em(), networks, options.holder, leaseMs) : null;
      if (taken !== null) {
        const share: Promise<void> = work(taken.job, taken.chunk)
          .catch((error: unknown) => options.events.unexpectedError({ where: 'backfill', error }))
          .finally(() => {
            working.delete(share);
            options.bell.ring();
          });
        working.add(share);
        continue;
      }
      const active = await tendAll();
      await Promise.race([rung, pause(active > 0 ? ACTIVE_POLL_MS : IDLE_POLL_MS, signal)]);
    } catch (error) {
      if (!signal.aborted && !isTrueUpError(error, 'DATABASE_UNAVAILABLE'))
        options.events.unexpectedError({ where: 'backfill', error });
      await pause(IDLE_POLL_MS, signal);
    }
  }
  await Promise.allSettled([...working, heartbeat]);
}

/** The first share of a job is its beginning. */
async function begin(options: BackfillWorkerOptions, job: BackfillJob): Promise<void> {
  if (job.state !== 'queued') return;
  const from = await moveBackfill(options.db.em(), job.id, 'running', { actor: 'trueup' }, ['queued']);
  if (from !== null) options.events.backfillMoved({ id: job.id, from, to: 'running' });
}

async function workOn(options: BackfillWorkerOptions, leaseMs: number, mine: Held, signal: AbortSignal): Promise<void> {
  const { db, events } = options;
  const { job, chunk } = mine;
  try {
    const stream = await streamById(db.em(), job.streamId);
    const source = chooseSource(options.sources, job, stream.networkPassphrase);
    await requireNewestEpoch(db.em(), stream);
    // At its beginning and after each outage: whatever came back may be another network.
    if (job.state === 'queued' || job.state === 'blocked') await requireSameEpoch(source, stream, signal);
    await begin(options, job);
    const onPhase = (phase: Held['phase']): void => void (mine.phase = phase);
    await workOnShare({ db, source, leaseMs, events, onPhase }, job, stream.name, chunk, signal);
  } catch (error) {
    if (isLost(error)) return events.leaseLost({ lease: `backfill:${job.id}`, kind: 'backfill' });
    // Given back: the rest of the share is for whoever comes, and no failure of the job's.
    await releaseChunk(db.em(), chunk).catch(() => undefined);
    if (signal.aborted || isTrueUpError(error, 'DATABASE_UNAVAILABLE', 'DATABASE_BUSY')) return;
    if (!isTrueUpError(error)) events.unexpectedError({ where: 'backfill', error });
    await fail(options, job, error);
  }
}

function chooseSource(sources: readonly Source[], job: BackfillJob, network: string): Source {
  const able = sources.filter((source) => source.networkPassphrase === network);
  const chosen = able.find((source) => job.source === null || namesSource(source, job.source));
  if (chosen !== undefined) return chosen;
  throw new TrueUpError(
    'SOURCE_NOT_FOUND',
    `this deployment has no source ${job.source ?? 'of that network'} any more`,
    {
      fix: 'configure it again, or start another backfill from one that there is',
    },
  );
}

/** By its kind or by its whole name. */
export function namesSource(source: Source, name: string): boolean {
  return source.id === name || source.kind === name;
}

async function fail(options: BackfillWorkerOptions, job: BackfillJob, error: unknown): Promise<void> {
  const em = options.db.em();
  const next = afterFailure(error, job.failures, Math.random());
  if (next.kind === 'fail') return giveUp(options, job.id, error);
  const sourceAsked = isTrueUpError(error, 'SOURCE_RATE_LIMITED');
  options.events.sourceReadFailed({ source: job.source ?? 'backfill', error, attempt: job.failures + 1 });
  await noteFailure(em, job.id, { retryMs: next.delayMs, sourceAsked });
  if (next.state === null) return;
  const cause = { actor: 'trueup', error: wordsOf(error) };
  const from = await moveBackfill(em, job.id, next.state, cause);
  if (from !== null) options.events.backfillMoved({ id: job.id, from, to: next.state });
}

async function giveUp(options: BackfillWorkerOptions, id: string, error: unknown): Promise<void> {
  if (isTrueUpError(error, 'DATABASE_UNAVAILABLE', 'DATABASE_BUSY')) return;
  const from = await moveBackfill(options.db.em(), id, 'failed', { actor: 'trueup', error: wordsOf(error) });
  if (from !== null) options.events.backfillMoved({ id, from, to: 'failed' });
}

function wordsOf(error: unknown) {
  const { reason, message, fix } = failureOf(error, null);
  return { reason, message: isTrueUpError(error) ? messageOf(error) : message, fix };
}

/** Keeps the leases, takes samples, and stops the work that a caller wants stopped or that somebody else has. */
async function beat(
  { db, events }: BackfillWorkerOptions,
  leaseMs: number,
  held: ReadonlyMap<string, Held>,
  signal: AbortSignal,
): Promise<void> {
  let keptMs = -Infinity;
  while (!signal.aborted) {
    await pause(WISH_POLL_MS, signal);
    if (held.size === 0) continue;
    const [shares, ids] = [[...held.values()], [...new Set([...held.values()].map(({ job }) => job.id))]];
    try {
      if (performance.now() - keptMs >= leaseMs / 4) {
        keptMs = performance.now();
        const kept = shares.map(({ chunk, phase }) => ({ id: chunk.id, token: chunk.token, phase }));
        for (const token of await keepChunks(db.em(), kept, leaseMs)) held.get(token)?.stop.abort();
        await sampleProgress(db.em(), ids);
      }
      const states = new Map((await statesOf(db.em(), ids)).map(({ id, state }) => [id, state]));
      for (const { job, stop } of shares) if (isUnwanted(states.get(job.id))) stop.abort();
    } catch (error) {
      // Every write asks for its lease itself; a database that is away now is asked again.
      if (!isTrueUpError(error)) events.unexpectedError({ where: 'backfill heartbeat', error });
    }
  }
}

function isUnwanted(state: BackfillState | undefined): boolean {
  return state === undefined || ['pausing', 'paused', 'cancelling', 'cancelled', 'failed'].includes(state);
}

/** Ends early when the signal does; the loops ask the signal themselves. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
