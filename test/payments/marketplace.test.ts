// Goal: a marketplace is read under its own names, in no way written, and what its tables lack is named at start.
// Method: tables of other names and types, tables that lack something, a session that tries to write.
import { expect, test } from 'vitest';
import { LEDGER_GAUGES } from '../../src/core/ledger-health.ts';
import { DEFAULT_MAPPING, type MarketplaceMapping } from '../../src/core/marketplace.ts';
import { createMarketplace } from '../../src/sources/marketplace.ts';
import { onAdminConnection } from '../_util/database.ts';
import { never, THRESHOLDS, useMarketplace } from './_marketplace.ts';

const { run, sampling, url } = useMarketplace();

const MAPPING: MarketplaceMapping = {
  orders: {
    table: 'shop.Bestellung',
    columns: {
      ...{ id: 'nr', status: 'Zustand', paymentId: 'payment', createdAt: 'angelegt' },
      ...{ amountMinor: 'cents', currency: 'waehrung' },
    },
    statuses: { pending: "w'artet" },
  },
  refunds: DEFAULT_MAPPING.refunds,
  sellerTransfers: {
    ...DEFAULT_MAPPING.sellerTransfers,
    columns: { ...DEFAULT_MAPPING.sellerTransfers.columns, reversalSince: 'reversal_at' },
  },
};

const check = (mapping = DEFAULT_MAPPING) =>
  createMarketplace({ url: url(), mapping, thresholds: THRESHOLDS }).read(never, (reading) => reading.check());

test('tables, columns and states are read under the names that the configuration gives them, of other types too', async () => {
  await run(`create schema shop; create type shop.zustand as enum ('w''artet', 'fertig');
    create table shop."Bestellung" (nr bigint primary key, "Zustand" shop.zustand not null, payment uuid, angelegt timestamp not null,
      cents numeric(12,0), waehrung char(3));
    insert into shop."Bestellung" values
      (9007199254740993, 'w''artet', gen_random_uuid(), (now() at time zone 'UTC') - interval '31 minutes', 1250, 'EUR'),
      (2, 'w''artet', gen_random_uuid(), (now() at time zone 'UTC') - interval '29 minutes', 1, 'EUR'),
      (3, 'fertig', gen_random_uuid(), (now() at time zone 'UTC') - interval '31 minutes', 1, 'EUR');
    alter table seller_transfers add column reversal_at timestamptz;
    insert into seller_transfers (status, updated_at, reversal_at) values
      ('reversal_pending', now(), now() - interval '31 minutes'), ('reversal_pending', now() - interval '1 day', now())`);
  const { health, counts, list } = sampling({ mapping: MAPPING });
  await health.sample(never);
  expect(await counts()).toEqual([1, 0, 0, 0, 1]);
  const [row] = (await list(5))[0]!.rows;
  expect(row).toMatchObject({ rowId: '9007199254740993', state: "w'artet", amountMinor: 1250n, currency: 'EUR' });
  expect(Math.round((Date.now() - row!.since!.getTime()) / 60_000)).toBe(31);
});

test('an amount that is no whole number of minor units is refused, not shown a hundred times too small', async () => {
  await run(`alter table orders add column total numeric(12,2) default 12.50;
    insert into orders (status, hyperswitch_payment_id, created_at) values ('pending', 'pay_1', now() - interval '1 hour')`);
  const mapping = { ...DEFAULT_MAPPING, orders: { ...DEFAULT_MAPPING.orders } };
  mapping.orders.columns = { ...mapping.orders.columns, amountMinor: 'total' };
  const { health, list } = sampling({ mapping });
  await health.sample(never);
  expect((await list(1))[0]).toMatchObject({
    state: 'unreadable',
    failure: { message: expect.stringContaining('12.50') },
  });
});

test('a schema that has everything lacks nothing', async () => {
  expect(await check()).toEqual({ missing: [], missingIndexes: [] });
});

test('System C: columns and tables that are missing on a fresh database are named at start, all of them, once', async () => {
  await run(
    `alter table orders drop column hyperswitch_payment_id; alter table refunds drop column created_at; drop table seller_transfers`,
  );
  const { health, lines } = sampling();
  await health.sample(never);
  await health.sample(never);
  const told = lines.filter((line) => line['event'] === 'marketplace_columns_missing');
  expect(told).toHaveLength(1);
  expect(told[0]).toMatchObject({ level: 'error' });
  expect(told[0]!['missing']).toEqual([
    'column orders.hyperswitch_payment_id (marketplace.orders.columns.payment_id)',
    'column refunds.created_at (marketplace.refunds.columns.created_at)',
    'table seller_transfers (marketplace.seller_transfers.table)',
  ]);
});

test('an index that a query needs is named in a warning, with the statement that makes it, and the statement is the right one', async () => {
  await run(`drop table orders, refunds, seller_transfers cascade;
    create table orders (id int primary key, status text, hyperswitch_payment_id text, created_at timestamptz);
    create table refunds (id int primary key, status text, hyperswitch_refund_id text, created_at timestamptz);
    create table seller_transfers (id int primary key, status text, updated_at timestamptz);
    create index on orders (created_at); create index on orders (created_at) where status <> 'pending';
    create index on refunds (created_at) where status = 'failed'`);
  const { health, lines } = sampling();
  await health.sample(never);
  const told = lines.filter((line) => line['event'] === 'marketplace_index_missing');
  expect(told.map((line) => line['level'])).toEqual(['warn', 'warn', 'warn', 'warn']);
  expect(told.flatMap((line) => line['gauges'])).toEqual(LEDGER_GAUGES);
  expect(String(told[0]!['msg'])).toContain('create index concurrently on "orders"');
  await onAdminConnection(url(), async (client) => {
    for (const line of told) await client.query(String(line['statement']));
  });
  expect(await check()).toEqual({ missing: [], missingIndexes: [] });
});

test('a view has no indexes of its own, and none is asked of it', async () => {
  await run(`alter table orders rename to all_orders; create view orders as select * from all_orders`);
  expect(await check()).toEqual({ missing: [], missingIndexes: [] });
});

test('nothing is ever written: every query is refused as soon as it writes, whatever the role may do', async () => {
  await run(`insert into orders (status, hyperswitch_payment_id, created_at) values ('pending', 'pay_1', now() - interval '1 hour');
    alter table orders rename to real_orders;
    create function touch(text) returns text language plpgsql as $$ begin update real_orders set status = 'completed'; return $1; end $$;
    create view orders as select id, touch(status) as status, hyperswitch_payment_id, created_at from real_orders`);
  const { health, counts, lines, list } = sampling();
  await health.sample(never);
  await list(5);
  expect(await counts()).toEqual([-1, 0, 0, 0, 0]);
  expect(JSON.stringify(lines)).toContain('read-only transaction');
  expect((await run('select status from real_orders')).rows).toEqual([{ status: 'pending' }]);
});

test('a role that may only SELECT is enough', async () => {
  const role = `reader_${process.pid}`;
  await run(
    `create role ${role} login password 'p'; grant usage on schema public to ${role}; grant select on all tables in schema public to ${role}`,
  );
  try {
    const reader = new URL(url());
    [reader.username, reader.password] = [role, 'p'];
    const { health, counts, lines } = sampling({ url: reader.href });
    await health.sample(never);
    expect(lines).toEqual([]);
    expect(await counts()).toEqual([0, 0, 0, 0, 0]);
  } finally {
    await run(`drop owned by ${role}; drop role ${role}`);
  }
});
