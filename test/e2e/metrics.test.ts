// Goal: the dashboards and alerts of the systems that TrueUp replaces keep working, and no number is shown that was not measured.
// Method: scrape a service before its first run and after; Prometheus' own promtool reads the page.
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { createSandboxSource, type SandboxSource } from '../../src/sources/sandbox.ts';
import { type RunningApp, soon, startApp } from '../_util/app.ts';

const hasPromtool = spawnSync('promtool', ['--version']).status === 0;
if (!hasPromtool) console.warn('promtool is not installed (Debian: prometheus): the page is not checked by it');
/** From dashboards, alerts and runbooks that exist. */
const INHERITED = [
  'reconciliation_drift_total',
  'reconciliation_status',
  'reconciliation_last_run_timestamp',
  'job_dead_letter_count',
  'job_health_status',
  'processed_ledgers_total',
  'processing_errors_total',
  'latest_ledger',
  'checkpoint_ledger',
  'ledger_lag',
];

let app: RunningApp;
let source: SandboxSource;
beforeAll(async () => {
  source = createSandboxSource({ seed: '1' });
  app = await startApp({ LEDGER_RECONCILIATION_ENABLED: 'false' }, { source });
});
afterAll(() => app?.close());

const page = async (): Promise<string> => (await fetch(`${app.metrics}/metrics`)).text();
const sample = async (name: string): Promise<number | undefined> => {
  const found = new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(await page());
  return found === null ? undefined : Number(found[1]);
};

it('shows every inherited name from the first scrape', async () => {
  const text = await page();
  for (const name of INHERITED) expect(text, name).toContain(`# TYPE ${name} `);
});

it('has no status and no time of a run before there was one', async () => {
  expect(await sample('reconciliation_status')).toBeUndefined();
  expect(await sample('reconciliation_last_run_timestamp')).toBeUndefined();
  expect(await page()).not.toMatch(/^trueup_reconciliation_verdict\{/m);
});

it('counts the ledgers that were processed, and not the idle polls', async () => {
  await soon(async () => expect(await sample('ledger_lag')).toBeLessThanOrEqual(1), 30_000);
  const [processed, checkpoint] = [await sample('processed_ledgers_total'), await sample('checkpoint_ledger')];
  const { streams } = await app.client.health.getStatus({});
  expect(Math.abs(processed! - (checkpoint! - streams[0]!.startLedger! + 1))).toBeLessThanOrEqual(3);
});

it.skipIf(!hasPromtool)('is a clean page to promtool, but for one inherited name', async () => {
  const { stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: await page(), encoding: 'utf8' });
  const complaints = `${stdout}${stderr}`.split('\n').filter((line) => line !== '');
  // A gauge named like a part of a histogram, but somebody's alert has that name.
  expect(complaints.filter((line) => !line.startsWith('job_dead_letter_count '))).toEqual([]);
});

it('shows a manual run in its counters, but not as the verdict of the schedule', async () => {
  const { reconciliation } = await app.client.reconciliation.startReconciliation({ policy: 'default' });
  await soon(async () => {
    const run = (await app.client.reconciliation.getReconciliation({ reconciliationId: reconciliation!.id }))
      .reconciliation!;
    expect(run.state).toBe(contract.ReconciliationState.SUCCEEDED);
  }, 30_000);
  expect(await page()).toMatch(/^trueup_reconciliation_runs_total\{.*trigger="manual".*\} 1$/m);
  expect(await sample('reconciliation_status')).toBeUndefined();
});

it('never shows a negative lag: a source that steps back is degraded', async () => {
  const checkpoint = (await sample('checkpoint_ledger'))!;
  source.setFaults({ lagLedgers: 1_000 });
  // It may be unwell for another reason first.
  await soon(async () => {
    const health = await fetch(`${app.metrics}/health`);
    expect([health.status, await health.text()]).toEqual([503, expect.stringContaining('SOURCE_LAGGING')]);
  });
  expect(await sample('ledger_lag')).toBeGreaterThanOrEqual(0);
  expect(await sample('checkpoint_ledger')).toBeGreaterThanOrEqual(checkpoint);
  source.setFaults({ lagLedgers: 0 });
  await soon(async () => expect((await fetch(`${app.metrics}/health`)).status).toBe(200), 30_000);
  expect(await sample('checkpoint_ledger')).toBeGreaterThanOrEqual(checkpoint);
});
