// A marketplace's own PostgreSQL: its tables are counted and looked at in a transaction that can only read.
import type { TrueUpError } from '../core/errors.ts';
import { LEDGER_GAUGES, type LedgerGaugeName, type LedgerHealthRow } from '../core/ledger-health.ts';
import type { MarketplaceMapping, MarketplaceThresholds } from '../core/marketplace.ts';
import { labelOf, openBookSession, type BookSession, type SessionOwner } from './book-session.ts';
import { checkSchema, type SchemaFindings } from './marketplace-check.ts';
import { gaugeQueries, type GaugeQuery, type MarketplaceRow } from './marketplace-queries.ts';

export interface MarketplaceOptions {
  readonly url: string;
  readonly mapping: MarketplaceMapping;
  readonly thresholds: MarketplaceThresholds;
  readonly limits?: MarketplaceLimits;
}

export const MARKETPLACE_LIMITS = {
  connectTimeoutMs: 10_000,
  /** Of one query; another one's tables must not wait for ours. */
  statementTimeoutMs: 5_000,
  lockTimeoutMs: 1_000,
  fetchRows: 1_000,
  /** Transfers whose reversal is pending that are remembered, where the table doesn't say since when. */
  maxReversals: 10_000,
} as const;

export type MarketplaceLimits = Partial<Record<keyof typeof MARKETPLACE_LIMITS, number>>;

/** One reading of several gauges in one snapshot; what can't be read is a value, so that the others go on. */
export interface MarketplaceReading {
  /** @throws MARKETPLACE_UNREADABLE; other questions can still be asked. */
  count(name: LedgerGaugeName): Promise<number>;
  /** The oldest first. @throws MARKETPLACE_UNREADABLE */
  rows(name: LedgerGaugeName, limit: number): Promise<LedgerHealthRow[]>;
  /** Every transfer whose reversal is pending, of any age. @throws MARKETPLACE_UNREADABLE, also for too many */
  reversals(): Promise<LedgerHealthRow[]>;
  /** @throws MARKETPLACE_UNREADABLE */
  check(): Promise<SchemaFindings>;
}

export interface Marketplace {
  readonly thresholds: MarketplaceThresholds;
  /** Whether the transfers' table says since when a reversal is pending. */
  readonly knowsReversals: boolean;
  /** @throws MARKETPLACE_UNREADABLE when the database can't be reached. */
  read<T>(signal: AbortSignal, work: (reading: MarketplaceReading) => Promise<T>): Promise<T>;
}

const OWNER: SessionOwner = {
  reason: 'MARKETPLACE_UNREADABLE',
  applicationName: 'trueup-marketplace',
  variable: 'MARKETPLACE_DATABASE_URL',
  naming: '`marketplace` of trueup.yaml',
  fix: 'check MARKETPLACE_DATABASE_URL and `marketplace` of trueup.yaml',
};

/** @throws TrueUpError INVALID_CONFIGURATION for the URL; nothing is connected yet. */
export function createMarketplace(options: MarketplaceOptions): Marketplace {
  const { url, mapping, thresholds } = options;
  const limits = { ...MARKETPLACE_LIMITS, ...options.limits };
  const label = labelOf(url, OWNER.variable);
  const queries = gaugeQueries(mapping, thresholds);
  return {
    thresholds,
    knowsReversals: mapping.sellerTransfers.columns.reversalSince !== null,
    async read(signal, work) {
      const session = await openBookSession(url, limits, label, signal, OWNER);
      try {
        return await work(createReading(session, queries, limits.maxReversals));
      } finally {
        await session.end();
      }
    },
  };
}

function createReading(session: BookSession, queries: readonly GaugeQuery[], maxReversals: number): MarketplaceReading {
  const queryOf = (name: LedgerGaugeName): GaugeQuery => queries[LEDGER_GAUGES.indexOf(name)]!;
  const reversal = queryOf('ledger_reversal_pending_transfers');

  /** A failure ends the transaction unless it is taken back to before the query. */
  async function apart<T>(work: () => Promise<T>): Promise<T> {
    await session.rows('savepoint apart');
    try {
      return await work();
    } catch (error) {
      // Where the connection itself is gone, the failure that is told is the first.
      await session.rows('rollback to savepoint apart').catch(() => undefined);
      throw error;
    }
  }
  const read = (statement: string, value: unknown): Promise<LedgerHealthRow[]> =>
    apart(async () => (await session.rows<MarketplaceRow>(statement, [value])).map((row) => toRow(row, session)));

  return {
    count: (name) =>
      apart(async () => {
        const [row] = await session.rows<{ count: string }>(queryOf(name).count);
        return Number(row!.count);
      }),
    rows: (name, limit) => read(queryOf(name).rows, limit),
    async reversals() {
      const rows = await read(reversal.rowsOfAnyAge, maxReversals + 1);
      if (rows.length <= maxReversals) return rows;
      throw session.unreadable(
        `more than ${maxReversals} transfers are ${reversal.index.status}; map seller_transfers.columns.reversal_since to the column that says since when`,
      );
    },
    check: () => apart(() => checkSchema(session, queries)),
  };
}

function toRow(row: MarketplaceRow, session: { unreadable(message: string): TrueUpError }): LedgerHealthRow {
  if (row.amount !== null && !/^-?\d{1,38}$/.test(row.amount)) {
    throw session.unreadable(
      `the amount ${JSON.stringify(row.amount)} of row ${row.row_id} is no whole number of minor units; map amount_minor to a column that has them`,
    );
  }
  return {
    rowId: row.row_id,
    state: row.state,
    amountMinor: row.amount === null ? null : BigInt(row.amount),
    currency: row.currency,
    providerId: row.provider_id,
    since: row.since === null ? null : new Date(row.since),
  };
}
