// Hand-written SQL on the entity manager's own connection, and so inside its transaction.
import type { EntityManager } from '@mikro-orm/postgresql';
import { CompiledQuery } from 'kysely';

/** Rows of one statement with `$1` parameters. bigint and numeric columns come as text; see each query's row type. */
export async function query<Row>(em: EntityManager, text: string, params: readonly unknown[] = []): Promise<Row[]> {
  const result = await em.getKysely().executeQuery<Row>(CompiledQuery.raw(text, [...params]));
  return result.rows;
}

/** How many rows a statement changed. */
export async function execute(em: EntityManager, text: string, params: readonly unknown[] = []): Promise<number> {
  const result = await em.getKysely().executeQuery(CompiledQuery.raw(text, [...params]));
  return Number(result.numAffectedRows ?? 0);
}

/** A timestamptz column, whichever way the driver hands it over. */
export function toDate(value: Date | string): Date {
  return value instanceof Date ? value : new Date(value);
}

export function toDateOrNull(value: Date | string | null): Date | null {
  return value === null ? null : toDate(value);
}
