// Goal: what Stellar RPC shows becomes the same legs as a lake's, all of them or an error, never fewer.
// Method: an RPC-shaped server over recorded ledgers, with faults dialled in; a lake of the same ledgers as judge.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync, zstdCompressSync } from 'node:zlib';
import { Asset, StrKey, xdr } from '@stellar/stellar-sdk/base';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { payloadOf } from '../../src/core/raw-payload.ts';
import type { Layer } from '../../src/core/entry.ts';
import { TrueUpError } from '../../src/core/errors.ts';
import type { LedgerBatch, LedgerRecord } from '../../src/core/ledger.ts';
import { WATCH_EVERYTHING, makeWatch } from '../../src/core/watch.ts';
import type { Watch } from '../../src/core/watch.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import type { HttpClient } from '../../src/sources/http/types.ts';
import type { Source } from '../../src/sources/source.ts';
import { createLakeSource } from '../../src/sources/stellar-lake.ts';
import { createRpcSource } from '../../src/sources/stellar-rpc.ts';
import type { RpcOptions } from '../../src/sources/stellar-rpc.ts';
import { batchKey } from '../../src/sources/stellar/lake-layout.ts';
import { ledgerCloseMetaReader } from '../../src/sources/stellar/ledger-close-meta.ts';
import { decodeLedgerCloseMeta } from '../../src/sources/stellar/wire.ts';
import { loadLedgers, startRpcServer } from '../_util/rpc-server.ts';
import type { RpcLedger, RpcServer } from '../_util/rpc-server.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';

const LOADTEST = 'load test network';
const PUBNET = 'Public Global Stellar Network ; September 2015';
const BOTH: readonly Layer[] = ['operations', 'token_events'];
const signal = new AbortController().signal;

