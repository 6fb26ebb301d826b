// Goal: the five gauges count exactly the rows that stand still, and a gauge that can't be read says so while the others go on.
// Method: hand-made rows in a real PostgreSQL, one sample, the metrics page.
import { expect, test } from 'vitest';
import { LEDGER_GAUGES } from '../../src/core/ledger-health.ts';
import { never, THRESHOLDS, useMarketplace } from './_marketplace.ts';

const { run, runHouse, sampling } = useMarketplace();
const [ORDERS, REFUNDS, ORPHANS, FAILED, REVERSALS] = LEDGER_GAUGES;

test('ledger_stuck_orders_pending counts orders pending for over 30 minutes with a payment at the provider, and no others', async () => {
  await run(`insert into orders (status, hyperswitch_payment_id, created_at) values
    ('pending', 'pay_1', now() - interval '31 minutes'), ('pending', 'pay_2', now() - interval '2 days'),
    ('pending', 'pay_3', now() - interval '29 minutes'), ('pending', null, now() - interval '2 days'),
    ('pending', '', now() - interval '2 days'), ('completed', 'pay_4', now() - interval '2 days'),
    ('refund_pending', 'pay_5', now() - interval '2 days'), ('failed', 'pay_6', now() - interval '2 days')`);
  const { health, counts } = sampling();
  await health.sample(never);
  expect(await counts()).toEqual([2, 0, 0, 0, 0]);
});

test('ledger_stuck_refunds_pending counts refunds that the provider knows for over 30 minutes, ledger_orphan_refund_rows those without an id for over 5', async () => {
  await run(`insert into refunds (status, hyperswitch_refund_id, created_at) values
    ('pending', 'ref_1', now() - interval '31 minutes'), ('pending', 'ref_2', now() - interval '29 minutes'),
    ('pending', null, now() - interval '6 minutes'), ('pending', '', now() - interval '6 minutes'),
    ('pending', null, now() - interval '4 minutes'), ('failed', null, now() - interval '2 days'),
    ('succeeded', 'ref_3', now() - interval '2 days')`);
  const { health, counts } = sampling();
  await health.sample(never);
  expect(await counts()).toEqual([0, 1, 2, 0, 0]);
});

test('ledger_failed_transfers_at_max_retry counts permanently failed transfers of any age', async () => {
  await run(`insert into seller_transfers (status, updated_at) values
    ('permanently_failed', now()), ('permanently_failed', now() - interval '90 days'), ('failed', now() - interval '90 days')`);
  const { health, counts } = sampling();
  await health.sample(never);
  expect(await counts()).toEqual([0, 0, 0, 2, 0]);
});

test('ledger_reversal_pending_transfers counts transfers that entered reversal_pending over 30 minutes ago', async () => {
  await run(`insert into seller_transfers (status, updated_at) values
    ('reversal_pending', now() - interval '31 minutes'), ('reversal_pending', now() - interval '29 minutes'),
    ('reversed', now() - interval '2 days')`);
  const { health, counts } = sampling();
  await health.sample(never);
  expect(await counts()).toEqual([0, 0, 0, 0, 1]);
});

test('System C: stuck reversals are seen though each retry bumps updated_at', async () => {
  await run(`insert into seller_transfers (id, status, updated_at) values
    ('00000000-0000-0000-0000-000000000001', 'reversal_pending', now() - interval '31 minutes')`);
  const first = sampling();
  await first.health.sample(never);
  expect(await first.metric(REVERSALS)).toBe(1);
  await run(`update seller_transfers set updated_at = now(), next_retry_at = now() + interval '1 minute'`);
  await first.health.sample(never);
  expect(await first.metric(REVERSALS)).toBe(1);
  // Nor does a process that was started only now forget.
  const restarted = sampling();
  await restarted.health.sample(never);
  expect(await restarted.metric(REVERSALS)).toBe(1);
  const [row] = (await restarted.list(10)).at(-1)!.rows;
  expect(Date.now() - row!.since!.getTime()).toBeGreaterThan(30 * 60_000);
  await run(`update seller_transfers set status = 'reversed'`);
  await restarted.health.sample(never);
  expect(await restarted.metric(REVERSALS)).toBe(0);
});

test('a transfer that comes back to reversal_pending long after it left begins anew', async () => {
  await run(
    `insert into seller_transfers (status, updated_at) values ('reversal_pending', now() - interval '31 minutes')`,
  );
  const { health, metric } = sampling();
  await health.sample(never);
  await run(`update seller_transfers set status = 'pending'`);
  await runHouse(`update trueup.reversal_sightings set seen_at = seen_at - interval '1 hour'`);
  await health.sample(never);
  await run(`update seller_transfers set status = 'reversal_pending', updated_at = now()`);
  await health.sample(never);
  expect(await metric(REVERSALS)).toBe(0);
});

test('more reversals than are remembered is a failure that names the column to map, not a number that is too small', async () => {
  await run(`insert into seller_transfers (status) select 'reversal_pending' from generate_series(1, 4)`);
  const { health, metric, lines } = sampling({ limits: { maxReversals: 3 } });
  await health.sample(never);
  expect(await metric(REVERSALS)).toBe(-1);
  expect(JSON.stringify(lines)).toContain('map seller_transfers.columns.reversal_since');
});

