// What becomes of old artifacts: their bytes go, in small batches, each with a tombstone in the log; what is held stays.
import type { ArtifactStore } from '../core/artifact.ts';
import type { Database } from '../store/database.ts';
import type { EvidenceStore } from '../store/evidence.ts';

export const RETENTION_LIMITS = {
  /** Artifacts of one transaction. */
  batchSize: 100,
  /** Artifacts of one sweep; the rest waits for the next. */
  maxPerSweep: 10_000,
} as const;

const DAY_MS = 86_400_000;

export interface RetentionDeps {
  readonly db: Database;
  readonly store: EvidenceStore;
  readonly artifacts: ArtifactStore;
  readonly keepCount: number;
  /** Null: nothing goes for its age alone. */
  readonly keepDays: number | null;
  readonly events: { artifactsPruned(event: { readonly count: number }): void };
}

/** Marks and logs first, removes after the commit: a crash between them leaves bytes that the next sweep removes. */
export async function pruneArtifacts(deps: RetentionDeps, now = new Date()): Promise<number> {
  const before = deps.keepDays === null ? null : new Date(now.getTime() - deps.keepDays * DAY_MS);
  let pruned = 0;
  for (let last = -1; last !== 0 && pruned < RETENTION_LIMITS.maxPerSweep; pruned += last) {
    last = await pruneBatch(deps, before);
  }
  await removeBytes(deps);
  if (pruned > 0) deps.events.artifactsPruned({ count: pruned });
  return pruned;
}

async function pruneBatch({ db, store, keepCount }: RetentionDeps, before: Date | null): Promise<number> {
  return await db.em().transactional(async (em) => {
    const pruned = await store.prune(em, { keepCount, before }, RETENTION_LIMITS.batchSize);
    for (const { id, artifactId, checksum, cause, prunedAt } of pruned) {
      await store.append(em, {
        ...{ kind: 'tombstone', manifestId: id, artifactId, artifactSha256: checksum, cause },
        at: prunedAt!.toISOString(),
      });
    }
    return pruned.length;
  });
}

async function removeBytes({ db, store, artifacts }: RetentionDeps): Promise<void> {
  for (;;) {
    const batch = await store.toRemove(db.em(), RETENTION_LIMITS.batchSize);
    if (batch.length === 0) return;
    for (const { artifactId } of batch) await artifacts.remove(artifactId);
    await store.markRemoved(
      db.em(),
      batch.map(({ id }) => id),
    );
  }
}
