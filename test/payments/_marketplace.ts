// A marketplace's tables in the schema that System C has, in a database of their own, and a sampler over them.
import { afterAll, beforeAll, beforeEach } from 'vitest';
import type pg from 'pg';
import { LEDGER_GAUGES, type LedgerHealth } from '../../src/core/ledger-health.ts';
import { DEFAULT_MAPPING, type MarketplaceMapping, type MarketplaceThresholds } from '../../src/core/marketplace.ts';
import { createLedgerHealth, type LedgerHealthService } from '../../src/services/ledger-health.ts';
import { createMarketplace, type MarketplaceLimits } from '../../src/sources/marketplace.ts';
import { createEvents } from '../../src/telemetry/events.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createTestDatabase, onAdminConnection, type TestDatabase } from '../_util/database.ts';

export const THRESHOLDS: MarketplaceThresholds = {
  ...{ stuckOrdersMs: 1_800_000, stuckRefundsMs: 1_800_000, orphanRefundsMs: 300_000, pendingReversalsMs: 1_800_000 },
};

export const TABLES = `
  create table orders (id uuid primary key default gen_random_uuid(), status varchar(30) not null,
    hyperswitch_payment_id varchar(255), created_at timestamptz not null default now());
  create table refunds (id uuid primary key default gen_random_uuid(), status varchar(30) not null,
    hyperswitch_refund_id varchar(255), created_at timestamptz not null default now());
  create table seller_transfers (id uuid primary key default gen_random_uuid(), status varchar(30) not null,
    next_retry_at timestamptz, updated_at timestamptz not null default now());
  create index on orders (created_at) where status = 'pending' and hyperswitch_payment_id is not null;
  create index on refunds (status);
  create index on seller_transfers (status, updated_at);`;

export interface Sampling {
  readonly health: LedgerHealthService;
  readonly lines: Record<string, unknown>[];
  /** Of the metrics page; undefined: there is no sample. */
  metric(name: string, gauge?: string): Promise<number | undefined>;
  /** The five counts as the metrics page has them. */
  counts(): Promise<(number | undefined)[]>;
  list(rowsLimit?: number): Promise<readonly LedgerHealth[]>;
}

export interface SamplingOptions {
  readonly mapping?: MarketplaceMapping;
  readonly thresholds?: MarketplaceThresholds;
  readonly limits?: MarketplaceLimits;
  readonly url?: string;
  readonly prefix?: string;
}

/** Each test begins with empty tables. */
export function useMarketplace() {
  let house: TestDatabase;
  let market: TestDatabase;
  beforeAll(async () => {
    house = await createTestDatabase();
    market = await createTestDatabase({ migrated: false });
  });
  afterAll(async () => {
    await house.drop();
    await market.drop();
  });
  beforeEach(async () => {
    await run(`drop schema if exists shop, public cascade; create schema public; ${TABLES}`);
    await runHouse('truncate trueup.reversal_sightings');
  });
  const run = (statement: string): Promise<pg.QueryResult> =>
    onAdminConnection(market.url, (client) => client.query(statement));
  const runHouse = (statement: string): Promise<pg.QueryResult> =>
    onAdminConnection(house.url, (client) => client.query(statement));

  function sampling(options: SamplingOptions = {}): Sampling {
    const { mapping = DEFAULT_MAPPING, thresholds = THRESHOLDS, limits = {}, url = market.url, prefix = '' } = options;
    const lines: Record<string, unknown>[] = [];
    const destination = { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) };
    const metrics = createMetrics({ defaults: false, paymentsPrefix: prefix });
    const log = createLogger({ level: 'info', name: 'test', secrets: [], destination });
    const marketplace = createMarketplace({ url, mapping, thresholds, limits });
    const health = createLedgerHealth({ db: house.db, marketplace, events: createEvents({ log, metrics }) });
    const metric = async (name: string, gauge?: string): Promise<number | undefined> => {
      const start = gauge === undefined ? `${name} ` : `${name}{gauge="${gauge}"} `;
      const line = (await metrics.render()).body.split('\n').find((each) => each.startsWith(start));
      return line === undefined ? undefined : Number(line.slice(start.length));
    };
    return {
      health,
      lines,
      metric,
      counts: () => Promise.all(LEDGER_GAUGES.map((name) => metric(`${prefix}${name}`))),
      list: async (rowsLimit = 0) =>
        (await health.list({ name: null, rowsLimit }, { size: 50, after: null }, new AbortController().signal)).items,
    };
  }
  return { run, runHouse, sampling, url: () => market.url };
}

export const never = new AbortController().signal;
