// What the planner knows of the large tables, kept true while they grow faster than the server looks at them.
import type { EntityManager } from '@mikro-orm/postgresql';
import { sql } from './database.ts';

/** Tables that a first start fills from nothing to hundreds of thousands of rows within a minute. */
const FAST_TABLES = ['entries', 'book_entries'];
/** Below this a plan without statistics costs nothing. */
const MIN_ROWS = 5_000;

/**
 * Has those tables looked at of which most rows came since the last look. A planner that knows nothing of them reads a stream's
 * whole history for a page of keys instead of asking the index: a run over 23,000 rows of 360,000 took 36 s that way. The
 * server's own look comes a minute or more later. Costs one small query, else some 100 ms a table.
 */
export async function keepStatistics(em: EntityManager): Promise<void> {
  const stale = await sql<{ relname: string }>(
    em,
    `select relname from pg_stat_user_tables
     where schemaname = 'trueup' and relname = any($1::text[]) and n_live_tup >= $2 and n_mod_since_analyze * 2 > n_live_tup`,
    [FAST_TABLES, MIN_ROWS],
  );
  for (const { relname } of stale) await sql(em, `analyze trueup.${relname}`);
}
