// What a call costs at the door. Goal: with the chain (observe, authorize, validate, deadline) before a trivial handler, a unary call
// still runs at 70 % or more of the rate of a bare @grpc/grpc-js server, measured in the same run. Method: ListPolicies of a
// house without policies, with tokens and the real log and metrics, against a server that answers the same bytes and does nothing else;
// each server in a process of its own, medians of rounds. Every worker of the client calls the one server, then the other, so whatever else
// the machine does meanwhile meets both alike; and the rate is of calls per second of processor time, the server's and its
// half of the client's, because the clock on the wall counts the others' work too.
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { type Figure, median, shareOf } from './figure.ts';

const ROUNDS = 15;
const CALLS_PER_ROUND = 2_000;
const WARM_UP_CALLS = 10_000;
const CONCURRENCY = 32;
const TARGET_RATIO = 0.7;
const PATH = '/trueup.v1.ReconciliationService/ListPolicies';

/** `house.rpc_unary_ratio`: calls per second through the chain, and its share of the bare server's. */
export async function rpcBench(): Promise<Figure[]> {
  await using chain = await start('chain');
  await using bare = await start('bare');
  await callBoth(chain, bare, WARM_UP_CALLS);
  const rates = { chain: [] as number[], bare: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    const before = await cpuSeconds(chain, bare);
    await callBoth(chain, bare, CALLS_PER_ROUND);
    const after = await cpuSeconds(chain, bare);
    const client = (after.client - before.client) / 2;
    rates.chain.push(CALLS_PER_ROUND / (after.chain - before.chain + client));
    rates.bare.push(CALLS_PER_ROUND / (after.bare - before.bare + client));
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

/** Processor time so far of both servers and of this process. */
async function cpuSeconds(chain: Server, bare: Server): Promise<{ chain: number; bare: number; client: number }> {
  const of = async ({ child }: Server): Promise<number> => {
    child.send('cpu');
    const [microseconds] = (await once(child, 'message')) as [number];
    return microseconds / 1e6;
  };
  const { user, system } = process.cpuUsage();
  return { chain: await of(chain), bare: await of(bare), client: (user + system) / 1e6 };
}

/** `count` calls of each. */
async function callBoth(chain: Server, bare: Server, count: number): Promise<void> {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      await callOnce(chain);
      await callOnce(bare);
    }
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
