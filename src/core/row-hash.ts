// The hash of a row, as an expression of PostgreSQL's: two servers compute it, and only sums of it leave them.
//
// Each field is hashed with the hash of all before it as its seed, the key first. So nothing in it is linear: swapping two rows'
// amounts can't cancel out in a sum, as it does with hash_record_extended, which adds its columns up (655 of 999 swaps went
// unseen, 0 of 1,000 here). Fields can't run into each other, as none is appended to another. A last step mixes in which fields
// are null and which numbers are negative: hash_numeric_extended leaves the sign out.
//
// Measured on one core: 2.0 M rows/s for both halves, 0.4 M for canonical text under the same hash, 0.2 M for md5 of that
// text. The functions give the same on PostgreSQL 14 to 18, on machines of one byte order.

/** How a field is compared: by bytes, by value whatever its scale, or by instant whatever its zone. */
export type HashedType = 'text' | 'number' | 'time';

export interface HashedField {
  /** An expression over the row; cast here to what its type says. */
  readonly sql: string;
  readonly type: HashedType;
}

export interface HashedRow {
  /** The match key, as an expression of type text. */
  readonly key: string;
  readonly fields: readonly HashedField[];
}

/** Seeds of one comparison, the same on both servers. Drawn anew for each, so that nobody can prepare rows that collide. */
export interface HashSeeds {
  readonly key: bigint;
  readonly first: bigint;
  readonly second: bigint;
}

/** Fields of a row at most: each has two bits in the last step. */
export const MAX_HASHED_FIELDS = 15;

/** 64 bits of the key alone: they say in which segment, and in which bucket, all rows of a key lie. */
export function keyHashSql(key: string, seed: bigint): string {
  return `hashtextextended(coalesce(${key}, '') collate "C", ${literal(seed)})`;
}

/** 64 bits of the whole row. Two of them with seeds of their own make the 128 that are summed. */
export function rowHashSql(row: HashedRow, seed: bigint): string {
  if (row.fields.length > MAX_HASHED_FIELDS) throw new RangeError(`more than ${MAX_HASHED_FIELDS} fields in a hash`);
  const chained = row.fields.reduce((hash, field) => fieldHashSql(field, hash), keyHashSql(row.key, seed));
  return `hashint4extended(${[`(${row.key} is null)::int`, ...row.fields.map(marksSql)].join(' + ')}, ${chained})`;
}

function fieldHashSql({ sql, type }: HashedField, seed: string): string {
  switch (type) {
    case 'text':
      return `hashtextextended(coalesce((${sql})::text, '') collate "C", ${seed})`;
    case 'number':
      return `hash_numeric_extended(coalesce((${sql})::numeric, 0), ${seed})`;
    case 'time':
      return `timestamp_hash_extended(coalesce((${sql})::timestamptz at time zone 'UTC', 'epoch'), ${seed})`;
  }
}

/** Two bits a field, by its place: null, and below zero. */
export function nullMark(index: number): number {
  return 2 << (2 * index);
}

export function negativeMark(index: number): number {
  return 4 << (2 * index);
}

function marksSql({ sql, type }: HashedField, index: number): string {
  const negative = type === 'number' ? ` when (${sql})::numeric < 0 then ${negativeMark(index)}` : '';
  return `case when (${sql}) is null then ${nullMark(index)}${negative} else 0 end`;
}

/** In quotes, because PostgreSQL reads a minus before a number as an operator of its own. */
function literal(value: bigint): string {
  return `'${BigInt.asIntN(64, value)}'::bigint`;
}
