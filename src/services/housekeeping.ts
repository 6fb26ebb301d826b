// What goes stale by itself: abandoned imports, old runs.
import type { Database } from '../store/database.ts';
import { pruneRuns } from '../store/runs.ts';
import { sweepImports } from './imports.ts';

/** Finished runs are kept for this long; each policy's latest one for ever. */
const RUN_RETENTION_DAYS = 90;

export async function keepHouse(deps: { readonly db: Database }): Promise<void> {
  await sweepImports(deps);
  await pruneRuns(deps.db.em(), RUN_RETENTION_DAYS);
}
