// Which tables a marketplace keeps its payments in, and what it calls their columns and states. The defaults are the schema of the
// payments ledgers that TrueUp replaces the sampler of.

/** A table's name, with its schema where the search path doesn't lead there. A column that is null isn't there. */
interface MappedTable<Columns, Statuses extends string> {
  readonly table: string;
  readonly columns: Columns & {
    readonly id: string;
    readonly status: string;
    /** Whole minor units of the currency. */
    readonly amountMinor: string | null;
    /** ISO 4217. */
    readonly currency: string | null;
  };
  /** What the table says for each of them. */
  readonly statuses: Readonly<Record<Statuses, string>>;
}

export interface MarketplaceMapping {
  readonly orders: MappedTable<{ readonly paymentId: string; readonly createdAt: string }, 'pending'>;
  readonly refunds: MappedTable<{ readonly refundId: string; readonly createdAt: string }, 'pending'>;
  readonly sellerTransfers: MappedTable<
    {
      readonly updatedAt: string;
      /** When the transfer became reversal_pending; null: TrueUp remembers when it first saw it so. */
      readonly reversalSince: string | null;
      readonly transferId: string | null;
    },
    'permanentlyFailed' | 'reversalPending'
  >;
}

/** Ages from which a row counts, milliseconds. */
export interface MarketplaceThresholds {
  readonly stuckOrdersMs: number;
  readonly stuckRefundsMs: number;
  readonly orphanRefundsMs: number;
  readonly pendingReversalsMs: number;
}

export const DEFAULT_MAPPING: MarketplaceMapping = {
  orders: {
    table: 'orders',
    columns: {
      ...{ id: 'id', status: 'status', paymentId: 'hyperswitch_payment_id', createdAt: 'created_at' },
      ...{ amountMinor: null, currency: null },
    },
    statuses: { pending: 'pending' },
  },
  refunds: {
    table: 'refunds',
    columns: {
      ...{ id: 'id', status: 'status', refundId: 'hyperswitch_refund_id', createdAt: 'created_at' },
      ...{ amountMinor: null, currency: null },
    },
    statuses: { pending: 'pending' },
  },
  sellerTransfers: {
    table: 'seller_transfers',
    columns: {
      ...{ id: 'id', status: 'status', updatedAt: 'updated_at', reversalSince: null, transferId: null },
      ...{ amountMinor: null, currency: null },
    },
    statuses: { permanentlyFailed: 'permanently_failed', reversalPending: 'reversal_pending' },
  },
};

export const DEFAULT_PENDING_REVERSALS_MS = 30 * 60_000;
