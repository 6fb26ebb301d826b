// Artifacts that no manifest names: what an export left behind whose process was killed between its files and its transaction.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { FileArtifacts } from '../outbound/artifacts.ts';
import type { Database } from '../store/database.ts';

/** Longer than any export may take, so that none under way is taken for one that was left behind. */
const ORPHAN_AGE_MS = 24 * 3_600_000;

export interface OrphanDeps {
  readonly db: Database;
  readonly artifacts: Pick<FileArtifacts, 'writtenBefore' | 'remove'>;
  /** Whether a manifest names the artifact. */
  readonly isKept: (em: EntityManager, artifactId: string) => Promise<boolean>;
}

/** Returns how many were removed. */
export async function removeOrphans({ db, artifacts, isKept }: OrphanDeps, now: Date): Promise<number> {
  let removed = 0;
  for (const id of await artifacts.writtenBefore(new Date(now.getTime() - ORPHAN_AGE_MS))) {
    if (await isKept(db.em(), id)) continue;
    await artifacts.remove(id);
    removed++;
  }
  return removed;
}
