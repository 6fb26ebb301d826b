// Goal: with no configuration the sandbox shows a marketplace with stuck rows; with one, that is looked at; with neither, nothing is said.
// Method: the whole service, its metrics port, its own client.
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { complaints, soon, startApp } from '../_util/app.ts';
import { createTestDatabase, onAdminConnection } from '../_util/database.ts';
import { TABLES } from './_marketplace.ts';

const page = async (metrics: string) => (await fetch(`${metrics}/metrics`)).text();

test('the sandbox has a small marketplace of its own, with rows that stand still in each gauge', async () => {
  await using app = await startApp();
  await soon(async () => expect(await page(app.metrics)).toMatch(/^ledger_stuck_orders_pending 2$/m));
  const body = await page(app.metrics);
  expect(body.match(/^ledger_\w+ \d+$/gm)?.filter((line) => !/^ledger_lag/.test(line))).toEqual([
    'ledger_stuck_orders_pending 2',
    'ledger_stuck_refunds_pending 1',
    'ledger_orphan_refund_rows 1',
    'ledger_failed_transfers_at_max_retry 1',
    'ledger_reversal_pending_transfers 1',
  ]);
  const { gauges, nextPageToken } = await app.client.health.listLedgerHealth({ rowsLimit: 10, pageSize: 3 });
  expect(gauges.map((gauge) => [gauge.name, gauge.state, gauge.count])).toEqual([
    ['ledger_stuck_orders_pending', contract.GaugeState.RAISED, 2n],
    ['ledger_stuck_refunds_pending', contract.GaugeState.RAISED, 1n],
    ['ledger_orphan_refund_rows', contract.GaugeState.RAISED, 1n],
  ]);
  expect(gauges[0]!.rows.map((row) => [row.rowId, row.providerId, row.amountMinor, row.currency])).toEqual([
    ['order-3', 'pay_3', '12000', 'EUR'],
    ['order-2', 'pay_2', '4900', 'EUR'],
  ]);
  expect(gauges[0]!.ageThreshold?.seconds).toBe(1800n);
  const rest = await app.client.health.listLedgerHealth({ rowsLimit: 10, pageSize: 3, pageToken: nextPageToken });
  expect(rest.gauges.map((gauge) => gauge.rows.map((row) => row.rowId))).toEqual([['transfer-2'], ['transfer-3']]);
  expect(rest.nextPageToken).toBe('');
  expect(complaints(app)).toEqual([]);
  expect(app.log()).not.toContain('marketplace_index_missing');
});

test('MARKETPLACE_DATABASE_URL, METRICS_PREFIX, RECONCILE_ORDER_STUCK_AFTER and the names of trueup.yaml are what is read', async () => {
  const database = await createTestDatabase({ migrated: false });
  const folder = await mkdtemp(join(tmpdir(), 'trueup-marketplace-'));
  const file = join(folder, 'trueup.yaml');
  writeFileSync(file, 'marketplace: { orders: { table: shop.sales, statuses: { pending: WAITS } } }\n');
  try {
    await onAdminConnection(database.url, (client) =>
      client.query(`${TABLES} create schema shop; create table shop.sales (like orders including all);
        insert into shop.sales (status, hyperswitch_payment_id, created_at) values ('WAITS', 'pay_1', now() - interval '2 hours'),
          ('WAITS', 'pay_2', now() - interval '61 minutes'), ('WAITS', 'pay_3', now() - interval '1 hour')`),
    );
    await using app = await startApp({
      MARKETPLACE_DATABASE_URL: database.url,
      METRICS_PREFIX: 'veza_',
      RECONCILE_ORDER_STUCK_AFTER: '1h0m30s',
      TRUEUP_CONFIG: file,
    });
    await soon(async () => expect(await page(app.metrics)).toMatch(/^veza_ledger_stuck_orders_pending 2$/m));
    expect(await page(app.metrics)).not.toMatch(/^ledger_stuck/m);
    const written = `select count(*)::int as count from pg_namespace where nspname like 'trueup%'`;
    const { rows } = await onAdminConnection(database.url, (client) => client.query(written));
    expect(rows).toEqual([{ count: 0 }]);
  } finally {
    await database.drop();
    await rm(folder, { recursive: true });
  }
});
