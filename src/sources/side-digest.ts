// One SQL side of a comparison by digests: what its own server says of its rows, so that few of them have to be read.
//
// Every statement goes over the user's SELECT as a subquery, in the one read-only snapshot of the session, under its limits.
import type { BookRow } from '../core/book.ts';
import type { Digest } from '../core/digest.ts';
import type { RowQuery, RowSide } from '../core/row-side.ts';
import { keyHashSql, rowHashSql, type HashedRow, type HashSeeds } from '../core/row-hash.ts';
import { SEGMENTS, type DifferingBuckets, type SegmentDigests, type Sketch } from '../core/segments.ts';
import type { BookSession } from './book-session.ts';

/** Rows of the sample that decides whether a first pass is worth it. */
const SAMPLE_ROWS = 2_000;
/** 2^10 segments: the top bits of the key's hash, so that a segment is a range of it. */
const SEGMENT_SHIFT = 54;

export interface DigestQuery {
  /** The side's SELECT, which stands behind the name `q` in every expression. */
  readonly query: string;
  /** What is hashed: exactly the fields that the policy compares, so that equal hashes mean agreement by its rules. */
  readonly row: HashedRow;
  /** `EXPRESSION as name, ...`: how a row that is read comes. */
  readonly columns: string;
  /** Rows of the SELECT that don't count, such as retracted ones; absent: all do. */
  readonly condition?: string;
  /** Expressions without which a row can't be read. Such a row counts as different, so that whoever reads rows refuses it. */
  readonly required?: readonly string[];
  /** Stands for the hash of a row that can't be read; another one on the other side. */
  readonly mark: bigint;
  /** When a row happened; absent: it doesn't tell. */
  readonly time?: string;
  /** The key as the other side may look for it, so that an index serves where there is one. */
  readonly lookup: string;
}

/** Rows to read. */
export interface RowChoice {
  /** Null: of every segment. */
  readonly segments: readonly number[] | null;
  /** Null: of every bucket. */
  readonly buckets: DifferingBuckets | null;
}

/** Digests of which rows and columns. */
export interface DigestRequest {
  readonly seeds: HashSeeds;
  /** Stands for what can't be read; see drawMark. */
  readonly mark: bigint;
  readonly columns: readonly string[];
  /** What is compared though the other side has no such column, for a side that can hash any. */
  readonly unhashed: readonly string[];
  readonly times: Omit<RowQuery, 'keys'>;
}

/** A side of rows whose server can be asked for digests of them. */
export interface DigestedSide extends RowSide {
  /** Columns that can be hashed, by name and in order: two sides are only comparable where both have the same. `any`: whatever the other has. */
  readonly hashable: readonly string[] | 'any';
  digests(request: DigestRequest): DigestSide;
  /** The chosen rows in byte order of their key, read as `entries` reads them. */
  chosen(digests: DigestSide, choice: RowChoice, signal: AbortSignal): AsyncIterable<readonly BookRow[]>;
}

export function isDigested(side: RowSide): side is DigestedSide {
  return 'digests' in side;
}

export interface DigestSide {
  /** One grouped pass: count and two 64-bit sums a segment. */
  segments(): Promise<SegmentDigests>;
  /** One grouped pass: as `segments`, by days since 1970-01-01 in UTC; rows without a time are in none. Absent: no row has one. */
  days?(): Promise<ReadonlyMap<number, Digest>>;
  /** The hashes of all rows, or of those of some segments, into a sketch. */
  sketch(into: Sketch, side: 'left' | 'right', segments: readonly number[] | null): Promise<void>;
  /** Rows in byte order of their key. */
  rows<Row extends object>(choice: RowChoice, signal: AbortSignal): AsyncGenerator<Row[]>;
  /** The keys of whichever rows come first. */
  sample(): Promise<readonly string[]>;
  /** The summed row hashes of each of the keys; null where no index leads to them, so that asking would cost a whole pass. */
  hashesOf(keys: readonly string[]): Promise<ReadonlyMap<string, string> | null>;
}

export function createDigestSide(session: BookSession, query: DigestQuery, seeds: HashSeeds): DigestSide {
  const statements = digestStatements(query, seeds);
  return {
    async segments() {
      const rows = await session.rows<SegmentRow>(statements.segments);
      return new Map(rows.map((row) => [row.segment, toDigest(row)]));
    },
    ...(statements.days && {
      async days() {
        const rows = await session.rows<DigestRow & { readonly day: number }>(statements.days!);
        return new Map(rows.map((row) => [row.day, toDigest(row)]));
      },
    }),
    sketch: (into, side, segments) =>
      session.pairs(statements.pairs(into.bits, segments), (bucket, high, low) => into.add(side, bucket, high, low)),
    rows: (choice, signal) => session.cursor(statements.rows(choice), signal),
    async sample() {
      const rows = await session.rows<{ key: string }>(statements.sample);
      return rows.map((row) => row.key);
    },
    async hashesOf(keys) {
      const plan = await session.rows<Record<string, string>>(`explain ${statements.hashesOf}`, [keys]);
      if (plan.some((line) => line['QUERY PLAN']?.includes('Seq Scan'))) return null;
      const rows = await session.rows<{ key: string; hash: string }>(statements.hashesOf, [keys]);
      return new Map(rows.map((row) => [row.key, row.hash]));
    },
  };
}

