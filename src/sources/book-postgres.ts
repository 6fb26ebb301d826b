// The user's own PostgreSQL as the book: read in one read-only snapshot a run, and never written.
import { createHash } from 'node:crypto';
import {
  bookProblemsOf,
  createOccurrenceCounter,
  deriveRowIdBase,
  derivedRowId,
  parseBookBalance,
  parseBookRow,
} from '../core/book.ts';
import type { Book, BookBalance, BookLevel, BookPair, BookRow, BookSide } from '../core/book.ts';
import type { HashSeeds } from '../core/row-hash.ts';
import { ALL_KEYS, timeCondition } from '../core/row-side.ts';
import type { TimeSpan } from '../core/seal.ts';
import { bookStatements, checkBookQuery, checkQueryColumns } from './book-query.ts';
import type { BookStatements, QueryColumn } from './book-query.ts';
import { labelOf, openBookSession } from './book-session.ts';
import type { BookSession, BookSessionLimits } from './book-session.ts';
import { contentOf, contentOfSpans } from './side-content.ts';
import { createDigestSide, type DigestedSide } from './side-digest.ts';

export interface PostgresBookOptions {
  readonly url: string;
  /** One SELECT with the named output columns; see core/book-columns.ts. */
  readonly query: string;
  readonly connectTimeoutMs?: number;
  readonly statementTimeoutMs?: number;
  readonly lockTimeoutMs?: number;
  readonly fetchRows?: number;
  readonly maxScopePairs?: number;
}

export const POSTGRES_BOOK_LIMITS = {
  connectTimeoutMs: 10_000,
  statementTimeoutMs: 120_000,
  lockTimeoutMs: 5_000,
  fetchRows: 5_000,
  maxScopePairs: 100_000,
} as const;

/** What `trueup doctor book` shows. */
export interface PostgresBookInspection {
  readonly server: string;
  readonly user: string;
  /** Why the role could write, in words; empty for a role that can't. The transaction is read-only all the same. */
  readonly writable: readonly string[];
  readonly columns: readonly QueryColumn[];
  readonly problems: readonly { readonly field: string; readonly description: string }[];
  readonly level: BookLevel | null;
}

export interface PostgresBook extends Book {
  describe(): string;
  /** Connects and looks, without judging: problems are part of the answer. @throws BOOK_UNREADABLE */
  inspect(signal: AbortSignal): Promise<PostgresBookInspection>;
  /** The first rows as columns of text, as the query gives them. @throws BOOK_UNREADABLE */
  sample(count: number, signal: AbortSignal): Promise<readonly Readonly<Record<string, string | null>>[]>;
}

/** @throws TrueUpError INVALID_CONFIGURATION for a query that isn't one SELECT; nothing is connected yet. */
export function createPostgresBook(options: PostgresBookOptions): PostgresBook {
  const limits = { ...POSTGRES_BOOK_LIMITS, ...options };
  const query = checkBookQuery(options.query);
  const label = labelOf(options.url);

  async function withColumns<T>(
    signal: AbortSignal,
    work: (session: BookSession, columns: readonly QueryColumn[]) => Promise<T>,
  ): Promise<T> {
    const session = await openBookSession(options.url, limits, label, signal);
    try {
      return await work(session, await describeColumns(session, query));
    } finally {
      await session.end();
    }
  }

  return {
    describe: () => label,
    async open(level, signal) {
      const session = await openBookSession(options.url, limits, label, signal);
      try {
        const columns = await describeColumns(session, query);
        const checked = checkQueryColumns(columns);
        if (checked.problems.length > 0) throw session.unreadable(wordsOf(checked.problems), checked.problems);
        if (checked.level !== level)
          throw session.unreadable(`the query gives ${checked.level}, but the policy compares ${level}`);
        return createSide(session, bookStatements(query, columns), columns, label, limits);
      } catch (error) {
        await session.end();
        throw error;
      }
    },
    inspect: (signal) =>
      withColumns(signal, async (session, columns) => ({
        ...(await describeRole(session)),
        columns,
        ...checkQueryColumns(columns),
      })),
    sample: (count, signal) =>
      withColumns(signal, (session, columns) =>
        session.rows<Record<string, string | null>>(bookStatements(query, columns).rows(Math.trunc(count))),
      ),
  };
}

