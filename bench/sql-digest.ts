// What comparing two PostgreSQL tables costs beside the least that can be asked of the servers. Goal: equal tables take at most 1.3
// times one server-side pass over both that computes the same grouped counts and 128-bit sums; with 1 % of the rows different,
// at random, each named with every field that differs, at most 2.5 times. Method: two tables of BENCH_ROWS rows (5 M unless told)
// in one server, warm; the limit's statement and the comparison in turn, medians compared.
import { tmpdir } from 'node:os';
import pg from 'pg';
import { drawMark } from '../src/services/run-digest.ts';
import { createPostgresBook } from '../src/sources/book-postgres.ts';
import { digestStatements, type DigestQuery } from '../src/sources/side-digest.ts';
import type { Database } from '../src/store/database.ts';
import { type Figure, median, growthFrom } from './figure.ts';
import { startBenchServer } from './server.ts';
import { runBetweenSides } from './side-run.ts';

export const BENCH_ROWS = Number(process.env['BENCH_ROWS'] ?? 5_000_000);
const ROUNDS = 3;
const EQUAL_TARGET = 1.3;
const ONE_PERCENT_TARGET = 2.5;
const LIMITS = { statementTimeoutMs: 600_000 };
const COLUMNS = 'key, account, asset, amount_minor, status';

export async function sqlDigestBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  await using db = await server.fresh();
  await fill(db.url, BENCH_ROWS);
  const limit = limitSql();
  console.error(`the limit of reconcile.sql_equal_ratio and reconcile.sql_one_percent_ratio:\n${limit}`);
  const ms = { limit: [] as number[], equal: [] as number[], onePercent: [] as number[] };
  for (let round = 0; round < ROUNDS; round++) {
    ms.limit.push(await timed(() => statement(db.url, limit)));
    ms.equal.push(await timed(() => reconcile(db, 'theirs', 0)));
    ms.onePercent.push(await timed(() => reconcile(db, 'off', Math.floor(BENCH_ROWS / 100))));
  }
  const least = median(ms.limit);
  return [
    growthFrom('reconcile.sql_equal_ratio', median(ms.equal), 'ms', least, EQUAL_TARGET),
    growthFrom('reconcile.sql_one_percent_ratio', median(ms.onePercent), 'ms', least, ONE_PERCENT_TARGET),
  ];
}

let runs = 0;

/** Refuses a run that didn't name every row that was changed, and count the others. */
async function reconcile(db: Database, book: string, expected: number): Promise<void> {
  const side = (table: string) => ({
    type: 'postgres' as const,
    side: createPostgresBook({ url: db.url, query: `select ${COLUMNS} from ${table}`, ...LIMITS }),
  });
  // Of a policy of its own: every drift is a new one.
  const policy = `bench-${++runs}`;
  const sides = { ledger: side('ours'), book: side(book) };
  const { verdict, summary } = await runBetweenSides(db, { policy, ...sides, spillFolder: tmpdir() });
  const matched = summary?.counts?.matched;
  const named = summary?.kindCounts.reduce((sum, { open }) => sum + open, 0);
  if (named !== expected || matched !== BENCH_ROWS - expected)
    throw new Error(`${verdict}: ${named} rows differ and ${matched} agree; ${expected} were changed`);
}

function sideOf(table: string): DigestQuery {
  return {
    query: `select ${COLUMNS} from ${table}`,
    row: {
      key: 'q.key',
      fields: [
        { sql: 'q.account', type: 'text' },
        { sql: 'q.asset', type: 'text' },
        { sql: 'q.amount_minor', type: 'number' },
        { sql: 'q.status', type: 'text' },
      ],
    },
    columns: 'q.key, q.account, q.asset, q.amount_minor::text as amount_minor, q.status',
    required: ['q.account', 'q.asset', 'q.amount_minor'],
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
    `create table ours (key text collate "C" not null, account text not null, asset text not null, amount_minor numeric(39,0) not null, status text not null)`,
    `insert into ours select encode(sha256(i::text::bytea), 'hex') || ':1', 'L' || translate(upper(left(encode(sha256((i % 5000)::text::bytea), 'hex'), 55)), '0189', 'GHIJ'),
       case when i % 3 = 0 then 'native' else 'USDC:GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN' end,
       i::bigint * 7919 % 1000000007 + 1, 'completed' from generate_series(1, ${rows}) i`,
    `create table theirs as select * from ours`,
    `create table off as select key, account, asset, case when n % 100 = 1 then amount_minor + 1 else amount_minor end as amount_minor, status
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
