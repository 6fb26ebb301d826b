// Exports and their evidence.
import type { EventsDeps } from './events.ts';

export const EXPORT_OUTCOMES = ['completed', 'failed', 'cancelled'] as const;

export function exportEvents({ log, metrics }: EventsDeps) {
  return {
    exportFinished(event: {
      readonly exportId: string;
      readonly kind: string;
      readonly outcome: (typeof EXPORT_OUTCOMES)[number];
      readonly rows: number;
      readonly bytes: number;
      readonly durationMs: number;
    }): void {
      const { kind, outcome, durationMs } = event;
      metrics.exportsTotal.inc({ kind, outcome });
      metrics.exportRows.inc({ kind }, event.rows);
      metrics.exportSeconds.observe({ kind }, durationMs / 1000);
      const fields = { event: 'export_finished', ...event };
      if (outcome === 'failed') log.warn(fields, 'export failed');
      else log.info(fields, `export was ${outcome}`);
    },
  };
}
