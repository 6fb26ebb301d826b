// Backfills over a network in memory: the service and workers as the composition root would build them, and what they have stored.
import { expect } from 'vitest';
import { isFinalState, type Backfill } from '../../src/core/backfill.ts';
import type { LedgerRange } from '../../src/core/ledger.ts';
import { WATCH_EVERYTHING, type Watch } from '../../src/core/watch.ts';
import { createBackfillService, type StartBackfillCall } from '../../src/services/backfill.ts';
import { runBackfillWorker, type BackfillWorkerOptions } from '../../src/services/backfill-worker.ts';
import { createBell } from '../../src/services/bell.ts';
import type { Source } from '../../src/sources/source.ts';
import { sql, type Database } from '../../src/store/database.ts';
import { eventually } from './eventually.ts';
import { openTestStream, type OpenedStream } from './ledger-rows.ts';
import { quietEvents, testCaller } from './services.ts';

export interface BackfillHouse {
  readonly opened: OpenedStream;
  readonly service: ReturnType<typeof createBackfillService>;
  /** From `range.from` to `range.to`, half-open, everything else as unset. */
  start(range: LedgerRange, more?: Partial<StartBackfillCall>): Promise<Backfill>;
  /** A worker process's loop, in this process. */
  work(more?: Partial<BackfillWorkerOptions>): { end(): Promise<void> };
  ended(id: string): Promise<Backfill>;
  reaches(id: string, state: Backfill['state']): Promise<Backfill>;
  /** Starts it, works on it to its end, and lets the workers go. */
  run(range: LedgerRange, more?: Partial<StartBackfillCall>): Promise<Backfill>;
}

/** Of a busy machine. */
const GENEROUS_MS = 150_000;

export const rangeCall = (range: LedgerRange, more: Partial<StartBackfillCall> = {}): StartBackfillCall => ({
  stream: null,
  layer: null,
  range,
  source: null,
  watch: [],
  dryRun: false,
  reread: false,
  limits: null,
  reason: null,
  planOf: null,
  requestId: null,
  ...more,
});

/** A stream of the source's network of which nothing is read yet, and the service that fills it. */
export async function openBackfills(
  db: Database,
  source: Source,
  options: { watch?: Watch } = {},
): Promise<BackfillHouse> {
  const watch = options.watch ?? WATCH_EVERYTHING;
  const opened = await openTestStream(db, { passphrase: source.networkPassphrase, watch });
  // The source's own anchor, so that a follower may go on with the stream.
  const anchor = await source.header(opened.stream.anchorLedger, new AbortController().signal);
  await sql(db.em(), 'update trueup.streams set epoch = $2 where id = $1', [opened.stream.id, anchor.hash]);
  const bell = createBell();
  const { events } = quietEvents();
  const service = createBackfillService({
    db,
    sources: [source],
    watch,
    networkPassphrase: source.networkPassphrase,
    sandbox: false,
    bell,
    events,
  });
  const house: BackfillHouse = {
    opened,
    service,
    start: (range, more) => service.start(rangeCall(range, more), testCaller),
    work(more = {}) {
      const stop = new AbortController();
      const options = { db, sources: [source], holder: 'test', workers: 2, events, bell, ...more };
      const done = runBackfillWorker(options, stop.signal);
      return {
        async end() {
          stop.abort();
          await done;
        },
      };
    },
    async ended(id) {
      await eventually(async () => expect(isFinalState((await service.get(id)).state)).toBe(true), GENEROUS_MS);
      return service.get(id);
    },
    async reaches(id, state) {
      await eventually(async () => expect((await service.get(id)).state).toBe(state), GENEROUS_MS);
      return service.get(id);
    },
    async run(range, more) {
      const { id } = await house.start(range, more);
      const worker = house.work();
      try {
        return await house.ended(id);
      } finally {
        await worker.end();
      }
    },
  };
  return house;
}

/** Everything a stream holds, for comparing two ways of filling it. */
export async function pictureOf(db: Database, streamId: number) {
  const rows = async (text: string) => sql(db.em(), text, [streamId]);
  return {
    entries: await rows(
      `select layer, ledger, tx_index, op_index, leg, encode(tx_hash, 'hex') as tx_hash, account, asset, amount::text, kind, counterparty,
         failed, result_code, sub_account, sub_account_type, closed_at
       from trueup.entries where stream_id = $1 order by layer, ledger, tx_index, op_index, leg`,
    ),
    chunks: await rows(
      `select layer, from_ledger, to_ledger, state, proof, first_prev_hash, last_hash, last_closed_at, entry_count, tx_count,
         digest_sum1::text, digest_sum2::text, sealed
       from trueup.coverage_chunks where stream_id = $1 order by layer, from_ledger`,
    ),
    islands: await rows(
      `select layer, from_ledger, to_ledger, state from trueup.coverage_islands where stream_id = $1 order by layer, from_ledger`,
    ),
  };
}
