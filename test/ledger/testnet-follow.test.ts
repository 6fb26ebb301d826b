// Goal: the follower's main job on a real ledger: Stellar testnet 1-4095, everything watched. Method: follow the recorded archive into a real
// database and compare with what was recorded independently; then read everything again, in order and shuffled.
import { gunzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { createArchiveSource } from '../../src/sources/stellar-archive.ts';
import { commitBatch } from '../../src/store/coverage.ts';
import { sql } from '../../src/store/database.ts';
import { currentStream, ensureSource, ensureWatchSet } from '../../src/store/streams.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { followThrough, quietEvents } from '../_util/services.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';

const TESTNET = 'Test SDF Network ; September 2015';
const LAST = 4095;
const PAYMENT_KINDS = ['create_account', 'payment', 'path_payment', 'account_merge'];

describe.skipIf(!hasSharedData)('testnet 1-4095 followed from its archive', () => {
  let test: TestDatabase;
  const source = createArchiveSource({
    url: pathToFileURL(sharedData('stellar-testnet-archive/raw')).href,
    networkPassphrase: TESTNET,
  });

  beforeAll(async () => {
    test = await createTestDatabase();
    await followThrough(
      {
        db: test.db,
        source,
        watch: WATCH_EVERYTHING,
        start: { startLedger: 1, windowHours: 24, sandbox: false },
        endLedger: LAST,
        pollIntervalMs: 1000,
        leaseTtlMs: 5000,
        holder: 'test',
        events: quietEvents().events,
      },
      LAST,
    );
  });
  afterAll(() => test.drop());

  const one = async <T>(text: string): Promise<T> => (await sql<T>(test.db.em(), text))[0]!;

  it('has every transaction, payment and fee', async () => {
    const totals = await one<{ transactions: string; payments: string; fees: string }>(
      `select (select sum(tx_count)::text from trueup.coverage_chunks) as transactions,
         (select count(distinct (ledger, tx_index, op_index))::text from trueup.entries
            where not failed and kind in ('create_account', 'payment', 'path_payment', 'account_merge')) as payments,
         (select (-sum(amount))::text from trueup.entries where kind = 'fee') as fees`,
    );
    expect(totals).toEqual({ transactions: '6829', payments: '12136', fees: '13547047223' });
  });

  it('has sums per account and asset equal row by row to the recorded ones', async () => {
    const rows = await sql<{ account: string; asset: string; net: string }>(
      test.db.em(),
      `select account, asset, sum(amount)::text as net from trueup.entries
       where not failed and kind = any($1::text[]) group by account, asset`,
      [PAYMENT_KINDS],
    );
    const expected = gunzipSync(
      readFileSync(sharedData('stellar-testnet-archive/expected/sums-by-account-asset.csv.gz')),
    )
      .toString()
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split(','));
    const found = new Map(rows.map((row) => [`${row.account} ${row.asset}`, row.net]));
    expect(found.size).toBe(expected.length);
    for (const [account, asset, , , , , net] of expected) expect(found.get(`${account} ${asset}`)).toBe(net);
  });

  it('is covered by one island of sealed chunks, chained from the first ledger', async () => {
    expect(await sql(test.db.em(), 'select from_ledger, to_ledger, state from trueup.coverage_islands')).toEqual([
      { from_ledger: 1, to_ledger: LAST + 1, state: 'done' },
    ]);
    expect(
      await one(`select count(*)::int as chunks, bool_and(sealed) as sealed, bool_and(proof = 'chained') as chained,
        sum(entry_count)::int = (select count(*)::int from trueup.entries) as counted from trueup.coverage_chunks`),
    ).toEqual({ chunks: 64, sealed: true, chained: true, counted: true });
  });

  it('changes nothing when it is read a second time, nor in shuffled chunks', async () => {
    const state = `select (select md5(string_agg(e::text, '|' order by stream_id, layer, ledger, tx_index, op_index, leg)) from trueup.entries e) as entries,
      (select md5(string_agg(c.from_ledger || c.digest_sum1::text || c.digest_sum2::text || c.entry_count, '|' order by from_ledger))
         from trueup.coverage_chunks c) as coverage`;
    const before = await one(state);
    const stream = (await currentStream(test.db.em(), TESTNET))!;
    const starts = Array.from({ length: 64 }, (_, i) => ((i * 37) % 64) * 64);
    for (const start of starts) {
      const range = { from: Math.max(1, start), to: start + 64 };
      const batch = await source.read(
        { range, layers: source.layers, watch: WATCH_EVERYTHING },
        AbortSignal.timeout(30_000),
      );
      const result = await test.db.em().transactional(async (em) =>
        commitBatch(
          em,
          {
            streamId: stream.id,
            watch: WATCH_EVERYTHING,
            watchSetId: await ensureWatchSet(em, stream.id, WATCH_EVERYTHING),
            sourceId: await ensureSource(em, source.id),
          },
          batch,
        ),
      );
      expect(result.newLedgers).toBe(0);
    }
    expect(await one(state)).toEqual(before);
  });
});
