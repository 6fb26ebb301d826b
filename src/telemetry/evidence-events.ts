// Evidence: what was sealed, and what retention took away.
import type { EventsDeps } from './events.ts';

export function evidenceEvents({ log, metrics }: EventsDeps) {
  return {
    logSealed(event: { readonly leaves: number; readonly treeSize: number }): void {
      metrics.evidenceSealed.inc(event.leaves);
      metrics.evidenceTreeSize.set(event.treeSize);
      log.info({ event: 'log_sealed', ...event }, 'evidence log sealed');
    },
    artifactsPruned(event: { readonly count: number }): void {
      metrics.artifactsPruned.inc(event.count);
      log.info({ event: 'artifacts_pruned', ...event }, 'artifacts removed by retention');
    },
  };
}
