// What a call costs at the door. Goal: with the chain (observe, authorize, validate, deadline) before a trivial handler, a unary call
// still runs at 70 % or more of the rate of a bare @grpc/grpc-js server, measured in the same run. Method: ListPolicies of a
// house without policies, with tokens and the real log and metrics, against a server that answers the same bytes and does nothing else;
// each server in a process of its own, one client with a fixed number of calls under way, rounds interleaved, medians compared.
// The rate is of calls per second of processor time, the server's and the client's together: what else the machine
// does meanwhile moves the clock on the wall, and not this one.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { type Figure, median, shareOf } from './figure.ts';

const ROUNDS = 15;
const CALLS_PER_ROUND = 1_500;
const WARM_UP_CALLS = 10_000;
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
      const before = await cpuSeconds(server);
      await callMany(server, CALLS_PER_ROUND);
      rates[server.name].push(CALLS_PER_ROUND / ((await cpuSeconds(server)) - before));
    }
  }
  return [
    shareOf('house.rpc_unary_ratio', Math.round(median(rates.chain)), 'calls/cpu-s', median(rates.bare), TARGET_RATIO),
  ];
}

interface Server extends AsyncDisposable {
  readonly name: 'chain' | 'bare';
  readonly child: ChildProcess;
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
    child,
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

/** Processor time of the server and of this process so far. */
async function cpuSeconds({ child }: Server): Promise<number> {
  child.send('cpu');
  const [server] = (await once(child, 'message')) as [number];
  const { user, system } = process.cpuUsage();
  return (server + user + system) / 1e6;
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
      else if (bytes === undefined) reject(new Error('no answer'));
      else resolve();
    });
  });
}

if (import.meta.main) console.log(await rpcBench());
