// Goal: nothing that was changed in an archive passes, and no more ledgers are given up than are bad.
// Method: copies of the recorded testnet archive with bytes cut off, flipped and left out.
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { payloadOf } from '../../src/core/raw-payload.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { createArchiveSource } from '../../src/sources/stellar-archive.ts';
import { failureOf } from '../_util/failure-of.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';

const TESTNET = 'Test SDF Network ; September 2015';
const RAW = 'stellar-testnet-archive/raw';
const signal = new AbortController().signal;

describe.skipIf(!hasSharedData)('an archive that was changed', () => {
  let folder: string;
  const file = (category: string, hex: string): string =>
    join(folder, category, '00', '00', hex.slice(4, 6), `${category}-${hex}.xdr.gz`);
  const read = (from: number, to: number) =>
    createArchiveSource({ url: pathToFileURL(folder).href, networkPassphrase: TESTNET }).read(
      { range: { from, to }, layers: ['operations'], watch: WATCH_EVERYTHING },
      signal,
    );

  /** Changes the decompressed bytes of a file, so that its checksum is right again. */
  async function rewrite(path: string, change: (bytes: Buffer) => Buffer): Promise<void> {
    await writeFile(path, gzipSync(change(gunzipSync(await readFile(path)))));
  }

  async function withCopy(test: () => Promise<void>): Promise<void> {
    folder = await mkdtemp(join(tmpdir(), 'trueup-archive-'));
    try {
      for (const name of ['ledger', 'transactions', 'results', 'history']) {
        await cp(join(sharedData(RAW), name), join(folder, name), { recursive: true });
      }
      await test();
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  it('loses one checkpoint to a cut-off or flipped compressed file, and no other', () =>
    withCopy(async () => {
      const cut = file('transactions', '000000bf');
      await truncate(cut, 400);
      const flipped = file('results', '0000013f');
      const bytes = await readFile(flipped);
      bytes[bytes.length >> 1]! ^= 0x10;
      await writeFile(flipped, bytes);
      const first = await failureOf(read(1, 257));
      expect([first.reason, first.details.range]).toEqual(['SOURCE_CORRUPT', { from: 128, to: 192 }]);
      expect(payloadOf(first)?.bytes).toEqual(await readFile(cut));
      const second = await failureOf(read(256, 384));
      expect([second.reason, second.details.range]).toEqual(['SOURCE_CORRUPT', { from: 256, to: 320 }]);
      expect((await read(192, 256)).records).toHaveLength(64);
      expect((await read(1, 128)).records).toHaveLength(127);
    }));

  it('loses one ledger to one changed bit in its transaction set or results', () =>
    withCopy(async () => {
      for (const category of ['transactions', 'results']) {
        await rewrite(file(category, '000000bf'), (bytes) => {
          // The second record; its last word is an extension that nothing hashes, so the bit is before it.
          const second = 4 + (bytes.readUInt32BE(0) & 0x7fff_ffff);
          const end = second + 4 + (bytes.readUInt32BE(second) & 0x7fff_ffff);
          bytes[end - 9]! ^= 1;
          return bytes;
        });
        const records = gunzipSync(await readFile(file(category, '000000bf')));
        const ledger = records.readUInt32BE(4 + (records.readUInt32BE(0) & 0x7fff_ffff) + 4);
        const error = await failureOf(read(128, 192));
        expect([error.reason, error.details.range]).toEqual(['SOURCE_CORRUPT', { from: ledger, to: ledger + 1 }]);
        const payload = Buffer.from(payloadOf(error)!.bytes);
        expect([payload.readUInt32BE(0), records.includes(payload.subarray(0, 100))]).toEqual([
          ledger,
          category === 'transactions',
        ]);
        expect((await read(ledger + 1, 192)).records).toHaveLength(191 - ledger);
        expect((await read(128, ledger)).records).toHaveLength(ledger - 128);
        await cp(join(sharedData(RAW), category), join(folder, category), { recursive: true, force: true });
      }
    }));

  it('notices a transaction set or a result set that was left out', () =>
    withCopy(async () => {
      for (const category of ['transactions', 'results']) {
        let ledger = 0;
        await rewrite(file(category, '000000bf'), (bytes) => {
          ledger = bytes.readUInt32BE(4);
          return bytes.subarray(4 + (bytes.readUInt32BE(0) & 0x7fff_ffff));
        });
        const error = await failureOf(read(128, 192));
        expect([error.reason, error.details.range]).toEqual(['SOURCE_CORRUPT', { from: ledger, to: ledger + 1 }]);
        await cp(join(sharedData(RAW), category), join(folder, category), { recursive: true, force: true });
      }
    }));

  it('notices a changed header, and a missing one', () =>
    withCopy(async () => {
      const path = file('ledger', '000000bf');
      await rewrite(path, (bytes) => {
        bytes[4 + 32 + 40]! ^= 1;
        return bytes;
      });
      const changed = await failureOf(read(128, 192));
      expect([changed.reason, changed.details.range]).toEqual(['SOURCE_CORRUPT', { from: 128, to: 129 }]);
      await cp(join(sharedData(RAW), 'ledger'), join(folder, 'ledger'), { recursive: true, force: true });
      await rewrite(path, (bytes) => {
        const second = 4 + (bytes.readUInt32BE(0) & 0x7fff_ffff);
        const third = second + 4 + (bytes.readUInt32BE(second) & 0x7fff_ffff);
        return Buffer.concat([bytes.subarray(0, second), bytes.subarray(third)]);
      });
      const missing = await failureOf(read(128, 192));
      expect([missing.reason, missing.details.range]).toEqual(['SOURCE_CORRUPT', { from: 129, to: 130 }]);
    }));
});
