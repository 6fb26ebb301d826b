// What comparing two PostgreSQL tables costs beside the least that can be asked of the servers. Goal: equal tables take at most 1.3
// times one server-side pass over both that computes the same grouped counts and 128-bit sums; with 1 % of the rows different,
// at random, each named with every field that differs, at most 2.5 times. Method: two tables of BENCH_ROWS rows (5 M unless told)
// in one server, warm; the limit's statement and the comparison in turn, medians compared.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { compareKey, type Item, type MatchRules } from '../src/core/match.ts';
import { mergeInOrder } from '../src/core/order.ts';
import { compareDigests, drawMark, drawSeeds, equalRowsOf } from '../src/services/run-digest.ts';
import { createFindingSink } from '../src/services/run-findings.ts';
import { toFindingRow } from '../src/services/run-items.ts';
import { openBookSession } from '../src/sources/book-session.ts';
import { createDigestSide, digestStatements, type DigestQuery } from '../src/sources/side-digest.ts';
import type { Database } from '../src/store/database.ts';
import { type Figure, median, growthFrom } from './figure.ts';
import { startBenchServer } from './server.ts';

export const BENCH_ROWS = Number(process.env['BENCH_ROWS'] ?? 5_000_000);
const ROUNDS = 3;
const EQUAL_TARGET = 1.3;
const ONE_PERCENT_TARGET = 2.5;
const LIMITS = { connectTimeoutMs: 10_000, statementTimeoutMs: 600_000, lockTimeoutMs: 5_000, fetchRows: 5_000 };

export async function sqlDigestBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  await using db = await server.fresh();
  await fill(db.url, BENCH_ROWS);
  const limit = limitSql();
  console.error(`the limit of reconcile.sql_equal_ratio and reconcile.sql_one_percent_ratio:\n${limit}`);
  const ms = { limit: [] as number[], equal: [] as number[], onePercent: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    ms.limit.push(await timed(() => statement(db.url, limit)));
    ms.equal.push(await timed(() => reconcile(db, 'ours', 'theirs', 0)));
    ms.onePercent.push(await timed(() => reconcile(db, 'ours', 'off', Math.floor(BENCH_ROWS / 100))));
  }
  const least = median(ms.limit);
  return [
    growthFrom('reconcile.sql_equal_ratio', median(ms.equal), 'ms', least, EQUAL_TARGET),
    growthFrom('reconcile.sql_one_percent_ratio', median(ms.onePercent), 'ms', least, ONE_PERCENT_TARGET),
  ];
}

/** A comparison as a run makes it: digests, then the rows that differ, paired, compared field by field and kept as findings. */
async function reconcile(db: Database, left: string, right: string, expected: number): Promise<void> {
  const { url } = db;
  const signal = AbortSignal.timeout(3_600_000);
  const run = { id: randomUUID(), attempt: 1 };
  const sink = createFindingSink(db, run, 'bench');
  const seeds = drawSeeds();
  const [ours, theirs] = await Promise.all([left, right].map((name) => openBookSession(url, LIMITS, name, signal)));
  try {
    const sides = {
      left: createDigestSide(ours!, sideOf(left), seeds),
      right: createDigestSide(theirs!, sideOf(right), seeds),
    };
    const outcome = await compareDigests(sides, signal);
    if (outcome.kind === 'most') throw new Error('took nearly everything for different');
    const read = { left: 0, right: 0 };
    let [agreed, differing] = [0, 0];
    if (outcome.kind === 'some') {
      const [l, r] = [sides.left, sides.right].map((side) => ({
        batches: side.rows<Row>(outcome.choice, signal),
        keyOf,
      }));
      for await (const groups of mergeInOrder(l!, r!)) {
        for (const group of groups) {
          read.left += group.left.length;
          read.right += group.right.length;
          for (const finding of compareKey(group.left.map(toItem), group.right.map(toItem), RULES)) {
            if (finding.kinds.length === 0) agreed++;
            else differing++;
            if (finding.kinds.length > 0) await sink.add(toFindingRow(group.key, finding, null));
          }
        }
      }
    }
    await sink.flush();
    const equal = outcome.kind === 'equal' ? outcome.rows : equalRowsOf(outcome.all, read);
    if (differing !== expected) throw new Error(`${differing} rows differ, ${expected} were changed`);
    if (equal + agreed + differing !== BENCH_ROWS)
      throw new Error(`${equal + agreed + differing} of ${BENCH_ROWS} rows`);
  } finally {
    await Promise.all([ours!.end(), theirs!.end()]);
  }
}

interface Row {
  readonly key: string;
  readonly account: string;
  readonly asset: string;
  readonly amount: string;
  readonly status: string | null;
}

const RULES: MatchRules = { sumLegs: false, statusMap: { success: 'success' }, timeToleranceMs: null };
const keyOf = (row: Row): string => row.key;

function toItem(row: Row): Item {
  return {
    account: row.account,
    asset: row.asset,
    amount: BigInt(row.amount),
    kind: null,
    status: row.status,
    counterparty: null,
    subAccount: null,
    atMs: null,
    ledger: null,
    txHash: null,
    rowIds: [row.key],
  };
}

function sideOf(table: string): DigestQuery {
  return {
    query: `select key, account, asset, amount, status from ${table}`,
    row: {
      key: 'q.key',
      fields: [
        { sql: 'q.account', type: 'text' },
        { sql: 'q.asset', type: 'text' },
        { sql: 'q.amount', type: 'number' },
        { sql: 'q.status', type: 'text' },
      ],
    },
    columns: 'q.key, q.account, q.asset, q.amount::text as amount, q.status',
    required: ['q.account', 'q.asset', 'q.amount'],
    mark: drawMark(),
    lookup: 'q.key',
  };
}

/** Both sides in one statement, grouped and summed as the comparison's first pass does it, with nothing left out. */
function limitSql(): string {
  const seeds = { key: 1n, first: 2n, second: 3n };
  return ['ours', 'theirs'].map((table) => digestStatements(sideOf(table), seeds).segments).join('\nunion all\n');
}

async function fill(url: string, rows: number): Promise<void> {
  await statement(
    url,
    `create table ours (key text collate "C" not null, account text not null, asset text not null, amount numeric(39,0) not null, status text not null)`,
    `insert into ours select encode(sha256(i::text::bytea), 'hex') || ':1', 'G' || upper(left(encode(sha256((i % 5000)::text::bytea), 'hex'), 55)),
       case when i % 3 = 0 then 'native' else 'USDC:GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN' end,
       i::bigint * 7919 % 1000000007 + 1, 'success' from generate_series(1, ${rows}) i`,
    `create table theirs as select * from ours`,
    `create table off as select key, account, asset, case when n % 100 = 1 then amount + 1 else amount end as amount, status
       from (select *, row_number() over (order by md5(key)) as n from ours) numbered`,
    `create index on ours (key)`,
    `create index on theirs (key)`,
    `create index on off (key)`,
    `vacuum analyze ours`,
    `vacuum analyze theirs`,
    `vacuum analyze off`,
    `checkpoint`,
  );
}

async function statement(url: string, ...texts: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const text of texts) await client.query(text);
  } finally {
    await client.end();
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}
