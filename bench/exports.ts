// What an export costs beside the server's bare COPY of the same rows, as they are stored, its bytes thrown away.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import { ArtifactWriter } from '../src/outbound/artifact-writer.ts';
import type { Database } from '../src/store/database.ts';
import { sql } from '../src/store/database.ts';
import { copyStatement } from '../src/store/export-rows.ts';
import { withExportSnapshot } from '../src/store/export-snapshot.ts';
import { type Figure, median, shareOf } from './figure.ts';
import { startBenchServer } from './server.ts';

const ROWS = Number(process.env['BENCH_ROWS'] ?? 1_000_000);
const ROUNDS = 3;

const BARE = `copy (select ledger, tx_index, op_index, leg, tx_hash, account, asset, amount, kind, counterparty, failed, result_code, sub_account,
  sub_account_type, closed_at, label from trueup.entries as entry join trueup.sources as source on source.id = entry.source_id
  where stream_id = 1 and layer = 0 order by ledger, tx_index, op_index, leg) to stdout (format csv, header)`;

export async function exportBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  const db = await server.fresh();
  await fill(db);
  const folder = await mkdtemp(join(tmpdir(), 'trueup-bench-artifacts-'));
  const statement = copyStatement(
    'entries',
    'csv',
    {},
    {
      streamId: 1,
      streamName: 'bench',
      range: { from: 1, to: 2 ** 31 - 1 },
    },
  );
  console.error(`the limit: ${BARE}`);
  const [ours, bare]: [number[], number[]] = [[], []];
  try {
    for (let round = 0; round < ROUNDS; round++) {
      bare.push(await rate(() => copyAlone(db.url, BARE)));
      ours.push(await rate(() => exportOnce(db, join(folder, String(round)), statement)));
    }
  } finally {
    await db.close();
    await rm(folder, { recursive: true, force: true });
  }
  return [shareOf('manifest.csv_rows_per_second', median(ours), 'rows/s', median(bare), 0.5)];
}

async function rate(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return (ROWS * 1000) / (performance.now() - startedMs);
}

async function copyAlone(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const sink = new Writable({ write: (_chunk, _encoding, done) => done() });
    await pipeline(client.query(copyTo(statement)), sink);
  } finally {
    await client.end();
  }
}

async function exportOnce(db: Database, folder: string, statement: string): Promise<void> {
  const writer = new ArtifactWriter(folder);
  await withExportSnapshot(db, ({ copy }) => pipeline(copy(statement), writer));
  await writer.publish();
}

/** Entries as a busy stream has them, made by the server. */
async function fill(db: Database): Promise<void> {
  await sql(db.em(), `insert into trueup.sources (label) values ('sandbox:bench') on conflict do nothing`);
  await sql(
    db.em(),
    `insert into trueup.entries (stream_id, layer, ledger, tx_index, op_index, leg, tx_hash, account, asset, amount, kind,
       counterparty, failed, closed_at, source_id)
     select 1, 0, 1 + n / 20, 1 + n % 20, 1, 0, sha256(n::text::bytea), 'G' || upper(md5((n % 1000)::text)) || repeat('A', 23), 'native',
       (n::bigint * 7919) % 100000000 - 50000000, 'payment', 'G' || upper(md5((n % 997)::text)) || repeat('B', 23), false,
       to_timestamp(1700000000 + n / 20 * 5), (select id from trueup.sources where label = 'sandbox:bench')
     from generate_series(0, ${ROWS - 1}) as n`,
  );
  await sql(db.em(), 'analyze trueup.entries');
}
