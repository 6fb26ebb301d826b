// Goal: backfills leave of a real ledger what the follower leaves: Stellar testnet 1-4095, everything watched, from its archive and from a Horizon,
// in whatever order and a second time. Method: the follower's rows and chunks are the expectation, compared row by row.
import { hash } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import type { HttpClient } from '../../src/sources/http/types.ts';
import type { Source } from '../../src/sources/source.ts';
import { createArchiveSource } from '../../src/sources/stellar-archive.ts';
import { createHorizonSource, HORIZON_SPAN_EVERYTHING } from '../../src/sources/stellar-horizon.ts';
import { openBackfills, pictureOf, type BackfillHouse } from '../_util/backfill.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { loadTestnetHistory, TESTNET_PASSPHRASE } from '../_util/horizon-history.ts';
import { startHorizonServer, type HorizonServer } from '../_util/horizon-server.ts';
import { followThrough, quietEvents } from '../_util/services.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';

const LAST = 4095;
/** Asking a Horizon takes so much longer that by day a quarter must do; the nightly script asks for everything. */
const HORIZON_LAST = process.env['NIGHTLY_CASES'] === undefined ? 1023 : LAST;
/** Jobs into which the range is cut, worked on in an order of their own. */
const PARTS = 13;

describe.skipIf(!hasSharedData)('testnet 1-4095 backfilled', () => {
  const open: TestDatabase[] = [];
  let server: HorizonServer;
  let http: HttpClient;
  let expected: Awaited<ReturnType<typeof pictureOf>>;
  const archive = createArchiveSource({
    url: pathToFileURL(sharedData('stellar-testnet-archive/raw')).href,
    networkPassphrase: TESTNET_PASSPHRASE,
  });

  const database = async (): Promise<TestDatabase> => {
    const test = await createTestDatabase({ poolMax: 8 });
    open.push(test);
    return test;
  };

  beforeAll(async () => {
    server = await startHorizonServer(loadTestnetHistory());
    http = createHttpClient({ allowPrivateAddresses: true });
    const followed = await database();
    await followThrough(
      {
        db: followed.db,
        source: archive,
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
    expected = await pictureOf(followed.db, 1);
  }, 120_000);
  afterAll(async () => {
    for (const test of open) await test.drop();
    await server.close();
    await http.close();
  });

  async function inShuffledParts(house: BackfillHouse, last: number): Promise<void> {
    const edges = Array.from({ length: PARTS + 1 }, (_, i) => 1 + Math.round((i * last) / PARTS));
    const parts = edges.slice(1).map((to, i) => ({ from: edges[i]!, to }));
    // 5 and 13 have no divisor in common, so that each part comes once.
    const shuffled = parts.map((_, i) => parts[(i * 5) % PARTS]!);
    const worker = house.work({ workers: 3 });
    for (const part of shuffled) await house.start(part);
    for (const { items } of [await house.service.list({}, { size: PARTS, after: null })])
      for (const job of items) expect(await house.ended(job.id)).toMatchObject({ state: 'succeeded', error: null });
    await worker.end();
  }

  it.each<[string, number, () => Source]>([
    ['its archive', LAST, () => archive],
    [
      'a Horizon',
      HORIZON_LAST,
      () =>
        createHorizonSource({
          url: server.url,
          networkPassphrase: TESTNET_PASSPHRASE,
          http,
          maxSpanLedgers: HORIZON_SPAN_EVERYTHING,
        }),
    ],
  ])(
    'from %s, through ledger %i, in shuffled parts is what the follower leaves, and stays so when it is read again',
    async (_name, last, sourceOf) => {
      const test = await database();
      const house = await openBackfills(test.db, sourceOf());
      await inShuffledParts(house, last);
      const { stream } = house.opened;
      const filled = await pictureOf(test.db, stream.id);
      const wanted = {
        entries: expected.entries.filter((entry) => Number(entry['ledger']) <= last),
        chunks: expected.chunks.filter((chunk) => Number(chunk['to_ledger']) <= last + 1),
      };
      // As one text: tens of thousands of objects take a comparison of their own half a minute.
      expect(hash('sha256', JSON.stringify(filled.entries))).toBe(hash('sha256', JSON.stringify(wanted.entries)));
      expect(filled.islands).toEqual([{ layer: 0, from_ledger: 1, to_ledger: last + 1, state: 'done' }]);
      expect(filled.chunks.map(sealOf)).toEqual(wanted.chunks.map(sealOf));
      const again = await house.run({ from: 1, to: last + 1 }, { reread: true });
      expect(again).toMatchObject({ state: 'succeeded', progress: { scannedLedgers: last, insertedEntries: 0n } });
      expect(again.progress.duplicateEntries).toBe(BigInt(wanted.entries.length));
      expect(JSON.stringify(await pictureOf(test.db, stream.id))).toBe(JSON.stringify(filled));
    },
    180_000,
  );
});

/** What a chunk says of its content, whoever read it. */
function sealOf({ from_ledger, entry_count, digest_sum1, digest_sum2, sealed }: Record<string, unknown>) {
  return { from_ledger, entry_count, digest_sum1, digest_sum2, sealed };
}
