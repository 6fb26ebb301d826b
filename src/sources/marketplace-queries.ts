// The marketplace's tables as SELECTs: which rows each gauge counts, in the marketplace's own names.
import pg from 'pg';
import type { LedgerGaugeName } from '../core/ledger-health.ts';
import type { MarketplaceMapping, MarketplaceThresholds } from '../core/marketplace.ts';

const { escapeIdentifier, escapeLiteral } = pg;

/** What one gauge reads. Names in statements are quoted, those beside them aren't. */
export interface GaugeQuery {
  readonly name: LedgerGaugeName;
  readonly table: string;
  readonly count: string;
  /** At most $1, the oldest first; columns as MarketplaceRow has them, here and in those that follow. */
  readonly rows: string;
  /** At most $1, of any age. */
  readonly rowsOfAnyAge: string;
  /** Where the configuration names each column that is read, and what it calls it. */
  readonly uses: readonly { readonly key: string; readonly column: string }[];
  /** Finds the rows without reading the table. */
  readonly index: { readonly column: string; readonly status: string; readonly statement: string };
}

export interface MarketplaceRow {
  readonly row_id: string;
  readonly state: string;
  readonly amount: string | null;
  readonly currency: string | null;
  readonly provider_id: string | null;
  /** ISO 8601 in UTC. */
  readonly since: string | null;
}

export function gaugeQueries(mapping: MarketplaceMapping, thresholds: MarketplaceThresholds): readonly GaugeQuery[] {
  const { orders, refunds, sellerTransfers: transfers } = mapping;
  const order = {
    key: 'orders',
    ...orders,
    provider: 'paymentId',
    since: 'createdAt',
    status: orders.statuses.pending,
  };
  const refund = {
    ...{ key: 'refunds', ...refunds, provider: 'refundId', since: 'createdAt' },
    status: refunds.statuses.pending,
  };
  const transfer = { key: 'seller_transfers', ...transfers, provider: 'transferId', since: 'updatedAt' };
  return [
    queryOf('ledger_stuck_orders_pending', {
      ...order,
      hasProvider: true,
      ageMs: thresholds.stuckOrdersMs,
      manyAbandoned: true,
    }),
    queryOf('ledger_stuck_refunds_pending', { ...refund, hasProvider: true, ageMs: thresholds.stuckRefundsMs }),
    queryOf('ledger_orphan_refund_rows', { ...refund, hasProvider: false, ageMs: thresholds.orphanRefundsMs }),
    queryOf('ledger_failed_transfers_at_max_retry', {
      ...{ ...transfer, hasProvider: null, ageMs: null },
      status: transfers.statuses.permanentlyFailed,
    }),
    queryOf('ledger_reversal_pending_transfers', {
      ...{ ...transfer, hasProvider: null, ageMs: thresholds.pendingReversalsMs },
      status: transfers.statuses.reversalPending,
      since: transfers.columns.reversalSince === null ? 'updatedAt' : 'reversalSince',
    }),
  ];
}

/** `shop.orders` is a table in a schema; a dot inside a name isn't possible. */
export function quotedTable(name: string): string {
  return name.split('.').map(escapeIdentifier).join('.');
}

interface QueryParts {
  /** Of the table in trueup.yaml. */
  readonly key: string;
  readonly table: string;
  readonly columns: Readonly<Record<string, string | null>>;
  readonly provider: string;
  readonly since: string;
  readonly status: string;
  /** Whether the row has an id at the provider; null: it doesn't matter. */
  readonly hasProvider: boolean | null;
  readonly ageMs: number | null;
  /** Rows in this state without an id at the provider may be many and old: carts that nobody paid. */
  readonly manyAbandoned?: boolean;
}

function queryOf(name: LedgerGaugeName, parts: QueryParts): GaugeQuery {
  const { columns, ageMs } = parts;
  const named = (key: string): string | null => columns[key] ?? null;
  const quoted = (key: string): string | null => (named(key) === null ? null : escapeIdentifier(named(key)!));
  const [table, status, since, provider] = [
    quotedTable(parts.table),
    quoted('status')!,
    quoted(parts.since)!,
    quoted(parts.provider),
  ];
  const isPending = `${status} = ${escapeLiteral(parts.status)}`;
  // As text, for an id may be a uuid, which can't be compared with nothing.
  const hasProvider =
    parts.hasProvider === null
      ? ''
      : parts.hasProvider
        ? ` and ${provider}::text <> ''`
        : ` and (${provider} is null or ${provider}::text = '')`;
  const condition = `${isPending}${hasProvider}`;
  // The marketplace's own clock wrote these times, so it measures them too.
  const ageCondition = ageMs === null ? '' : ` and ${since} < now() - interval '${ageMs} milliseconds'`;
  const text = (key: string): string => (quoted(key) === null ? 'null' : `${quoted(key)}::text`);
  const shown = `select ${quoted('id')}::text as row_id, ${status}::text as state, ${text('amountMinor')} as amount,
    ${text('currency')} as currency, nullif(${text(parts.provider)}, '') as provider_id,
    to_char(${since} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as since from ${table}`;
  const read = ['id', 'status', parts.since, parts.provider, 'amountMinor', 'currency'];
  return {
    name,
    table: parts.table,
    count: `select count(*)::text as count from ${table} where ${condition}${ageCondition}`,
    rows: `${shown} where ${condition}${ageCondition} order by ${since} limit $1`,
    rowsOfAnyAge: `${shown} where ${condition} limit $1`,
    uses: read.flatMap((key) =>
      named(key) === null ? [] : [{ key: `${parts.key}.columns.${snake(key)}`, column: named(key)! }],
    ),
    index: {
      column: columns['status']!,
      status: parts.status,
      statement: `create index concurrently on ${table} (${since}) where ${isPending}${
        parts.manyAbandoned ? ` and ${provider} is not null` : ''
      }`,
    },
  };
}

function snake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
