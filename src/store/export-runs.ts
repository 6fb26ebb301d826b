// The runs whose results an export shows, with the digest of each: what ties rows to the comparison that found them.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { ExportFilter } from '../core/export.ts';
import { isUuid, NOBODYS_UUID } from '../core/ids.ts';
import { sql } from './database.ts';

/** Newest runs that a manifest names. */
const MAX_RUNS = 1000;

export async function exportedRuns(
  em: EntityManager,
  { policy, runId, from, to }: ExportFilter,
): Promise<{ id: string; digest: string }[]> {
  const wanted = runId === undefined ? null : isUuid(runId) ? runId : NOBODYS_UUID;
  return sql<{ id: string; digest: string }>(
    em,
    `select id, summary->>'resultDigest' as digest from trueup.reconciliations
     where state = 'succeeded' and summary->>'resultDigest' is not null and ($1::text is null or policy = $1)
       and ($2::uuid is null or id = $2) and ($3::timestamptz is null or created_at >= $3)
       and ($4::timestamptz is null or created_at < $4)
     order by created_at desc, id limit ${MAX_RUNS}`,
    [policy ?? null, wanted, from ?? null, to ?? null],
  );
}
