// What moves a backfill on between its shares: the plan at its beginning, the check of the whole at its end, and the states between.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BackfillState } from '../core/backfill.ts';
import { unitsOf } from '../core/backfill-pace.ts';
import { rangeLength, subtract, unite } from '../core/coverage.ts';
import { formatDigest } from '../core/digest.ts';
import type { Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { digestOf, growPlan, saveDigest, savePlan } from '../store/backfill-counts.ts';
import { addChunks, leftToDo, silenceChunks } from '../store/backfill-chunks.ts';
import { findJob, moveBackfill, type BackfillJob } from '../store/backfills.ts';
import { coverageOf } from '../store/coverage-read.ts';
import type { Database } from '../store/database.ts';
import { readWatchSet } from '../store/streams.ts';

/** What else has to happen in the transaction in which a job succeeds, for each layer that it filled. */
export type OnFilled = (
  em: EntityManager,
  filled: {
    readonly streamId: number;
    readonly layer: Layer;
    readonly range: LedgerRange;
    readonly cause: 'backfilled';
  },
) => Promise<void>;

export interface StepsDeps {
  readonly db: Database;
  readonly onFilled?: OnFilled;
  readonly onMoved: (job: Pick<BackfillJob, 'id'>, from: BackfillState, to: BackfillState) => void;
}

/** Does for one job what no share of work does. Any replica may, and a second time changes nothing. */
export async function tendBackfill(deps: StepsDeps, id: string): Promise<void> {
  const moves: [BackfillState, BackfillState][] = [];
  await deps.db.em().transactional(async (em) => {
    const job = await findJob(em, id, true);
    if (job === null) return;
    const move = async (to: BackfillState): Promise<void> => {
      const from = await moveBackfill(em, id, to, { actor: 'trueup' });
      if (from !== null) moves.push([from, to]);
    };
    switch (job.state) {
      case 'planned':
        await plan(em, job);
        return move('queued');
      case 'pausing':
        if (await silenceChunks(em, id)) await move('paused');
        return;
      case 'cancelling':
        if (await silenceChunks(em, id)) await move('cancelled');
        return;
      case 'queued':
      case 'running':
      case 'throttled':
      case 'blocked':
      case 'verifying':
        return advance(deps, em, job, move);
      case 'paused':
      case 'cancelled':
      case 'succeeded':
      case 'failed':
    }
  });
  for (const [from, to] of moves) deps.onMoved({ id }, from, to);
}

/** The ledgers that aren't covered for what the job reads; over its layers, as one read brings all of them. */
export async function missingRanges(
  em: EntityManager,
  job: Pick<BackfillJob, 'streamId' | 'watchSetId' | 'layers' | 'range'>,
): Promise<LedgerRange[]> {
  const missing: LedgerRange[] = [];
  for (const layer of job.layers) missing.push(...subtract(job.range, (await coverageFor(em, job, layer)).done));
  return unite(missing);
}

async function coverageFor(
  em: EntityManager,
  job: Pick<BackfillJob, 'streamId' | 'watchSetId'>,
  layer: Layer,
): ReturnType<typeof coverageOf> {
  const watch = await readWatchSet(em, job.watchSetId);
  return coverageOf(em, job.streamId, layer, watch.everything ? null : [...watch.accounts, ...watch.contracts]);
}

async function plan(em: EntityManager, job: BackfillJob): Promise<void> {
  const missing = await missingRanges(em, job);
  const toRead = job.reread ? [job.range] : missing;
  await savePlan(em, job.id, {
    missing,
    missingLedgers: rangeLength(missing),
    plannedLedgers: rangeLength(toRead),
    chunks: unitsOf(toRead),
  });
  await addChunks(em, job.id, 'read', toRead);
}

async function advance(
  deps: StepsDeps,
  em: EntityManager,
  job: BackfillJob,
  move: (to: BackfillState) => Promise<void>,
): Promise<void> {
  const left = await leftToDo(em, job.id);
  if (left.has('read')) return;
  if (job.state !== 'verifying') {
    if (job.state !== 'running' && job.state !== 'throttled') await move('running');
    await move('verifying');
    if (left.size > 0) return;
    if (!job.dryRun) return addChunks(em, job.id, 'verify', [job.range]);
  } else if (left.size > 0) return;
  if (job.dryRun) return move('succeeded');
  const holes = await unexplained(em, job);
  if (holes.length > 0) {
    // Somebody took coverage away while the rest was read: it is read again.
    await move('running');
    await growPlan(em, job.id, rangeLength(holes), unitsOf(holes));
    return addChunks(em, job.id, 'read', holes);
  }
  await saveDigest(em, job.id, formatDigest(await digestOf(em, job.id)));
  await move('succeeded');
  for (const layer of job.layers) {
    await deps.onFilled?.(em, { streamId: job.streamId, layer, range: job.range, cause: 'backfilled' });
  }
}

/** Ledgers of the range of which nothing is known after all. */
async function unexplained(em: EntityManager, job: BackfillJob): Promise<LedgerRange[]> {
  const holes: LedgerRange[] = [];
  for (const layer of job.layers) {
    const { done, quarantined, unavailable } = await coverageFor(em, job, layer);
    holes.push(...subtract(job.range, unite([...done, ...quarantined, ...unavailable])));
  }
  return unite(holes);
}
