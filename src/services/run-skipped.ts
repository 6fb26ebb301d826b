// Keys that a run skips, kept for the next one: in batches, on a connection of its own.
import type { Database } from '../store/database.ts';
import type { HeldRun } from '../store/runs.ts';
import { markVerified, noteSkipped, skippedKeys } from '../store/skipped.ts';

const FLUSH_KEYS = 1000;

export interface SkippedKeys {
  add(key: string): Promise<void>;
  flush(): Promise<void>;
  /** Those of this run and of runs before it, in byte order. */
  waiting(after: string | null, limit: number): Promise<string[]>;
  verified(keys: readonly string[]): Promise<void>;
}

/** For a re-read that is no run: what it can't judge waits already, or is the next run's to find. */
export const NO_SKIPPED_KEYS: SkippedKeys = {
  add: () => Promise.resolve(),
  flush: () => Promise.resolve(),
  waiting: () => Promise.resolve([]),
  verified: () => Promise.resolve(),
};

export function createSkippedKeys(db: Database, run: HeldRun, policy: string): SkippedKeys {
  let keys: string[] = [];
  return {
    async add(key) {
      keys.push(key);
      if (keys.length >= FLUSH_KEYS) await this.flush();
    },
    async flush() {
      const batch = keys;
      keys = [];
      await noteSkipped(db.em(), policy, batch);
    },
    waiting: (after, limit) => skippedKeys(db.em(), policy, after, limit),
    verified: (batch) => markVerified(db.em(), policy, run, batch),
  };
}
