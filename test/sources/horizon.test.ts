// Goal: what Horizon shows becomes the same legs as the archive's, all of them or an error, never fewer.
// Method: a Horizon-shaped server over the recorded testnet history, with faults dialled in; the archive itself as judge.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { payloadOf } from '../../src/core/raw-payload.ts';
import type { Entry } from '../../src/core/entry.ts';
import { TrueUpError } from '../../src/core/errors.ts';
import type { LedgerBatch, LedgerRecord } from '../../src/core/ledger.ts';
import { WATCH_EVERYTHING, makeWatch } from '../../src/core/watch.ts';
import type { Watch } from '../../src/core/watch.ts';
import { createHttpClient } from '../../src/sources/http/client.ts';
import type { HttpClient } from '../../src/sources/http/types.ts';
import type { Source } from '../../src/sources/source.ts';
import { createArchiveSource } from '../../src/sources/stellar-archive.ts';
import { createHorizonSource } from '../../src/sources/stellar-horizon.ts';
import type { HorizonOptions } from '../../src/sources/stellar-horizon.ts';
import { TESTNET_PASSPHRASE, loadTestnetHistory } from '../_util/horizon-history.ts';
import type { History } from '../_util/horizon-history.ts';
import { startHorizonServer } from '../_util/horizon-server.ts';
import type { HorizonRequest, HorizonServer } from '../_util/horizon-server.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';

const signal = new AbortController().signal;
const LAST = 4095;

