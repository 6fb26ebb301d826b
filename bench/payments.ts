// The sampler's queries on a large marketplace. Goal: on 10 million rows a table with at most 1,000 that match, each of the five is
// answered within 20 ms through an index. Method: the sampler's own reading of tables with the documented indexes; BENCH_ROWS for fewer.
import { LEDGER_GAUGES } from '../src/core/ledger-health.ts';
import { DEFAULT_MAPPING, DEFAULT_PENDING_REVERSALS_MS } from '../src/core/marketplace.ts';
import { createMarketplace, type MarketplaceReading } from '../src/sources/marketplace.ts';
import { gaugeQueries } from '../src/sources/marketplace-queries.ts';
import { type Database, sql } from '../src/store/database.ts';
import { atMost, type Figure, median, reported } from './figure.ts';
import { startBenchServer } from './server.ts';

const ROWS = Number(process.env['BENCH_ROWS'] ?? 10_000_000);
const MATCHES = Math.min(1_000, Math.floor(ROWS / 10));
const ROUNDS = 30;
const TARGET_MS = 20;
const THRESHOLDS = {
  ...{ stuckOrdersMs: 1_800_000, stuckRefundsMs: 1_800_000, orphanRefundsMs: 300_000 },
  pendingReversalsMs: DEFAULT_PENDING_REVERSALS_MS,
};
/** The tables' own schema; the role's search path leads to it last. */
const SCHEMA = 'public';

export async function samplerBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  await using db = await server.fresh();
  await fill(db);
  const mapping = {
    orders: { ...DEFAULT_MAPPING.orders, table: `${SCHEMA}.orders` },
    refunds: { ...DEFAULT_MAPPING.refunds, table: `${SCHEMA}.refunds` },
    sellerTransfers: { ...DEFAULT_MAPPING.sellerTransfers, table: `${SCHEMA}.seller_transfers` },
  };
  // One index serves both gauges of refunds.
  const statements = new Set(gaugeQueries(mapping, THRESHOLDS).map((query) => query.index.statement));
  for (const statement of statements) await sql(db.em(), statement);
  for (const table of ['orders', 'refunds', 'seller_transfers'])
    await sql(db.em(), `vacuum analyze ${SCHEMA}.${table}`);
  await explain(db, mapping);
  const marketplace = createMarketplace({ url: db.url, mapping, thresholds: THRESHOLDS });
  const times = await marketplace.read(new AbortController().signal, async (reading) => {
    const { missingIndexes } = await reading.check();
    if (missingIndexes.length > 0)
      throw new Error(`no index for ${missingIndexes.flatMap((each) => each.gauges).join(', ')}`);
    const slowest: number[] = [];
    for (const name of LEDGER_GAUGES) slowest.push(await medianMs(reading, name));
    return slowest;
  });
  return [
    reported('payments.sampler_rows', ROWS, 'rows'),
    atMost('payments.sampler_query_ms', Math.max(...times), 'ms', TARGET_MS),
  ];
}

async function medianMs(reading: MarketplaceReading, name: (typeof LEDGER_GAUGES)[number]): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const startedMs = performance.now();
    // What the sampler reads of this gauge where the table doesn't say since when a reversal is pending.
    const count =
      name === 'ledger_reversal_pending_transfers' ? (await reading.reversals()).length : await reading.count(name);
    times.push(performance.now() - startedMs);
    if (count < 1 || count > MATCHES) throw new Error(`${name} counts ${count}, which is not what was planted`);
  }
  console.error(`${name}: ${median(times).toFixed(2)} ms`);
  return median(times);
}

/** The plans, for whoever reads the report. */
async function explain(db: Database, mapping: Parameters<typeof gaugeQueries>[0]): Promise<void> {
  for (const { name, count } of gaugeQueries(mapping, THRESHOLDS)) {
    const plan = await sql<{ 'QUERY PLAN': string }>(db.em(), `explain ${count}`);
    console.error(`${name}\n${plan.map((row) => `  ${row['QUERY PLAN']}`).join('\n')}`);
    if (plan.some((row) => row['QUERY PLAN'].includes('Seq Scan'))) throw new Error(`${name} reads the whole table`);
  }
}

/** Rows that are done, over a year, and at most MATCHES that aren't. */
async function fill(db: Database): Promise<void> {
  const every = Math.ceil(ROWS / MATCHES);
  const at = `now() - interval '1 hour' - (n % 31000000) * interval '1 second'`;
  const statements = [
    `create table ${SCHEMA}.orders (id bigint primary key, status text, hyperswitch_payment_id text, created_at timestamptz)`,
    `create table ${SCHEMA}.refunds (id bigint primary key, status text, hyperswitch_refund_id text, created_at timestamptz)`,
    `create table ${SCHEMA}.seller_transfers (id bigint primary key, status text, updated_at timestamptz)`,
    `insert into ${SCHEMA}.orders select n, case when n % ${every} = 0 then 'pending' else 'completed' end, 'pay_' || n, ${at}
     from generate_series(1, ${ROWS}) as n`,
    `insert into ${SCHEMA}.refunds select n, case when n % ${every} = 0 then 'pending' else 'succeeded' end,
     case when n % ${2 * every} = 0 then null else 'ref_' || n end, ${at} from generate_series(1, ${ROWS}) as n`,
    `insert into ${SCHEMA}.seller_transfers select n, case n % ${2 * every} when 0 then 'permanently_failed' when 1 then 'reversal_pending'
     else 'completed' end, ${at} from generate_series(1, ${ROWS}) as n`,
  ];
  for (const statement of statements) await sql(db.em(), statement);
}
