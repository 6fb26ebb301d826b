// Goal: a lake in the standard layout is read in both layers, and what is wrong or missing in it is said.
// Method: one recorded public network batch laid out as SEP-54 says in a temporary folder, whole, cut, changed and renamed;
// the same folder behind a fake web host with the listing that object stores have.
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { payloadOf } from '../../src/core/raw-payload.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import type { HttpClient } from '../../src/sources/http/types.ts';
import { createLakeSource } from '../../src/sources/stellar-lake.ts';
import { batchKey } from '../../src/sources/stellar/lake-layout.ts';
import { failureOf } from '../_util/failure-of.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';
import { readCsv, sumLines } from '../_util/stellar-expected.ts';
import { PUBNET, PUBNET_BATCH } from '../_util/stellar-lcm.ts';

const LEDGER = 53_312_000;
const HASH = '2a56300b28dd50abf3776786a69de1d8ffe068355d8d2aee4643389f21d7b13a';
const KEY = 'FCD285FF--53312000-53375999/FCD285FF--53312000.xdr.zstd';
const signal = new AbortController().signal;
const both = {
  range: { from: LEDGER, to: LEDGER + 1 },
  layers: ['operations', 'token_events'],
  watch: WATCH_EVERYTHING,
} as const;

describe('the names of a lake', () => {
  it('put the newest first, with and without partitions and batches', () => {
    expect(batchKey(3, { ledgersPerBatch: 2, batchesPerPartition: 8 }, '.zst')).toBe(
      'FFFFFFFF--0-15/FFFFFFFD--2-3.xdr.zst',
    );
    expect(batchKey(18, { ledgersPerBatch: 2, batchesPerPartition: 8 }, '.zst')).toBe(
      'FFFFFFEF--16-31/FFFFFFED--18-19.xdr.zst',
    );
    expect(batchKey(2, { ledgersPerBatch: 1, batchesPerPartition: 1 }, '.zst')).toBe('FFFFFFFD--2.xdr.zst');
    expect(batchKey(LEDGER, { ledgersPerBatch: 1, batchesPerPartition: 64_000 }, '.zstd')).toBe(KEY);
  });
});