function createSide(
  session: BookSession,
  statements: BookStatements,
  columns: readonly QueryColumn[],
  label: string,
  limits: BookSessionLimits & { readonly maxScopePairs: number },
): BookSide & DigestedSide {
  const hasRowIds = columns.some((column) => column.name === 'row_id');
  type Columns = Readonly<Record<string, string | null>>;

  function read<T>(record: Columns, parse: (record: Columns) => T): T {
    try {
      return parse(record);
    } catch (error) {
      const words = wordsOf(bookProblemsOf(error));
      const name = record['row_id'] ?? record['key'] ?? record['account'] ?? '';
      throw session.unreadable(`a row (${JSON.stringify(name)}) can't be read: ${words}`);
    }
  }
  /** Rows come key by key, so occurrences are only counted within the present key. */
  function createRowReader(): (record: Columns) => BookRow {
    let key: string | null = null;
    let occurrences = createOccurrenceCounter(Infinity);
    return (record) => {
      if (record['key'] !== undefined && record['key'] !== record['key']?.trim() && record['key'] !== null) {
        throw session.unreadable(`the key ${JSON.stringify(record['key'])} has blanks around it: give btrim(key)`);
      }
      const row = read(record, parseBookRow);
      if (row.key !== key) [key, occurrences] = [row.key, createOccurrenceCounter(Infinity)];
      if (hasRowIds && row.rowId === null)
        throw session.unreadable(
          `a row of key ${JSON.stringify(row.key)} has no row_id; fill it, or leave the column out`,
        );
      const base = row.rowId === null ? deriveRowIdBase(row) : '';
      return { ...row, amount: row.amount!, rowId: row.rowId ?? derivedRowId(base, occurrences.next(base)) };
    };
  }

  return {
    describe: () => label,
    identity: createHash('sha256').update(`${label}\n${statements.content.query}`).digest('hex'),
    async pairs() {
      const rows = await session.rows<{ account: string | null; asset: string | null }>(
        statements.pairs(limits.maxScopePairs + 1),
      );
      if (rows.length > limits.maxScopePairs) {
        throw session.unreadable(
          `the book has more than ${limits.maxScopePairs} account and asset pairs; name accounts in the policy's scope`,
        );
      }
      const pairs = new Map<string, BookPair>();
      for (const { account, asset } of rows) {
        // Normalised as a row is; the key and the amount are only there to make one.
        const row = read({ account, asset, key: '-', amount_minor: '0' }, parseBookRow);
        pairs.set(`${row.account} ${row.asset}`, { account: row.account, asset: row.asset });
      }
      return [...pairs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, pair]) => pair);
    },
    async completeThrough() {
      const [row] = await session.rows<{ through: string | null }>(FRESHNESS);
      return row?.through ? new Date(row.through) : null;
    },
    async *entries({ keys = ALL_KEYS, ...times }, signal) {
      const values = [keys.from, keys.to];
      const toRow = createRowReader();
      for await (const records of session.cursor<Columns>(statements.entries(times), signal, values))
        yield records.map(toRow);
    },
    hashable: statements.digest.row.fields.map(({ name }) => name),
    digests(seeds, mark, names, times = {}) {
      const { row, ...digest } = statements.digest;
      const { time, condition = 'true' } = digest;
      const asked = time === undefined ? condition : `${condition} and ${timeCondition(time, times)}`;
      const fields = row.fields.filter(({ name }) => names.includes(name));
      return createDigestSide(session, { ...digest, condition: asked, row: { ...row, fields }, mark }, seeds);
    },
    content: (seeds) => contentOf(session, statements.content, seeds),
    ...(columns.some(({ name }) => name === 'occurred_at') && {
      contentOfSpans: (seeds: HashSeeds, spans: readonly TimeSpan[]) =>
        contentOfSpans(session, statements.content, seeds, spans),
    }),
    async *chosen(digests, choice, signal) {
      const toRow = createRowReader();
      for await (const records of digests.rows<Columns>(choice, signal)) yield records.map(toRow);
    },
    async entriesByKeys(keys) {
      // Hashes are handed over in lower case, but may be stored in upper case.
      const wanted = new Set(keys);
      const spellings = [...new Set(keys.flatMap((key) => [key, key.toUpperCase()]))];
      const records = await session.rows<Columns>(statements.entriesByKeys, [spellings]);
      return records.map(createRowReader()).filter((row) => wanted.has(row.key));
    },
    async *balances({ cutLedger }, signal) {
      let last: BookBalance | null = null;
      for await (const records of session.cursor<Columns>(statements.balances(cutLedger), signal)) {
        const balances: BookBalance[] = [];
        for (const record of records) {
          const balance: BookBalance = read(record, parseBookBalance);
          const isSamePair = last !== null && last.account === balance.account && last.asset === balance.asset;
          if (isSamePair && last!.asOfLedger === balance.asOfLedger) {
            throw session.unreadable(
              `${balance.account} has two balances of ${balance.asset}; sum them up or give as_of_ledger`,
            );
          }
          // The newest one comes first; what follows of the pair is older.
          if (!isSamePair) balances.push(balance);
          if (!isSamePair) last = balance;
        }
        if (balances.length > 0) yield balances;
      }
    },
    async sampleKeys(count) {
      // A key may carry several legs: look at more rows than keys.
      const rows = await session.rows<{ key: string }>(statements.sampleKeys(Math.trunc(count) * 4));
      const keys = rows.map((row) => (/^[0-9a-f]{64}(:\d+)?$/i.test(row.key) ? row.key.toLowerCase() : row.key));
      return [...new Set(keys)].filter((key) => key !== '').slice(0, count);
    },
    close: () => session.end(),
    [Symbol.asyncDispose]: () => session.end(),
  };
}