test('System C: a query that fails sets its gauge to -1, logs an error and counts the failure while the others go on', async () => {
  await run(
    `insert into orders (status, hyperswitch_payment_id, created_at) values ('pending', 'pay_1', now() - interval '1 hour')`,
  );
  await run(`insert into seller_transfers (status) values ('permanently_failed')`);
  await run(`alter table refunds drop column hyperswitch_refund_id`);
  const { health, counts, lines, metric, list } = sampling();
  await health.sample(never);
  expect(await counts()).toEqual([1, -1, -1, 1, 0]);
  const errors = lines.filter((line) => line['level'] === 'error' && line['event'] === 'ledger_unreadable');
  expect(errors.map((line) => line['gauge'])).toEqual([REFUNDS, ORPHANS]);
  expect(JSON.stringify(errors)).toContain('hyperswitch_refund_id');
  const failures = (gauge: string) => metric('trueup_ledger_health_sample_failures_total', gauge);
  expect(await Promise.all([ORDERS, REFUNDS, ORPHANS, FAILED].map(failures))).toEqual([0, 1, 1, 0]);
  await health.sample(never);
  expect(await failures(REFUNDS)).toBe(2);
  const [, refunds, , transfers] = await list(5);
  expect(refunds).toMatchObject({ state: 'unreadable', count: null, failure: { reason: 'MARKETPLACE_UNREADABLE' } });
  expect(refunds!.since).not.toBeNull();
  expect(transfers).toMatchObject({
    state: 'raised',
    count: 1,
    failure: null,
    rows: [{ state: 'permanently_failed' }],
  });
});

test('a gauge that can be read again is no longer -1, and what failed is forgotten', async () => {
  await run(`alter table orders rename to orders_away`);
  const { health, metric, list } = sampling();
  await health.sample(never);
  expect(await metric(ORDERS)).toBe(-1);
  await run(`alter table orders_away rename to orders`);
  await health.sample(never);
  expect(await metric(ORDERS)).toBe(0);
  expect((await list())[0]).toMatchObject({ state: 'clear', count: 0, since: null, failure: null });
});

test('a marketplace that does not answer is -1 five times and never an exception', async () => {
  const { health, counts, lines, list } = sampling({ url: 'postgresql://nobody:secret@127.0.0.1:1/none' });
  await health.sample(never);
  expect(await counts()).toEqual([-1, -1, -1, -1, -1]);
  expect(JSON.stringify(lines)).not.toContain('secret');
  expect((await list(1)).map((gauge) => gauge.state)).toEqual(Array(5).fill('unreadable'));
});

test('a query that takes too long is broken off and is -1', async () => {
  await run(`drop table orders; create function slow() returns text language sql as $$ select pg_sleep(60)::text || 'pending' $$;
    create view orders as select gen_random_uuid() as id, slow() as status, 'p' as hyperswitch_payment_id, now() - interval '1 hour' as created_at`);
  const { health, counts } = sampling({ limits: { statementTimeoutMs: 200 } });
  await health.sample(never);
  expect(await counts()).toEqual([-1, 0, 0, 0, 0]);
});

test('there is no sample before the first reading, and each gauge has an age that only a success resets', async () => {
  await run(`alter table orders rename to orders_away`);
  const { health, counts, metric } = sampling();
  expect(await counts()).toEqual(Array(5).fill(undefined));
  const age = (gauge: string) => metric('trueup_ledger_health_sample_age_seconds', gauge);
  expect(await age(ORDERS)).toBeGreaterThanOrEqual(0);
  await health.sample(never);
  const [failed, read] = [await age(ORDERS), await age(REFUNDS)];
  expect(failed!).toBeGreaterThan(read!);
});

test('thresholds are those of the configuration', async () => {
  await run(
    `insert into orders (status, hyperswitch_payment_id, created_at) values ('pending', 'pay_1', now() - interval '3 minutes')`,
  );
  const { health, metric } = sampling({ thresholds: { ...THRESHOLDS, stuckOrdersMs: 120_000 } });
  await health.sample(never);
  expect(await metric(ORDERS)).toBe(1);
});

test('METRICS_PREFIX goes before the five gauges, and before nothing else', async () => {
  const { health, counts, metric } = sampling({ prefix: 'veza_' });
  await health.sample(never);
  expect(await counts()).toEqual([0, 0, 0, 0, 0]);
  expect(await metric('veza_ledger_orphan_refund_rows')).toBe(0);
  expect(await metric('ledger_orphan_refund_rows')).toBeUndefined();
  expect(await metric('trueup_ledger_health_sample_failures_total', ORPHANS)).toBe(0);
});

test('rows are listed oldest first, as many as asked for, and the list goes on page by page', async () => {
  await run(`insert into orders (id, status, hyperswitch_payment_id, created_at)
    select ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'pending', 'pay_' || n, now() - n * interval '1 hour' from generate_series(1, 5) as n`);
  const { health, list } = sampling();
  await health.sample(never);
  const [orders] = await list(2);
  expect(orders!.count).toBe(5);
  expect(orders!.rows.map((row) => row.providerId)).toEqual(['pay_5', 'pay_4']);
  expect(orders!.rows[0]).toMatchObject({
    rowId: '00000000-0000-0000-0000-000000000005',
    state: 'pending',
    amountMinor: null,
  });
  const names: string[] = [];
  let after = null;
  do {
    const page = await health.list({ name: null, rowsLimit: 0 }, { size: 2, after }, never);
    names.push(...page.items.map((gauge) => gauge.name));
    after = page.next;
  } while (after !== null);
  expect(names).toEqual([...LEDGER_GAUGES]);
  const one = await health.list({ name: ORPHANS, rowsLimit: 0 }, { size: 2, after: null }, never);
  expect(one.items.map((gauge) => gauge.name)).toEqual([ORPHANS]);
  await expect(health.list({ name: null, rowsLimit: 0 }, { size: 2, after: { n: 'x' } }, never)).rejects.toMatchObject({
    reason: 'INVALID_PAGE_TOKEN',
  });
});
