// The user's own SELECT: is it one, what columns does it give, and the statements that read it.
import { bookLevelOf, checkBookColumns } from '../core/book.ts';
import type { BookLevel } from '../core/book.ts';
import { TrueUpError } from '../core/errors.ts';
import type { FieldViolation } from '../core/errors.ts';
import type { HashedField, HashedType } from '../core/row-hash.ts';
import { timeCondition, type RowQuery } from '../core/row-side.ts';
import type { ContentQuery } from './side-content.ts';
import type { DigestQuery } from './side-digest.ts';

export interface QueryColumn {
  readonly name: string;
  /** As PostgreSQL names the type: numeric, timestamptz, text.... */
  readonly type: string;
  /** pg_type.typcategory: S text, N number, E enumeration, and so on. */
  readonly category: string;
}

/** The query without its last semicolon. @throws TrueUpError INVALID_CONFIGURATION unless it is one SELECT. */
export function checkBookQuery(text: string): string {
  const query = text.trim().replace(/;\s*$/, '');
  const code = withoutLiterals(query).trim();
  if (code.includes(';')) throw refuse('holds several statements; give a single SELECT');
  if (!/^(select|with)\b/i.test(code)) throw refuse('must begin with SELECT or WITH');
  return query;
}

/** What is wrong with the columns, by name and type; empty when the query can be read. */
export function checkQueryColumns(columns: readonly QueryColumn[]): {
  level: BookLevel | null;
  problems: FieldViolation[];
} {
  const names = columns.map((column) => column.name);
  const level = bookLevelOf(names);
  if (level === null) {
    const description =
      'give amount (or amount_minor) and key for entries, or balance (or balance_minor) for balances, not both';
    return { level, problems: [{ field: 'amount', description }] };
  }
  const problems: FieldViolation[] = checkBookColumns(names, level);
  for (const column of columns) {
    const description = typeProblem(column);
    if (description !== null) problems.push({ field: column.name, description });
  }
  return { level, problems };
}

type NamedField = HashedField & { readonly name: string };

export interface BookStatements {
  /** Rows in order; takes the first key and the one after the last as $1 and $2, null for no bound. */
  entries(times: Omit<RowQuery, 'keys'>): string;
  /** Takes the spellings of keys as $1. */
  entriesByKeys: string;
  pairs(limit: number): string;
  balances(cutLedger: number): string;
  sampleKeys(limit: number): string;
  rows(limit: number): string;
  /** What the server needs for digests of the rows. */
  digest: Omit<DigestQuery, 'mark' | 'row'> & {
    readonly row: { readonly key: string; readonly fields: readonly NamedField[] };
  };
  content: ContentQuery;
}

/** The statements over a checked query. Every value comes as text, so that no digit is lost on the way. */
export function bookStatements(query: string, columns: readonly QueryColumn[]): BookStatements {
  const has = (name: string) => columns.some((column) => column.name === name);
  const list = columns.map((column) => `${textOf(column)} as ${column.name}`).join(', ');
  // A line break first: the query may end in a comment.
  const counts = has('retracted') ? 'not coalesce(q.retracted, false)' : 'true';
  const from = `from (${query}\n) q where ${counts}`;
  const key = has('key') ? KEY : `''`;
  const order = has('row_id')
    ? `${key} collate "C", q.row_id::text collate "C"`
    : [
        `${key} collate "C"`,
        `q.account::text collate "C"`,
        `q.asset::text collate "C"`,
        ...(has('occurred_at') ? ['q.occurred_at'] : []),
        has('amount') ? 'q.amount::text' : 'q.amount_minor::text',
      ].join(', ');
  // With its type: a bare number would be taken for a column's position where rows are ordered by it.
  const asOf = has('as_of_ledger') ? 'coalesce(q.as_of_ledger, 0)' : '0::integer';
  return {
    entries: (times) =>
      `select ${list} ${from} and ($1::text is null or ${key} collate "C" >= $1) and ($2::text is null or ${key} collate "C" < $2)
         and ${has('occurred_at') ? timeCondition('q.occurred_at', times) : 'true'} order by ${order}`,
    // The bare column is compared, so that the user's own index on it serves.
    entriesByKeys: `select ${list} ${from} and ${has('key') ? 'q.key::text = any($1::text[])' : 'false and $1::text[] is null'} order by ${order}`,
    pairs: (limit) => `select distinct q.account::text as account, q.asset::text as asset ${from} limit ${limit}`,
    balances: (cut) =>
      `select ${list} ${from} and ${asOf} <= ${Math.trunc(cut)} order by q.account::text collate "C", ${ASSET} collate "C", ${asOf} desc`,
    sampleKeys: (limit) =>
      has('key')
        ? `select q.key::text as key ${from} and q.key is not null ${has('occurred_at') ? 'order by q.occurred_at desc nulls last' : ''} limit ${limit}`
        : `select '' as key where false`,
    rows: (limit) => `select ${list} ${from} limit ${limit}`,
    digest: {
      query,
      row: {
        key,
        fields: columns
          .flatMap(({ name }) => {
            const type = HASHED[name];
            return type === undefined ? [] : [{ name, sql: `q.${name}`, type }];
          })
          .sort((a, b) => (a.name < b.name ? -1 : 1)),
      },
      columns: list,
      condition: counts,
      // What reading would refuse must be read to be refused: it is never taken for agreement.
      required: [
        'q.account',
        'q.asset',
        has('amount') ? 'q.amount' : 'q.amount_minor',
        ...(has('row_id') ? ['q.row_id'] : []),
        ...(has('key') ? [`case when q.key::text is null or q.key::text = btrim(q.key::text) then true end`] : []),
      ],
      ...(has('occurred_at') && { time: 'q.occurred_at' }),
      lookup: has('key') ? 'q.key::text' : `''`,
    },
    content: {
      query,
      condition: counts,
      key,
      columns: ['row_id', 'ledger', ...Object.keys(HASHED)].filter(has),
    },
  };
}

