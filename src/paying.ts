// Composes the look at a marketplace's payments: whose tables are read, how often, and what the doors may ask of it.
import type { Config } from './config/config.ts';
import { createLedgerHealth } from './services/ledger-health.ts';
import { keepSandboxMarketplace, SANDBOX_MAPPING } from './store/sandbox-marketplace.ts';
import { createMarketplace, type Marketplace } from './sources/marketplace.ts';
import type { Database } from './store/database.ts';
import type { Events } from './telemetry/events.ts';

const SAMPLE_INTERVAL_MS = 60_000;

export interface PayingDeps {
  readonly db: Database;
  readonly config: Config;
  readonly events: Events;
}

export function composePayments({ db, config, events }: PayingDeps) {
  const { mapping, thresholds } = config.marketplace;
  const url = config.secrets.marketplaceUrl;
  const playsMarketplace = url === null && config.source.kind === 'sandbox';
  const marketplace: Marketplace | null = playsMarketplace
    ? createMarketplace({ url: db.url, mapping: SANDBOX_MAPPING, thresholds })
    : url === null
      ? null
      : createMarketplace({ url, mapping, thresholds });
  const health = createLedgerHealth({ db, marketplace, events });
  const sampling = {
    name: 'ledger health',
    intervalMs: SAMPLE_INTERVAL_MS,
    async run(signal: AbortSignal): Promise<void> {
      try {
        if (playsMarketplace) await keepSandboxMarketplace(db.em());
      } finally {
        await health.sample(signal);
      }
    },
  };
  return {
    list: health.list,
    /** Nothing to do where there is no marketplace. */
    loops: marketplace === null ? [] : [sampling],
  };
}
