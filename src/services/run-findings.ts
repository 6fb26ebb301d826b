// Where a run's findings go while it compares: into their own table in batches, so that memory stays flat however much differs.
import type { RunProgress } from '../core/run.ts';
import type { Database } from '../store/database.ts';
import { openKeysNotFound, openOccurrences, type FindingRow } from '../store/findings.ts';
import { saveFindings, type Progress } from '../store/run-checkpoints.ts';
import { lostRun, noteProgress, type HeldRun } from '../store/runs.ts';

const FLUSH_ROWS = 1000;
/** A watcher sees at most this many states of one run. */
const PROGRESS_INTERVAL_MS = 250;

export interface OpenDrift {
  readonly matchKey: string;
  readonly occurrence: number;
  readonly account: string;
  readonly asset: string;
}

export interface FindingSink {
  add(finding: FindingRow): Promise<void>;
  flush(): Promise<void>;
  /** Keeps, with what was found so far, that everything up to a key is done: the next attempt goes on from there. */
  checkpoint(progress: Progress<object>): Promise<void>;
  /** @throws TrueUpError RUN_ALREADY_FINISHED where the run was cancelled, or taken over by another worker. */
  progress(phase: RunProgress['phase'], itemsDone: number): Promise<void>;
  /** Keys of unresolved drifts of the policy that no finding of this run is about, in order. */
  openKeys(after: string | null, limit: number): Promise<string[]>;
  openDrifts(keys: readonly string[]): Promise<OpenDrift[]>;
}

/** A sink on connections of its own: the run's snapshot can't see, and must not write, what it finds. */
export function createFindingSink(db: Database, run: HeldRun, policy: string): FindingSink {
  let waiting: FindingRow[] = [];
  let lastProgressMs = 0;
  const save = async (progress: Progress<object> | null): Promise<void> => {
    const rows = waiting;
    waiting = [];
    await saveFindings(db.em(), run, rows, progress);
  };
  return {
    async add(finding) {
      waiting.push(finding);
      if (waiting.length >= FLUSH_ROWS) await this.flush();
    },
    async flush() {
      if (waiting.length > 0) await save(null);
    },
    checkpoint: save,
    async progress(phase, itemsDone) {
      const nowMs = performance.now();
      if (nowMs - lastProgressMs < PROGRESS_INTERVAL_MS) return;
      lastProgressMs = nowMs;
      const goOn = await noteProgress(db.em(), run, { phase, itemsDone, itemsTotal: null, updatedAt: new Date() });
      if (!goOn) throw lostRun(run);
    },
    openKeys: (after, limit) => openKeysNotFound(db.em(), policy, run.id, after, limit),
    openDrifts: (keys) => openOccurrences(db.em(), policy, keys),
  };
}

/** What says that an open drift's two sides were read again and agree: a finding without kinds. */
export function agreement(key: string, drift: Omit<OpenDrift, 'matchKey'>): FindingRow {
  return {
    matchKey: key,
    occurrence: drift.occurrence,
    kinds: [],
    fields: [],
    ledgerSide: null,
    bookSide: null,
    account: drift.account,
    asset: drift.asset,
    valueAtRisk: null,
    itemAt: null,
  };
}
