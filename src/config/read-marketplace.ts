// Where a marketplace's payments are looked at: trueup.yaml's names and the environment's ages become one mapping.
import { DEFAULT_MAPPING, DEFAULT_PENDING_REVERSALS_MS } from '../core/marketplace.ts';
import type { MarketplaceMapping } from '../core/marketplace.ts';
import type { Config } from './config.ts';
import type { DeclaredMarketplace } from './marketplace-schema.ts';
import type { VariableValues } from './variables.ts';

/** `declared`: undefined where trueup.yaml says nothing of it. */
export function readMarketplace(
  values: VariableValues,
  declared: DeclaredMarketplace | undefined,
): Config['marketplace'] {
  const ages = declared?.ages;
  return {
    mapping: declared === undefined ? DEFAULT_MAPPING : mappingOf(declared),
    thresholds: {
      stuckOrdersMs: ages?.stuck_orders ?? values.orderStuckAfterMs,
      stuckRefundsMs: ages?.stuck_refunds ?? values.refundStuckAfterMs,
      orphanRefundsMs: ages?.orphan_refunds ?? values.refundOrphanAfterMs,
      pendingReversalsMs: ages?.pending_reversals ?? DEFAULT_PENDING_REVERSALS_MS,
    },
  };
}

function mappingOf({ orders, refunds, seller_transfers: transfers }: DeclaredMarketplace): MarketplaceMapping {
  const [ofOrder, ofRefund, ofTransfer] = [orders.columns, refunds.columns, transfers.columns];
  return {
    orders: {
      table: orders.table,
      columns: { ...common(ofOrder), paymentId: ofOrder.payment_id, createdAt: ofOrder.created_at },
      statuses: orders.statuses,
    },
    refunds: {
      table: refunds.table,
      columns: { ...common(ofRefund), refundId: ofRefund.refund_id, createdAt: ofRefund.created_at },
      statuses: refunds.statuses,
    },
    sellerTransfers: {
      table: transfers.table,
      columns: {
        ...common(ofTransfer),
        updatedAt: ofTransfer.updated_at,
        reversalSince: ofTransfer.reversal_since ?? null,
        transferId: ofTransfer.transfer_id ?? null,
      },
      statuses: {
        permanentlyFailed: transfers.statuses.permanently_failed,
        reversalPending: transfers.statuses.reversal_pending,
      },
    },
  };
}

interface CommonColumns {
  readonly id: string;
  readonly status: string;
  readonly amount_minor?: string | undefined;
  readonly currency?: string | undefined;
}

function common({ id, status, amount_minor: amountMinor, currency }: CommonColumns) {
  return { id, status, amountMinor: amountMinor ?? null, currency: currency ?? null };
}
