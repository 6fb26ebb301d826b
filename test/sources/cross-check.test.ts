// Goal: a second source really is compared, and one flipped bit is seen.
// Method: 50 public-network headers recorded from Horizon and 50 from RPC at the same time; then two live test servers.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareHeaders } from '../../src/core/cross-check.ts';
import { TrueUpError } from '../../src/core/errors.ts';
import type { LedgerHeader } from '../../src/core/ledger.ts';
import { crossCheckSources, headerFromHistoryEntry, headerFromXdr } from '../../src/sources/cross-check.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import type { Source } from '../../src/sources/source.ts';
import { createArchiveSource } from '../../src/sources/stellar-archive.ts';
import { createHorizonSource } from '../../src/sources/stellar-horizon.ts';
import { verifyChain } from '../../src/sources/stellar/header.ts';
import { TESTNET_PASSPHRASE, loadTestnetHistory } from '../_util/horizon-history.ts';
import { startHorizonServer } from '../_util/horizon-server.ts';
import type { HorizonServer } from '../_util/horizon-server.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';

interface Recorded {
  readonly records: readonly { readonly sequence: number; readonly header_xdr: string; readonly headerXdr: string }[];
}

function recorded(name: string): Recorded['records'] {
  return (JSON.parse(readFileSync(sharedData(`stellar-sdk-corpus/${name}`), 'utf8')) as Recorded).records;
}

/** One bit of a byte inside the header proper. */
function flipped(base64: string, byte: number): string {
  const bytes = Buffer.from(base64, 'base64');
  bytes[byte]! ^= 1;
  return bytes.toString('base64');
}

const fromHorizon = (): LedgerHeader[] =>
  recorded('horizon-ledgers.json').map((r) => headerFromXdr(r.header_xdr, r.sequence));
const fromRpc = (): LedgerHeader[] =>
  recorded('rpc-ledgers.json').map((r) => headerFromHistoryEntry(r.headerXdr, r.sequence));

describe.skipIf(!hasSharedData)('headers of two providers', () => {
  it('49 are equal and one is only in each', () => {
    const [a, b] = [fromHorizon(), fromRpc()];
    verifyChain([...a].sort((x, y) => x.sequence - y.sequence));
    const result = compareHeaders(a, b);
    expect(result.equal).toEqual(Array.from({ length: 49 }, (_, i) => 63_800_061 + i));
    expect(result).toMatchObject({ onlyInA: [63_800_110], onlyInB: [63_800_060], conflicts: [] });
  });

  it('one flipped bit anywhere in a header is one conflict', () => {
    const [a, b] = [fromHorizon(), fromRpc()];
    const records = recorded('rpc-ledgers.json');
    // Previous hash, transaction set, close time, bucket list and fee pool, counted from the entry's start.
    for (const byte of [40, 70, 107, 260, 300]) {
      const changed = records.map((r, i) =>
        headerFromHistoryEntry(i === 20 ? flipped(r.headerXdr, byte) : r.headerXdr, r.sequence),
      );
      const result = compareHeaders(a, changed);
      expect(result.equal).toHaveLength(48);
      expect(result.conflicts).toHaveLength(1);
      expect(result.conflicts[0]).toMatchObject({ sequence: records[20]!.sequence, a: { hash: b[20]!.hash } });
      expect(result.conflicts[0]!.fields).toContain('hash');
    }
  });

  it('a stated hash is not believed', () => {
    const record = recorded('rpc-ledgers.json')[0]!;
    expect(headerFromHistoryEntry(flipped(record.headerXdr, 3), record.sequence).hash).toBe(fromRpc()[0]!.hash);
  });

  it('refuses a side that contradicts itself', () => {
    const [first] = fromRpc();
    expect(() => compareHeaders([first!, { ...first!, hash: '0'.repeat(64) }], [])).toThrow(TrueUpError);
  });
});

describe.skipIf(!hasSharedData)('defect B: a second source really is compared', () => {
  const signal = new AbortController().signal;
  const http = createHttpClient({ allowPrivateAddresses: true, maxAttempts: 1 });
  let server: HorizonServer;
  let archive: Source;
  let horizon: Source;

  beforeAll(async () => {
    server = await startHorizonServer(loadTestnetHistory(255));
    archive = createArchiveSource({
      url: `file://${sharedData('stellar-testnet-archive/raw')}`,
      networkPassphrase: TESTNET_PASSPHRASE,
    });
    horizon = createHorizonSource({ url: server.url, networkPassphrase: TESTNET_PASSPHRASE, http });
  });
  afterAll(async () => {
    await server?.close();
    await http.close();
  });

  it('both are asked for every ledger; what only one has is said', async () => {
    server.elder = 130;
    server.requests.length = 0;
    const result = await crossCheckSources(archive, horizon, [100, 150, 200, 300], signal);
    expect(result).toEqual({ equal: [150, 200], onlyInA: [100, 300], onlyInB: [], conflicts: [], corrupt: [] });
    expect(
      server.requests
        .filter((r) => r.segments[0] === 'ledgers')
        .map((r) => r.segments[1])
        .sort(),
    ).toEqual(['100', '150', '200', '300']);
    server.elder = 1;
  });

  it('bytes that are wrong in themselves are named, with their source', async () => {
    server.faults.push({
      kind: 'rewrite',
      when: (r) => r.segments[1] === '150',
      body: (ledger) => ({ ...ledger, header_xdr: flipped(ledger.header_xdr, 8) }),
    });
    const result = await crossCheckSources(archive, horizon, [149, 150], signal);
    expect(result).toMatchObject({ equal: [149], onlyInA: [150], corrupt: [{ source: horizon.id, sequence: 150 }] });
  });

  it('another history of the same network is a conflict', async () => {
    const other: Source = {
      ...horizon,
      header: async (sequence) => ({ ...(await archive.header(sequence, signal)), hash: 'f'.repeat(64) }),
    };
    expect((await crossCheckSources(archive, other, [149], signal)).conflicts).toMatchObject([
      { sequence: 149, fields: ['hash'] },
    ]);
  });

  it('a source that cannot be read makes no comparison', async () => {
    server.faults.push({ kind: 'status', status: 500, times: 5 });
    await expect(crossCheckSources(archive, horizon, [149], signal)).rejects.toMatchObject({
      reason: 'SOURCE_UNAVAILABLE',
    });
    server.faults.length = 0;
    const elsewhere: Source = { ...horizon, networkPassphrase: 'another' };
    await expect(crossCheckSources(archive, elsewhere, [149], signal)).rejects.toMatchObject({
      reason: 'SOURCE_WRONG_NETWORK',
    });
  });
});
