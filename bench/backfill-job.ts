// One backfill, by the real service and its real worker, over a source that the bench gives.
import { WATCH_EVERYTHING } from '../src/core/watch.ts';
import { createBackfillService } from '../src/services/backfill.ts';
import { runBackfillWorker } from '../src/services/backfill-worker.ts';
import { createBell } from '../src/services/bell.ts';
import type { Source } from '../src/sources/source.ts';
import type { Database } from '../src/store/database.ts';
import { ensureWatchSet, openStream } from '../src/store/streams.ts';
import { createEvents, type Events } from '../src/telemetry/events.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';

export type ChunkCommitted = Parameters<Events['chunkCommitted']>[0];

export interface BenchJob {
  readonly db: Database;
  readonly source: Source;
  /** Inclusive, from ledger 1. */
  readonly last: number;
  readonly workers: number;
  /** Hears of every commit; true ends the work. */
  readonly onChunk: (chunk: ChunkCommitted) => boolean;
}

/** Returns when `onChunk` has had enough, with the moment at which the work began. */
export async function runBackfill({ db, source, last, workers, onChunk }: BenchJob): Promise<{ startedMs: number }> {
  const anchor = await source.header(2, AbortSignal.timeout(10_000));
  const { networkPassphrase } = source;
  await db.em().transactional((em) =>
    openStream(em, {
      networkPassphrase,
      anchor,
      sandbox: source.kind === 'sandbox',
      startLedger: 1,
      watchSet: (id) => ensureWatchSet(em, id, WATCH_EVERYTHING),
    }),
  );
  const stop = new AbortController();
  let failure: unknown;
  const log = createLogger({ level: 'info', name: 'bench', secrets: [], destination: { write: () => true } });
  const quiet = createEvents({ log, metrics: createMetrics({ defaults: false }) });
  const events: Events = {
    ...quiet,
    chunkCommitted(chunk) {
      quiet.chunkCommitted(chunk);
      if (onChunk(chunk)) stop.abort();
    },
    // A figure measured over failures would be a figure of the retries.
    sourceReadFailed({ error }) {
      failure ??= error;
      stop.abort();
    },
    unexpectedError({ error }) {
      failure ??= error;
      stop.abort();
    },
  };
  const bell = createBell();
  const sources = [source];
  const watch = WATCH_EVERYTHING;
  const service = createBackfillService({ db, sources, watch, networkPassphrase, sandbox: false, bell, events });
  const call = { stream: null, layer: null, range: { from: 1, to: last + 1 }, source: null, watch: [] };
  const rest = { dryRun: false, reread: false, limits: null, reason: null, planOf: null, requestId: null };
  const caller = { actor: 'bench', role: 'operate' as const, method: 'bench', requestId: '', traceId: null };
  await service.start({ ...call, ...rest }, caller);
  const startedMs = performance.now();
  await runBackfillWorker({ db, sources, holder: 'bench', workers, bell, events }, stop.signal);
  if (failure !== undefined) throw failure instanceof Error ? failure : new Error('the backfill failed');
  return { startedMs };
}
