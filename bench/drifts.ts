// Lists and streams of a million drifts: the slowest hundredth of pages over every filter, and what sending all of them costs in memory.
import { setTimeout as sleep } from 'node:timers/promises';
import type { DriftFilter } from '../src/core/drift.ts';
import { createDrifts } from '../src/services/drifts.ts';
import type { Database } from '../src/store/database.ts';
import { sql } from '../src/store/database.ts';
import { countPolicy } from '../src/store/drift-counts.ts';
import { listDrifts } from '../src/store/drifts.ts';
import { atMost, type Figure, reported } from './figure.ts';
import { startBenchServer } from './server.ts';

const DRIFTS = Number(process.env['BENCH_DRIFTS'] ?? 1_000_000);
const ROUNDS = 20;
const PAGE_ROWS = 50;
/** Pages of one list, one after the other. */
const PAGES = 3;
const TARGET_P99_MS = 50;
const SLOW_EVERY_BATCHES = 50;

const RUN = '11111111-1111-4111-8111-111111111111';
const RARE_RUN = '22222222-2222-4222-8222-222222222222';

/** What people and programs ask for: everything, much of it, little of it, nothing. */
const FILTERS: readonly (readonly [name: string, filter: DriftFilter])[] = [
  ['default', { states: ['open', 'acknowledged'] }],
  ['policy', { states: ['open', 'acknowledged'], policy: 'p1' }],
  ['small policy', { states: ['open', 'acknowledged'], policy: 'rare' }],
  ['every state', {}],
  ['resolved', { states: ['resolved'] }],
  ['common kind', { states: ['open', 'acknowledged'], kinds: ['MISSING_IN_DB'] }],
  ['rare kind', { states: ['open', 'acknowledged'], kinds: ['TIME_MISMATCH'] }],
  ['common account', { states: ['open', 'acknowledged'], accounts: ['G1'] }],
  ['rare account', { states: ['open', 'acknowledged'], accounts: ['GRARE'] }],
  ['common asset', { states: ['open', 'acknowledged'], assets: ['native'] }],
  ['no such asset', { states: ['open', 'acknowledged'], assets: ['NONE'] }],
  ['run', { states: ['open', 'acknowledged'], runId: RUN }],
  ['rare run', { states: ['open', 'acknowledged'], runId: RARE_RUN }],
  ['run without drifts', { runId: '33333333-3333-4333-8333-333333333333' }],
  ['rare level', { level: 'balances' }],
  ['exempt', { states: ['exempt'] }],
  ['nobody saw', { firstSeenTo: new Date('2025-01-01T00:00:00Z') }],
  ['key', { states: ['open', 'acknowledged'], matchKey: 'key-77' }],
  ['assignee', { states: ['open', 'acknowledged'], assignee: 'ann' }],
  ['ledgers', { states: ['open', 'acknowledged'], ledgers: { from: 1_000, to: 1_010 } }],
  ['first seen', { states: ['open', 'acknowledged'], firstSeenFrom: new Date('2026-01-01T00:00:00Z') }],
];

export async function driftsBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  const db = await server.fresh();
  try {
    await fill(db);
    return [...(await lists(db)), ...(await stream(db))];
  } finally {
    await db.close();
  }
}

async function lists(db: Database): Promise<Figure[]> {
  const em = db.em();
  const all: number[] = [];
  for (const [name, filter] of FILTERS) {
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (let page = 0, after = null; page < PAGES; page++) {
        const startedMs = performance.now();
        const { next } = await listDrifts(em, filter, { size: PAGE_ROWS, after });
        times.push(performance.now() - startedMs);
        if (next === null) break;
        after = next as never;
      }
    }
    console.error(`${name}: p99 ${percentile(times, 0.99).toFixed(1)} ms`);
    all.push(...times);
  }
  return [
    atMost('reconcile.list_drifts_p99_ms', percentile(all, 0.99), 'ms', TARGET_P99_MS),
    reported('reconcile.list_drifts_p50_ms', percentile(all, 0.5), 'ms'),
  ];
}

/** Every drift, to a receiver that stops to think now and then. */
async function stream(db: Database): Promise<Figure[]> {
  const before = process.memoryUsage.rss();
  let [highest, sent, batches] = [before, 0, 0];
  const startedMs = performance.now();
  for await (const batch of createDrifts({ db }).stream({}, null, new AbortController().signal)) {
    sent += batch.items.length;
    highest = Math.max(highest, process.memoryUsage.rss());
    if (++batches % SLOW_EVERY_BATCHES === 0) await sleep(20);
  }
  if (sent !== DRIFTS) throw new Error(`${sent} of ${DRIFTS} drifts were sent`);
  const seconds = (performance.now() - startedMs) / 1000;
  return [
    reported('reconcile.stream_drifts_rss_mib', (highest - before) / 2 ** 20, 'MiB'),
    reported('reconcile.stream_drifts_per_second', sent / seconds, 'drifts/s'),
  ];
}

/** One moment saw them all, as a first run does: nothing but the id tells them apart in the order. */
async function fill(db: Database): Promise<void> {
  const em = db.em();
  await sql(
    em,
    `insert into trueup.drifts (id, policy, level, stream, sandbox, match_key, occurrence, kinds, fields, ledger_side, book_side,
       account, asset, value_at_risk, state, assignee, item_at, first_seen_at, last_seen_at, first_run_id, last_run_id)
     select gen_random_uuid(), case when n % 100000 = 5 then 'rare' else 'p' || n % 3 end,
       case when n % 100000 = 15 then 'balances' else 'entries' end, 's', false, 'key-' || n, 0,
       array[case when n % 100000 = 7 then 'TIME_MISMATCH' when n % 2 = 0 then 'MISSING_IN_DB' else 'AMOUNT_MISMATCH' end],
       '[{"field": "amount", "ledger": "1", "book": "2"}]',
       jsonb_build_object('account', 'G' || n / 2 % 10, 'asset', 'native', 'amount', jsonb_build_object('$n', n::text), 'ledger', n,
         'rowIds', jsonb_build_array('r'), 'rowCount', 1), null,
       case when n % 200000 = 9 then 'GRARE' else 'G' || n / 2 % 10 end, 'native', n,
       case when n % 20 = 0 then 'resolved' when n % 50 = 1 then 'acknowledged'
         when n % 100000 = 13 then 'exempt' else 'open' end,
       case when n % 1000 = 3 then 'ann' end, now() - n * interval '1 minute',
       case when n % 2 = 0 then timestamptz '2026-01-01T00:00:00Z' else timestamptz '2025-12-01T00:00:00Z' + n * interval '1 ms' end,
       now(), $2, case when n % 100000 = 11 then $3::uuid else $2::uuid end from generate_series(1, $1) as n`,
    [DRIFTS, RUN, RARE_RUN],
  );
  await sql(em, 'vacuum analyze trueup.drifts');
  for (const policy of ['p0', 'p1', 'p2', 'rare']) await countPolicy(em, policy);
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]!;
}
