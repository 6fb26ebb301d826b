// What our writing costs beside the rows themselves. Goal: entries, coverage, checkpoint and lease in one transaction take at least
// half the rows a second that the bare driver inserts into the same tables. Method: the recorded testnet decoded once; each
// batch committed as the follower does, against begin, one UNNEST insert of the same rows into the same table with the same
// indexes, commit; rounds interleaved, each into a database of its own, medians compared.
import type { LedgerBatch } from '../src/core/ledger.ts';
import { WATCH_EVERYTHING } from '../src/core/watch.ts';
import { commitBatch } from '../src/store/coverage.ts';
import type { Database } from '../src/store/database.ts';
import { assertLease, claimLease } from '../src/store/leases.ts';
import { advanceFollower, ensureSource, ensureWatchSet, openStream } from '../src/store/streams.ts';
import { type Columns, columnsOf, openBareWriter, rowCount } from './bare-writer.ts';
import { type Figure, median, shareOf, unmeasured } from './figure.ts';
import { startBenchServer } from './server.ts';
import { hasTestnet, readTestnet, TESTNET_ABSENT, TESTNET_PASSPHRASE } from './testnet.ts';

const NAME = 'house.write_ceiling_ratio';
const UNIT = 'rows/s';
const ROUNDS = 7;
const TARGET_RATIO = 0.5;
const LEASE_TTL_MS = 60_000;

export async function writeCeilingBench(): Promise<Figure[]> {
  if (!hasTestnet) return [unmeasured(NAME, UNIT, TESTNET_ABSENT)];
  await using server = await startBenchServer();
  const batches = await readTestnet();
  const tables = batches.map(columnsOf);
  const rows = batches.reduce((sum, batch) => sum + rowCount(batch), 0);
  const rates = { ours: [] as number[], bare: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    // Turn about, so that neither is always measured in the other's wake.
    for (const side of round % 2 === 0 ? (['ours', 'bare'] as const) : (['bare', 'ours'] as const)) {
      await using db = await server.fresh();
      const ms = side === 'ours' ? await writeOurs(db, batches) : await writeBare(db.url, tables);
      rates[side].push(rows / (ms / 1_000));
    }
  }
  return [shareOf(NAME, median(rates.ours), UNIT, median(rates.bare), TARGET_RATIO)];
}

/** As services/follower.ts stores a batch; milliseconds. */
async function writeOurs(db: Database, batches: readonly LedgerBatch[]): Promise<number> {
  const watch = WATCH_EVERYTHING;
  const first = batches[0]!;
  const [streamId, target] = await db.em().transactional(async (em) => {
    const stream = await openStream(em, {
      networkPassphrase: TESTNET_PASSPHRASE,
      anchor: first.last,
      sandbox: false,
      startLedger: first.range.from,
      watchSet: (id) => ensureWatchSet(em, id, watch),
    });
    const watchSetId = await ensureWatchSet(em, stream.id, watch);
    return [stream.id, { streamId: stream.id, watch, watchSetId, sourceId: await ensureSource(em, 'bench') }] as const;
  });
  const token = await claimLease(db.em(), 'bench', 'bench', LEASE_TTL_MS);
  const startedMs = performance.now();
  for (const batch of batches) {
    await db.em().transactional(async (em) => {
      const { newLedgers } = await commitBatch(em, target, batch);
      const { watchSetId } = target;
      await advanceFollower(em, streamId, { nextLedger: batch.range.to, last: batch.last, newLedgers, watchSetId });
      await assertLease(em, 'bench', token!, LEASE_TTL_MS);
    });
  }
  return performance.now() - startedMs;
}

async function writeBare(url: string, tables: readonly Columns[]): Promise<number> {
  await using writer = await openBareWriter(url);
  const startedMs = performance.now();
  for (const columns of tables) await writer.write(columns);
  return performance.now() - startedMs;
}