/** The statements of a side, for whoever wants to know what is asked of a server. */
export function digestStatements(side: DigestQuery, seeds: HashSeeds) {
  const { query, row, columns, condition = 'true' } = side;
  const from = `from (${query}\n) q where (${condition})`;
  const key = `coalesce(${row.key}, '') collate "C"`;
  const read = digestsOf(side, seeds, DIRECTLY);
  const once = digestsOf(side, seeds, ONCE);
  const fromOnce = `from (${readOnce(side)}) q where true`;
  const sums = `count(*)::text as rows, sum(${once.hash(seeds.first)})::text as sum1,
  sum(${once.hash(seeds.second)})::text as sum2`;
  return {
    segments: `select ${once.segment} as segment, ${sums}
${fromOnce} group by 1`,
    days:
      side.time === undefined
        ? null
        : `select floor(extract(epoch from q.row_time) / 86400)::int as day, ${sums}
${fromOnce} and isfinite(q.row_time) group by 1`,
    pairs: (bits: number, segments: readonly number[] | null) =>
      `select (${once.keyHash} & ${2 ** bits - 1})::int, ${once.hash(seeds.first)} ${fromOnce}${inSegments(once.segment, segments)}`,
    rows: ({ segments, buckets }: RowChoice) =>
      `select ${columns} ${from}${inSegments(read.segment, segments)}${buckets === null ? '' : inBuckets(read.keyHash, buckets)} order by ${key}`,
    sample: `select ${key} as key ${from} limit ${SAMPLE_ROWS}`,
    // The bare column is compared, so that an index on it serves.
    hashesOf: `select ${key} as key, sum(${read.hash(seeds.first)})::text as hash ${from} and ${side.lookup} = any($1::text[]) group by 1`,
  };
}

/** Expressions over the row as the query gives it, or over what `readOnce` gives of it. */
interface RowWords {
  row(side: DigestQuery): HashedRow;
  /** True where the row can't be read. */
  unreadable(side: DigestQuery): string;
}

const DIRECTLY: RowWords = {
  row: ({ row }) => row,
  unreadable: ({ required = [] }) => required.map((each) => `(${each}) is null`).join(' or ') || 'false',
};
const ONCE: RowWords = {
  row: ({ row }) => ({
    key: 'q.row_key',
    fields: row.fields.map(({ type }, index) => ({ sql: `q.field_${index}`, type })),
  }),
  unreadable: () => 'q.is_unreadable',
};

/**
 * The rows with each expression worked out once, however often a hash needs it. What is volatile keeps the planner from putting the
 * expressions back in their places, and as it may run in parallel, so may the pass: OFFSET 0 would take that away.
 */
function readOnce(side: DigestQuery): string {
  const { query, row, condition = 'true', time } = side;
  const fields = row.fields.map(({ sql }, index) => `${sql} as field_${index}`);
  const given = [`${row.key} as row_key`, ...fields, `${DIRECTLY.unreadable(side)} as is_unreadable`];
  if (time !== undefined) given.push(`${time} as row_time`);
  return `select ${given.join(', ')}, clock_timestamp() as fence from (${query}\n) q where (${condition})`;
}

function digestsOf(side: DigestQuery, seeds: HashSeeds, words: RowWords) {
  const row = words.row(side);
  const keyHash = keyHashSql(row.key, seeds.key);
  return {
    keyHash,
    segment: `((${keyHash} >> ${SEGMENT_SHIFT}) & ${SEGMENTS - 1})::int`,
    // No hash for a row that can't be read: a number of this side alone, so that it is never taken for agreement.
    hash: (seed: bigint) =>
      `case when ${words.unreadable(side)} then '${side.mark}'::bigint else ${rowHashSql(row, seed)} end`,
  };
}

function inSegments(segment: string, segments: readonly number[] | null): string {
  return segments === null ? '' : ` and ${segment} = any('{${segments.join(',')}}'::int[])`;
}

/** A bit a bucket, in the statement itself: a cursor takes no values, and this is at most 1 MiB. */
function inBuckets(keyHash: string, { bits, bitmap }: DifferingBuckets): string {
  const hex = Buffer.from(bitmap.buffer, bitmap.byteOffset, bitmap.byteLength).toString('hex');
  return ` and get_bit('\\x${hex}'::bytea, (${keyHash} & ${2 ** bits - 1})::int) = 1`;
}

export interface DigestRow {
  readonly rows: string;
  readonly sum1: string;
  readonly sum2: string;
}

interface SegmentRow extends DigestRow {
  readonly segment: number;
}

/** PostgreSQL sums signed 64-bit numbers exactly, as numeric; here they wrap around. */
export function toDigest({ rows, sum1, sum2 }: DigestRow): Digest {
  return {
    count: Number(rows),
    sum1: BigInt.asUintN(64, BigInt(sum1)),
    sum2: BigInt.asUintN(64, BigInt(sum2)),
  };
}
