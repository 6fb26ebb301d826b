// How soon TrueUp serves. Goal: from the command to gRPC health SERVING in at most 3 seconds, with the database's folder already there.
// Method: `trueup serve` over the sandbox in a process of its own; one start makes the folder, the next ones are measured; the median.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, credentials } from '@grpc/grpc-js';
import { atMost, type Figure, median } from './figure.ts';
import { nodeFlagsOfStart } from './node-flags.ts';

const ROUNDS = 5;
const TARGET_MS = 3_000;
const START_TIMEOUT_MS = 60_000;
const ASK_EVERY_MS = 25;
const HEALTH_PATH = '/grpc.health.v1.Health/Check';
/** HealthCheckResponse{status: SERVING}. */
const SERVING = Buffer.from([0x08, 0x01]);
const bin = fileURLToPath(new URL('../src/cli/bin.js', import.meta.url));

export async function startBench(): Promise<Figure[]> {
  const dataDir = await mkdtemp(join(tmpdir(), 'trueup-bench-'));
  try {
    await startOnce(dataDir);
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) times.push(await startOnce(dataDir));
    return [atMost('house.start_to_serving_ms', median(times), 'ms', TARGET_MS)];
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Milliseconds from the command to SERVING; the process is stopped and gone afterwards. */
async function startOnce(dataDir: string): Promise<number> {
  const [grpc, http, metrics] = [await freePort(), await freePort(), await freePort()];
  const startedMs = performance.now();
  const child = spawn(process.execPath, [...nodeFlagsOfStart(), bin, 'serve'], {
    cwd: dataDir,
    env: {
      PATH: process.env['PATH'],
      TRUEUP_DATA_DIR: dataDir,
      TRUEUP_SOURCE: 'sandbox',
      GRPC_BIND: `127.0.0.1:${grpc}`,
      HTTP_BIND: `127.0.0.1:${http}`,
      METRICS_BIND: `127.0.0.1:${metrics}`,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const gone = once(child, 'exit');
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => (words = (words + chunk.toString()).slice(-4_096)));
  try {
    await untilServing(grpc, child, () => words);
    return performance.now() - startedMs;
  } finally {
    child.kill('SIGTERM');
    await gone;
  }
}

/** Waits until gRPC health says SERVING, or fails with the process's last words. */
export async function untilServing(port: number, child: ChildProcess, words: () => string): Promise<void> {
  const deadlineMs = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    if (child.exitCode !== null) break;
    // A client a try: one whose first try was refused waits a second before the next.
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
    try {
      if (await isServing(client)) return;
    } finally {
      client.close();
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
  throw new Error(`trueup serve didn't come up; its last words: ${words()}`);
}

function isServing(client: Client): Promise<boolean> {
  const identity = (bytes: Buffer): Buffer => bytes;
  return new Promise((resolve) => {
    client.makeUnaryRequest(HEALTH_PATH, identity, identity, Buffer.alloc(0), (_error, bytes) => {
      resolve(bytes !== undefined && SERVING.equals(bytes));
    });
  });
}

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
