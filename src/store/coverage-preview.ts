// What writing a batch would do, without writing: the same questions that store/coverage.ts asks, in a transaction that can't write.
import type { EntityManager } from '@mikro-orm/postgresql';
import { subtract } from '../core/coverage.ts';
import { isTrueUpError } from '../core/errors.ts';
import type { LedgerBatch } from '../core/ledger.ts';
import { compareStored, overlaps, rowsOf } from './coverage.ts';
import { chunksOf, type CoverageTarget } from './coverage-chunks.ts';
import { entriesOfRange } from './entries.ts';

export interface BatchPreview {
  readonly insertedEntries: number;
  readonly duplicateEntries: number;
  /** A stored ledger has other content: writing would be refused. */
  readonly conflict: boolean;
}

export async function previewBatch(
  em: EntityManager,
  target: CoverageTarget,
  batch: LedgerBatch,
): Promise<BatchPreview> {
  let [insertedEntries, duplicateEntries, conflict] = [0, 0, false];
  const members = target.watch.everything ? null : [...target.watch.accounts, ...target.watch.contracts];
  for (const layer of batch.layers) {
    const done = (await chunksOf(em, target, layer, batch.range)).filter((chunk) => chunk.state === 'done');
    for (const range of overlaps(batch.range, done)) {
      duplicateEntries += rowsOf(batch.records, layer, range).length;
      try {
        await compareStored(em, target, layer, range, batch);
      } catch (error) {
        if (!isTrueUpError(error, 'ENTRY_CONFLICT')) throw error;
        conflict = true;
      }
    }
    for (const range of subtract(batch.range, done)) {
      const stored = new Set((await entriesOfRange(em, target.streamId, layer, range, members)).map(keyOf));
      const known = rowsOf(batch.records, layer, range).map((row) => stored.has(keyOf(row.entry)));
      const duplicates = known.filter(Boolean).length;
      duplicateEntries += duplicates;
      insertedEntries += known.length - duplicates;
    }
  }
  return { insertedEntries, duplicateEntries, conflict };
}

function keyOf(entry: { ledger: number; txIndex: number; opIndex: number; leg: number }): string {
  return `${entry.ledger} ${entry.txIndex} ${entry.opIndex} ${entry.leg}`;
}
