// Decisions of the follower, apart from its clock and its database.
import { isTrueUpError, TrueUpError } from './errors.ts';
import type { LedgerBatch, LedgerRange } from './ledger.ts';
import type { SyncStatus } from './status.ts';

/** Fewer ledgers behind the tip than this is synced: the newest is always about to be read. */
const SYNCED_LAG_LEDGERS = 3;

export interface SyncFacts {
  readonly diverged: boolean;
  /** Null before the source has said where its end is. */
  readonly tip: number | null;
  /** The next ledger to read; null before the stream is open. */
  readonly nextLedger: number | null;
  readonly endLedger: number | null;
  readonly processedLedgers: bigint;
  readonly unreadableRanges: number;
  readonly lastSuccessAt: Date | null;
  readonly lastErrorAt: Date | null;
}

/**
 * Degraded wins over everything, as it needs somebody: diverged, a range set apart, a tip behind the checkpoint, or a last word
 * from the source that was an error.
 */
export function syncStatus(facts: SyncFacts): SyncStatus {
  const { tip, nextLedger, lastErrorAt, lastSuccessAt } = facts;
  const failing = lastErrorAt !== null && (lastSuccessAt === null || lastErrorAt > lastSuccessAt);
  if (facts.diverged || facts.unreadableRanges > 0 || failing) return 'degraded';
  if (tip === null || nextLedger === null) return 'starting';
  if (lagLedgers(tip, nextLedger, facts.endLedger) < SYNCED_LAG_LEDGERS) return 'synced';
  return facts.processedLedgers === 0n ? 'starting' : 'catching_up';
}

/** Ledgers between the tip and what was read; never below 0, as a lagging replica's tip is no negative lag. */
export function lagLedgers(tip: number, nextLedger: number, endLedger: number | null): number {
  const last = endLedger === null ? tip : Math.min(tip, endLedger);
  return Math.max(0, last - (nextLedger - 1));
}

/** The next range to read: at most a span, ending on a multiple of the span so that reads match the source's own files. */
export function nextRead(
  nextLedger: number,
  tip: number,
  endLedger: number | null,
  spanLedgers: number,
): LedgerRange | null {
  const last = endLedger === null ? tip : Math.min(tip, endLedger);
  if (nextLedger > last) return null;
  const to = (Math.floor(nextLedger / spanLedgers) + 1) * spanLedgers;
  return { from: nextLedger, to: Math.min(to, last + 1) };
}

/**
 * Checks that a batch is what was asked for and continues the chain.
 *
 * @throws TrueUpError SOURCE_CORRUPT for another range or a hole in it, SOURCE_DIVERGED where it doesn't link to what is stored.
 */
export function checkBatch(batch: LedgerBatch, asked: LedgerRange, lastHash: string | null): void {
  const { range } = batch;
  if (range.from !== asked.from || range.to !== asked.to) {
    throw new TrueUpError('SOURCE_CORRUPT', `asked for ledgers ${text(asked)} and got ${text(range)}`, {
      range: asked,
    });
  }
  checkRecords(batch);
  if (batch.proof === 'chained') checkChain(batch);
  const first = batch.records[0];
  if (lastHash !== null && first?.sequence === range.from && first.prevHash !== lastHash) {
    throw new TrueUpError(
      'SOURCE_DIVERGED',
      `ledger ${range.from} follows ${first.prevHash.slice(0, 16)}, but ledger ${range.from - 1} was stored as ${lastHash.slice(0, 16)}`,
      {
        range: { from: range.from, to: range.from + 1 },
        fix: 'check that the source serves the same network; after a network reset open a new epoch',
      },
    );
  }
}

