// How fast a backfill writes. Goal: with decoded input, rows, coverage, checkpoint and lease take at least 0.70 of the rows a second that the
// bare driver writes with a checkpoint, in the same pieces; and it is as fast at the end of five minutes as at their beginning, as far as
// the bare driver is. Method: the real worker over the recorded testnet, shifted on and on; the pieces that it committed are then written
// bare, each into a database of its own. Decoding is measured apart.
import { hasTestnet, readTestnet, TESTNET_ABSENT } from './testnet.ts';
import type { LedgerBatch, LedgerRange } from '../src/core/ledger.ts';
import { joinBatches, nextRead } from '../src/core/follow.ts';
import { WATCH_EVERYTHING } from '../src/core/watch.ts';
import type { Source } from '../src/sources/source.ts';
import { columnsOf, openBareWriter, rowCount } from './bare-writer.ts';
import { runBackfill } from './backfill-job.ts';
import { atLeast, type Figure, median, reported, shareOf, unmeasured } from './figure.ts';
import { type BenchServer, startBenchServer } from './server.ts';
import { shiftedBatches } from './shifted.ts';

const CEILING = 'backfill.write_ceiling_ratio';
const FLAT = 'backfill.flat_ratio';
const DECODE = 'backfill.decode_rows_per_second';
const UNIT = 'rows/s';
const ROUNDS = 5;
/** Four times the recorded ledgers: long enough for the size of the pieces to settle, short enough to be kept decoded. */
const LEDGERS = 4 * 4_096;
const TARGET_RATIO = 0.7;
const TARGET_FLAT = 0.95;

export async function backfillBench(): Promise<Figure[]> {
  if (!hasTestnet) return [CEILING, FLAT, DECODE].map((name) => unmeasured(name, UNIT, TESTNET_ABSENT));
  await using server = await startBenchServer();
  const startedMs = performance.now();
  const recorded = await readTestnet();
  const decodeMs = performance.now() - startedMs;
  const rows = recorded.reduce((sum, batch) => sum + rowCount(batch), 0);
  return [
    await ceiling(server, recorded),
    await flat(server, recorded),
    reported(DECODE, rows / (decodeMs / 1_000), UNIT),
  ];
}

async function ceiling(server: BenchServer, recorded: readonly LedgerBatch[]): Promise<Figure> {
  const source = keptInMemory(shiftedBatches(recorded));
  await readRange(source, { from: 1, to: LEDGERS + 1 });
  const rates = { ours: [] as number[], bare: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    const { pieces, rowsPerSecond } = await writeOurs(server, source);
    rates.ours.push(rowsPerSecond);
    rates.bare.push(await writeBare(server, source, pieces));
  }
  return shareOf(CEILING, median(rates.ours), UNIT, median(rates.bare), TARGET_RATIO);
}

async function writeOurs(
  server: BenchServer,
  source: Source,
): Promise<{ pieces: LedgerRange[]; rowsPerSecond: number }> {
  await using db = await server.fresh();
  const pieces: LedgerRange[] = [];
  let [rows, left, endedMs] = [0, LEDGERS, 0];
  const { startedMs } = await runBackfill({
    ...{ db, source, last: LEDGERS, workers: 1 },
    onChunk({ range, entries }) {
      pieces.push(range);
      rows += entries.operations ?? 0;
      left -= range.to - range.from;
      endedMs = performance.now();
      return left === 0;
    },
  });
  return { pieces, rowsPerSecond: rows / ((endedMs - startedMs) / 1_000) };
}

async function writeBare(server: BenchServer, source: Source, pieces: readonly LedgerRange[]): Promise<number> {
  await using db = await server.fresh();
  await using writer = await openBareWriter(db.url);
  let [rows, writingMs] = [0, 0];
  for (const piece of pieces) {
    const batch = await readRange(source, piece);
    const columns = columnsOf(batch);
    rows += rowCount(batch);
    const startedMs = performance.now();
    await writer.write(columns, piece.to - 1);
    writingMs += performance.now() - startedMs;
  }
  return rows / (writingMs / 1_000);
}

/** The last tenth of the time against the first one, ours as a share of the bare driver's. */
async function flat(server: BenchServer, recorded: readonly LedgerBatch[]): Promise<Figure> {
  const seconds = Number(process.env['BENCH_SECONDS'] ?? 300);
  const source = shiftedBatches(recorded);
  const ours: Commit[] = [];
  {
    await using db = await server.fresh();
    let startedMs = performance.now();
    await runBackfill({
      ...{ db, source, last: 50_000_000, workers: 1 },
      onChunk({ entries }) {
        if (ours.length === 0) startedMs = performance.now();
        ours.push({ atMs: performance.now() - startedMs, rows: entries.operations ?? 0 });
        return performance.now() - startedMs > seconds * 1_000;
      },
    });
  }
  const bare: Commit[] = [];
  await using db = await server.fresh();
  await using writer = await openBareWriter(db.url);
  for (let [at, startedMs] = [1, performance.now()]; performance.now() - startedMs < seconds * 1_000;) {
    const batch = await readRange(source, { from: at, to: at + 1_024 });
    await writer.write(columnsOf(batch), at);
    bare.push({ atMs: performance.now() - startedMs, rows: rowCount(batch) });
    at += 1_024;
  }
  return atLeast(FLAT, lastToFirst(ours, seconds) / lastToFirst(bare, seconds), 'ratio', TARGET_FLAT);
}

interface Commit {
  readonly atMs: number;
  readonly rows: number;
}

function lastToFirst(commits: readonly Commit[], seconds: number): number {
  const tenthMs = seconds * 100;
  const rowsIn = (fromMs: number): number =>
    commits.reduce((sum, { atMs, rows }) => sum + (atMs >= fromMs && atMs < fromMs + tenthMs ? rows : 0), 0);
  return rowsIn(seconds * 900) / rowsIn(0);
}

async function readRange(source: Source, range: LedgerRange): Promise<LedgerBatch> {
  const parts: LedgerBatch[] = [];
  for (let from = range.from; from < range.to; from = parts.at(-1)!.range.to) {
    const span = nextRead(from, range.to - 1, null, source.maxSpanLedgers)!;
    const request = { range: span, layers: source.layers, watch: WATCH_EVERYTHING };
    parts.push(await source.read(request, AbortSignal.timeout(60_000)));
  }
  return joinBatches(parts);
}

/** Decoded once, whatever is measured then. */
function keptInMemory(source: Source): Source {
  const kept = new Map<string, LedgerBatch>();
  return {
    ...source,
    async read(request, signal) {
      const key = `${request.range.from}-${request.range.to}`;
      const batch = kept.get(key) ?? (await source.read(request, signal));
      kept.set(key, batch);
      return batch;
    },
  };
}