describe.skipIf(!hasSharedData)('Stellar RPC', () => {
  let ledgers: RpcLedger[];
  let expected: LedgerRecord[];
  let server: RpcServer;
  let http: HttpClient;
  let first: number;
  let last: number;

  beforeAll(async () => {
    ledgers = loadLedgers('loadtest-v26');
    first = ledgers[0]!.sequence;
    last = ledgers.at(-1)!.sequence;
    server = await startRpcServer(ledgers, LOADTEST);
    http = createHttpClient({
      allowPrivateAddresses: true,
      requestTimeoutMs: 10_000,
      breaker: { failureThreshold: 1_000 },
      clock: { now: () => performance.now(), wallMs: () => Date.now(), sleep: () => Promise.resolve() },
    });
    expected = await readLake(ledgers, LOADTEST);
  });
  afterAll(async () => {
    await http?.close();
    await server?.close();
  });
  afterEach(() => {
    server.faults.length = 0;
    server.requests.length = 0;
    Object.assign(server, { latest: last, oldest: first, passphrase: LOADTEST, scanLedgers: 10_000 });
  });

  const source = (options: Partial<RpcOptions> = {}): Source =>
    createRpcSource({ url: server.url, networkPassphrase: LOADTEST, http, ...options });
  const read = (
    from: number,
    to: number,
    options: Partial<RpcOptions> = {},
    layers = BOTH,
    watch: Watch = WATCH_EVERYTHING,
  ): Promise<LedgerBatch> => source(options).read({ range: { from, to }, layers, watch }, signal);
  const failureOf = async (promise: Promise<unknown>): Promise<TrueUpError> => {
    const outcome = await promise.then(
      (value) => ({ value }),
      (error: unknown) => error,
    );
    expect(outcome).toBeInstanceOf(TrueUpError);
    return outcome as TrueUpError;
  };

  describe('the same legs as a lake', () => {
    it('over 30 ledgers and 7,740 transactions, both layers, chained', async () => {
      const batch = await read(first, last + 1);
      expect(batch).toMatchObject({
        proof: 'chained',
        range: { from: first, to: last + 1 },
        last: { sequence: last, hash: ledgers.at(-1)!.hash },
      });
      expect(batch.records).toEqual(expected);
      expect(batch.records.reduce((sum, record) => sum + record.txCount, 0)).toBe(7_740);
      expect(batch.bytesRead).toBeGreaterThan(40_000_000);
    });

    it('whatever the page size, and where answers are too large the pages shrink', async () => {
      for (const pageLimit of [1, 3, 200])
        expect((await read(first + 3, first + 7, { pageLimit })).records).toEqual(expected.slice(3, 7));
      server.requests.length = 0;
      const batch = await read(first, first + 5, { pageLimit: 8, maxBodyBytes: 4_000_000 });
      expect(batch.records).toEqual(expected.slice(0, 5));
      expect(server.requests.filter((r) => r.method === 'getLedgers').map((r) => r.params.pagination.limit)).toEqual([
        5, 3, 2, 2, 1,
      ]);
    });

    it('on the public network, for metas V3 and V4', async () => {
      for (const name of ['pubnet-53312000', 'pubnet-57500008', 'pubnet-63092988'] as const) {
        const own = loadLedgers(name);
        await using pubnet = await startRpcServer(own, PUBNET);
        const { sequence, metadataXdr } = own[0]!;
        const batch = await createRpcSource({ url: pubnet.url, networkPassphrase: PUBNET, http }).read(
          { range: { from: sequence, to: sequence + 1 }, layers: BOTH, watch: WATCH_EVERYTHING },
          signal,
        );
        const direct = ledgerCloseMetaReader(PUBNET).read(
          decodeLedgerCloseMeta(metadataXdr, sequence),
          BOTH,
          () => true,
        );
        expect(batch.records).toEqual([direct]);
        expect(direct.entries.length).toBeGreaterThan(200);
      }
    });
  });

  describe('contracts alone, found by their events', () => {
    it('gives the same legs as whole ledgers, on the public network', async () => {
      let compared = 0;
      for (const name of ['pubnet-57500008', 'pubnet-63092988'] as const) {
        const own = loadLedgers(name);
        await using pubnet = await startRpcServer(own, PUBNET);
        const rpc = createRpcSource({ url: pubnet.url, networkPassphrase: PUBNET, http });
        const { sequence, metadataXdr } = own[0]!;
        const whole = ledgerCloseMetaReader(PUBNET).read(
          decodeLedgerCloseMeta(metadataXdr, sequence),
          ['token_events'],
          () => true,
        );
        const holders = [...new Set(whole.entries.map((entry) => entry.account).filter((id) => id.startsWith('C')))];
        // One more that nothing happened to.
        holders.push(StrKey.encodeContract(Buffer.alloc(32, 7)));
        for (const holder of holders) {
          const watch = makeWatch([], [holder]);
          const batch = await rpc.read(
            { range: { from: sequence, to: sequence + 1 }, layers: ['token_events'], watch },
            signal,
          );
          const own = whole.entries.filter((entry) => entry.account === holder);
          expect(batch.records.flatMap((record) => record.entries)).toEqual(own);
          compared += own.length;
        }
        expect(pubnet.requests.filter((r) => r.method === 'getEvents')).toHaveLength(holders.length);
      }
      expect(compared).toBeGreaterThanOrEqual(6);
    });

    it('the server double numbers events as the recorded getEvents did', () => {
      for (const sequence of ['57500008', '63092988'] as const) {
        const recorded = gunzipSync(readFileSync(sharedData(`stellar-pubnet-lcm/expected/${sequence}-events.jsonl.gz`)))
          .toString()
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Record<string, unknown>);
        const ours = loadLedgers(`pubnet-${sequence}`)[0]!.events;
        expect(
          ours.map(({ id, txHash, topic, value, contractId }) => ({ id, txHash, topic, value, contractId })),
        ).toEqual(
          recorded.map(({ id, txHash, topic, value, contractId }) => ({ id, txHash, topic, value, contractId })),
        );
      }
    });

    describe('over many ledgers', () => {
      const contract = StrKey.encodeContract(Buffer.alloc(32, 7));
      const party = Buffer.from(
        xdr.ScVal.schema.encode({ type: 18, address: { type: 1, contractId: Buffer.alloc(32, 7) } }),
      ).toString('base64');
      let marked: RpcServer;
      const sparse = [2, 3, 11, 29];

      beforeAll(async () => {
        const events = (ledger: RpcLedger) =>
          [0, 1, 2].map((n) => ({
            id: `${((BigInt(ledger.sequence) << 32n) | (1n << 12n)).toString().padStart(19, '0')}-${String(n).padStart(10, '0')}`,
            type: 'contract',
            ledger: ledger.sequence,
            contractId: contract,
            transactionIndex: 1,
            operationIndex: 0,
            txHash: '',
            topic: ['AAAA', party],
            value: '',
          }));
        marked = await startRpcServer(
          ledgers.map((ledger, i) => ({ ...ledger, events: sparse.includes(i) ? events(ledger) : [] })),
          LOADTEST,
        );
      });
      afterAll(() => marked?.close());
      afterEach(() => {
        marked.requests.length = 0;
        marked.faults.length = 0;
        Object.assign(marked, { scanLedgers: 10_000, oldest: first, latest: last });
      });
      const readMarked = (options: Partial<RpcOptions> = {}, watch = makeWatch([], [contract]), to = last + 1) =>
        createRpcSource({ url: marked.url, networkPassphrase: LOADTEST, http, ...options }).read(
          { range: { from: first, to }, layers: ['token_events'], watch },
          signal,
        );
      const fetched = () =>
        marked.requests
          .filter((r) => r.method === 'getLedgers')
          .map((r) => (r.params.startLedger as number) - first)
          .sort((a, b) => a - b);

      it('fetches the ledgers with events and the last one, and no other', async () => {
        const batch = await readMarked();
        expect(fetched()).toEqual([2, 3, 11, 29]);
        expect(batch).toMatchObject({
          proof: 'provider-asserted',
          records: [],
          last: { sequence: last, hash: ledgers.at(-1)!.hash },
        });
      });

      it('an empty page is not the end: small scans, small pages, many contracts', async () => {
        marked.scanLedgers = 3;
        await readMarked({ eventPageLimit: 2 });
        expect(fetched()).toEqual([2, 3, 11, 29]);
        marked.requests.length = 0;
        const many = makeWatch(
          [],
          [contract, ...Array.from({ length: 12 }, (_, i) => StrKey.encodeContract(Buffer.alloc(32, 100 + i)))],
        );
        await readMarked({ eventPageLimit: 1 }, many, last - 5);
        expect(fetched()).toEqual([2, 3, 11, 23]);
        expect(marked.requests.filter((r) => r.method === 'getEvents').every((r) => r.params.filters.length <= 5)).toBe(
          true,
        );
      });

      it('what the node has forgotten or does not have yet is an error, since it would leave it out silently', async () => {
        marked.oldest = first + 1;
        expect(await failureOf(readMarked())).toMatchObject({
          reason: 'LEDGER_UNAVAILABLE',
          details: { range: { from: first, to: first + 1 } },
        });
        marked.faults.push({
          kind: 'rewrite',
          times: 9,
          when: (r) => r.method === 'getEvents',
          body: (b) => ({
            jsonrpc: '2.0',
            id: b.id,
            result: {
              events: [],
              cursor: `${'9'.repeat(18)}0-0000000000`,
              oldestLedger: first + 5,
              latestLedger: last,
            },
          }),
        });
        expect(await failureOf(readMarked())).toMatchObject({
          reason: 'LEDGER_UNAVAILABLE',
          details: { range: { from: first, to: first + 5 } },
        });
        Object.assign(marked, { oldest: first, latest: last - 1 });
        marked.faults.length = 0;
        expect((await failureOf(readMarked())).reason).toBe('LEDGER_NOT_YET_CLOSED');
      });

      it('a cursor that stands still, or events out of order, is SOURCE_CORRUPT', async () => {
        marked.scanLedgers = 3;
        const cursor = `${(BigInt(first + 1) << 32n).toString().padStart(19, '0')}-0000000000`;
        marked.faults.push({
          kind: 'rewrite',
          times: 9,
          when: (r) => r.method === 'getEvents',
          body: (b) => ({ ...b, result: { ...b.result, events: [], cursor } }),
        });
        expect((await failureOf(readMarked())).reason).toBe('SOURCE_CORRUPT');
        marked.faults.length = 0;
        marked.faults.push({
          kind: 'rewrite',
          times: 9,
          when: (r) => r.method === 'getEvents',
          body: (b) => ({ ...b, result: { ...b.result, events: b.result.events.toReversed() } }),
        });
        marked.scanLedgers = 10_000;
        expect((await failureOf(readMarked())).reason).toBe('SOURCE_CORRUPT');
      });
    });
  });

  describe('failures', () => {
    it('defect B: JSON-RPC error bodies are errors, and the passing ones are tried again', async () => {
      const cases = [
        [-32603, 'SOURCE_UNAVAILABLE', 5],
        [-32001, 'SOURCE_RATE_LIMITED', 5],
        [-32005, 'SOURCE_RATE_LIMITED', 5],
        [-32000, 'SOURCE_UNAVAILABLE', 5],
        [-32601, 'SOURCE_REFUSED', 1],
        [-32700, 'SOURCE_REFUSED', 1],
      ] as const;
      for (const [code, reason, tries] of cases) {
        server.requests.length = 0;
        server.faults.push({ kind: 'error', code, times: 99, when: (r) => r.method === 'getLedgers' });
        expect((await failureOf(read(first, first + 1))).reason).toBe(reason);
        expect(server.requests.filter((r) => r.method === 'getLedgers')).toHaveLength(tries);
        server.faults.length = 0;
      }
      server.faults.push({ kind: 'error', code: -32603, times: 3 });
      expect((await read(first, first + 1)).records).toHaveLength(1);
    });

    it('defect A10: an error body in a 200 is never "nothing found", and results over one page are read', async () => {
      server.faults.push({ kind: 'error', code: -32602, message: 'bad', when: (r) => r.method === 'getEvents' });
      expect(
        (
          await failureOf(
            read(first, last, {}, ['token_events'], makeWatch([], [StrKey.encodeContract(Buffer.alloc(32, 9))])),
          )
        ).reason,
      ).toBe('SOURCE_REFUSED');
      expect((await read(first, first + 5, { pageLimit: 2 })).records).toHaveLength(5);
    });

    it('defect A1: an empty or misshapen answer is an error', async () => {
      const bodies: ((body: { id: number; result: object }) => unknown)[] = [
        () => ({}),
        () => null,
        () => [],
        (b) => ({ jsonrpc: '2.0', id: b.id }),
        (b) => ({ jsonrpc: '2.0', id: b.id, result: null }),
        (b) => ({ jsonrpc: '2.0', id: b.id, result: {} }),
        (b) => ({ ...b, id: 'another' }),
        (b) => ({ ...b, result: { ...b.result, ledgers: [] } }),
        (b) => ({ ...b, result: { ...b.result, ledgers: null } }),
      ];
      for (const body of bodies) {
        server.faults.push({ kind: 'rewrite', body, when: (r) => r.method === 'getLedgers', times: 99 });
        expect((await failureOf(read(first, first + 2))).reason).toBe('SOURCE_CORRUPT');
        server.faults.length = 0;
      }
      for (const fault of [
        { kind: 'status', status: 500 },
        { kind: 'status', status: 403 },
        { kind: 'truncate' },
      ] as const) {
        server.faults.push({ ...fault, times: 99 });
        await failureOf(read(first, first + 2));
        server.faults.length = 0;
      }
    });

    it('another ledger, a hole, a broken link or a changed bit is SOURCE_CORRUPT, with the ledger', async () => {
      // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the body of an answer
      const changed = (change: (list: any[]) => any[]) => (b: any) => ({
        ...b,
        result: { ...b.result, ledgers: change(b.result.ledgers) },
      });
      const bodies = [
        changed((list) => list.slice(1)),
        changed((list) => list.filter((_, i) => i !== 2)),
        changed((list) => list.with(2, { ...list[2], metadataXdr: list[1].metadataXdr })),
        changed((list) => list.with(2, { ...list[2], hash: '0'.repeat(64) })),
        changed((list) => list.with(2, { ...list[2], metadataXdr: flip(list[2].metadataXdr, 5_000) })),
        changed((list) => list.with(2, { ...list[2], metadataXdr: list[2].metadataXdr.slice(0, 8_000) })),
      ];
      for (const body of bodies) {
        server.faults.push({ kind: 'rewrite', body, when: (r) => r.method === 'getLedgers', times: 1 });
        const error = await failureOf(read(first, first + 5));
        expect(error.reason).toBe('SOURCE_CORRUPT');
        expect(error.details.range).toBeDefined();
        server.faults.length = 0;
        // A cut one comes along as it was given.
        if (body === bodies.at(-1)) expect(payloadOf(error)?.bytes).toHaveLength(6_000);
      }
    });

    it('what lies before the window is LEDGER_UNAVAILABLE and what lies after LEDGER_NOT_YET_CLOSED, never clamped', async () => {
      Object.assign(server, { oldest: first + 5, latest: last - 5 });
      expect(await failureOf(read(first, first + 10))).toMatchObject({
        reason: 'LEDGER_UNAVAILABLE',
        details: { range: { from: first, to: first + 5 } },
      });
      expect((await failureOf(read(last - 8, last + 1))).reason).toBe('LEDGER_NOT_YET_CLOSED');
      expect((await failureOf(source().header(first, signal))).reason).toBe('LEDGER_UNAVAILABLE');
      expect((await failureOf(source().header(last, signal))).reason).toBe('LEDGER_NOT_YET_CLOSED');
    });

    it('an endpoint without getLedgers is refused with advice, since nothing else carries headers', async () => {
      server.faults.push({ kind: 'error', code: -32601, times: 9, when: (r) => r.method === 'getLedgers' });
      expect((await failureOf(read(first, first + 1))).details.fix).toContain('22.1');
    });

    it('another network is refused by name', async () => {
      server.passphrase = PUBNET;
      expect((await failureOf(read(first, first + 1))).reason).toBe('SOURCE_WRONG_NETWORK');
    });
  });

  describe('the tip', () => {
    it('names the latest and the oldest ledger', async () => {
      server.oldest = first + 2;
      expect(await source().tip(signal)).toEqual({
        sequence: last,
        hash: ledgers.at(-1)!.hash,
        closeTime: expected.at(-1)!.closeTime,
        oldest: first + 2,
      });
      expect(await source().header(first + 4, signal)).toEqual({
        sequence: first + 4,
        hash: expected[4]!.hash,
        prevHash: expected[3]!.hash,
        closeTime: expected[4]!.closeTime,
      });
    });

    it('a replica that lags behind is LEDGER_NOT_YET_CLOSED, not a step back', async () => {
      const one = source();
      await one.tip(signal);
      server.latest = last - 3;
      expect((await failureOf(one.tip(signal))).reason).toBe('LEDGER_NOT_YET_CLOSED');
    });
  });

  it('opening balances: native of an account, its asset, and what a contract holds', async () => {
    const account = StrKey.encodeEd25519PublicKey(Buffer.alloc(32, 1));
    const contract = StrKey.encodeContract(Buffer.alloc(32, 2));
    const usd = `USD:${StrKey.encodeEd25519PublicKey(Buffer.alloc(32, 3))}`;
    const asked: string[] = [];
    const one = source({ balanceAssets: [usd] });
    expect(await one.openingBalances!([account, contract], signal)).toEqual([
      { account, asset: 'native', amount: 0n, ledger: last },
      { account: contract, asset: 'native', amount: 0n, ledger: last },
    ]);
    asked.push(...(server.requests.at(-1)!.params.keys as string[]));
    const kinds = asked.map((key) => xdr.LedgerKey.schema.decode(Buffer.from(key, 'base64')));
    expect(kinds.map((key) => key.type)).toEqual([0, 1, 6, 6]);
    const sac = kinds[2]!;
    expect(
      sac.type === 6 &&
        sac.contractData.contract.type === 1 &&
        StrKey.encodeContract(Buffer.from(sac.contractData.contract.contractId)),
    ).toBe(Asset.native().contractId(LOADTEST));

    server.entries.set(asked[2]!, contractBalance(sac, 42n));
    server.entries.set(asked[1]!, trustLine(kinds[1]!, 7_000_000n));
    expect(await one.openingBalances!([account, contract], signal)).toEqual([
      { account, asset: 'native', amount: 0n, ledger: last },
      { account, asset: usd, amount: 7_000_000n, ledger: last },
      { account: contract, asset: 'native', amount: 42n, ledger: last },
    ]);
    server.entries.clear();
  });

  it('never shows keys in its id', () => {
    expect(createRpcSource({ url: 'https://me:pw@rpc.example/v2/KEY?token=T', networkPassphrase: 'x', http }).id).toBe(
      'stellar-rpc:rpc.example',
    );
  });
});

