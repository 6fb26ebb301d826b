// What a reconciliation costs in memory. Goal: the whole service stays below 320 MiB and within 96 MiB of its idle size, the same for ten
// times the rows and when every one differs. Method: `trueup serve` in a process of its own over a database filled by
// generate_series; the kernel's peak of its resident set is set back when it is idle, and read after a run that a client asked for.
// BENCH_RSS_ROWS rows on either side (and a tenth of them, for what that adds).
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { contract, createTrueUpClient, type TrueUpClient } from '../src/client/index.ts';
import { type Database, sql } from '../src/store/database.ts';
import { atMost, type Figure, growthFrom, reported, unmeasured } from './figure.ts';
import { nodeFlagsOfStart } from './node-flags.ts';
import { type BenchServer, startBenchServer } from './server.ts';
import { freePort, untilServing } from './start.ts';

const DEFAULT_ROWS = 200_000;
const TARGET_MIB = 320;
const TARGET_ABOVE_IDLE_MIB = 96;
const TARGET_GROWTH = 1.1;
const UNIT = 'MiB';
const RUN_TIMEOUT_MS = 3_600_000;
const SYNC_TIMEOUT_MS = 300_000;
/** Long enough for what starting left behind to be collected. */
const SETTLE_MS = 5_000;
const BOOK = 'memory';
const ACCOUNT = `G${'A'.repeat(55)}`;
const bin = fileURLToPath(new URL('../src/cli/bin.js', import.meta.url));

interface Measured {
  readonly idleMib: number;
  readonly peakMib: number;
}

export async function reconcileMemoryBench(): Promise<Figure[]> {
  const names = ['rows', 'mib', 'above_idle_mib', 'growth_ratio'].map((name) => `reconcile.service_rss_${name}`);
  if (process.platform !== 'linux')
    return names.map((name) => unmeasured(name, UNIT, 'the peak of a process can be set back on Linux only'));
  const rows = Number(process.env['BENCH_RSS_ROWS'] ?? DEFAULT_ROWS);
  await using server = await startBenchServer();
  const few = await measure(server, Math.ceil(rows / 10), false);
  const many = await measure(server, rows, false);
  const differing = await measure(server, rows, true);
  const all = [few, many, differing];
  return [
    reported(names[0]!, rows, 'rows'),
    atMost(names[1]!, Math.max(...all.map(({ peakMib }) => peakMib)), UNIT, TARGET_MIB),
    atMost(names[2]!, Math.max(...all.map(({ peakMib, idleMib }) => peakMib - idleMib)), UNIT, TARGET_ABOVE_IDLE_MIB),
    growthFrom(names[3]!, Math.max(many.peakMib, differing.peakMib), UNIT, few.peakMib, TARGET_GROWTH),
  ];
}

