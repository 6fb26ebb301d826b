// What a call costs at the door. Goal: the chain (observe, authorize, validate, deadline) leaves a unary call at least 70 % of the
// rate that a bare @grpc/grpc-js server reaches in the same run. Method: ListPolicies with one policy in memory through the
// whole chain, with tokens and with the real telemetry, against an echo of the same response by a server that does nothing else;
// each server in a process of its own, one client with a fixed number of calls under way, rounds interleaved, medians compared.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { Figure } from './figure.ts';

const ROUNDS = 7;
const CALLS_PER_ROUND = 3_000;
const WARM_UP_CALLS = 4_000;
const CONCURRENCY = 32;
const TARGET_RATIO = 0.7;
const PATH = '/trueup.v1.ReconciliationService/ListPolicies';

/** `house.rpc_unary_ratio`: calls per second through the chain, and its share of the bare server's. */
export async function rpcBench(): Promise<Figure[]> {
  await using chain = await start('chain');
  await using bare = await start('bare');
  await callMany(chain, WARM_UP_CALLS);
  await callMany(bare, WARM_UP_CALLS);
  const rates = { chain: [] as number[], bare: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    // Turn about, so that neither is always measured in the other's wake.
    for (const server of round % 2 === 0 ? [chain, bare] : [bare, chain]) {
      const startedAt = performance.now();
      await callMany(server, CALLS_PER_ROUND);
      rates[server.name].push(CALLS_PER_ROUND / ((performance.now() - startedAt) / 1_000));
    }
  }
  const value = Math.round(median(rates.chain));
  const limit = Math.round(median(rates.bare));
  const ratio = Number((value / limit).toFixed(3));
  return [
    {
      name: 'house.rpc_unary_ratio',
      value,
      unit: 'calls/s',
      limit,
      ratio,
      target: TARGET_RATIO,
      holds: ratio >= TARGET_RATIO,
    },
  ];
}

interface Server extends AsyncDisposable {
  readonly name: 'chain' | 'bare';
  readonly client: Client;
  readonly metadata: Metadata;
}

async function start(name: 'chain' | 'bare'): Promise<Server> {
  const child: ChildProcess = fork(new URL('./rpc-server.ts', import.meta.url), [name], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const [message] = (await once(child, 'message')) as [{ port: number; token: string }];
  const client = new Client(`127.0.0.1:${message.port}`, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${message.token}`);
  return {
    name,
    client,
    metadata,
    async [Symbol.asyncDispose]() {
      client.close();
      const gone = once(child, 'exit');
      child.disconnect();
      await gone;
    },
  };
}

async function callMany(server: Server, count: number): Promise<void> {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await callOnce(server);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
}

const identity = (bytes: Buffer): Buffer => bytes;
const EMPTY = Buffer.alloc(0);

function callOnce({ client, metadata }: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(PATH, identity, identity, EMPTY, metadata, (error, bytes) => {
      if (error) reject(error);
      else if (bytes === undefined || bytes.length === 0) reject(new Error('an empty answer'));
      else resolve();
    });
  });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

if (import.meta.main) console.log(await rpcBench());
