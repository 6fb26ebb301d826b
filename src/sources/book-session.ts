// One connection to the user's own database, in one transaction that can only read.
import pg from 'pg';
import { isTrueUpError, messageOf, type Reason, TrueUpError } from '../core/errors.ts';
import { copyPairs, type OnPair } from './copy-rows.ts';

/** Milliseconds and rows; see POSTGRES_BOOK_LIMITS. */
export interface BookSessionLimits {
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly lockTimeoutMs: number;
  readonly fetchRows: number;
}

/** One connection in one read-only transaction; whatever goes wrong in it is BOOK_UNREADABLE. */
export interface BookSession {
  rows<Row extends object>(statement: string, values?: readonly unknown[]): Promise<Row[]>;
  fields(statement: string): Promise<readonly { name: string; dataTypeID: number }[]>;
  cursor<Row extends object>(
    statement: string,
    signal: AbortSignal,
    values?: readonly unknown[],
  ): AsyncGenerator<Row[]>;
  /** Pairs of an int4 and an int8, faster than rows; see copy-rows.ts. */
  pairs(select: string, onPair: OnPair): Promise<void>;
  unreadable(message: string, fields?: readonly { field: string; description: string }[]): TrueUpError;
  end(): Promise<void>;
}

/** Whose database it is, for what is said when something goes wrong. */
export interface SessionOwner {
  readonly reason: Reason;
  readonly applicationName: string;
  /** Holds the URL. */
  readonly variable: string;
  /** Where tables and columns are named. */
  readonly naming: string;
  /** What to do when nothing better is known. */
  readonly fix: string;
}

const BOOK: SessionOwner = {
  reason: 'BOOK_UNREADABLE',
  applicationName: 'trueup-book',
  variable: 'TRUEUP_BOOK_URL',
  naming: 'the file that TRUEUP_BOOK_QUERY_FILE names',
  fix: 'run `trueup doctor book`',
};

export async function openBookSession(
  url: string,
  limits: BookSessionLimits,
  label: string,
  signal: AbortSignal,
  owner: SessionOwner = BOOK,
): Promise<BookSession> {
  const unreadable = (error: unknown): unknown => unreadableOf(owner, label, error);
  signal.throwIfAborted();
  let client: pg.Client;
  try {
    client = new pg.Client({
      connectionString: url,
      application_name: owner.applicationName,
      connectionTimeoutMillis: limits.connectTimeoutMs,
      keepAlive: true,
    });
  } catch (error) {
    throw unreadable(error);
  }
  // A dropped connection also rejects the query under way, which is where it is told.
  client.on('error', () => undefined);
  let ended: Promise<void> | null = null;
  const end = (): Promise<void> =>
    (ended ??= client
      .end()
      .catch(() => undefined)
      .finally(() => signal.removeEventListener('abort', onAbort)));
  const onAbort = () => void end();
  signal.addEventListener('abort', onAbort);
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      throw unreadable(error);
    }
  };
  const run = (text: string, values: readonly unknown[] = []) =>
    guarded(() => client.query(values.length > 0 ? { text, values: [...values] } : text));
  let cursors = 0;
  try {
    await guarded(() => client.connect());
    await run('begin isolation level repeatable read read only');
    await run(`set local statement_timeout = ${limits.statementTimeoutMs}`);
    await run(`set local lock_timeout = ${limits.lockTimeoutMs}`);
    await run(`set local timezone = 'UTC'`);
    // Takes the snapshot; from here on the transaction can't be turned into a writing one.
    await run('select 1');
  } catch (error) {
    await end();
    throw error;
  }
  return {
    rows: async <Row extends object>(statement: string, values: readonly unknown[] = []) =>
      (await run(statement, values)).rows as Row[],
    fields: async (statement) => (await run(statement)).fields,
    async *cursor<Row extends object>(statement: string, reading: AbortSignal, values: readonly unknown[] = []) {
      const name = `trueup_${++cursors}`;
      await run(`declare ${name} no scroll cursor for ${statement}`, values);
      for (;;) {
        reading.throwIfAborted();
        const { rows } = await run(`fetch ${limits.fetchRows} from ${name}`);
        if (rows.length > 0) yield rows as Row[];
        if (rows.length < limits.fetchRows) break;
      }
      await run(`close ${name}`);
    },
    pairs: (select, onPair) => guarded(() => copyPairs(client, select, onPair)),
    unreadable: (message, fields) =>
      new TrueUpError(owner.reason, `${label}: ${message}`, { fix: owner.fix, ...(fields && { fields }) }),
    end,
  };
}

function unreadableOf(
  { reason, variable, naming, fix: otherwise }: SessionOwner,
  label: string,
  error: unknown,
): unknown {
  if (isTrueUpError(error)) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const position = error instanceof Error && 'hint' in error && error.hint ? ` (${String(error.hint)})` : '';
  const fixes: Record<string, string> = {
    '57014': 'the query took too long: add an index on its key and time columns, or narrow it',
    '55P03': 'another session holds a lock on the table: wait for it',
    '42501': 'grant the role SELECT on what the query reads',
    '25006': 'the query tries to write: give a SELECT only',
    '28P01': `correct user and password in ${variable}`,
    '3D000': `correct the database in ${variable}`,
    '42P01': `correct the table in ${naming}`,
    '42703': `correct the column in ${naming}`,
    ECONNREFUSED: `check host and port in ${variable}, and that the server is up`,
    ENOTFOUND: `check the host in ${variable}`,
  };
  const fix = fixes[code] ?? otherwise;
  return new TrueUpError(reason, `${label}: ${messageOf(error)}${position}; ${fix}`, {
    fix,
    cause: error,
    metadata: { code },
  });
}

/** Host and database, without credentials. @throws TrueUpError INVALID_CONFIGURATION */
export function labelOf(url: string, variable = BOOK.variable): string {
  if (!URL.canParse(url))
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      `${variable} must look like postgresql://user:password@host:5432/database`,
    );
  const { hostname, port, pathname } = new URL(url);
  return `postgres ${hostname}${port && `:${port}`}${pathname}`;
}
