// `marketplace` of trueup.yaml: the names that the payments tables, their columns and their states have.
import { z } from 'zod';
import { DEFAULT_MAPPING } from '../core/marketplace.ts';
import { duration } from './duration.ts';

const MAX_AGE_MS = 365 * 24 * 3_600_000;

const { orders, refunds, sellerTransfers } = DEFAULT_MAPPING;

const name = (kept: string, words: string) =>
  z
    .string()
    .regex(/^[^\s"'.]{1,63}$/u, 'is no name of a column')
    .default(kept)
    .describe(words);
const optionalName = (words: string) =>
  z
    .string()
    .regex(/^[^\s"'.]{1,63}$/u, 'is no name of a column')
    .optional()
    .describe(words);
const state = (kept: string, words: string) => z.string().min(1).max(100).default(kept).describe(words);
const table = (kept: string) =>
  z
    .string()
    .regex(/^[^\s"'.]{1,63}(\.[^\s"'.]{1,63})?$/u, 'is no name of a table, such as orders or shop.orders')
    .default(kept)
    .describe('The table, with its schema where the search path of the role does not lead there.');

const money = {
  amount_minor: optionalName('Amount in whole minor units, to be shown. Absent: no amount is.'),
  currency: optionalName('Currency, ISO 4217, to be shown. Absent: none is.'),
};

const orderColumns = z.strictObject({
  id: name(orders.columns.id, 'Id of the row.'),
  status: name(orders.columns.status, 'Its state.'),
  payment_id: name(orders.columns.paymentId, 'Id of the payment at the provider.'),
  created_at: name(orders.columns.createdAt, 'When it was made.'),
  ...money,
});
const refundColumns = z.strictObject({
  id: name(refunds.columns.id, 'Id of the row.'),
  status: name(refunds.columns.status, 'Its state.'),
  refund_id: name(refunds.columns.refundId, 'Id of the refund at the provider; empty: it never got one.'),
  created_at: name(refunds.columns.createdAt, 'When it was made.'),
  ...money,
});
const transferColumns = z.strictObject({
  id: name(sellerTransfers.columns.id, 'Id of the row.'),
  status: name(sellerTransfers.columns.status, 'Its state.'),
  updated_at: name(sellerTransfers.columns.updatedAt, 'When it was last changed.'),
  reversal_since: optionalName(
    'Since when its reversal is pending. Absent: TrueUp remembers when it first saw it so, for updated_at moves with every retry.',
  ),
  transfer_id: optionalName('Id at the provider, to be shown. Absent: none is.'),
  ...money,
});

const pending = z
  .strictObject({ pending: state('pending', 'The state that waits for the provider.') })
  .prefault({})
  .describe('What the table calls its states.');
const transferStates = z.strictObject({
  permanently_failed: state(sellerTransfers.statuses.permanentlyFailed, 'Given up after its last retry.'),
  reversal_pending: state(sellerTransfers.statuses.reversalPending, 'To be taken back, and not yet.'),
});

const ordersSchema = z.strictObject({
  table: table(orders.table),
  columns: orderColumns.prefault({}).describe('What the table calls its columns.'),
  statuses: pending,
});
const refundsSchema = z.strictObject({
  table: table(refunds.table),
  columns: refundColumns.prefault({}).describe('What the table calls its columns.'),
  statuses: pending,
});
const transfersSchema = z.strictObject({
  table: table(sellerTransfers.table),
  columns: transferColumns.prefault({}).describe('What the table calls its columns.'),
  statuses: transferStates.prefault({}).describe('What the table calls its states.'),
});
const agesSchema = z.strictObject({
  stuck_orders: duration(0, MAX_AGE_MS).optional().describe('Absent: RECONCILE_ORDER_STUCK_AFTER.'),
  stuck_refunds: duration(0, MAX_AGE_MS).optional().describe('Absent: RECONCILE_REFUND_STUCK_AFTER.'),
  orphan_refunds: duration(0, MAX_AGE_MS).optional().describe('Absent: RECONCILE_REFUND_ORPHAN_AFTER.'),
  pending_reversals: duration(0, MAX_AGE_MS).optional().describe('Absent: 30m.'),
});

export const marketplaceSchema = z.strictObject({
  orders: ordersSchema.prefault({}).describe('Orders.'),
  refunds: refundsSchema.prefault({}).describe('Refunds.'),
  seller_transfers: transfersSchema.prefault({}).describe('Transfers to sellers.'),
  ages: agesSchema.prefault({}).describe('Ages from which a row counts in the health of the payments.'),
});

export type DeclaredMarketplace = z.output<typeof marketplaceSchema>;

/** Every object of it, for the keys that may have been meant. */
export const MARKETPLACE_SCHEMAS = [
  marketplaceSchema,
  ordersSchema,
  orderColumns,
  refundColumns,
  transfersSchema,
  transferColumns,
  transferStates,
  agesSchema,
] as const;
