// What following costs in memory. Goal: a process that follows 200,000 ledgers stays below 350 MiB and doesn't grow. Method: the
// real follower over the sandbox in a process of its own, as fast as it goes; its resident set is read at every commit: the
// peak, and the mean of the second half against that of the second quarter, when everything is warm.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { atMost, type Figure, growthFrom } from './figure.ts';
import { nodeFlagsOfStart } from './node-flags.ts';
import { startBenchServer } from './server.ts';

const LEDGERS = 200_000;
const TARGET_MIB = 350;
const TARGET_GROWTH = 1.1;
const UNIT = 'MiB';

export interface MemoryReport {
  readonly peakMib: number;
  readonly secondQuarterMib: number;
  readonly secondHalfMib: number;
}

export async function memoryBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  await using db = await server.fresh();
  const child = fork(new URL('./memory-follower.ts', import.meta.url), [db.url, String(LEDGERS)], {
    execArgv: nodeFlagsOfStart(),
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');
  // A child that dies says so by its exit code; waiting for its message alone would wait for ever.
  const [report] = (await Promise.race([once(child, 'message'), exited.then(([code]) => [code])])) as [unknown];
  if (typeof report !== 'object') throw new Error(`the follower's process ended with code ${String(report)}`);
  await exited;
  const { peakMib, secondQuarterMib, secondHalfMib } = report as MemoryReport;
  return [
    atMost('house.follower_rss_mib', peakMib, UNIT, TARGET_MIB),
    growthFrom('house.follower_rss_growth_ratio', secondHalfMib, UNIT, secondQuarterMib, TARGET_GROWTH),
  ];
}
