// Runs, drifts and imports.
import { DRIFT_KINDS } from '../core/drift.ts';
import type { DriftKind } from '../core/drift.ts';
import type { AssetTotal, RunCounts, RunTrigger, Verdict } from '../core/run.ts';
import type { EventsDeps } from './events.ts';

export interface RunFinished {
  readonly runId: string;
  readonly policy: string;
  readonly trigger: RunTrigger;
  readonly verdict: Verdict;
  readonly counts: RunCounts;
  readonly durationMs: number;
  readonly finishedAt: Date;
  /** Reasons why it is inconclusive; empty otherwise. */
  readonly inconclusive: readonly string[];
  /** True when a caller narrowed its window or scope: it says nothing of the policy as a whole and leaves the gauges alone. */
  readonly partial?: boolean;
  readonly standing: RunStanding;
}

/** What gauges show of the latest whole run of a policy. */
export interface RunStanding {
  readonly drifted: number;
  /** Share of the window's ledgers that were read; null where there was no window. */
  readonly coverage: number | null;
  readonly valueAtRisk: readonly AssetTotal[];
}

/** Assets shown of one policy: labels must stay few. */
const MAX_ASSETS = 10;

/** A drift that appeared in a run, or came back in a new episode. */
export interface DriftAppeared {
  readonly policy: string;
  readonly kinds: readonly DriftKind[];
}

const VERDICT_VALUES: Readonly<Record<Verdict, number>> = { CLEAN: 1, DRIFT_DETECTED: 0, INCONCLUSIVE: -1 };

export function reconciliationEvents({ log, metrics }: EventsDeps) {
  const latest = new Map<string, number>();
  const shownAssets = new Map<string, readonly string[]>();
  let lastRunMs = 0;

  function show(policy: string, verdict: Verdict, finishedAt: Date): void {
    latest.set(policy, VERDICT_VALUES[verdict]);
    // Only a run that could conclude counts as the last one: a dashboard must see that nothing was verified since.
    if (verdict !== 'INCONCLUSIVE') lastRunMs = Math.max(lastRunMs, finishedAt.getTime());
    metrics.verdict.set({ policy }, VERDICT_VALUES[verdict]);
    metrics.reconciliationStatus.set(Math.min(...latest.values()));
    if (lastRunMs > 0) metrics.reconciliationLastRun.set(lastRunMs / 1000);
  }

  function showStanding(policy: string, { drifted, coverage, valueAtRisk }: RunStanding): void {
    metrics.driftsOpen.set({ policy }, drifted);
    if (coverage === null) metrics.coverageRatio.remove({ policy });
    else metrics.coverageRatio.set({ policy }, coverage);
    for (const asset of shownAssets.get(policy) ?? []) metrics.valueAtRisk.remove({ policy, asset });
    const largest = [...valueAtRisk].sort((a, b) => b.count - a.count).slice(0, MAX_ASSETS);
    for (const { asset, amount } of largest) metrics.valueAtRisk.set({ policy, asset }, Number(amount));
    shownAssets.set(
      policy,
      largest.map(({ asset }) => asset),
    );
  }

  return {
    runFinished({ counts, finishedAt, partial = false, standing, ...event }: RunFinished): void {
      const { policy, trigger, verdict } = event;
      metrics.runsTotal.inc({ policy, trigger, verdict });
      metrics.runSeconds.observe({ policy, trigger }, event.durationMs / 1000);
      if (!partial) {
        show(policy, verdict, finishedAt);
        showStanding(policy, standing);
      }
      const fields = { event: 'run_finished', ...event, partial, counts };
      if (verdict === 'CLEAN') log.info(fields, 'reconciliation is CLEAN');
      else log.warn(fields, `reconciliation is ${verdict}`);
    },
    /** At start: what the database knows of the newest whole run of a policy, so that a restart doesn't blank the gauges. */
    runRestored(event: {
      readonly policy: string;
      readonly verdict: Verdict;
      readonly finishedAt: Date;
      readonly standing: RunStanding;
    }): void {
      show(event.policy, event.verdict, event.finishedAt);
      showStanding(event.policy, event.standing);
    },
    runFailed(event: { readonly runId: string; readonly policy: string; readonly error: unknown }): void {
      log.error(
        { event: 'run_failed', runId: event.runId, policy: event.policy, err: event.error },
        'reconciliation failed without a verdict',
      );
    },
    /** Call it with what appeared, never with what still stands: each kind of each drift is counted once in its life. */
    driftsAppeared(drifts: readonly DriftAppeared[]): void {
      const byPolicy = new Map<string, Partial<Record<DriftKind, number>>>();
      for (const { policy, kinds } of drifts) {
        const counts = byPolicy.get(policy) ?? {};
        byPolicy.set(policy, counts);
        for (const issue of new Set(kinds)) {
          metrics.driftTotal.inc({ issue });
          counts[issue] = (counts[issue] ?? 0) + 1;
        }
      }
      for (const [policy, kinds] of byPolicy) {
        const count = drifts.filter((drift) => drift.policy === policy).length;
        log.warn({ event: 'drifts_appeared', policy, count, kinds }, 'drifts appeared');
      }
    },
    /** Many at once, counted by the database: how many drifts of the policy bear each kind. */
    driftsAppearedCounted(event: {
      readonly policy: string;
      readonly count: number;
      readonly kinds: Readonly<Partial<Record<DriftKind, number>>>;
    }): void {
      if (event.count === 0) return;
      for (const issue of DRIFT_KINDS) metrics.driftTotal.inc({ issue }, event.kinds[issue] ?? 0);
      log.warn({ event: 'drifts_appeared', ...event }, 'drifts appeared');
    },
    driftsResolved(event: { readonly policy: string; readonly count: number; readonly cause: string }): void {
      if (event.count === 0) return;
      metrics.driftsResolvedTotal.inc({ policy: event.policy }, event.count);
      log.info({ event: 'drifts_resolved', ...event }, 'drifts were resolved');
    },
    importFinished(event: {
      readonly importId: string;
      readonly book: string;
      readonly outcome: 'committed' | 'rejected' | 'failed';
      readonly rows: number;
      readonly durationMs: number;
    }): void {
      metrics.importsTotal.inc({ outcome: event.outcome });
      const fields = { event: 'import_finished', ...event };
      if (event.outcome === 'committed') log.info(fields, 'import was committed');
      else log.warn(fields, `import was ${event.outcome}`);
    },
    driftsTransitioned(event: { readonly transition: string; readonly count: number; readonly actor: string }): void {
      log.info({ event: 'drifts_transitioned', ...event }, 'drifts were changed by an operator');
    },
  };
}