async function readLake(ledgers: readonly RpcLedger[], passphrase: string): Promise<LedgerRecord[]> {
  const folder = await mkdtemp(join(tmpdir(), 'trueup-lake-'));
  const layout = { ledgersPerBatch: 1, batchesPerPartition: 1 };
  try {
    await writeFile(
      join(folder, '.config.json'),
      JSON.stringify({ networkPassphrase: passphrase, version: '1.0', compression: 'zstd', ...layout }),
    );
    for (const { sequence, metadataXdr } of ledgers) {
      const head = Buffer.alloc(12);
      head.writeUInt32BE(sequence, 0);
      head.writeUInt32BE(sequence, 4);
      head.writeUInt32BE(1, 8);
      const batch = Buffer.concat([head, Buffer.from(metadataXdr, 'base64')]);
      await writeFile(join(folder, batchKey(sequence, layout, '.zstd')), zstdCompressSync(batch));
    }
    const lake = createLakeSource({ url: pathToFileURL(folder).href, networkPassphrase: passphrase });
    const range = { from: ledgers[0]!.sequence, to: ledgers.at(-1)!.sequence + 1 };
    return [...(await lake.read({ range, layers: BOTH, watch: WATCH_EVERYTHING }, signal)).records];
  } finally {
    await rm(folder, { recursive: true });
  }
}