describe.skipIf(!hasSharedData)('Horizon', () => {
  let history: History;
  let server: HorizonServer;
  let http: HttpClient;
  let archive: Source;

  beforeAll(async () => {
    history = loadTestnetHistory();
    server = await startHorizonServer(history);
    http = createHttpClient({
      allowPrivateAddresses: true,
      requestTimeoutMs: 5_000,
      breaker: { failureThreshold: 1_000 },
      clock: { now: () => performance.now(), wallMs: () => Date.now(), sleep: () => Promise.resolve() },
    });
    archive = createArchiveSource({
      url: `file://${sharedData('stellar-testnet-archive/raw')}`,
      networkPassphrase: TESTNET_PASSPHRASE,
    });
  });
  afterAll(async () => {
    await http?.close();
    await server?.close();
    await archive?.close();
  });
  afterEach(() => {
    server.faults.length = 0;
    server.requests.length = 0;
    Object.assign(server, { latest: LAST, elder: 1, passphrase: TESTNET_PASSPHRASE });
  });

  const source = (options: Partial<HorizonOptions> = {}): Source =>
    createHorizonSource({ url: server.url, networkPassphrase: TESTNET_PASSPHRASE, http, ...options });
  const read = (from: number, to: number, watch: Watch, options: Partial<HorizonOptions> = {}): Promise<LedgerBatch> =>
    source(options).read({ range: { from, to }, layers: ['operations'], watch }, signal);
  const archived = async (from: number, to: number, watch: Watch): Promise<LedgerRecord[]> => {
    const records: LedgerRecord[] = [];
    for (let at = from; at < to; at += 256) {
      records.push(
        ...(
          await archive.read({ range: { from: at, to: Math.min(to, at + 256) }, layers: ['operations'], watch }, signal)
        ).records,
      );
    }
    return records;
  };
  const failureOf = async (promise: Promise<unknown>): Promise<TrueUpError> => {
    const outcome = await promise.then(
      (value) => ({ value }),
      (error: unknown) => error,
    );
    expect(outcome).toBeInstanceOf(TrueUpError);
    return outcome as TrueUpError;
  };
  const isPage = (verb: string) => (request: HorizonRequest) =>
    request.segments.at(-1) === verb && request.query['cursor'] !== undefined;

  describe('the same legs as the archive', () => {
    it('watching everything, over all of ledgers 1 to 4095, ledger by ledger', async () => {
      const batch = await read(1, LAST + 1, WATCH_EVERYTHING);
      expect(batch.proof).toBe('chained');
      expect(batch.records).toHaveLength(LAST);
      expect(batch.records).toEqual(await archived(1, LAST + 1, WATCH_EVERYTHING));
      expect(batch.records.reduce((sum, record) => sum + record.txCount, 0)).toBe(6_829);
      expect(batch.last.hash).toBe('798a03d9f3919d9334cfa10d4aef59a0baf7f5027bae6faf68cc1fa435dfccb0');
      expect(batch.bytesRead).toBeGreaterThan(1_000_000);
    }, 60_000);

    it('watching accounts, for the busiest and for those whose offers were only traded with', async () => {
      const busiest = [...countParticipation(history)]
        .sort((a, b) => b[1] - a[1])
        .slice(0, 8)
        .map(([id]) => id);
      const sellers = history.ledgers.flatMap((l) =>
        l.transactions.flatMap((tx) => tx.trades.filter((t) => !tx.participants.has(t.seller)).map((t) => t.seller)),
      );
      expect(sellers.length).toBeGreaterThan(0);
      const watch = makeWatch([...busiest, ...sellers]);
      const batch = await read(1, LAST + 1, watch);
      expect(batch.proof).toBe('provider-asserted');
      const expected = (await archived(1, LAST + 1, watch)).filter((record) => record.entries.length > 0);
      expect(entriesOf(batch.records)).toEqual(entriesOf(expected));
      expect(batch.records.filter((r) => r.entries.length > 0).map(({ underived: _, ...rest }) => rest)).toEqual(
        expected.map(({ underived: _, ...rest }) => rest),
      );
      expect(entriesOf(batch.records).length).toBeGreaterThan(1_000);
    }, 60_000);

    it('watching the root account from genesis: the opening leg is there without a transaction', async () => {
      const root = (await archived(1, 2, WATCH_EVERYTHING))[0]!.entries[0]!.account;
      const batch = await read(1, 200, makeWatch([root]));
      expect(batch.records[0]!.entries[0]).toMatchObject({ kind: 'genesis', amount: 10n ** 18n });
      expect(entriesOf(batch.records)).toEqual(entriesOf(await archived(1, 200, makeWatch([root]))));
    });

    it('many accounts over few ledgers are read as whole ledgers, with the same legs', async () => {
      const accounts = [...countParticipation(history).keys()].slice(0, 400);
      const batch = await read(3_000, 3_064, makeWatch(accounts));
      expect(batch.proof).toBe('chained');
      expect(batch.records).toEqual(await archived(3_000, 3_064, makeWatch(accounts)));
      expect(server.requests.filter((r) => r.segments[0] === 'accounts')).toHaveLength(0);
    });

    it('whatever the page size', async () => {
      const expected = await archived(2_300, 2_364, WATCH_EVERYTHING);
      for (const pageLimit of [1, 7, 200])
        expect((await read(2_300, 2_364, WATCH_EVERYTHING, { pageLimit })).records).toEqual(expected);
    });
  });

  describe('completeness', () => {
    it('defect A2: reads every page, whatever their number', async () => {
      const [busiest] = [...countParticipation(history)].sort((a, b) => b[1] - a[1])[0]!;
      const batch = await read(1, LAST + 1, makeWatch([busiest]));
      const hashes = new Set(entriesOf(batch.records).map((entry) => entry.txHash));
      expect(hashes.size).toBeGreaterThan(200);
      expect(server.requests.filter((r) => r.segments[2] === 'transactions').length).toBeGreaterThan(
        Math.ceil(hashes.size / 200),
      );
      expect(
        server.requests
          .filter((r) => r.segments[2] === 'transactions')
          .every((r) => r.query['include_failed'] === 'true'),
      ).toBe(true);
    });

    it('a provider that caps its pages lower than asked loses nothing', async () => {
      const expected = await archived(2_300, 2_364, WATCH_EVERYTHING);
      server.faults.push({
        kind: 'rewrite',
        times: 1_000,
        when: isPage('transactions'),
        body: (page) => ({ ...page, _embedded: { records: page._embedded.records.slice(0, 3) } }),
      });
      expect((await read(2_300, 2_364, WATCH_EVERYTHING)).records).toEqual(expected);
    });

    it('a transaction left out of a whole ledger is SOURCE_CORRUPT, never one fewer', async () => {
      const ledger = history.ledgers.find((l) => l.sequence > 2_300 && l.transactions.length > 2)!;
      for (const tx of ledger.transactions) {
        server.faults.push({
          kind: 'rewrite',
          times: 10,
          when: isPage('transactions'),
          body: (page) => ({
            ...page,
            _embedded: { records: page._embedded.records.filter((r: { hash: string }) => r.hash !== tx.hash) },
          }),
        });
        const error = await failureOf(read(ledger.sequence - 5, ledger.sequence + 5, WATCH_EVERYTHING));
        expect(error).toMatchObject({
          reason: 'SOURCE_CORRUPT',
          details: { range: { from: ledger.sequence, to: ledger.sequence + 1 } },
        });
        server.faults.length = 0;
      }
    });

    it('a repeated page, an altered result, another flag or a swapped envelope is SOURCE_CORRUPT', async () => {
      const [a, b] = history.ledgers
        .filter((l) => l.sequence > 2_300 && l.transactions.some((tx) => tx.successful))
        .slice(0, 2);
      const change =
        (by: (record: Record<string, unknown>) => object) =>
        (page: { _embedded: { records: Record<string, unknown>[] } }) => ({
          _embedded: {
            records: page._embedded.records.map((r) =>
              r['hash'] === a!.transactions[0]!.hash ? { ...r, ...by(r) } : r,
            ),
          },
        });
      const bodies = [
        change(() => ({ result_xdr: b!.transactions[0]!.resultXdr.replace(/^AAAAAAAA/, 'AAAAAAAB') })),
        change((r) => ({ successful: !r['successful'] })),
        change(() => ({ envelope_xdr: b!.transactions[0]!.envelopeXdr })),
        change(() => ({ ledger: a!.sequence + 1 })),
        change(() => ({ result_xdr: 'AAAA' })),
        change(() => ({ result_xdr: undefined })),
        () => ({ error: 'try later' }),
        () => ({ _embedded: { records: null } }),
      ];
      for (const body of bodies) {
        server.faults.push({ kind: 'rewrite', times: 10, when: isPage('transactions'), body });
        const error = await failureOf(read(a!.sequence, a!.sequence + 5, WATCH_EVERYTHING));
        expect(error.reason).toBe('SOURCE_CORRUPT');
        const isUndecodable = body === bodies[4];
        if (isUndecodable)
          expect(JSON.parse(Buffer.from(payloadOf(error)!.bytes).toString())).toMatchObject({ result_xdr: 'AAAA' });
        server.faults.length = 0;
      }
      server.faults.push({
        kind: 'ignore-cursor',
        when: (r) => r.segments[0] === 'transactions' && r.query['cursor'] !== String(BigInt(2_300) << 32n),
      });
      expect((await failureOf(read(2_300, 2_364, WATCH_EVERYTHING, { pageLimit: 10 }))).reason).toBe('SOURCE_CORRUPT');
    });

    it('an account page that comes again for ever is SOURCE_CORRUPT, not an endless read', async () => {
      const [busiest] = [...countParticipation(history)].sort((a, b) => b[1] - a[1])[0]!;
      const repeated = (request: HorizonRequest) =>
        request.segments[2] === 'transactions' && request.query['cursor'] !== String(BigInt(1) << 32n);
      server.faults.push({ kind: 'ignore-cursor', times: 1_000, when: repeated });
      expect((await failureOf(read(1, LAST + 1, makeWatch([busiest])))).reason).toBe('SOURCE_CORRUPT');
    });

    it('a hole in the list of ledgers, or a header that hashes to something else, is SOURCE_CORRUPT', async () => {
      server.faults.push({
        kind: 'rewrite',
        when: isPage('ledgers'),
        body: (page) => ({
          _embedded: { records: page._embedded.records.filter((l: { sequence: number }) => l.sequence !== 2_310) },
        }),
      });
      expect(await failureOf(read(2_300, 2_364, WATCH_EVERYTHING))).toMatchObject({
        reason: 'SOURCE_CORRUPT',
        details: { range: { from: 2_310, to: 2_311 } },
      });
      const other = history.ledgers[100]!;
      server.faults.push({
        kind: 'rewrite',
        when: (r) => r.segments[0] === 'ledgers',
        body: (ledger) => ({ ...ledger, hash: other.hash }),
      });
      expect((await failureOf(source().header(2_300, signal))).reason).toBe('SOURCE_CORRUPT');
    });

    it('a read before the elder ledger is LEDGER_UNAVAILABLE, never clamped, also when the endpoint prunes meanwhile', async () => {
      server.elder = 3_000;
      const error = await failureOf(
        read(2_990, 3_010, makeWatch([history.ledgers[2_995]!.transactions[0]?.sourceAccount ?? anyAccount(history)])),
      );
      expect(error).toMatchObject({ reason: 'LEDGER_UNAVAILABLE', details: { range: { from: 2_990, to: 3_000 } } });
      expect(server.requests).toHaveLength(1);
      let asked = 0;
      server.faults.push({
        kind: 'rewrite',
        times: 100,
        when: (r) => r.segments.length === 0,
        body: (root) => ({ ...root, history_elder_ledger: asked++ === 0 ? 3_000 : 3_005 }),
      });
      expect((await failureOf(read(3_000, 3_010, makeWatch([anyAccount(history)])))).reason).toBe('LEDGER_UNAVAILABLE');
    });

    it('a read past the latest ledger is LEDGER_NOT_YET_CLOSED', async () => {
      server.latest = 3_000;
      expect((await failureOf(read(2_990, 3_002, WATCH_EVERYTHING))).reason).toBe('LEDGER_NOT_YET_CLOSED');
      expect((await failureOf(source().header(3_001, signal))).reason).toBe('LEDGER_NOT_YET_CLOSED');
      server.elder = 2_000;
      expect((await failureOf(source().header(1_000, signal))).reason).toBe('LEDGER_UNAVAILABLE');
    });

    it('refuses more transactions than it may hold', async () => {
      expect((await failureOf(read(1, LAST + 1, WATCH_EVERYTHING, { maxTransactionsPerRead: 500 }))).reason).toBe(
        'SOURCE_ANSWER_TOO_LARGE',
      );
      expect(
        (
          await failureOf(
            read(1, LAST + 1, makeWatch([...countParticipation(history).keys()].slice(0, 50)), {
              maxTransactionsPerRead: 100,
            }),
          )
        ).reason,
      ).toBe('SOURCE_ANSWER_TOO_LARGE');
    });
  });

  describe('failures', () => {
    it('defect A1: a source error or an empty answer is an error, never an empty list', async () => {
      const watch = makeWatch([anyAccount(history)]);
      for (const fault of [
        { kind: 'status', status: 500 },
        { kind: 'status', status: 503 },
        { kind: 'status', status: 429 },
        { kind: 'status', status: 400 },
        { kind: 'truncate' },
        { kind: 'rewrite', body: () => null },
        { kind: 'rewrite', body: () => ({}) },
        { kind: 'rewrite', body: () => [] },
      ] as const) {
        for (const endpoint of ['transactions', 'trades', 'ledgers', undefined]) {
          server.faults.push({
            ...fault,
            times: 100,
            when: (r: HorizonRequest) => (endpoint === 'ledgers' ? r.segments[0] : r.segments.at(-1)) === endpoint,
          });
          await failureOf(read(2_000, 2_100, watch));
          server.faults.length = 0;
        }
      }
    });

    it('an account that never existed has an empty history only where Horizon itself says so', async () => {
      const nobody = 'GAAZI4TCR3TY5OJHCTJC2A4QSY6CJWJH5IAJTGKIN2ER7LBNVKOCCWN7';
      const batch = await read(2_000, 2_100, makeWatch([nobody]));
      expect(batch).toMatchObject({ records: [], last: { sequence: 2_099, hash: history.ledgers[2_098]!.hash } });
      const foreign = createHorizonSource({
        url: `${server.url}/accounts/x`,
        networkPassphrase: TESTNET_PASSPHRASE,
        http,
      });
      await failureOf(
        foreign.read({ range: { from: 2_000, to: 2_100 }, layers: ['operations'], watch: makeWatch([nobody]) }, signal),
      );
    });

    it('faults that pass are outlived: rate limits, restarts, a cut connection', async () => {
      server.faults.push(
        { kind: 'status', status: 429, headers: { 'retry-after': '3' }, times: 2 },
        { kind: 'status', status: 503 },
        { kind: 'truncate' },
      );
      expect((await read(2_300, 2_364, WATCH_EVERYTHING)).records).toHaveLength(64);
    });

    it('a body that stops coming is a timeout', async () => {
      const impatient = createHttpClient({ allowPrivateAddresses: true, requestTimeoutMs: 80, maxAttempts: 1 });
      server.faults.push({ kind: 'stall' });
      expect((await failureOf(source({ http: impatient }).tip(signal))).reason).toBe('SOURCE_TIMEOUT');
      await impatient.close();
    });

    it('an abort ends a read with its own reason', async () => {
      const controller = new AbortController();
      server.faults.push({ kind: 'stall', when: (r) => r.segments[2] === 'transactions' });
      const pending = source().read(
        { range: { from: 2_000, to: 2_100 }, layers: ['operations'], watch: makeWatch([anyAccount(history)]) },
        controller.signal,
      );
      await expect.poll(() => server.requests.some((r) => r.segments[2] === 'transactions')).toBe(true);
      controller.abort(new Error('shutting down'));
      await expect(pending).rejects.toThrow('shutting down');
    });

    it('another network is refused by name before anything is read', async () => {
      server.passphrase = 'Public Global Stellar Network ; September 2015';
      expect((await failureOf(read(1, 10, WATCH_EVERYTHING))).reason).toBe('SOURCE_WRONG_NETWORK');
      expect((await failureOf(source().tip(signal))).reason).toBe('SOURCE_WRONG_NETWORK');
    });

    it('shows no token events and says who does', async () => {
      const error = await failureOf(
        source().read({ range: { from: 1, to: 2 }, layers: ['token_events'], watch: WATCH_EVERYTHING }, signal),
      );
      expect(error).toMatchObject({ reason: 'INVALID_REQUEST' });
    });
  });

  describe('the tip', () => {
    it('names the latest and the oldest ledger, hash verified', async () => {
      server.elder = 65;
      expect(await source().tip(signal)).toEqual({
        sequence: LAST,
        hash: history.ledgers.at(-1)!.hash,
        closeTime: Date.parse(history.ledgers.at(-1)!.closedAt) / 1_000,
        oldest: 65,
      });
      expect((await source({ tipMarginLedgers: 2 }).tip(signal)).sequence).toBe(LAST - 2);
    });

    it('a replica that lags behind is an error, not a step back', async () => {
      const one = source();
      await one.tip(signal);
      server.latest = 4_000;
      expect((await failureOf(one.tip(signal))).reason).toBe('LEDGER_NOT_YET_CLOSED');
      server.latest = LAST;
      expect((await one.tip(signal)).sequence).toBe(LAST);
    });
  });

  it('opening balances are those of the bucket list, at the ledger of the answer', async () => {
    const accounts = [...history.trustlines.keys()].slice(0, 40);
    const balances = await source().openingBalances!(accounts, signal);
    const expected = accounts.flatMap((account) => [
      ...history.trustlines.get(account)!.map(([asset, amount]) => ({ account, asset, amount, ledger: LAST })),
      ...(history.native.has(account)
        ? [{ account, asset: 'native', amount: history.native.get(account)!, ledger: LAST }]
        : []),
    ]);
    expect(balances).toEqual(expected);
    const nobody = 'GAAZI4TCR3TY5OJHCTJC2A4QSY6CJWJH5IAJTGKIN2ER7LBNVKOCCWN7';
    expect(await source().openingBalances!([nobody], signal)).toEqual([
      { account: nobody, asset: 'native', amount: 0n, ledger: LAST },
    ]);
  });

  it('never shows credentials in its id', () => {
    expect(
      createHorizonSource({ url: 'https://me:secret@horizon.example/v1/KEY?api_key=K', networkPassphrase: 'x', http })
        .id,
    ).toBe('stellar-horizon:horizon.example');
  });
});

function entriesOf(records: readonly LedgerRecord[]): Entry[] {
  return records.flatMap((record) => record.entries);
}

function countParticipation(history: History): Map<string, number> {
  const counts = new Map<string, number>();
  for (const ledger of history.ledgers) {
    for (const tx of ledger.transactions) for (const id of tx.participants) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

function anyAccount(history: History): string {
  return history.ledgers.find((ledger) => ledger.sequence >= 2_000 && ledger.transactions.length > 0)!.transactions[0]!
    .sourceAccount;
}