/** A service of its own, idle and after one run over as many rows. */
async function measure(server: BenchServer, rows: number, allDiffer: boolean): Promise<Measured> {
  await using db = await server.fresh();
  const folder = await mkdtemp(join(tmpdir(), 'trueup-bench-'));
  const config = join(folder, 'trueup.yaml');
  await writeFile(
    config,
    `policies: [{ name: ${BOOK}, level: entries, book: ${BOOK}, schedule: { enabled: false } }]\n`,
  );
  const [grpc, http, metrics] = [await freePort(), await freePort(), await freePort()];
  const child = spawn(process.execPath, [...nodeFlagsOfStart(), bin, 'serve'], {
    cwd: folder,
    env: {
      PATH: process.env['PATH'],
      TRUEUP_SOURCE: 'sandbox',
      TRUEUP_CONFIG: config,
      DATABASE_URL: db.url,
      LEDGER_RECONCILIATION_ENABLED: 'false',
      LOG_LEVEL: 'warn',
      GRPC_BIND: `127.0.0.1:${grpc}`,
      HTTP_BIND: `127.0.0.1:${http}`,
      METRICS_BIND: `127.0.0.1:${metrics}`,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const gone = once(child, 'exit');
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => (words = (words + chunk.toString()).slice(-4_096)));
  const client = createTrueUpClient({ server: `127.0.0.1:${grpc}` });
  try {
    await untilServing(grpc, child, () => words);
    const ledger = await fill(db, rows, allDiffer);
    await untilSynced(client);
    await sleep(SETTLE_MS);
    await writeFile(`/proc/${child.pid}/clear_refs`, '5');
    const idleMib = await peakOf(child.pid!);
    await reconcile(client, ledger, rows, allDiffer);
    return { idleMib, peakMib: await peakOf(child.pid!) };
  } finally {
    client.close();
    child.kill('SIGTERM');
    await gone;
    await rm(folder, { recursive: true, force: true });
  }
}

/** Puts a movement a row into the first ledger that was read, and its row into the book; returns that ledger. */
async function fill(db: Database, rows: number, allDiffer: boolean): Promise<number> {
  const em = db.em();
  const first = `(select stream_id, layer, from_ledger, last_closed_at, source_id from trueup.coverage_chunks
    where layer = 0 and state = 'done' order by from_ledger limit 1)`;
  for (let waited = 0; (await sql(em, first)).length === 0; waited++) {
    if (waited === 600) throw new Error('the sandbox was not followed within a minute');
    await sleep(100);
  }
  const key = `encode(sha256(n::text::bytea), 'hex')`;
  await sql(
    em,
    `insert into trueup.entries (stream_id, layer, ledger, tx_index, op_index, leg, tx_hash, account, asset, amount, kind,
       failed, closed_at, source_id)
     select stream_id, 0, from_ledger, 100000 + n, 1, 0, decode(${key}, 'hex'), $2, 'native', n, 'payment', false,
       last_closed_at, source_id
     from ${first} as chunk, generate_series(1, $1::int) as n`,
    [rows, ACCOUNT],
  );
  await sql(em, `insert into trueup.books (name, complete_through) values ($1, now() + interval '1 day')`, [BOOK]);
  const [chunk] = await sql<{ from_ledger: number }>(
    em,
    `with chunk as ${first}, inserted as (
       insert into trueup.book_entries (book_id, row_id, revision, key, account, asset, amount, status, occurred_at, ledger)
       select book.id, n::text, 1, ${key}, $2, 'native', n + $3, 'completed', last_closed_at, from_ledger
       from chunk, trueup.books as book, generate_series(1, $1::int) as n where book.name = $4)
     select from_ledger from chunk`,
    [rows, ACCOUNT, allDiffer ? 1 : 0, BOOK],
  );
  await sql(em, 'analyze trueup.entries, trueup.book_entries');
  return chunk!.from_ledger;
}

/** One run over the ledger; refuses one that didn't compare every row. */
async function reconcile(client: TrueUpClient, ledger: number, rows: number, allDiffer: boolean): Promise<void> {
  const { reconciliation } = await client.reconciliation.startReconciliation({
    policy: BOOK,
    requestId: randomUUID(),
    range: { fromLedger: ledger, toLedger: ledger },
  });
  const { id } = reconciliation!;
  const deadlineMs = performance.now() + RUN_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    const { reconciliation: run } = await client.reconciliation.getReconciliation({ reconciliationId: id });
    if (run!.state === contract.ReconciliationState.SUCCEEDED) {
      const found = Number(allDiffer ? run!.counts!.driftedCount : run!.counts!.matchedCount);
      if (found < rows)
        throw new Error(`the run says ${found} of ${rows} rows: ${JSON.stringify(run!.inconclusiveReasons)}`);
      return;
    }
    if (run!.state === contract.ReconciliationState.FAILED) throw new Error(`the run failed: ${run!.error?.message}`);
    await sleep(200);
  }
  throw new Error('the run took more than an hour');
}

/** Catching up is the follower's memory, not the run's. */
async function untilSynced(client: TrueUpClient): Promise<void> {
  const deadlineMs = performance.now() + SYNC_TIMEOUT_MS;
  for (;;) {
    const { streams } = await client.health.getStatus({});
    if (streams[0]?.syncStatus === contract.SyncStatus.SYNCED) return;
    if (performance.now() > deadlineMs) throw new Error('the sandbox was not followed to its tip in time');
    await sleep(200);
  }
}

async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) / 1024;
}
