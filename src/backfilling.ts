// Composes backfills: the service for the doors, and the loop of this process that works on them.
import type { Config } from './config/config.ts';
import { createBackfillService } from './services/backfill.ts';
import { runBackfillWorker } from './services/backfill-worker.ts';
import { createBell } from './services/bell.ts';
import { recheckRange } from './services/rechecks.ts';
import type { Source } from './sources/source.ts';
import type { Database } from './store/database.ts';
import type { Queue } from './store/queue.ts';
import type { Events } from './telemetry/events.ts';

export interface BackfillingDeps {
  readonly db: Database;
  readonly queue: Queue;
  readonly config: Config;
  /** In the order in which they are asked; the first is the one that is followed. */
  readonly sources: readonly Source[];
  /** Names this process among replicas. */
  readonly replica: string;
  readonly events: Events;
}

export function composeBackfills({ db, queue, config, sources, replica, events }: BackfillingDeps) {
  const bell = createBell();
  return {
    service: createBackfillService({
      db,
      sources,
      watch: config.source.watch,
      networkPassphrase: sources[0]!.networkPassphrase,
      sandbox: config.source.kind === 'sandbox',
      bell,
      events,
    }),
    /** Works until the signal aborts. */
    run: (signal: AbortSignal): Promise<void> =>
      config.backfill.workers === 0
        ? Promise.resolve()
        : runBackfillWorker(
            {
              db,
              sources,
              holder: replica,
              workers: config.backfill.workers,
              bell,
              events,
              onFilled: (em, filled) => recheckRange(em, queue, filled),
            },
            signal,
          ),
  };
}
