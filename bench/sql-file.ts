// What comparing a PostgreSQL table with a local file costs beside reading that file. Goal: at most 1.5 times as long as the file alone
// takes to be read and parsed. Method: a table of BENCH_ROWS rows (a million unless told) and a CSV file of the same rows in
// another order; the limit is the product's own parser over the file, with nothing done to its rows; then a run as the
// queue would start it, from its row to its verdict. In turn, medians compared.
import { hash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createBookFileReader } from '../src/sources/book-file.ts';
import { createPostgresBook } from '../src/sources/book-postgres.ts';
import { createFileSide } from '../src/sources/side-file.ts';
import { type Database, sql } from '../src/store/database.ts';
import { type Figure, growthFrom, median } from './figure.ts';
import { startBenchServer } from './server.ts';
import { runBetweenSides } from './side-run.ts';

const ROWS = Number(process.env['BENCH_ROWS'] ?? 1_000_000);
const ROUNDS = 3;
const TARGET = 1.5;
const COLUMNS = 'key,account,asset,amount_minor,status';
const ACCOUNT = 'GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN';
const ASSET = `USDC:${ACCOUNT}`;

export async function sqlFileBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  await using db = await server.fresh();
  const folder = await mkdtemp(join(tmpdir(), 'trueup-bench-'));
  try {
    const path = join(folder, 'ours.csv');
    await fill(db, path);
    const ms = { file: [] as number[], run: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      ms.file.push(await timed(() => parse(path)));
      ms.run.push(await timed(() => reconcile(db, path, folder)));
    }
    return [growthFrom('reconcile.sql_file_ratio', median(ms.run), 'ms', median(ms.file), TARGET)];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function parse(path: string): Promise<void> {
  let rows = 0;
  const reader = createBookFileReader({ format: 'csv', level: 'entries' });
  for await (const batch of reader.batches(createReadStream(path))) rows += batch.rows.length;
  if (rows !== ROWS) throw new Error(`${rows} of ${ROWS} lines were read`);
}

/** Refuses a run that didn't find every row equal. */
async function reconcile(db: Database, path: string, folder: string): Promise<void> {
  const { verdict, summary } = await runBetweenSides(db, {
    policy: 'bench',
    ledger: { type: 'postgres', side: createPostgresBook({ url: db.url, query: `select ${COLUMNS} from theirs` }) },
    book: { type: 'file', side: createFileSide({ path, format: 'csv', spillFolder: folder }) },
    spillFolder: folder,
  });
  if (verdict !== 'CLEAN' || summary?.counts?.matched !== ROWS)
    throw new Error(`${verdict}: ${JSON.stringify(summary?.counts)} ${JSON.stringify(summary?.inconclusive)}`);
}

/** Keys as hashes are, so that neither side comes in their order. */
async function fill(db: Database, path: string): Promise<void> {
  await sql(
    db.em(),
    `create table theirs as select encode(sha256(i::text::bytea), 'hex') || ':1' as key, $1::text as account,
       case when i % 3 = 0 then 'native' else $2 end as asset, i::bigint * 7919 as amount_minor, 'completed' as status
     from generate_series(1, $3::int) i`,
    [ACCOUNT, ASSET, ROWS],
  );
  await sql(db.em(), 'vacuum analyze theirs');
  await pipeline(Readable.from(lines()), createWriteStream(path));
}

function* lines(): Generator<string> {
  yield `${COLUMNS}\n`;
  for (let i = ROWS; i > 0; i--) {
    const asset = i % 3 === 0 ? 'native' : ASSET;
    yield `${hash('sha256', String(i))}:1,${ACCOUNT},${asset},${i * 7919},completed\n`;
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await work();
  return performance.now() - startedMs;
}
