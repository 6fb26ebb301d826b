// One moment of the database for a whole export: rows come by COPY, everything else by `em`, and both see the same.
import { IsolationLevel } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { Client } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { CopyToStreamQuery } from 'pg-copy-streams';
import { sql, type Database } from './database.ts';
import { toTrueUpError } from './db-errors.ts';

export interface ExportSnapshot {
  readonly em: EntityManager;
  /** The bytes of `copy (...) to stdout`, as the server writes them; `rowCount` is known at the end of the stream. */
  copy(statement: string): CopyToStreamQuery;
}

/** Read-only, so that nothing an export does can change what it exports. */
export async function withExportSnapshot<T>(db: Database, work: (snapshot: ExportSnapshot) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: db.url, application_name: 'trueup-export' });
  // A connection that breaks fails the query that is under way; without a listener it would end the process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('begin isolation level repeatable read read only');
    const exported = await client.query<{ id: string }>('select pg_export_snapshot() as id');
    return await db.em().transactional(
      async (em) => {
        await sql(em, `set transaction snapshot '${exported.rows[0]!.id}'`);
        await sql(em, 'set transaction read only');
        return work({ em, copy: (statement) => client.query(copyTo(statement)) });
      },
      { isolationLevel: IsolationLevel.REPEATABLE_READ },
    );
  } catch (error) {
    throw toTrueUpError(error);
  } finally {
    await client.end().catch(() => undefined);
  }
}
