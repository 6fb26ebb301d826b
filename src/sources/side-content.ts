// What a SQL side holds, as digests of all that is read of its rows: they tell later whether it still holds exactly the same.
//
// Unlike the digests by which two sides are compared, these know every column, as the text that it has on this server alone.
import { EMPTY_DIGEST, formatDigest } from '../core/digest.ts';
import { rowHashSql, type HashSeeds } from '../core/row-hash.ts';
import type { TimeSpan } from '../core/seal.ts';
import type { BookSession } from './book-session.ts';
import { toDigest, type DigestRow } from './side-digest.ts';

export interface ContentQuery {
  /** The side's SELECT, which stands behind the name `q` in every expression. */
  readonly query: string;
  readonly key: string;
  /** Names of all other columns that are read. */
  readonly columns: readonly string[];
  /** Rows that count. */
  readonly condition: string;
}

/** One of all rows. */
export async function contentOf(session: BookSession, content: ContentQuery, seeds: HashSeeds): Promise<string> {
  const [all] = await session.rows<DigestRow>(`select ${sumsOf(content, seeds)} ${fromOf(content)}`);
  return formatDigest(toDigest(all!));
}

/** One of the rows of each span, by their own time; spans are in order and apart. One pass, whatever their number. */
export async function contentOfSpans(
  session: BookSession,
  content: ContentQuery,
  seeds: HashSeeds,
  spans: readonly TimeSpan[],
): Promise<string[]> {
  if (spans.length === 0) return [];
  // Spans begin and end between two milliseconds.
  const bounds = [...new Set(spans.flatMap(({ fromMs, toMs }) => [fromMs + 1, toMs + 1]))];
  const rows = await session.rows<DigestRow & { readonly bucket: number }>(
    `select width_bucket(q.occurred_at, $1::timestamptz[]) as bucket, ${sumsOf(content, seeds)} ${fromOf(content)}
       and q.occurred_at >= ($1::timestamptz[])[1] and q.occurred_at < ($1::timestamptz[])[cardinality($1::timestamptz[])]
     group by 1`,
    [bounds.map((ms) => new Date(ms).toISOString())],
  );
  const digests = new Map(rows.map((row) => [row.bucket, toDigest(row)]));
  return spans.map(({ fromMs }) => formatDigest(digests.get(bounds.indexOf(fromMs + 1) + 1) ?? EMPTY_DIGEST));
}

function sumsOf({ key, columns }: ContentQuery, seeds: HashSeeds): string {
  const fields = columns.map((name) => ({ sql: `q.${name}`, type: 'text' as const }));
  const sum = (seed: bigint) => `coalesce(sum(${rowHashSql({ key, fields }, seed)}), 0)::text`;
  return `count(*)::text as rows, ${sum(seeds.first)} as sum1, ${sum(seeds.second)} as sum2`;
}

function fromOf({ query, condition }: ContentQuery): string {
  return `from (${query}\n) q where (${condition})`;
}
