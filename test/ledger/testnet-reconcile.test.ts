// Goal: balances of a real ledger against a book that is independent of it: stellar-core's own state at testnet ledger 4095. Method: follow the
// archive, load the bucket list's native balances as the book, reconcile; then spoil k of them by one stroop.
import { gunzipSync } from 'node:zlib';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parse } from 'csv-parse/sync';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Policy } from '../../src/core/policy.ts';
import { POLICY_DEFAULTS } from '../../src/core/policy.ts';
import { WATCH_EVERYTHING } from '../../src/core/watch.ts';
import { createArchiveSource } from '../../src/sources/stellar-archive.ts';
import { createRecordedBook } from '../../src/services/book-side.ts';
import { importBook } from '../../src/services/imports.ts';
import { createReconciliationService } from '../../src/services/reconciliation.ts';
import { runReconciliation } from '../../src/services/run-reconciliation.ts';
import type { StoredRun } from '../../src/store/runs.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { openExportHouse } from '../_util/exports.ts';
import { followThrough, quietEvents, testCaller } from '../_util/services.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';

const TESTNET = 'Test SDF Network ; September 2015';
const LAST = 4095;
const SPOILED = 7;

describe.skipIf(!hasSharedData)('testnet balances at ledger 4095', () => {
  let test: TestDatabase;
  let reconcile: () => Promise<StoredRun>;
  let folder: string;
  let exports: ReturnType<typeof openExportHouse>;
  let metrics: ReturnType<typeof quietEvents>['metrics'];
  const book = readCsv('stellar-testnet-archive/expected/native-balances-at-4095.csv.gz');
  const known = JSON.parse(
    readFileSync(sharedData('stellar-testnet-archive/expected/reconciliation-native-at-4095.json'), 'utf8'),
  ) as {
    mismatches: { account: string; ledger_state_stroops: string; from_payments_and_fees_stroops: string }[];
  };

  beforeAll(async () => {
    test = await createTestDatabase();
    folder = mkdtempSync(join(tmpdir(), 'trueup-testnet-'));
    exports = openExportHouse({ db: test.db, folder, networkPassphrase: TESTNET });
    const quiet = quietEvents();
    metrics = quiet.metrics;
    const source = createArchiveSource({
      url: pathToFileURL(sharedData('stellar-testnet-archive/raw')).href,
      networkPassphrase: TESTNET,
    });
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
        events: quiet.events,
      },
      LAST,
    );
    const policy: Policy = { ...POLICY_DEFAULTS, name: 'balances', level: 'balances' };
    const policies = new Map([[policy.name, policy]]);
    const service = createReconciliationService({
      db: test.db,
      queue: { send: () => Promise.resolve('job') },
      policies,
      networkPassphrase: TESTNET,
      sandbox: false,
    });
    reconcile = async () => {
      const run = await service.start(
        { policy: 'balances', level: null, range: null, windowMs: null, scope: null, requestId: null },
        testCaller,
      );
      await runReconciliation(
        {
          db: test.db,
          policies,
          bookOf: () => createRecordedBook(test, 'default'),
          networkPassphrase: TESTNET,
          events: quiet.events,
        },
        run.id,
        { attempt: 1, maxAttempts: 1, signal: AbortSignal.timeout(60_000) },
      );
      return (await service.get(run.id)) as StoredRun;
    };
  });
  afterAll(async () => {
    await test.drop();
    rmSync(folder, { recursive: true, force: true });
  });

  const load = async (balances: readonly (readonly [string, bigint])[]): Promise<void> => {
    const csv = `account,asset,balance_minor,as_of_ledger\n${balances.map(([account, amount]) => `${account},native,${amount},${LAST}`).join('\n')}\n`;
    const done = await importBook(
      test,
      {
        book: 'default',
        level: 'balances',
        format: 'csv',
        fileName: 'balances.csv',
        fileSizeBytes: null,
        completeThrough: new Date('2025-06-18T23:00:00Z'),
        requestId: null,
      },
      (async function* () {
        yield Buffer.from(csv);
      })(),
      testCaller,
    );
    expect(done).toMatchObject({ state: 'committed', errorCount: 0 });
  };

  it('equals the bucket list for every account that can be derived, and accuses none', async () => {
    await load(book);
    const { verdict, summary } = await reconcile();
    expect(summary?.inconclusive).toEqual([]);
    expect(verdict).toBe('CLEAN');
    expect(summary?.counts).toMatchObject({ bookRecords: 10_803, drifted: 0 });
    expect(summary!.counts!.matched + summary!.counts!.underived).toBe(10_803);
    expect(summary!.counts!.underived).toBeLessThanOrEqual(120);
  });

  it('reports all 19 known differences as underived, with both amounts', async () => {
    const { summary } = await reconcile();
    const underived = new Map(summary!.underivedItems.map((item) => [item.account, item]));
    expect(known.mismatches).toHaveLength(19);
    for (const mismatch of known.mismatches) {
      expect(underived.get(mismatch.account), mismatch.account).toMatchObject({
        asset: 'native',
        bookAmount: BigInt(mismatch.ledger_state_stroops),
      });
      expect(underived.get(mismatch.account)!.ledgerAmount).not.toBeNull();
    }
  });

  it(`finds exactly ${SPOILED} drifts after ${SPOILED} equal balances were changed by one stroop, and closes them when they are mended`, async () => {
    const first = await reconcile();
    const underived = new Set(first.summary!.underivedItems.map((item) => item.account));
    const victims = book
      .filter(([account]) => !underived.has(account))
      .filter((_, i) => i % 1500 === 3)
      .slice(0, SPOILED);
    expect(victims).toHaveLength(SPOILED);
    await load(victims.map(([account, amount]) => [account, amount + 1n] as const));
    const drifted = await reconcile();
    expect(drifted.verdict).toBe('DRIFT_DETECTED');
    expect(drifted.summary).toMatchObject({
      counts: { drifted: SPOILED, appeared: SPOILED },
      valueAtRisk: [{ asset: 'native', amount: BigInt(SPOILED), count: SPOILED }],
    });
    const again = await reconcile();
    expect(again.summary?.counts).toMatchObject({ drifted: SPOILED, appeared: 0 });
    expect(again.summary?.resultDigest).toBe(drifted.summary?.resultDigest);
    const exposition = (await metrics.render()).body;
    expect(exposition).toContain(`reconciliation_drift_total{issue="BALANCE_MISMATCH"} ${SPOILED}`);
    await load(victims);
    const mended = await reconcile();
    expect(mended.verdict).toBe('CLEAN');
    expect(mended.summary?.counts).toMatchObject({ drifted: 0, resolved: SPOILED });
  });

  it('has a statement that adds up, and closes at the bucket list for every account that is not underived', async () => {
    const { bytes, job } = await exports.exported({ kind: 'statement', filter: { assets: ['native'] } });
    const lines: Record<string, string>[] = parse(bytes, { columns: true });
    expect(job.progress!.rows).toBe(lines.length);
    const closings = new Map<string, bigint>();
    let underived = 0;
    for (const line of lines) {
      if (line.state !== 'derived') {
        expect([line.opening_minor, line.closing_minor]).toEqual(['', '']);
        underived++;
        continue;
      }
      const amount = (name: string): bigint => BigInt(line[`${name}_minor`]!);
      expect(amount('opening') + amount('in') - amount('out') - amount('fees')).toBe(amount('closing'));
      // Every account of this network was opened after its first ledger.
      if (!closings.has(line.account!)) expect(amount('opening')).toBe(0n);
      else expect(amount('opening')).toBe(closings.get(line.account!));
      closings.set(line.account!, amount('closing'));
    }
    expect(underived).toBeGreaterThan(0);
    let compared = 0;
    for (const [account, amount] of book) {
      if (!closings.has(account)) continue;
      expect([account, closings.get(account)]).toEqual([account, amount]);
      compared++;
    }
    expect(compared).toBeGreaterThan(10_000);
  });

  it('exported twice from the same cut is the same, byte for byte, and so is what is signed of it', async () => {
    const order = { kind: 'entries', filter: { kinds: ['payment'], range: { from: 1, to: LAST + 1 } } } as const;
    const [a, b] = [await exports.exported(order), await exports.exported(order)];
    expect(a.bytes.equals(b.bytes)).toBe(true);
    expect(a.job.progress!.rows).toBeGreaterThan(1_000);
    const signed = ({ content }: typeof a.draft) => ({ ...content, cut: { ledger: content.cut.ledger } });
    expect(signed(b.draft)).toEqual(signed(a.draft));
  });
});

function readCsv(path: string): (readonly [string, bigint])[] {
  if (!hasSharedData) return [];
  return gunzipSync(readFileSync(sharedData(path)))
    .toString()
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.split(','))
    .map(([account, amount]) => [account!, BigInt(amount!)] as const);
}
