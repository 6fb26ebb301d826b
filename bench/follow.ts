// The real follower, run until it has committed a ledger.
import { runFollower } from '../src/services/follower.ts';
import type { Source } from '../src/sources/source.ts';
import { WATCH_EVERYTHING } from '../src/core/watch.ts';
import type { Database } from '../src/store/database.ts';
import { createEvents, type Events } from '../src/telemetry/events.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';

type ChunkCommitted = Parameters<Events['chunkCommitted']>[0];

/** With the real telemetry at its usual level; its lines go nowhere. `onChunk` hears of every commit. */
export async function followTo(
  db: Database,
  source: Source,
  last: number,
  onChunk: (chunk: ChunkCommitted) => void,
): Promise<void> {
  const stop = new AbortController();
  let failure: Error | undefined;
  const log = createLogger({ level: 'info', name: 'bench', secrets: [], destination: { write: () => true } });
  const events = createEvents({ log, metrics: createMetrics({ defaults: false }) });
  await runFollower(
    {
      db,
      source,
      watch: WATCH_EVERYTHING,
      start: { startLedger: 1, windowHours: 24, sandbox: source.kind === 'sandbox' },
      endLedger: last,
      pollIntervalMs: 1_000,
      leaseTtlMs: 15_000,
      holder: 'bench',
      events: {
        ...events,
        chunkCommitted(chunk) {
          events.chunkCommitted(chunk);
          onChunk(chunk);
          if (chunk.range.to > last) stop.abort();
        },
        // A figure measured over a failing source would be a figure of the retries.
        sourceReadFailed({ error }) {
          failure ??= error instanceof Error ? error : new Error(String(error));
          stop.abort();
        },
      },
    },
    stop.signal,
  );
  if (failure !== undefined) throw failure;
}