describe.skipIf(!hasSharedData)('a lake', () => {
  let folder: string;
  const open = () => createLakeSource({ url: pathToFileURL(folder).href, networkPassphrase: PUBNET });
  const config = {
    networkPassphrase: PUBNET,
    version: '1.0',
    compression: 'zstd',
    ledgersPerBatch: 1,
    batchesPerPartition: 64_000,
  };
  const writeConfig = (changes: object): Promise<void> =>
    writeFile(join(folder, '.config.json'), JSON.stringify({ ...config, ...changes }));

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'trueup-lake-'));
    await mkdir(join(folder, dirname(KEY)));
    await cp(sharedData(PUBNET_BATCH), join(folder, KEY));
    await writeConfig({});
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('shows its tip, its header and both layers of its ledger', async () => {
    const source = open();
    expect(await source.tip(signal)).toEqual({
      sequence: LEDGER,
      hash: HASH,
      closeTime: 1_725_274_219,
      oldest: LEDGER,
    });
    expect((await source.header(LEDGER, signal)).prevHash).toBe(
      '3b52a609dacf74bc4a0fcbe8b894c0610d449f3e26dff60550c83831cb11cefb',
    );
    const batch = await source.read(both, signal);
    expect(batch).toMatchObject({ proof: 'chained', last: { sequence: LEDGER, hash: HASH } });
    expect(batch.bytesRead).toBeGreaterThan(10_000);
    const [record] = batch.records;
    expect(record!.txCount).toBe(163);
    const operations = record!.entries.filter(({ layer }) => layer === 'operations');
    expect(sumLines(operations)).toEqual(
      readCsv(`stellar-pubnet-lcm/expected/${LEDGER}-sums-by-account-asset.csv`).sort(),
    );
    const fees = record!.entries.filter(({ layer, kind }) => layer === 'token_events' && kind.startsWith('fee'));
    expect(fees.reduce((sum, { amount }) => sum - amount, 0n)).toBe(525_018n);
  });

  it('tells a ledger that is missing from one that is not there yet', async () => {
    const at = (sequence: number) => open().read({ ...both, range: { from: sequence, to: sequence + 1 } }, signal);
    const missing = await failureOf(at(LEDGER - 1));
    expect([missing.reason, missing.details.range]).toEqual(['LEDGER_UNAVAILABLE', { from: LEDGER - 1, to: LEDGER }]);
    const early = await failureOf(at(LEDGER + 1));
    expect([early.reason, early.details.range]).toEqual([
      'LEDGER_NOT_YET_CLOSED',
      { from: LEDGER + 1, to: LEDGER + 2 },
    ]);
  });

  it('refuses another network and a description that it does not understand', async () => {
    await writeConfig({ networkPassphrase: 'Test SDF Network ; September 2015' });
    expect((await failureOf(open().read(both, signal))).reason).toBe('SOURCE_WRONG_NETWORK');
    await writeConfig({ compression: 'lz4' });
    expect((await failureOf(open().tip(signal))).message).toContain('lz4');
    await rm(join(folder, '.config.json'));
    expect((await failureOf(open().tip(signal))).reason).toBe('SOURCE_UNAVAILABLE');
  });

  it('loses a batch that is cut off, changed or in the place of another', async () => {
    const range = { from: LEDGER, to: LEDGER + 1 };
    const whole = await readFile(join(folder, KEY));
    await writeFile(join(folder, KEY), whole.subarray(0, whole.length >> 1));
    const cut = await failureOf(open().read(both, signal));
    expect([cut.reason, cut.details.range]).toEqual(['SOURCE_CORRUPT', range]);
    expect(payloadOf(cut)?.bytes).toEqual(whole.subarray(0, whole.length >> 1));

    // A bit of the first transaction's amount or account: some byte well inside the transaction set.
    const bytes = zstdDecompressSync(whole);
    bytes[2_003]! ^= 1;
    await writeFile(join(folder, KEY), zstdCompressSync(bytes));
    const changed = await failureOf(open().read(both, signal));
    expect([changed.reason, changed.details.range]).toEqual(['SOURCE_CORRUPT', range]);
    expect(payloadOf(changed)).toEqual({ format: 'LedgerCloseMetaBatch XDR', bytes });

    await writeFile(join(folder, batchKey(LEDGER + 1, config, '.zst')), whole);
    const misplaced = await failureOf(open().read({ ...both, range: { from: LEDGER + 1, to: LEDGER + 2 } }, signal));
    expect([misplaced.reason, misplaced.details.range]).toEqual([
      'SOURCE_CORRUPT',
      { from: LEDGER + 1, to: LEDGER + 2 },
    ]);
  });

  it('is the same over the web, whether the host or the path names the bucket', async () => {
    const listed: string[] = [];
    const http: Pick<HttpClient, 'getBytes'> = {
      async getBytes(address) {
        const url = new URL(address);
        const answer = (status: number, body: Uint8Array) => ({ status, headers: {}, body, bytesRead: body.length });
        if (url.searchParams.has('list-type')) {
          const prefix = url.searchParams.get('prefix')!;
          listed.push(`${url.pathname} ${prefix}`);
          const names = await readdir(join(folder, prefix.replace('lake/', '')), { withFileTypes: true });
          const xml = names.map((name) =>
            name.isDirectory()
              ? `<CommonPrefixes><Prefix>${prefix}${name.name}/</Prefix></CommonPrefixes>`
              : `<Contents><Key>${prefix}${name.name}</Key></Contents>`,
          );
          return answer(
            200,
            Buffer.from(
              `<?xml version="1.0"?><ListBucketResult><Prefix>${prefix}</Prefix>${xml.join('')}</ListBucketResult>`,
            ),
          );
        }
        const file = await readFile(join(folder, url.pathname.replace(/^.*\/lake\//, ''))).catch(() => undefined);
        return file === undefined ? answer(404, new Uint8Array()) : answer(200, file);
      },
    };
    const near = await open().read(both, signal);
    for (const url of ['https://bucket.example/lake', 'https://storage.googleapis.com/bucket/lake/']) {
      const source = createLakeSource({ url, networkPassphrase: PUBNET, http });
      expect(await source.tip(signal)).toMatchObject({ sequence: LEDGER, hash: HASH });
      expect((await source.read(both, signal)).records).toEqual(near.records);
    }
    expect(new Set(listed)).toEqual(
      new Set([
        '/ lake/',
        '/ lake/FCD285FF--53312000-53375999/',
        '/bucket/ lake/',
        '/bucket/ lake/FCD285FF--53312000-53375999/',
      ]),
    );
  });
});
