// SANDBOX ONLY: a small marketplace's payments, in a schema of their own, with rows that stand still. Nothing here is ever written
// to a database that somebody named as their marketplace.
import type { EntityManager } from '@mikro-orm/postgresql';
import { DEFAULT_MAPPING, type MarketplaceMapping } from '../core/marketplace.ts';
import { sql, sqlCount } from './database.ts';

const SANDBOX_MARKETPLACE_SCHEMA = 'trueup_sandbox_marketplace';

/** Where its tables are, and what they call their columns. */
export const SANDBOX_MAPPING: MarketplaceMapping = {
  orders: inSandbox(DEFAULT_MAPPING.orders),
  refunds: inSandbox(DEFAULT_MAPPING.refunds),
  sellerTransfers: inSandbox(DEFAULT_MAPPING.sellerTransfers),
};

/** Creates what isn't there and lets the traffic go on: an order comes, those before it are paid. Safe to repeat and to run twice at once. */
export async function keepSandboxMarketplace(em: EntityManager): Promise<void> {
  await em.transactional(async (tx) => {
    // Two replicas that create the same schema at once would trip over each other.
    await sql(tx, `select pg_advisory_xact_lock(hashtextextended($1, 0))`, [SANDBOX_MARKETPLACE_SCHEMA]);
    const [schema] = await sql<{ found: boolean }>(tx, `select to_regnamespace($1) is not null as found`, [
      SANDBOX_MARKETPLACE_SCHEMA,
    ]);
    if (!schema!.found) for (const statement of CREATE) await sql(tx, statement);
    await sqlCount(
      tx,
      `update ${SANDBOX_MARKETPLACE_SCHEMA}.orders set status = 'completed', updated_at = now()
       where status = 'pending' and id like 'order-live-%'`,
    );
    await sqlCount(
      tx,
      `insert into ${SANDBOX_MARKETPLACE_SCHEMA}.orders (id, status, hyperswitch_payment_id, amount_minor, currency)
       select 'order-live-' || n, 'pending', 'pay_live_' || n, 1000 + n % 9000, 'EUR'
       from (select extract(epoch from now())::bigint as n) as clock on conflict do nothing`,
    );
    await sqlCount(
      tx,
      `delete from ${SANDBOX_MARKETPLACE_SCHEMA}.orders where id like 'order-live-%' and created_at < now() - interval '1 day'`,
    );
  });
}

const MONEY = `amount_minor bigint not null, currency text not null`;
const TIMES = `created_at timestamptz not null default now(), updated_at timestamptz not null default now()`;

const CREATE = [
  `create schema ${SANDBOX_MARKETPLACE_SCHEMA}`,
  `comment on schema ${SANDBOX_MARKETPLACE_SCHEMA} is 'SANDBOX: made up by TrueUp, to be dropped at will'`,
  `create table ${SANDBOX_MARKETPLACE_SCHEMA}.orders
     (id text primary key, status text not null, hyperswitch_payment_id text, ${MONEY}, ${TIMES})`,
  `create table ${SANDBOX_MARKETPLACE_SCHEMA}.refunds
     (id text primary key, order_id text not null, status text not null, hyperswitch_refund_id text, ${MONEY}, ${TIMES})`,
  `create table ${SANDBOX_MARKETPLACE_SCHEMA}.seller_transfers
     (id text primary key, order_id text not null, status text not null, next_retry_at timestamptz, ${MONEY}, ${TIMES})`,
  `create index on ${SANDBOX_MARKETPLACE_SCHEMA}.orders (status, created_at)`,
  `create index on ${SANDBOX_MARKETPLACE_SCHEMA}.refunds (status, created_at)`,
  `create index on ${SANDBOX_MARKETPLACE_SCHEMA}.seller_transfers (status, updated_at)`,
  // Rows that stand still for each gauge, among some that are as they should be.
  `insert into ${SANDBOX_MARKETPLACE_SCHEMA}.orders (id, status, hyperswitch_payment_id, amount_minor, currency, created_at) values
     ('order-1', 'completed', 'pay_1', 2500, 'EUR', now() - interval '2 hours'),
     ('order-2', 'pending', 'pay_2', 4900, 'EUR', now() - interval '45 minutes'),
     ('order-3', 'pending', 'pay_3', 12000, 'EUR', now() - interval '3 hours'),
     ('order-4', 'pending', null, 700, 'EUR', now() - interval '3 hours'),
     ('order-5', 'refund_pending', 'pay_5', 3300, 'EUR', now() - interval '2 hours')`,
  `insert into ${SANDBOX_MARKETPLACE_SCHEMA}.refunds (id, order_id, status, hyperswitch_refund_id, amount_minor, currency, created_at) values
     ('refund-1', 'order-1', 'succeeded', 'ref_1', 500, 'EUR', now() - interval '1 hour'),
     ('refund-2', 'order-1', 'pending', 'ref_2', 800, 'EUR', now() - interval '50 minutes'),
     ('refund-3', 'order-5', 'pending', null, 3300, 'EUR', now() - interval '20 minutes')`,
  `insert into ${SANDBOX_MARKETPLACE_SCHEMA}.seller_transfers (id, order_id, status, amount_minor, currency, created_at, updated_at) values
     ('transfer-1', 'order-1', 'completed', 2100, 'EUR', now() - interval '2 hours', now() - interval '1 hour'),
     ('transfer-2', 'order-2', 'permanently_failed', 4100, 'EUR', now() - interval '1 day', now() - interval '10 hours'),
     ('transfer-3', 'order-3', 'reversal_pending', 10000, 'EUR', now() - interval '3 hours', now() - interval '40 minutes')`,
];

function inSandbox<T extends { readonly table: string; readonly columns: object }>(mapped: T): T {
  const columns = { ...mapped.columns, amountMinor: 'amount_minor', currency: 'currency' };
  return { ...mapped, table: `${SANDBOX_MARKETPLACE_SCHEMA}.${mapped.table}`, columns };
}
