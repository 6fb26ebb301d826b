// How fast history is followed. Goal: the real follower takes the recorded testnet, everything watched, into a real
// PostgreSQL with fsync at 3,000 ledgers a second or more. Method: rounds of 4,095 ledgers, each into a database of its own, from
// the claim of the lease to the last commit; the median. Decoding is measured apart, without a database; so is the time
// inside the write transactions.
import { followTo } from './follow.ts';
import { atLeast, type Figure, median, reported, unmeasured } from './figure.ts';
import { type BenchServer, startBenchServer } from './server.ts';
import { hasTestnet, openTestnet, readTestnet, TESTNET_ABSENT, TESTNET_LAST_LEDGER } from './testnet.ts';

const ROUNDS = 7;
const TARGET_LEDGERS_PER_SECOND = 3_000;
const LEDGERS = 'house.follower_ledgers_per_second';
const DECODE = 'house.follower_decode_ledgers_per_second';
const ROWS = 'house.follower_write_rows_per_second';

export async function followerBench(): Promise<Figure[]> {
  if (!hasTestnet) {
    return [LEDGERS, DECODE]
      .map((name) => unmeasured(name, 'ledgers/s', TESTNET_ABSENT))
      .concat(unmeasured(ROWS, 'rows/s', TESTNET_ABSENT));
  }
  await using server = await startBenchServer();
  const decode: number[] = [];
  const followed: Followed[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const startedMs = performance.now();
    await readTestnet();
    decode.push(perSecond(TESTNET_LAST_LEDGER, performance.now() - startedMs));
    followed.push(await followOnce(server));
  }
  return [
    atLeast(LEDGERS, median(followed.map((each) => each.ledgersPerSecond)), 'ledgers/s', TARGET_LEDGERS_PER_SECOND),
    reported(DECODE, median(decode), 'ledgers/s'),
    reported(ROWS, median(followed.map((each) => each.rowsPerSecond)), 'rows/s'),
  ];
}

interface Followed {
  readonly ledgersPerSecond: number;
  readonly rowsPerSecond: number;
}

async function followOnce(server: BenchServer): Promise<Followed> {
  await using db = await server.fresh();
  let [rows, commitMs, endedMs] = [0, 0, 0];
  const startedMs = performance.now();
  await followTo(db, openTestnet(), TESTNET_LAST_LEDGER, (chunk) => {
    rows += chunk.entries.operations ?? 0;
    commitMs += chunk.commitMs;
    endedMs = performance.now();
  });
  return {
    ledgersPerSecond: perSecond(TESTNET_LAST_LEDGER, endedMs - startedMs),
    rowsPerSecond: perSecond(rows, commitMs),
  };
}

function perSecond(count: number, ms: number): number {
  return count / (ms / 1_000);
}