/** What any source promises: records of the range, each once and in order, with legs of their own ledger, and the last header. */
function checkRecords({ range, records, last }: LedgerBatch): void {
  let next = range.from;
  for (const { sequence, entries } of records) {
    if (sequence < next || sequence >= range.to) {
      const at = sequence < range.from || sequence >= range.to ? range : { from: sequence, to: sequence + 1 };
      throw new TrueUpError('SOURCE_CORRUPT', `ledger ${sequence} is out of place in ${text(range)}`, { range: at });
    }
    const stray = entries.find((entry) => entry.ledger !== sequence);
    if (stray !== undefined) {
      const at = { from: sequence, to: sequence + 1 };
      throw new TrueUpError('SOURCE_CORRUPT', `ledger ${sequence} came with an entry of ledger ${stray.ledger}`, {
        range: at,
      });
    }
    next = sequence + 1;
  }
  const end = records.at(-1);
  if (last.sequence !== range.to - 1 || (end?.sequence === last.sequence && end.hash !== last.hash)) {
    throw new TrueUpError(
      'SOURCE_CORRUPT',
      `${text(range)} came with the header of ledger ${last.sequence} as its last`,
      { range },
    );
  }
}

function checkChain(batch: LedgerBatch): void {
  let expected = batch.range.from;
  let prevHash: string | null = null;
  for (const record of batch.records) {
    const at = { from: record.sequence, to: record.sequence + 1 };
    if (record.sequence !== expected) {
      throw new TrueUpError('SOURCE_CORRUPT', `ledger ${expected} is missing before ledger ${record.sequence}`, {
        range: { from: expected, to: expected + 1 },
      });
    }
    if (prevHash !== null && record.prevHash !== prevHash) {
      throw new TrueUpError('SOURCE_CORRUPT', `ledger ${record.sequence} doesn't link to the one before it`, {
        range: at,
      });
    }
    prevHash = record.hash;
    expected++;
  }
  if (expected !== batch.range.to) {
    throw new TrueUpError('SOURCE_CORRUPT', `ledger ${expected} is missing at the end of ${text(batch.range)}`, {
      range: { from: expected, to: batch.range.to },
    });
  }
}

/** Tries at one poison range before it is set apart. */
const POISON_ATTEMPTS = 3;

/** What to do about a range that could not be had: read less of it, read it again, or set the bad part apart. */
export type AfterBadRead =
  | { readonly kind: 'read'; readonly range: LedgerRange; readonly attempt: number }
  | { readonly kind: 'set-apart'; readonly range: LedgerRange; readonly attempts: number };

/**
 * The good ledgers before a bad one are read first; a bad one is tried three times, and searched for by halves where the source
 * can't name it.
 *
 * @param attempt the one that failed, from 1
 * @returns null where the error is none of the range's own, such as a source that doesn't answer
 */
export function afterBadRead(error: unknown, wanted: LedgerRange, attempt: number): AfterBadRead | null {
  if (!isTrueUpError(error, 'SOURCE_CORRUPT', 'LEDGER_UNAVAILABLE')) return null;
  const bad = badPart(error, wanted);
  if (bad.from > wanted.from) return { kind: 'read', range: { from: wanted.from, to: bad.from }, attempt };
  if (error.reason === 'SOURCE_CORRUPT' && attempt < POISON_ATTEMPTS)
    return { kind: 'read', range: wanted, attempt: attempt + 1 };
  if (error.details.range === undefined && wanted.to - wanted.from > 1) {
    // The source can't say which ledger is bad: halve until it is found.
    const to = wanted.from + Math.ceil((wanted.to - wanted.from) / 2);
    return { kind: 'read', range: { from: wanted.from, to }, attempt: 1 };
  }
  return { kind: 'set-apart', range: bad, attempts: attempt };
}

function badPart(error: TrueUpError, asked: LedgerRange): LedgerRange {
  const named = error.details.range;
  if (named === undefined) return asked;
  const [from, to] = [Math.max(named.from, asked.from), Math.min(named.to, asked.to)];
  return from < to ? { from, to } : asked;
}

/** Batches that follow one another as one. */
export function joinBatches(parts: readonly LedgerBatch[]): LedgerBatch {
  const [first, last] = [parts[0]!, parts.at(-1)!];
  if (parts.length === 1) return first;
  return {
    ...first,
    range: { from: first.range.from, to: last.range.to },
    records: parts.flatMap((part) => part.records),
    last: last.last,
    bytesRead: parts.reduce((sum, part) => sum + part.bytesRead, 0),
    decodeMs: parts.reduce((sum, part) => sum + part.decodeMs, 0),
  };
}

/** Inclusive, as people read it. */
function text(range: LedgerRange): string {
  return `${range.from}-${range.to - 1}`;
}
