// Seals: a closed chunk in which a policy found both sides equal is not read again while nobody writes into it. Pure.
//
// A chunk is sealed with the ledger's entries in it and the book's rows of its time: after the close of the ledger before it, through
// its own last close. An entry and its row may lie in chunks of their own, as a row may be written a moment before
// the ledger closes: each chunk is sealed with what is counted in it, a pair where its entry lies.
import { chunkOf } from './coverage.ts';
import type { Finding, Item } from './match.ts';
import { CHUNK_LEDGERS, type LedgerRange } from './ledger.ts';

export interface ChunkTally {
  ledgerRecords: number;
  bookRecords: number;
  matched: number;
}

export interface Seal extends LedgerRange {
  /** Rows of the book after this time, Unix ms, and through the other, belong to the chunk. */
  readonly fromMs: number;
  readonly toMs: number;
  /** `pending`: laid down by the run that is under way; `broken`: what lies under it is not what was sealed. */
  readonly state: 'pending' | 'sealed' | 'broken';
  /** The policy and scope for which it holds. */
  readonly fingerprint: string;
  readonly tally: ChunkTally;
  readonly detail: string | null;
}

/** Time of the book's rows, the first moment excluded and the last included; Unix ms. */
export interface TimeSpan {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Stretches left out at most: each is a condition of the statements that read both sides. */
const MAX_ISLANDS = 50;

export interface Skipped {
  readonly ledgers: readonly LedgerRange[];
  readonly times: readonly TimeSpan[];
  readonly tally: Readonly<ChunkTally>;
}

export const NOTHING_SKIPPED: Skipped = {
  ledgers: [],
  times: [],
  tally: { ledgerRecords: 0, bookRecords: 0, matched: 0 },
};

/** What a run leaves out: the longest stretches of neighbouring seals, and what is counted for them. Seals must be in order. */
export function skipSealed(seals: readonly Seal[]): Skipped {
  const islands: Seal[][] = [];
  for (const seal of seals) {
    const last = islands.at(-1)?.at(-1);
    if (last?.to === seal.from && last.toMs === seal.fromMs) islands.at(-1)!.push(seal);
    else islands.push([seal]);
  }
  const kept = islands
    .toSorted((a, b) => b.length - a.length)
    .slice(0, MAX_ISLANDS)
    .sort((a, b) => a[0]!.from - b[0]!.from);
  const tally = { ledgerRecords: 0, bookRecords: 0, matched: 0 };
  for (const { tally: one } of kept.flat()) {
    tally.ledgerRecords += one.ledgerRecords;
    tally.bookRecords += one.bookRecords;
    tally.matched += one.matched;
  }
  return {
    ledgers: kept.map((island) => ({ from: island[0]!.from, to: island.at(-1)!.to })),
    times: kept.map((island) => ({ fromMs: island[0]!.fromMs, toMs: island.at(-1)!.toMs })),
    tally,
  };
}

export function isSkippedLedger(skipped: Skipped, ledger: number | null): boolean {
  return ledger !== null && skipped.ledgers.some((range) => range.from <= ledger && ledger < range.to);
}

export function isSkippedTime(skipped: Skipped, atMs: number | null): boolean {
  return isInSpans(skipped.times, atMs);
}

export function isInSpans(spans: readonly TimeSpan[], atMs: number | null): boolean {
  return atMs !== null && spans.some((span) => span.fromMs < atMs && atMs <= span.toMs);
}

/**
 * What a run saw in each chunk that it might seal. One in which anything but agreement was seen, or a row whose place isn't
 * told by its time alone, is spoilt.
 */
export class ChunkTallies {
  readonly #chunks = new Map<number, ChunkTally>();
  readonly #pending: readonly Seal[];
  readonly #spoilt = new Set<number>();

  /** The pending seals, in order. */
  constructor(pending: readonly Seal[]) {
    this.#pending = pending;
    for (const seal of pending) this.#chunks.set(seal.from, { ledgerRecords: 0, bookRecords: 0, matched: 0 });
  }

  ledgerRecord(leg: Item): void {
    const tally = this.#chunks.get(startOf(leg.ledger!));
    if (tally) tally.ledgerRecords++;
  }

  bookRecord(row: Item): void {
    const from = this.#chunkAt(row.atMs);
    const tally = from === null ? undefined : this.#chunks.get(from);
    if (tally) tally.bookRecords++;
    if (row.ledger === null || from === startOf(row.ledger)) return;
    // By its ledger it lies elsewhere than by its time.
    if (from !== null) this.#spoilt.add(from);
    this.#spoilt.add(startOf(row.ledger));
  }

  matched(finding: Pick<Finding, 'ledger'>): void {
    const tally = finding.ledger && this.#chunks.get(startOf(finding.ledger.ledger!));
    if (tally) tally.matched++;
  }

  /** Anything that isn't agreement: both chunks that it lies in stay open. */
  spoil({ ledger, book }: Finding): void {
    if (ledger !== null) this.#spoilt.add(startOf(ledger.ledger!));
    if (book === null) return;
    const from = this.#chunkAt(book.atMs);
    if (from !== null) this.#spoilt.add(from);
    if (book.ledger !== null) this.#spoilt.add(startOf(book.ledger));
  }

  /** Chunks in which everything agreed. */
  agreed(): (TimeSpan & { readonly from: number; readonly tally: ChunkTally })[] {
    return this.#pending.flatMap(({ from, fromMs, toMs }) =>
      this.#spoilt.has(from) ? [] : [{ from, fromMs, toMs, tally: this.#chunks.get(from)! }],
    );
  }

  #chunkAt(atMs: number | null): number | null {
    if (atMs === null) return null;
    let [low, high] = [0, this.#pending.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#pending[middle]!.toMs < atMs) low = middle + 1;
      else high = middle;
    }
    const seal = this.#pending[low];
    return seal !== undefined && seal.fromMs < atMs ? seal.from : null;
  }
}

function startOf(ledger: number): number {
  return Math.max(1, chunkOf(ledger) * CHUNK_LEDGERS);
}
