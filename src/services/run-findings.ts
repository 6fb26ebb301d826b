// Where a run's findings go while it compares: into their own table in batches, so that memory stays flat however much differs.
import { TrueUpError } from '../core/errors.ts';
import type { RunProgress } from '../core/run.ts';
import type { Database } from '../store/database.ts';
import { insertFindings, openKeysNotFound, openOccurrences, type FindingRow } from '../store/drifts.ts';
import { noteProgress } from '../store/runs.ts';

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
  /** @throws TrueUpError RUN_ALREADY_FINISHED where the run was cancelled meanwhile. */
  progress(phase: RunProgress['phase'], itemsDone: number): Promise<void>;
  /** Keys of unresolved drifts of the policy that no finding of this run is about, in order. */
  openKeys(after: string, limit: number): Promise<string[]>;
  openDrifts(keys: readonly string[]): Promise<OpenDrift[]>;
}

/** A sink on connections of its own: the run's snapshot can't see, and must not write, what it finds. */
export function createFindingSink(db: Database, runId: string, policy: string): FindingSink {
  let waiting: FindingRow[] = [];
  let lastProgressMs = 0;
  return {
    async add(finding) {
      waiting.push(finding);
      if (waiting.length >= FLUSH_ROWS) await this.flush();
    },
    async flush() {
      const rows = waiting;
      waiting = [];
      await insertFindings(db.em(), runId, rows);
    },
    async progress(phase, itemsDone) {
      const nowMs = performance.now();
      if (nowMs - lastProgressMs < PROGRESS_INTERVAL_MS) return;
      lastProgressMs = nowMs;
      const cancelled = await noteProgress(db.em(), runId, { phase, itemsDone, itemsTotal: null, updatedAt: new Date() });
      if (cancelled) throw new TrueUpError('RUN_ALREADY_FINISHED', `reconciliation ${runId} was cancelled`);
    },
    openKeys: (after, limit) => openKeysNotFound(db.em(), policy, runId, after, limit),
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

