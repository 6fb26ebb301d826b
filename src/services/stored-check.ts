// Is what is stored still what was counted? A chunk's count and digest from its rows again, and the chain of hashes from chunk to chunk.
import type { EntityManager } from '@mikro-orm/postgresql';
import { digestEntries, equalDigests, formatDigest, type Digest } from '../core/digest.ts';
import type { Entry, Layer } from '../core/entry.ts';
import { TrueUpError, type Reason } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { CoverageTarget } from '../store/coverage-chunks.ts';
import { entriesOfRange } from '../store/entries.ts';
import { countedChunks, type CountedChunk } from '../store/verify-read.ts';

/** What is not as it was stored. */
export interface StoredFault {
  readonly range: LedgerRange;
  readonly reason: Reason;
  readonly message: string;
  readonly expected: string;
  readonly actual: string;
}

/**
 * Checks every chunk of the target's watch that touches the range, and its links to its neighbours.
 *
 * @returns the digest of the range's own entries
 * @throws TrueUpError SEAL_BROKEN, SOURCE_DIVERGED with the ledgers concerned
 */
export async function requireAsStored(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  range: LedgerRange,
): Promise<Digest> {
  const around = { from: Math.max(0, range.from - 1), to: range.to + 1 };
  const found = await countedChunks(em, target.streamId, layer, around);
  const known = found.filter((chunk) => chunk.watchSetId === target.watchSetId);
  const chunks = known.filter((chunk) => chunk.range.from < range.to && chunk.range.to > range.from);
  const span = {
    from: Math.min(range.from, ...chunks.map((chunk) => chunk.range.from)),
    to: Math.max(range.to, ...chunks.map((chunk) => chunk.range.to)),
  };
  const members = target.watch.everything ? null : [...target.watch.accounts, ...target.watch.contracts];
  const entries = new StoredEntries(await entriesOfRange(em, target.streamId, layer, span, members));
  const chain = new ChainCheck();
  const faults = [
    ...chunks.map((chunk) => sealFault(chunk, entries.digestOf(chunk.range, null))),
    ...known.map((chunk) => chain.fault(chunk)),
  ];
  for (const fault of faults) if (fault !== null) throw errorOf(fault);
  return entries.digestOf(range, null);
}

/** Entries of a span, for the digests of its parts. */
export class StoredEntries {
  readonly #byLedger = new Map<number, Entry[]>();

  constructor(entries: readonly Entry[]) {
    for (const entry of entries) {
      const some = this.#byLedger.get(entry.ledger);
      if (some) some.push(entry);
      else this.#byLedger.set(entry.ledger, [entry]);
    }
  }

  /** @param whose null: everybody's */
  digestOf({ from, to }: LedgerRange, whose: ReadonlySet<string> | null): Digest {
    const entries: Entry[] = [];
    for (let ledger = from; ledger < to; ledger++) {
      for (const entry of this.#byLedger.get(ledger) ?? []) {
        if (whose === null || whose.has(entry.account)) entries.push(entry);
      }
    }
    return digestEntries(entries);
  }
}

export function sealFault({ range, digest }: CountedChunk, actual: Digest): StoredFault | null {
  if (equalDigests(actual, digest)) return null;
  const content = actual.count === digest.count ? ' with other content' : '';
  return {
    range,
    reason: 'SEAL_BROKEN',
    message: `ledgers ${range.from}-${range.to - 1} were counted with ${digest.count} entries and hold ${actual.count}${content}`,
    expected: formatDigest(digest),
    actual: formatDigest(actual),
  };
}

/** The chain of hashes goes on from chunk to chunk of a watch set; they are given in order. */
export class ChainCheck {
  readonly #before = new Map<number, CountedChunk>();

  fault(chunk: CountedChunk): StoredFault | null {
    const left = this.#before.get(chunk.watchSetId);
    this.#before.set(chunk.watchSetId, chunk);
    if (left?.range.to !== chunk.range.from || left.proof !== 'chained' || chunk.proof !== 'chained') return null;
    if (left.lastHash === null || chunk.firstPrevHash === null || left.lastHash === chunk.firstPrevHash) return null;
    const { from } = chunk.range;
    return {
      range: { from, to: from + 1 },
      reason: 'SOURCE_DIVERGED',
      message: `ledger ${from} doesn't link to ledger ${from - 1} as stored`,
      expected: left.lastHash,
      actual: chunk.firstPrevHash,
    };
  }
}

function errorOf({ reason, message, range }: StoredFault): TrueUpError {
  return new TrueUpError(reason, message, { range, fix: 'find out who changed the rows, then read the range again' });
}
