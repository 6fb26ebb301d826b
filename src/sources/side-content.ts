// What a SQL side holds, as digests of all that is read of its rows: they tell later whether it still holds exactly the same.
//
// Unlike the digests by which two sides are compared, these know every column, as the text that it has on this server alone.
import { formatDigest } from '../core/digest.ts';
import { rowHashSql, type HashSeeds } from '../core/row-hash.ts';
import type { BookSession } from './book-session.ts';
import { toDigest, type DigestQuery, type DigestRow } from './side-digest.ts';

/** One of all rows. */
export async function contentOf(
  session: BookSession,
  query: Pick<DigestQuery, 'query' | 'condition'>,
  row: { readonly key: string; readonly columns: readonly string[] },
  seeds: HashSeeds,
): Promise<string> {
  const fields = row.columns.map((name) => ({ sql: `q.${name}`, type: 'text' as const }));
  const hash = (seed: bigint) => rowHashSql({ key: row.key, fields }, seed);
  const [all] = await session.rows<DigestRow>(
    `select count(*)::text as rows, coalesce(sum(${hash(seeds.first)}), 0)::text as sum1, coalesce(sum(${hash(seeds.second)}), 0)::text as sum2
     from (${query.query}\n) q where (${query.condition ?? 'true'})`,
  );
  return formatDigest(toDigest(all!));
}
