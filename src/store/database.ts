// The one way to a PostgreSQL: an ORM with a bounded pool, and plain statements for what is too hot for it.
//
// What the driver gives back, so that nobody is surprised: through entities each column as entities.ts says. Through `sql()`
// bigint, numeric and timestamptz are all strings (the first two pass 2^53, the last has microseconds), integer is a
// number, jsonb a value, bytea a Buffer. The parsers are set per connection; pg's global ones stay untouched.
import type { DriverException } from '@mikro-orm/core';
import { Migrator } from '@mikro-orm/migrations';
import type { EntityManager } from '@mikro-orm/postgresql';
import { MikroORM, PostgreSqlDriver } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { afterCommitSubscriber } from './after-commit.ts';
import { toTrueUpError } from './db-errors.ts';
import { ENTITIES } from './entities.ts';
import type { StoreLog } from './log.ts';
import { releaseLostClients } from './lost-clients.ts';
import { MIGRATIONS } from './migrations/index.ts';

/** Schema of all of TrueUp's own tables but the queue's. */
export const SCHEMA = 'trueup';
const DEFAULT_POOL_MAX = 10;
/** A migration holds one connection for its lock and works on another. */
const MIN_POOL_MAX = 2;
const CONNECT_TIMEOUT_MS = 10_000;
const IDLE_CONNECTION_MS = 30_000;

export interface DatabaseOptions {
  readonly url: string;
  /** Connections at most, at least 2; 10 unless told. */
  readonly poolMax?: number;
  /** What an administrator sees in pg_stat_activity. */
  readonly applicationName?: string;
  readonly log?: StoreLog;
}

export interface Database {
  readonly orm: MikroORM;
  readonly url: string;
  /** A fresh unit of work. Fork for every request and every job; never share one. */
  em(): EntityManager;
  /** Throws DATABASE_UNAVAILABLE unless the server answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The ORM's own failures in the same words as those of `sql()`. */
class Driver extends PostgreSqlDriver {
  override convertException(exception: Error): DriverException {
    return toTrueUpError(super.convertException(exception)) as DriverException;
  }
}

/** Connects and checks that the server answers. Errors: INVALID_CONFIGURATION for the URL, DATABASE_UNAVAILABLE. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const poolMax = Math.max(MIN_POOL_MAX, options.poolMax ?? DEFAULT_POOL_MAX);
  const orm = new MikroORM({
    clientUrl: options.url,
    driver: Driver,
    dbName: databaseNameOf(options.url),
    schema: SCHEMA,
    entities: ENTITIES,
    // Plain statements change the same rows, so an entity that was read before is never the answer to a later question.
    disableIdentityMap: true,
    extensions: [Migrator],
    subscribers: [afterCommitSubscriber],
    pool: { min: 0, max: poolMax, idleTimeoutMillis: IDLE_CONNECTION_MS },
    driverOptions: {
      // Also carries what the ORM doesn't read from the URL itself: sslmode and its files, a socket folder.
      connectionString: options.url,
      application_name: options.applicationName ?? 'trueup',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      onPoolCreated: releaseLostClients,
    },
    forceUtcTimezone: true,
    ensureDatabase: false,
    migrations: {
      tableName: `${SCHEMA}.migrations`,
      migrationsList: MIGRATIONS,
      snapshot: false,
      silent: true,
      disableForeignKeys: false,
    },
    logger: (message) => options.log?.debug({ orm: message }, 'orm'),
    colors: false,
  });
  const database: Database = {
    orm,
    url: options.url,
    em: () => withOurErrors(orm.em.fork() as EntityManager),
    async ping() {
      await sql(this.em(), 'select 1');
    },
    close: () => orm.close(true),
    [Symbol.asyncDispose]: () => orm.close(true),
  };
  try {
    await database.ping();
  } catch (error) {
    await database.close();
    throw error;
  }
  return database;
}

/** The ORM translates what a statement met, but not what the beginning of a transaction did, such as having no server. */
function withOurErrors(em: EntityManager): EntityManager {
  const transactional = em.transactional.bind(em) as typeof em.transactional;
  em.transactional = async (...call) => {
    try {
      return await transactional(...call);
    } catch (error) {
      throw toTrueUpError(error);
    }
  };
  return em;
}

/**
 * Runs one statement with bound values (`$1`, `$2`, ...) inside the transaction of `em` when it has one, else on a
 * connection of its own. Arrays bind as PostgreSQL arrays, so `unnest($1::text[])` takes thousands of rows; give
 * jsonb as `JSON.stringify`-ed text. Errors as db-errors.ts translates them.
 */
export async function sql<Row = Record<string, unknown>>(
  em: EntityManager,
  statement: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  return (await run<Row>(em, statement, values)).rows;
}

/** As `sql`, for the number of rows that the statement changed. */
export async function sqlCount(em: EntityManager, statement: string, values: readonly unknown[] = []): Promise<number> {
  return Number((await run(em, statement, values)).numAffectedRows ?? 0n);
}

type CompiledQuery = Parameters<ReturnType<EntityManager['getKysely']>['executeQuery']>[0];

async function run<Row>(
  em: EntityManager,
  statement: string,
  values: readonly unknown[],
): Promise<{ rows: Row[]; numAffectedRows?: bigint }> {
  try {
    // A compiled query by hand: the driver reads its text and values, and nobody else looks at the rest.
    const query = { sql: statement, parameters: values, query: { kind: 'RawNode' }, queryId: { queryId: 'sql' } };
    return await em.getKysely().executeQuery<Row>(query as unknown as CompiledQuery);
  } catch (error) {
    throw toTrueUpError(error);
  }
}

/** A timestamptz as `sql()` returns it. */
export function toDate(value: unknown): Date {
  const date = new Date(String(value));
  if (Number.isNaN(date.getTime())) throw new TrueUpError('INTERNAL', `not a timestamp: ${String(value)}`);
  return date;
}

/** As `toDate`, null for null. */
export function toDateOrNull(value: unknown): Date | null {
  return value === null || value === undefined ? null : toDate(value);
}

/** For an optional `= any($n)` filter: an absent or empty list selects everything. */
export function listOrNull<T>(values: readonly T[] | undefined): readonly T[] | null {
  return values !== undefined && values.length > 0 ? values : null;
}

function databaseNameOf(url: string): string {
  const name = URL.canParse(url) ? decodeURIComponent(new URL(url).pathname.slice(1)) : '';
  if (!/^postgres(ql)?:/.test(url) || name === '') {
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      'DATABASE_URL must look like postgresql://user:password@host:5432/database',
    );
  }
  return name;
}
