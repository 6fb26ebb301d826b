// What re-checking unchanged history costs. Goal: 10 M rows under seals are found unchanged, and counted, within 200 ms. Method: seals
// and coverage as a run leaves them, 2,048 chunks of 5,000 rows by their counts; the one query of a run that compares every
// seal with its chunk's digests, and what the run makes of it; the median of several.
import { skipSealed } from '../src/core/seal.ts';
import { sql } from '../src/store/database.ts';
import { readSeals } from '../src/store/seals.ts';
import { atMost, median, type Figure } from './figure.ts';
import { startBenchServer } from './server.ts';

const CHUNKS = 2_048;
const ROWS_PER_CHUNK = 5_000;
const ROUNDS = 9;
const TARGET_MS = 200;

export async function sealedBench(): Promise<Figure[]> {
  await using server = await startBenchServer();
  await using db = await server.fresh();
  const em = db.em();
  await sql(
    em,
    `insert into trueup.streams (name, network_passphrase, anchor_ledger, epoch) values ('bench', 'bench', 2, 'e')`,
  );
  await sql(
    em,
    `insert into trueup.watch_sets (stream_id, everything, members, fingerprint) values (1, true, '{}', 'all')`,
  );
  await sql(em, `insert into trueup.books (name) values ('bench')`);
  await sql(
    em,
    `insert into trueup.coverage_chunks (stream_id, layer, watch_set_id, from_ledger, to_ledger, state, proof, last_closed_at, entry_count,
       digest_sum1, digest_sum2, sealed, source_id)
     select 1, 0, 1, n * 64, n * 64 + 64, 'done', 'chained', to_timestamp(n * 320), $1, n::numeric * 7919, n::numeric * 104729, true, 1
     from generate_series(1, $2::int) as n`,
    [ROWS_PER_CHUNK, CHUNKS],
  );
  await sql(
    em,
    `insert into trueup.chunk_seals (policy, stream_id, layer, book_id, from_ledger, to_ledger, span, state, ledger_records, book_records,
       matched, ledger_digest)
     select 'bench', 1, 0, 1, from_ledger, to_ledger, tstzrange(last_closed_at - interval '320 s', last_closed_at), 'sealed',
       $1, $1, $1, concat_ws(':', watch_set_id, entry_count, digest_sum1, digest_sum2)
     from trueup.coverage_chunks`,
    [ROWS_PER_CHUNK],
  );
  await sql(em, 'analyze trueup.coverage_chunks, trueup.chunk_seals');
  const ms: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const startedMs = performance.now();
    const scope = { policy: 'bench', streamId: 1, layer: 'operations' as const };
    const seals = await readSeals(db.em(), scope, { from: 64, to: (CHUNKS + 1) * 64 });
    const { tally, ledgers } = skipSealed(seals);
    ms.push(performance.now() - startedMs);
    if (tally.matched !== CHUNKS * ROWS_PER_CHUNK || ledgers.length !== 1) throw new Error('not every seal held');
  }
  return [atMost('reconcile.sealed_recheck_ms', median(ms), 'ms', TARGET_MS)];
}
