// What is seen of the marketplace's payments.
import { isTrueUpError, messageOf } from '../core/errors.ts';
import type { LedgerGaugeName } from '../core/ledger-health.ts';
import type { EventsDeps } from './events.ts';

export function paymentsEvents({ log, metrics }: EventsDeps) {
  return {
    ledgerSamplingBegan({ at }: { readonly at: Date }): void {
      metrics.ledgerSamplingBegan(at);
    },
    ledgerSampled(event: { readonly gauge: LedgerGaugeName; readonly count: number; readonly at: Date }): void {
      metrics.ledgerSampled(event.gauge, event.count, event.at);
      log.debug({ event: 'ledger_sampled', gauge: event.gauge, count: event.count }, 'payments sampled');
    },
    ledgerUnreadable({ gauge, error }: { readonly gauge: LedgerGaugeName; readonly error: unknown }): void {
      metrics.ledgerUnreadable(gauge);
      const fields = { event: 'ledger_unreadable', gauge };
      const words = `${gauge} can't be read and shows -1`;
      // A far database that doesn't answer needs no stack; a fault of ours does.
      if (isTrueUpError(error)) log.error({ ...fields, reason: error.reason, error: messageOf(error) }, words);
      else log.error({ ...fields, err: error }, words);
    },
    /** Said once: what the marketplace's tables lack. */
    marketplaceChecked(event: {
      readonly missing: readonly string[];
      readonly missingIndexes: readonly { readonly gauges: readonly LedgerGaugeName[]; readonly statement: string }[];
    }): void {
      if (event.missing.length > 0) {
        log.error(
          { event: 'marketplace_columns_missing', missing: event.missing },
          `the marketplace's database has no ${event.missing.join(', no ')}: correct \`marketplace\` in trueup.yaml`,
        );
      }
      for (const { gauges, statement } of event.missingIndexes) {
        log.warn(
          { event: 'marketplace_index_missing', gauges, statement },
          `${gauges.join(' and ')} may read a whole table of the marketplace's for want of an index: ${statement}`,
        );
      }
    },
  };
}
