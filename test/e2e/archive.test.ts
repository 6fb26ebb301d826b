// Goal: one poison file takes no stream down: it is set apart and named everywhere, and the stream goes on.
// Method: the first checkpoints of the recorded testnet archive in a folder of our own, one of them cut off in the middle.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { type RunningApp, soon, startApp } from '../_util/app.ts';
import { TESTNET_PASSPHRASE } from '../_util/horizon-history.ts';
import { hasSharedData, sharedData } from '../_util/shared-data.ts';

const BAD = 0xbf;
const { CoverageState, ErrorReason } = contract;

describe.skipIf(!hasSharedData)('an archive with one truncated file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'trueup-archive-'));
  let app: RunningApp;
  const pathOf = (category: string, checkpoint: number): string => {
    const name = checkpoint.toString(16).padStart(8, '0');
    return `${category}/${name.slice(0, 2)}/${name.slice(2, 4)}/${name.slice(4, 6)}/${category}-${name}.xdr.gz`;
  };
  const publish = (checkpoint: number): void => {
    for (const category of ['ledger', 'transactions', 'results']) {
      const path = pathOf(category, checkpoint);
      mkdirSync(join(folder, dirname(path)), { recursive: true });
      copyFileSync(sharedData(`stellar-testnet-archive/raw/${path}`), join(folder, path));
    }
  };
  const advance = (currentLedger: number): void => {
    mkdirSync(join(folder, '.well-known'), { recursive: true });
    writeFileSync(
      join(folder, '.well-known/stellar-history.json'),
      JSON.stringify({ version: 1, currentLedger, networkPassphrase: TESTNET_PASSPHRASE }),
    );
  };
  const through = async () => (await app.client.health.getStatus({})).streams[0]?.layers[0]?.contiguousThrough;
  const health = async () => {
    const response = await fetch(`${app.metrics}/health`);
    return { status: response.status, body: await response.text() };
  };

  beforeAll(async () => {
    for (let checkpoint = 63; checkpoint <= 319; checkpoint += 64) publish(checkpoint);
    truncateSync(join(folder, pathOf('transactions', BAD)), 400);
    advance(319);
    app = await startApp({
      STELLAR_ARCHIVE_URL: pathToFileURL(folder).href,
      STELLAR_NETWORK_PASSPHRASE: 'testnet',
      TRUEUP_START_LEDGER: '1',
      TRUEUP_WATCH: 'all',
      POLL_INTERVAL_SECS: '1',
      LEDGER_RECONCILIATION_ENABLED: 'false',
    });
  });
  afterAll(async () => {
    await app?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('goes on to the tip behind the bad checkpoint', async () => {
    await soon(async () => expect(await through()).toBe(319), 30_000);
  });

  it('is set apart, and ListCoverage and ListGaps show exactly those ledgers', async () => {
    const { ranges } = await app.client.backfill.listCoverage({});
    expect(ranges.map(({ fromLedger, toLedger, state }) => [fromLedger, toLedger, CoverageState[state]])).toEqual([
      [1, 127, 'DONE'],
      [128, 191, 'QUARANTINED'],
      [192, 319, 'DONE'],
    ]);
    expect(ErrorReason[ranges[1]!.failure!.reason]).toBe('LEDGER_QUARANTINED');
    expect(ranges[1]!.failure!.message).toContain('transactions-000000bf');
    const { gaps, missingLedgerCount } = await app.client.backfill.listGaps({});
    expect(gaps.map(({ fromLedger, toLedger }) => [fromLedger, toLedger])).toEqual([[128, 191]]);
    expect(missingLedgerCount).toBe(64n);
  });

  it('is named by /health with 503, while the process itself stays ready', async () => {
    const { status, body } = await health();
    expect(status).toBe(503);
    expect(body).toMatch(/128\D+191/);
    expect((await fetch(`${app.metrics}/readyz`)).status).toBe(200);
  });

  it('makes a run over it INCONCLUSIVE', async () => {
    await app.client.reconciliation.recordEntries({
      book: 'default',
      entries: [],
      completeThrough: { seconds: 4_000_000_000n, nanos: 0 },
    });
    const { reconciliation } = await app.client.reconciliation.startReconciliation({ policy: 'default' });
    await soon(async () => {
      const run = (await app.client.reconciliation.getReconciliation({ reconciliationId: reconciliation!.id }))
        .reconciliation!;
      expect(run.verdict).toBe(contract.Verdict.INCONCLUSIVE);
    });
  });

  it('stays known when the file is mended later, and new checkpoints are followed', async () => {
    publish(BAD);
    publish(383);
    advance(383);
    await soon(async () => expect(await through()).toBe(383), 30_000);
    expect((await health()).body).toMatch(/128\D+191/);
    expect((await fetch(`${app.metrics}/livez`)).status).toBe(200);
  });
});
