// What a backfill costs in memory. Goal: a process with its two shares in hand stays below 350 MiB. Method: the real worker over the recorded
// testnet, fetched and decoded again and again, in a process of its own; the kernel's own peak of its resident set.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { atMost, type Figure, unmeasured } from './figure.ts';
import { nodeFlagsOfStart } from './node-flags.ts';
import { startBenchServer } from './server.ts';
import { hasTestnet, TESTNET_ABSENT } from './testnet.ts';

const NAME = 'backfill.worker_rss_mib';
const LEDGERS = 20_480;
const TARGET_MIB = 350;

export async function backfillMemoryBench(): Promise<Figure[]> {
  if (!hasTestnet) return [unmeasured(NAME, 'MiB', TESTNET_ABSENT)];
  await using server = await startBenchServer();
  await using db = await server.fresh();
  const child = fork(new URL('./memory-backfill.ts', import.meta.url), [db.url, String(LEDGERS)], {
    execArgv: nodeFlagsOfStart(),
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');
  // A child that dies says so by its exit code; waiting for its message alone would wait for ever.
  const [peakMib] = (await Promise.race([once(child, 'message'), exited])) as [unknown];
  if (typeof peakMib !== 'number' || peakMib < 10)
    throw new Error(`the worker's process ended with ${String(peakMib)}`);
  await exited;
  return [atMost(NAME, peakMib, 'MiB', TARGET_MIB)];
}
