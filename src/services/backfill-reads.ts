// Reading a share of a backfill piece by piece: several reads make one commit, and a bad ledger is found and named.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Layer } from '../core/entry.ts';
import { isTrueUpError, type TrueUpError } from '../core/errors.ts';
import { leaseEnd } from '../core/backfill-pace.ts';
import { afterBadRead, checkBatch, joinBatches, nextRead } from '../core/follow.ts';
import { CHUNK_LEDGERS, type LedgerBatch, type LedgerRange } from '../core/ledger.ts';
import type { Watch } from '../core/watch.ts';
import { payingToll } from '../sources/http/toll.ts';
import type { Source } from '../sources/source.ts';
import { ReadPipeline } from './follower-reads.ts';

/** Entries after which a piece is committed though it could be longer: what a worker keeps in memory. */
const MAX_PIECE_ENTRIES = 8_000;

export interface PieceReaderOptions {
  readonly source: Source;
  readonly watch: Watch;
  readonly layers: readonly Layer[];
  /** Most ledgers of one read. */
  readonly spanLedgers: number;
  /** Asked before each read, and with 0 ledgers before each further request that it sends; how long to wait, milliseconds. */
  readonly waitBefore: (ledgers: number) => Promise<number>;
  readonly onBadRead: (error: unknown, attempt: number) => void;
}

export interface PieceFacts {
  readonly requests: number;
  readonly retries: number;
  readonly readMs: number;
  /** How long the job's own limits held it back. */
  readonly waitedMs: number;
}

export type Piece = PieceFacts &
  ({ readonly kind: 'batch'; readonly range: LedgerRange; readonly batch: LedgerBatch } | BadRead);

interface BadRead {
  readonly kind: 'bad';
  readonly range: LedgerRange;
  readonly error: TrueUpError;
  /** How often it was read. */
  readonly attempts: number;
}

export class PieceReader {
  readonly #options: PieceReaderOptions;
  readonly #pipeline: ReadPipeline;
  /** Read already, for the next piece: it came from another source than the piece before it. */
  #kept: LedgerBatch | null = null;
  #spanLedgers: number;
  #requests = 0;
  #retries = 0;
  #waitedMs = 0;

  constructor(options: PieceReaderOptions, signal: AbortSignal) {
    this.#options = options;
    this.#spanLedgers = options.spanLedgers;
    const { source, watch, layers } = options;
    this.#pipeline = new ReadPipeline(
      {
        source: {
          layers,
          read: async (request, given) => {
            await this.#pay(request.range.to - request.range.from, given);
            // The first request of a read is paid for with its ledgers; a source that sends none costs one as well.
            let isFirst = true;
            const toll = async (asking: AbortSignal): Promise<void> => {
              if (!isFirst) await this.#pay(0, asking);
              isFirst = false;
            };
            return payingToll(toll, () => source.read(request, given));
          },
        },
        watch,
        layers,
      },
      signal,
    );
  }

  /**
   * The next piece of what is left, at most about `pieceLedgers` long; or the part of it that can't be had, tried and found.
   *
   * @throws TrueUpError what the source throws where it isn't the ledgers' own fault
   */
  async next(rest: LedgerRange, pieceLedgers: number): Promise<Piece> {
    const startedMs = performance.now();
    const end = pieceLedgers < CHUNK_LEDGERS ? rest.from + Math.floor(pieceLedgers) : leaseEnd(rest, pieceLedgers);
    const parts: LedgerBatch[] = [];
    let entries = 0;
    for (let [from, to] = [rest.from, Math.min(end, rest.to)]; from < to && entries < MAX_PIECE_ENTRIES;) {
      const lastHash = parts.at(-1)?.last.hash ?? null;
      const part = this.#takeKept(from) ?? (await this.#read(this.#span(from, to)!, rest.to, lastHash));
      if (part.kind === 'bad') {
        // The good ledgers before it are stored first; it is met again then.
        if (parts.length > 0) break;
        return { ...part, ...this.#facts(startedMs) };
      }
      if (parts.length > 0 && part.batch.source !== parts[0]!.source) {
        this.#kept = part.batch;
        break;
      }
      parts.push(part.batch);
      from = part.batch.range.to;
      entries += part.batch.records.reduce((sum, record) => sum + record.entries.length, 0);
    }
    const batch = joinBatches(parts);
    return { kind: 'batch', range: batch.range, batch, ...this.#facts(startedMs) };
  }

  #takeKept(from: number): { kind: 'batch'; batch: LedgerBatch } | null {
    const kept = this.#kept;
    this.#kept = null;
    return kept?.range.from === from ? { kind: 'batch', batch: kept } : null;
  }

  async #read(
    range: LedgerRange,
    end: number,
    lastHash: string | null,
  ): Promise<{ kind: 'batch'; batch: LedgerBatch } | BadRead> {
    let wanted = range;
    for (let attempt = 1; ;) {
      try {
        const batch = await this.#pipeline.read(wanted, (after) => this.#span(after, end));
        checkBatch(batch, wanted, lastHash);
        return { kind: 'batch', batch };
      } catch (error) {
        const next = afterBadRead(error, wanted, attempt) ?? this.#smaller(error, wanted);
        if (next === null) throw error;
        this.#options.onBadRead(error, attempt);
        if (next.kind === 'set-apart') return { ...next, kind: 'bad', error: error as TrueUpError };
        this.#retries++;
        ({ range: wanted, attempt } = next);
      }
    }
  }

  /** An answer that is too large or too late may be had in two halves. */
  #smaller(error: unknown, wanted: LedgerRange): { kind: 'read'; range: LedgerRange; attempt: number } | null {
    const length = wanted.to - wanted.from;
    if (!isTrueUpError(error, 'SOURCE_TIMEOUT', 'SOURCE_ANSWER_TOO_LARGE') || length <= 1) return null;
    this.#spanLedgers = Math.ceil(length / 2);
    return { kind: 'read', range: { from: wanted.from, to: wanted.from + this.#spanLedgers }, attempt: 1 };
  }

  /** Waits until another request may be sent, and counts it. */
  async #pay(ledgers: number, signal: AbortSignal): Promise<void> {
    const waitMs = await this.#options.waitBefore(ledgers);
    if (waitMs > 0) await sleep(waitMs, undefined, { signal });
    this.#waitedMs += waitMs;
    this.#requests++;
  }

  #span(from: number, end: number): LedgerRange | null {
    return nextRead(from, end - 1, null, this.#spanLedgers);
  }

  #facts(startedMs: number): PieceFacts {
    const facts = {
      requests: this.#requests,
      retries: this.#retries,
      readMs: performance.now() - startedMs,
      waitedMs: this.#waitedMs,
    };
    [this.#requests, this.#retries, this.#waitedMs] = [0, 0, 0];
    return facts;
  }
}
