// What happens while ledgers are read and kept. Ranges come half-open and are printed inclusive, as people type them.
import type { BackfillState } from '../core/backfill.ts';
import type { Layer } from '../core/entry.ts';
import { isTrueUpError, messageOf } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { SYNC_STATUSES } from '../core/status.ts';
import type { SyncStatus } from '../core/status.ts';
import type { EventsDeps } from './events.ts';

export interface ChunkCommitted {
  readonly stream: string;
  /** Half-open. */
  readonly range: LedgerRange;
  readonly writer: 'follower' | 'backfill';
  readonly source: string;
  /** Entries written, by layer. */
  readonly entries: Readonly<Partial<Record<Layer, number>>>;
  /** Ledgers that nobody had committed before; what processed_ledgers_total counts. */
  readonly newLedgers: number;
  readonly bytesRead: number;
  readonly readMs: number;
  readonly decodeMs: number;
  readonly commitMs: number;
}

export interface SourceReadFailed {
  readonly source: string;
  readonly error: unknown;
  /** From 1. */
  readonly attempt: number;
  /** Half-open. */
  readonly range?: LedgerRange;
}

export interface RangeQuarantined {
  readonly stream: string;
  readonly layer: Layer;
  /** Half-open. */
  readonly range: LedgerRange;
  readonly state: 'quarantined' | 'unavailable';
  readonly reason: string;
  readonly message: string;
}

export interface TipSeen {
  readonly stream: string;
  readonly tip: number;
  /** Last ledger up to which everything is committed; null while nothing is. */
  readonly checkpoint: number | null;
}

export function ledgerEvents({ log, metrics }: EventsDeps) {
  return {
    chunkCommitted(event: ChunkCommitted): void {
      const { range, entries, ...rest } = event;
      metrics.processedLedgers.inc(event.newLedgers);
      metrics.chunksCommitted.inc({ writer: event.writer });
      metrics.sourceReadBytes.inc({ source: event.source }, event.bytesRead);
      for (const [layer, count] of Object.entries(entries)) metrics.entriesCommitted.inc({ layer }, count);
      for (const step of ['read', 'decode', 'commit'] as const) {
        metrics.chunkSeconds.observe({ step }, event[`${step}Ms`] / 1000);
      }
      log.debug({ event: 'chunk_committed', ...inclusive(range), entries, ...rest }, 'ledgers committed');
    },
    sourceReadFailed({ source, error, attempt, range }: SourceReadFailed): void {
      const reason = isTrueUpError(error) ? error.reason : 'INTERNAL';
      metrics.processingErrors.inc();
      metrics.sourceReadFailures.inc({ source, reason });
      const fields = { event: 'source_read_failed', source, reason, attempt, ...(range && inclusive(range)) };
      // A far system that doesn't answer needs no stack; a fault of ours does.
      if (reason === 'INTERNAL') log.error({ ...fields, err: error }, 'reading the source failed');
      else log.warn({ ...fields, error: messageOf(error) }, 'reading the source failed');
    },
    /** Another source answers than before. */
    sourceSwitched({ from, to, error }: { readonly from: string; readonly to: string; readonly error: unknown }): void {
      const why =
        error === null ? {} : { reason: isTrueUpError(error) ? error.reason : 'INTERNAL', error: messageOf(error) };
      log.warn({ event: 'source_switched', from, to, ...why }, 'ledgers are read from another source now');
    },
    /** Committing failed: counted like a failed read, since the ledgers weren't processed. */
    commitFailed({
      stream,
      range,
      error,
    }: {
      readonly stream: string;
      readonly range: LedgerRange;
      readonly error: unknown;
    }): void {
      metrics.processingErrors.inc();
      log.error({ event: 'commit_failed', stream, ...inclusive(range), err: error }, 'committing ledgers failed');
    },
    rangeQuarantined({ range, ...rest }: RangeQuarantined): void {
      log.error({ event: 'range_quarantined', ...inclusive(range), ...rest }, 'ledgers were set apart');
    },
    coverageCounted(event: {
      readonly layer: Layer;
      readonly ranges: Readonly<Record<'done' | 'quarantined' | 'unavailable', number>>;
    }): void {
      for (const [state, count] of Object.entries(event.ranges))
        metrics.coverageRanges.set({ layer: event.layer, state }, count);
    },
    followerStatusChanged(event: {
      readonly stream: string;
      readonly status: SyncStatus;
      readonly previous: SyncStatus | null;
      readonly reason?: string;
    }): void {
      for (const status of SYNC_STATUSES) metrics.syncStatus.set({ status }, status === event.status ? 1 : 0);
      const fields = { event: 'follower_status_changed', ...event };
      if (event.status === 'degraded') log.warn(fields, 'the stream is degraded');
      else log.info(fields, `the stream is ${event.status.replace('_', ' ')}`);
    },
    /** Sets the three gauges of System B's dashboards. A tip below the checkpoint is shown as lag 0: the source stepped back, we didn't get ahead. */
    tipSeen({ tip, checkpoint }: TipSeen): void {
      metrics.latestLedger.set(tip);
      if (checkpoint === null) return;
      metrics.checkpointLedger.set(checkpoint);
      metrics.ledgerLag.set(Math.max(0, tip - checkpoint));
    },
    /** This process follows no more: its gauges would stand still while another's move, so they go. */
    followerReleased({ stream }: { readonly stream: string }): void {
      metrics.latestLedger.remove();
      metrics.checkpointLedger.remove();
      metrics.ledgerLag.remove();
      metrics.syncStatus.reset();
      log.info({ event: 'follower_released', stream }, 'this process follows the stream no more');
    },
    backfillMoved(event: { readonly id: string; readonly from: BackfillState; readonly to: BackfillState }): void {
      metrics.backfillTransitions.inc({ state: event.to });
      const fields = { event: 'backfill_moved', ...event };
      if (event.to === 'failed' || event.to === 'blocked') log.warn(fields, `a backfill is ${event.to}`);
      else log.info(fields, `a backfill is ${event.to}`);
    },
    leaseLost(event: { readonly lease: string; readonly kind: string }): void {
      metrics.leasesLost.inc({ lease: event.kind });
      log.warn({ event: 'lease_lost', ...event }, 'another process took the lease over; work under it was given up');
    },
  };
}

function inclusive(range: LedgerRange): { from_ledger: number; to_ledger: number } {
  return { from_ledger: range.from, to_ledger: range.to - 1 };
}
