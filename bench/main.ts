// `npm run bench -- [--json] [--only PREFIX]`: what TrueUp does on this machine, and how near that is to what the machine can do.
//
// A line a figure. The exit code is 1 when one of them was measured and missed its target.
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { type Figure, table } from './figure.ts';
import { closeServers } from './server.ts';

interface Bench {
  /** The figures it gives; `--only` selects among them. */
  readonly figures: readonly string[];
  run(): Promise<Figure[]>;
}

/** Modules are loaded when their turn comes, so that none costs another memory or time. */
const BENCHES: readonly Bench[] = [
  {
    figures: [
      'house.follower_ledgers_per_second',
      'house.follower_decode_ledgers_per_second',
      'house.follower_write_rows_per_second',
    ],
    run: async () => (await import('./follower.ts')).followerBench(),
  },
  {
    figures: ['house.write_ceiling_ratio'],
    run: async () => (await import('./write-ceiling.ts')).writeCeilingBench(),
  },
  {
    figures: ['house.rpc_unary_ratio'],
    run: async () => (await import('./rpc.ts')).rpcBench(),
  },
  {
    figures: ['house.start_to_serving_ms'],
    run: async () => (await import('./start.ts')).startBench(),
  },
  {
    figures: ['reconcile.join_pairs_per_second'],
    run: async () => (await import('./join.ts')).joinBench(),
  },
  {
    figures: ['house.follower_rss_mib', 'house.follower_rss_growth_ratio'],
    run: async () => (await import('./memory.ts')).memoryBench(),
  },
  {
    figures: [
      'reconcile.service_rss_rows',
      'reconcile.service_rss_mib',
      'reconcile.service_rss_above_idle_mib',
      'reconcile.service_rss_growth_ratio',
    ],
    run: async () => (await import('./reconcile-memory.ts')).reconcileMemoryBench(),
  },
  {
    figures: ['reconcile.sql_equal_ratio', 'reconcile.sql_one_percent_ratio'],
    run: async () => (await import('./sql-digest.ts')).sqlDigestBench(),
  },
  {
    figures: ['reconcile.sql_file_ratio'],
    run: async () => (await import('./sql-file.ts')).sqlFileBench(),
  },
  {
    figures: ['reconcile.sealed_recheck_ms'],
    run: async () => (await import('./sealed.ts')).sealedBench(),
  },
  {
    figures: [
      'backfill.list_gaps_ms',
      'backfill.list_gaps_later_page_ms',
      'backfill.list_gaps_watches_later_page_ms',
      'backfill.list_gaps_watches_ms',
    ],
    run: async () => (await import('./gaps.ts')).gapsBench(),
  },
  {
    figures: [
      'reconcile.list_drifts_p99_ms',
      'reconcile.list_drifts_p50_ms',
      'reconcile.stream_drifts_rss_mib',
      'reconcile.stream_drifts_per_second',
    ],
    run: async () => (await import('./drifts.ts')).driftsBench(),
  },
  {
    figures: ['manifest.csv_rows_per_second'],
    run: async () => (await import('./exports.ts')).exportBench(),
  },
  {
    figures: ['backfill.write_ceiling_ratio', 'backfill.flat_ratio', 'backfill.decode_rows_per_second'],
    run: async () => (await import('./backfill.ts')).backfillBench(),
  },
  {
    figures: ['backfill.workers_speedup'],
    run: async () => (await import('./backfill-workers.ts')).backfillWorkersBench(),
  },
  {
    figures: ['backfill.worker_rss_mib'],
    run: async () => (await import('./backfill-memory.ts')).backfillMemoryBench(),
  },
  {
    figures: ['manifest.verify_openssl_ratio', 'manifest.verify_rss_mib'],
    run: async () => (await import('./manifest.ts')).offlineBench(),
  },
  {
    figures: ['manifest.inclusion_proof_ms', 'manifest.inclusion_proof_hashes', 'manifest.inclusion_proof_slowest_ms'],
    run: async () => (await import('./manifest.ts')).inclusionBench(),
  },
  {
    figures: ['manifest.chain_seconds'],
    run: async () => (await import('./manifest.ts')).chainBench(),
  },
  {
    figures: ['payments.sampler_rows', 'payments.sampler_query_ms'],
    run: async () => (await import('./payments.ts')).samplerBench(),
  },
];

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
  });
  const wanted = (name: string): boolean => name.startsWith(values.only);
  const chosen = BENCHES.filter((bench) => bench.figures.some(wanted));
  if (chosen.length === 0) {
    console.error(`no figure begins with ${values.only}; there are ${BENCHES.flatMap((b) => b.figures).join(', ')}`);
    return 2;
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop(signal));
  // Figures in seconds are true for an idle machine only; whoever reads a missed one should know what else was running.
  console.error(`load ${loadavg()[0]!.toFixed(1)} on ${availableParallelism()} cores before anything was measured`);
  const all: Figure[] = [];
  for (const bench of chosen) {
    const figures = (await bench.run()).filter((figure) => wanted(figure.name));
    all.push(...figures);
    if (values.json) for (const figure of figures) console.log(JSON.stringify(figure));
  }
  if (!values.json) console.log(table(all));
  return all.some((figure) => figure.holds === false) ? 1 : 0;
}

/** A database server outlives its parent by design, so an interrupted run ends its own before it goes. */
async function stop(signal: NodeJS.Signals): Promise<void> {
  await closeServers();
  process.kill(process.pid, signal);
}
