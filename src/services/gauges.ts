// What the database knows over all replicas, shown as metrics: so that any replica's /metrics tells the truth after a restart.
import type { Policy } from '../core/policy.ts';
import type { SyncStatus } from '../core/status.ts';
import { undeliveredAlerts } from '../store/alerts.ts';
import type { Database } from '../store/database.ts';
import { coverageCounts } from '../store/coverage-read.ts';
import { listJobHealth } from '../store/job-health.ts';
import { standingOf } from './run-summary.ts';
import { latestScheduledRun } from '../store/runs.ts';
import { listSchedules } from '../store/schedules.ts';
import { currentStream, readFollower } from '../store/streams.ts';
import type { Events } from '../telemetry/events.ts';

export interface GaugesDeps {
  readonly db: Database;
  readonly events: Events;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly networkPassphrase: string;
  /** The status of the followed stream, as health tells it; null before there is one. */
  readonly syncStatusNow: () => Promise<{ stream: string; status: SyncStatus } | null>;
}

/** A refresher that remembers what it said last, so that a change is said once. */
export function createGauges(deps: GaugesDeps): { refresh(): Promise<void> } {
  const { db, events } = deps;
  let previous: SyncStatus | null = null;
  const shown = new Map<string, string>();
  return {
    async refresh() {
      const stream = await currentStream(db.em(), deps.networkPassphrase);
      const follower = stream && (await readFollower(db.em(), stream.id));
      if (stream && follower) {
        if (follower.tipLedger !== null) {
          events.tipSeen({ stream: stream.name, tip: follower.tipLedger, checkpoint: follower.nextLedger - 1 });
        }
        for (const counts of await coverageCounts(db.em(), stream.id)) events.coverageCounted(counts);
      }
      const sync = await deps.syncStatusNow();
      if (sync !== null && sync.status !== previous) {
        events.followerStatusChanged({ ...sync, previous });
        previous = sync.status;
      }
      for (const policy of deps.policies.keys()) {
        const run = await latestScheduledRun(db.em(), policy);
        if (run === null || shown.get(policy) === run.id) continue;
        shown.set(policy, run.id);
        // When something was verified last is told by a run that could conclude, all else by the newest.
        const concluded =
          run.verdict === 'INCONCLUSIVE'
            ? await latestScheduledRun(db.em(), policy, ['CLEAN', 'DRIFT_DETECTED'])
            : null;
        for (const { verdict, completedAt, summary } of concluded === null ? [run] : [concluded, run])
          events.runRestored({ policy, verdict: verdict!, finishedAt: completedAt!, standing: standingOf(summary) });
      }
      events.alertsUndelivered(await undeliveredAlerts(db.em()));
      for (const job of await listJobHealth(db.em())) {
        events.jobHealth({ job: job.name, deadLetters: job.deadLettered, healthy: job.health !== 'degraded' });
      }
      for (const schedule of await listSchedules(db.em(), new Map())) {
        events.scheduleDue({ job: schedule.name, dueAt: schedule.enabled ? schedule.dueAt : null });
      }
    },
  };
}