/** Columns that a comparison may ask for; the key is hashed by itself, and ids and ledgers are compared by nobody. */
const HASHED: Readonly<Record<string, HashedType>> = {
  account: 'text',
  asset: 'text',
  amount: 'number',
  amount_minor: 'number',
  kind: 'text',
  counterparty: 'text',
  status: 'text',
  sub_account: 'text',
  occurred_at: 'time',
};

/** As parseBookRow normalises keys and assets: the order must be that of what is handed over. */
const KEY = `case when q.key::text ~ '^[0-9A-Fa-f]{64}(:[0-9]+)?$' then lower(q.key::text) else coalesce(q.key::text, '') end`;
const ASSET = `case when lower(q.asset::text) in ('xlm', 'native') then 'native' else q.asset::text end`;

function textOf(column: QueryColumn): string {
  const value = `q.${column.name}`;
  if (column.name !== 'occurred_at') return `${value}::text`;
  // An infinite time has no form; its own text is refused by name, where to_char would leave nothing.
  return `case when isfinite(${value}) then to_char(${value} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') else ${value}::text end`;
}

const INTEGERS = ['int2', 'int4', 'int8'];

function typeProblem(column: QueryColumn): string | null {
  const { name, type, category } = column;
  const isText = category === 'S' || type === 'unknown';
  switch (name) {
    case 'amount':
    case 'amount_minor':
    case 'balance':
    case 'balance_minor':
      if (type === 'float4' || type === 'float8') {
        return `is ${type}, which can't hold money exactly; store it as numeric, or cast where it is still exact: ${name}::numeric or ${name}::text`;
      }
      return isText || type === 'numeric' || INTEGERS.includes(type)
        ? null
        : `is ${type}; give numeric, an integer or text: ${name}::numeric`;
    case 'occurred_at':
      if (type === 'timestamptz') return null;
      if (type === 'timestamp' || type === 'date')
        return `is ${type}, which has no zone; say which one it is in: occurred_at at time zone 'UTC'`;
      return `is ${type}; give a timestamptz, for example occurred_at::timestamptz or to_timestamp(occurred_at)`;
    case 'ledger':
    case 'as_of_ledger':
      return INTEGERS.includes(type) || type === 'numeric' ? null : `is ${type}; give an integer: ${name}::int`;
    case 'retracted':
      return type === 'bool' ? null : `is ${type}; give a boolean`;
    default:
      if (type === 'bytea') return `is bytea; give its text: encode(${name}, 'hex')`;
      return isText || category === 'E' || type === 'uuid' || INTEGERS.includes(type) || type === 'numeric'
        ? null
        : `is ${type}; give text: ${name}::text`;
  }
}

/** The query with the insides of its literals, quoted names and comments blanked. */
function withoutLiterals(query: string): string {
  const token = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\/|(\$[A-Za-z_]*\$)[\s\S]*?\1/g;
  return query.replace(token, ' ');
}

function refuse(why: string): TrueUpError {
  return new TrueUpError('INVALID_CONFIGURATION', `the book's query ${why}`, {
    fix: 'correct the file that TRUEUP_BOOK_QUERY_FILE names',
  });
}
