// What a check of stored ledgers reads: chunks as they were counted, and whose entries each of them counts.
import type { EntityManager } from '@mikro-orm/postgresql';
import { chunkOf } from '../core/coverage.ts';
import type { Digest } from '../core/digest.ts';
import type { Layer } from '../core/entry.ts';
import { CHUNK_LEDGERS, type CoverageProof, type LedgerRange } from '../core/ledger.ts';
import { sql } from './database.ts';
import { LAYER_CODES } from './entries.ts';

export interface CountedChunk {
  readonly watchSetId: number;
  readonly range: LedgerRange;
  readonly proof: CoverageProof;
  readonly firstPrevHash: string | null;
  readonly lastHash: string | null;
  readonly digest: Digest;
}

/** Chunks of every watch set that were read and lie in a range, or reach into it; in order of ledgers, then watch sets. */
export async function countedChunks(
  em: EntityManager,
  streamId: number,
  layer: Layer,
  range: LedgerRange,
): Promise<CountedChunk[]> {
  const rows = await sql<{
    watch_set_id: number;
    from_ledger: number;
    to_ledger: number;
    proof: CoverageProof;
    first_prev_hash: string | null;
    last_hash: string | null;
    entry_count: string;
    sum1: string;
    sum2: string;
  }>(
    em,
    `select c.watch_set_id, c.from_ledger, c.to_ledger, c.proof, c.first_prev_hash, c.last_hash, c.entry_count::text as entry_count,
       c.digest_sum1::text as sum1, c.digest_sum2::text as sum2
     from trueup.watch_sets w join trueup.coverage_chunks c on c.watch_set_id = w.id
     where w.stream_id = $1 and c.stream_id = $1 and c.layer = $2 and c.state = 'done'
       and c.from_ledger >= $3 and c.from_ledger < $5 and c.to_ledger > $4
     order by c.from_ledger, c.watch_set_id`,
    [streamId, LAYER_CODES[layer], chunkOf(range.from) * CHUNK_LEDGERS, range.from, range.to],
  );
  return rows.map((row) => ({
    watchSetId: row.watch_set_id,
    range: { from: row.from_ledger, to: row.to_ledger },
    proof: row.proof,
    firstPrevHash: row.first_prev_hash,
    lastHash: row.last_hash,
    digest: { count: Number(row.entry_count), sum1: BigInt(row.sum1), sum2: BigInt(row.sum2) },
  }));
}

/** Whose entries each watch set of a stream counts; null: everybody's. */
export async function membersOfSets(em: EntityManager, streamId: number): Promise<Map<number, Set<string> | null>> {
  const rows = await sql<{ id: number; everything: boolean; members: string[] }>(
    em,
    `select id, everything, members from trueup.watch_sets where stream_id = $1`,
    [streamId],
  );
  return new Map(rows.map(({ id, everything, members }) => [id, everything ? null : new Set(members)]));
}
