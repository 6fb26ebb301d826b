// Reading ahead of the writer, so that reading, decoding and writing overlap.
import type { Layer } from '../core/entry.ts';
import type { LedgerBatch, LedgerRange } from '../core/ledger.ts';
import type { Watch } from '../core/watch.ts';
import type { Source } from '../sources/source.ts';

/** Reads under way while another batch is being written: one keeps the writer fed, more only cost memory. */
const READS_AHEAD = 2;

export interface ReadOptions {
  readonly source: Pick<Source, 'read' | 'layers'>;
  readonly watch: Watch;
  /** All that the source has unless given. */
  readonly layers?: readonly Layer[];
}

/** Ranges are asked for in order; what was read ahead of one that failed is read again. */
export class ReadPipeline {
  readonly #options: ReadOptions;
  readonly #signal: AbortSignal;
  readonly #ahead = new Map<number, { range: LedgerRange; batch: Promise<LedgerBatch> }>();

  constructor(options: ReadOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async read(range: LedgerRange, next: (after: number) => LedgerRange | null): Promise<LedgerBatch> {
    const waiting = this.#ahead.get(range.from);
    this.#ahead.delete(range.from);
    const current = waiting && waiting.range.to === range.to ? waiting.batch : this.#start(range);
    let upcoming = next(range.to);
    while (upcoming !== null && this.#ahead.size < READS_AHEAD) {
      if (!this.#ahead.has(upcoming.from))
        this.#ahead.set(upcoming.from, { range: upcoming, batch: this.#start(upcoming) });
      upcoming = next(upcoming.to);
    }
    try {
      return await current;
    } catch (error) {
      this.#ahead.clear();
      throw error;
    }
  }

  #start(range: LedgerRange): Promise<LedgerBatch> {
    const { source, watch, layers = source.layers } = this.#options;
    const batch = source.read({ range, layers, watch }, this.#signal);
    // A read that fails before it is awaited is reported when its turn comes, not as an unhandled rejection.
    batch.catch(() => undefined);
    return batch;
  }
}