function flip(base64: string, byte: number): string {
  const bytes = Buffer.from(base64, 'base64');
  bytes[byte]! ^= 1;
  return bytes.toString('base64');
}

type KeyWire = ReturnType<typeof xdr.LedgerKey.schema.decode>;
type DataWire = Parameters<typeof xdr.LedgerEntryData.schema.encode>[0];

function encodeData(data: DataWire): string {
  return Buffer.from(xdr.LedgerEntryData.schema.encode(data)).toString('base64');
}

function trustLine(key: KeyWire, balance: bigint): string {
  if (key.type !== 1) throw new Error('not a trustline');
  return encodeData({ type: 1, trustLine: { ...key.trustLine, balance, limit: 10n ** 18n, flags: 1, ext: { v: 0 } } });
}

function contractBalance(key: KeyWire, amount: bigint): string {
  if (key.type !== 6) throw new Error('not contract data');
  const sym = (text: string) => xdr.ScVal.schema.decode(Buffer.from(xdr.ScVal.scvSymbol(text).toXDR()));
  const map = [{ key: sym('amount'), val: { type: 10 as const, i128: { hi: 0n, lo: amount } } }];
  return encodeData({ type: 6, contractData: { ...key.contractData, ext: { v: 0 }, val: { type: 17, map } } });
}
