// Is what is stored still what was sealed? Counts and digests of entries against their chunks, and the chain from chunk to chunk.
import type { EntityManager } from '@mikro-orm/postgresql';
import { digestEntries, equalDigests, type Digest } from '../core/digest.ts';
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { chunksOf, type CoverageTarget } from './coverage-chunks.ts';
import { entriesOfRange } from './entries.ts';

/**
 * Checks every chunk of the target's watch that touches the range.
 *
 * @returns the digest of the range's own entries
 * @throws TrueUpError SEAL_BROKEN with the ledgers concerned
 */
export async function checkStored(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  range: LedgerRange,
): Promise<Digest> {
  const known = await chunksOf(em, target, layer, range);
  const chunks = known.filter((chunk) => chunk.from < range.to && chunk.to > range.from);
  const span = {
    from: Math.min(range.from, ...chunks.map((chunk) => chunk.from)),
    to: Math.max(range.to, ...chunks.map((chunk) => chunk.to)),
  };
  const members = target.watch.everything ? null : [...target.watch.accounts, ...target.watch.contracts];
  const entries = await entriesOfRange(em, target.streamId, layer, span, members);
  const digestOf = ({ from, to }: LedgerRange): Digest =>
    digestEntries(entries.filter((entry) => entry.ledger >= from && entry.ledger < to));
  for (const chunk of chunks) {
    if (chunk.state !== 'done') continue;
    const stored = digestOf(chunk);
    if (equalDigests(stored, chunk.digest)) continue;
    throw broken(
      chunk,
      `were sealed with ${chunk.digest.count} ${layer} entries and hold ${stored.count} with other content`,
    );
  }
  for (const [i, right] of known.entries()) {
    const left = known[i - 1];
    if (left?.to !== right.from || left.proof !== 'chained' || right.proof !== 'chained') continue;
    if (left.lastHash === null || right.firstPrevHash === null || left.lastHash === right.firstPrevHash) continue;
    throw broken({ from: left.to - 1, to: right.from + 1 }, 'are not linked by their hashes');
  }
  return digestOf(range);
}

function broken(range: LedgerRange, words: string): TrueUpError {
  return new TrueUpError('SEAL_BROKEN', `ledgers ${range.from}-${range.to - 1} ${words}`, {
    range: { from: range.from, to: range.to },
    fix: 'find out who changed the rows, then read the range again',
  });
}
