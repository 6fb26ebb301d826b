// The metrics of the marketplace's payments. Those of dashboards that exist already take the prefix that these had.
import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { LEDGER_GAUGES, LEDGER_GAUGE_WORDS, UNREADABLE_SAMPLE, type LedgerGaugeName } from '../core/ledger-health.ts';

export interface PaymentsMetrics {
  /** From now on the gauges' ages are shown, from `at` where there was no sample; before, nothing is. */
  ledgerSamplingBegan(at: Date): void;
  ledgerSampled(gauge: LedgerGaugeName, count: number, at: Date): void;
  ledgerUnreadable(gauge: LedgerGaugeName): void;
}

export function createPaymentsMetrics(registry: Registry, prefix: string): PaymentsMetrics {
  const registers = [registry];
  const gauges = new Map(
    LEDGER_GAUGES.map((name) => {
      const help = `${LEDGER_GAUGE_WORDS[name]} ${UNREADABLE_SAMPLE}: the query failed.`;
      const gauge = new Gauge({ name: `${prefix}${name}`, help, registers });
      gauge.remove();
      return [name, gauge] as const;
    }),
  );
  const readAt = new Map<LedgerGaugeName, number>();
  new Gauge({
    name: 'trueup_ledger_health_sample_age_seconds',
    help: 'Time since the gauge was last read with success, or since sampling began. No sample where no marketplace is configured.',
    labelNames: ['gauge'],
    registers,
    // Looked at when it is shown, so that it grows also where the sampler itself has stopped.
    collect() {
      for (const [gauge, at] of readAt) this.set({ gauge }, Math.max(0, (Date.now() - at) / 1000));
    },
  });
  const failures = new Counter({
    name: 'trueup_ledger_health_sample_failures_total',
    help: 'Samples of the gauge that failed.',
    labelNames: ['gauge'],
    registers,
  });
  return {
    ledgerSamplingBegan(at) {
      for (const gauge of LEDGER_GAUGES) {
        readAt.set(gauge, at.getTime());
        failures.inc({ gauge }, 0);
      }
    },
    ledgerSampled(gauge, count, at) {
      gauges.get(gauge)!.set(count);
      readAt.set(gauge, at.getTime());
    },
    ledgerUnreadable(gauge) {
      gauges.get(gauge)!.set(UNREADABLE_SAMPLE);
      failures.inc({ gauge });
    },
  };
}
