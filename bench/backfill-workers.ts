// What more workers bring. Goal: four take a source that answers after 50 ms three times as fast as one. Method: the real worker of one process with
// one share and with four at once, over made-up ledgers with a row each, for the same number of ledgers; medians of rounds.
import { setTimeout as sleep } from 'node:timers/promises';
import { runBackfill } from './backfill-job.ts';
import { atLeast, type Figure, median, unmeasured } from './figure.ts';
import { type BenchServer, startBenchServer } from './server.ts';
import { shiftedBatches } from './shifted.ts';
import { hasTestnet, readTestnet, TESTNET_ABSENT } from './testnet.ts';
import type { Source } from '../src/sources/source.ts';

const NAME = 'backfill.workers_speedup';
const ROUNDS = 3;
const LATENCY_MS = 50;
const LEDGERS = 8_192;
/** Small answers: it is the waiting that is shared out. */
const SPAN_LEDGERS = 16;
const TARGET = 3;

export async function backfillWorkersBench(): Promise<Figure[]> {
  if (!hasTestnet) return [unmeasured(NAME, 'times', TESTNET_ABSENT)];
  await using server = await startBenchServer();
  const source = late(
    shiftedBatches(
      (await readTestnet()).map((batch) => ({
        ...batch,
        records: batch.records.map((record) => ({ ...record, entries: record.entries.slice(0, 1) })),
      })),
      SPAN_LEDGERS,
    ),
  );
  const speedups: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const one = await ledgersPerSecond(server, source, 1);
    speedups.push((await ledgersPerSecond(server, source, 4)) / one);
  }
  return [atLeast(NAME, median(speedups), 'times', TARGET)];
}

function late(source: Source): Source {
  return {
    ...source,
    async read(request, signal) {
      await sleep(LATENCY_MS, undefined, { signal });
      return source.read(request, signal);
    },
  };
}

async function ledgersPerSecond(server: BenchServer, source: Source, workers: number): Promise<number> {
  await using db = await server.fresh();
  let [left, endedMs] = [LEDGERS, 0];
  const { startedMs } = await runBackfill({
    ...{ db, source, last: LEDGERS, workers },
    onChunk({ range }) {
      left -= range.to - range.from;
      endedMs = performance.now();
      return left === 0;
    },
  });
  return LEDGERS / ((endedMs - startedMs) / 1_000);
}