async function describeColumns(session: BookSession, query: string): Promise<QueryColumn[]> {
  const fields = await session.fields(`select * from (${query}\n) q limit 0`);
  const types = await session.rows<{ oid: number; typname: string; typcategory: string }>(
    'select oid::int as oid, typname::text as typname, typcategory::text as typcategory from pg_type where oid = any($1::oid[])',
    [fields.map((field) => field.dataTypeID)],
  );
  const byOid = new Map(types.map((type) => [type.oid, type]));
  return fields.map(({ name, dataTypeID }) => {
    const type = byOid.get(dataTypeID);
    return { name, type: type?.typname ?? String(dataTypeID), category: type?.typcategory ?? 'X' };
  });
}

async function describeRole(
  session: BookSession,
): Promise<Pick<PostgresBookInspection, 'server' | 'user' | 'writable'>> {
  const [role] = await session.rows<{ server: string; username: string; superuser: boolean }>(
    `select 'PostgreSQL ' || current_setting('server_version') as server, current_user::text as username,
       coalesce((select rolsuper from pg_roles where rolname = current_user), true) as superuser`,
  );
  const tables = await session.rows<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%'
       and has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') order by 1 limit 6`,
  );
  const writable = role!.superuser ? ['it is a superuser'] : [];
  if (tables.length > 0) {
    const names = tables.slice(0, 5).map((table) => table.name);
    writable.push(`it may write ${names.join(', ')}${tables.length > 5 ? ' and more' : ''}`);
  }
  return { server: role!.server, user: role!.username, writable };
}

/**
 * A table is complete as of the snapshot. A standby only shows what it has replayed: everything where it has replayed
 * all it received, else up to the last commit that it replayed.
 */
const FRESHNESS = `select to_char(case when not pg_is_in_recovery() or pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
    then transaction_timestamp() else pg_last_xact_replay_timestamp() end at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as through`;

function wordsOf(problems: readonly { readonly field: string; readonly description: string }[]): string {
  return problems.map(({ field, description }) => `${field} ${description}`).join('; ');
}
