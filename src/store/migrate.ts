// Brings the schema to this version, once, however many replicas start at the same moment.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { SCHEMA, sql } from './database.ts';
import type { Database } from './database.ts';
import { toTrueUpError } from './db-errors.ts';
import { MIGRATIONS } from './migrations/index.ts';

const OLDEST_SERVER_VERSION = 140_000;
/** Advisory locks share one space in a database; these two numbers are ours alone. */
export const MIGRATION_LOCK = [0x7472_7565, 1] as const;

/**
 * Applies what is missing and returns the names of what it applied.
 *
 * Errors: DATABASE_SCHEMA_NEWER when a newer TrueUp has migrated this database, INVALID_CONFIGURATION for a server that
 * is too old or a user without the rights to create the schema.
 */
export async function migrate(db: Database): Promise<string[]> {
  const em = db.em();
  await requireServerVersion(em);
  try {
    return await em.transactional(async (locked) => {
      // The migrator works on connections of its own; this transaction only keeps the others out.
      await sql(locked, 'select pg_advisory_xact_lock($1, $2)', MIGRATION_LOCK);
      await ensureSchema(db.em());
      await refuseNewer(db.em());
      return (await db.orm.migrator.up()).map((each) => each.name);
    });
  } catch (error) {
    throw toTrueUpError(error);
  }
}

/** Throws unless the schema is exactly this version's; for processes that read but don't migrate. */
export async function requireCurrentSchema(db: Database): Promise<void> {
  const executed = new Set(await refuseNewer(db.em()));
  const missing = MIGRATIONS.filter((each) => !executed.has(each.name));
  if (missing.length > 0) {
    throw new TrueUpError(
      'DATABASE_UNAVAILABLE',
      `the database isn't migrated yet (${missing.map((each) => each.name).join(', ')} missing); start trueup serve once`,
    );
  }
}

async function requireServerVersion(em: EntityManager): Promise<void> {
  const [row] = await sql<{ server_version_num: string }>(em, 'show server_version_num');
  const version = Number(row?.server_version_num);
  if (!(version >= OLDEST_SERVER_VERSION)) {
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      `the database server is PostgreSQL ${Math.floor(version / 10_000)}; TrueUp needs 14 or newer: upgrade it, or leave DATABASE_URL unset for the embedded one`,
    );
  }
}

/** `create schema if not exists` asks for rights on the database even when the schema is there, so look first. */
async function ensureSchema(em: EntityManager): Promise<void> {
  const [found] = await sql(em, 'select 1 from pg_namespace where nspname = $1', [SCHEMA]);
  if (found === undefined) await sql(em, `create schema ${SCHEMA}`);
}

async function refuseNewer(em: EntityManager): Promise<string[]> {
  const [table] = await sql<{ found: string | null }>(em, 'select to_regclass($1) as found', [`${SCHEMA}.migrations`]);
  if (table === undefined || table.found === null) return [];
  const executed = (await sql<{ name: string }>(em, `select name from ${SCHEMA}.migrations order by id`)).map(
    (each) => each.name,
  );
  const unknown = executed.filter((name) => !MIGRATIONS.some((each) => each.name === name));
  if (unknown.length > 0) {
    throw new TrueUpError(
      'DATABASE_SCHEMA_NEWER',
      `the database was migrated by a newer TrueUp (${unknown.join(', ')}); start that version, or restore the backup made before the upgrade`,
      { metadata: { newest: unknown.at(-1) ?? '' } },
    );
  }
  return executed;
}
