// What goes stale by itself: abandoned imports, old runs and alerts, exemptions that have ended, answers that nobody will ask for again.
import { pruneAlerts } from '../store/alerts.ts';
import { pruneBackfills } from '../store/backfills.ts';
import { pruneAnswers } from '../store/call-answers.ts';
import type { Database } from '../store/database.ts';
import { discardLeftovers } from '../store/run-checkpoints.ts';
import { pruneRuns } from '../store/runs.ts';
import { endExemptionsOf } from './drifts.ts';
import { sweepImports } from './imports.ts';

/** Finished runs are kept for this long; each policy's latest one for ever. */
const RUN_RETENTION_DAYS = 90;
/** Alerts that are over are kept for this long; what still lasts, or waits to be sent, for ever. */
const ALERT_RETENTION_DAYS = 90;
/** How long a request_id is known; a client that repeats a call does so within seconds. */
const ANSWER_RETENTION_DAYS = 7;

export async function keepHouse(deps: {
  readonly db: Database;
  readonly backfillRetentionDays: number;
}): Promise<void> {
  await sweepImports(deps);
  await endExemptionsOf(deps.db, null);
  await discardLeftovers(deps.db.em());
  await pruneRuns(deps.db.em(), RUN_RETENTION_DAYS);
  await pruneBackfills(deps.db.em(), deps.backfillRetentionDays);
  await pruneAlerts(deps.db.em(), ALERT_RETENTION_DAYS);
  await pruneAnswers(deps.db.em(), ANSWER_RETENTION_DAYS);
}
