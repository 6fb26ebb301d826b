// A migrated database of one's own for a test file, cloned from the template that global-setup.ts made.
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';

export interface TestDatabase {
  readonly url: string;
  readonly db: Database;
  /** Closes `db` and removes the database, whoever is still connected to it. */
  drop(): Promise<void>;
}

/** A migrated, empty database; `{ migrated: false }` gives one without even the schema. Drop it in afterAll. */
export async function createTestDatabase(
  options: { migrated?: boolean; poolMax?: number } = {},
): Promise<TestDatabase> {
  const adminUrl = inject('adminUrl');
  const name = `test_${process.pid}_${randomBytes(4).toString('hex')}`;
  const template = options.migrated === false ? '' : ` template ${inject('templateDatabase')}`;
  await onAdminConnection(adminUrl, (client) => client.query(`create database ${name}${template}`));
  const url = withDatabase(adminUrl, name);
  const db = await openDatabase({ url, poolMax: options.poolMax ?? 5, applicationName: 'trueup-test' });
  return {
    url,
    db,
    async drop() {
      await db.close();
      await onAdminConnection(adminUrl, (client) => client.query(`drop database if exists ${name} with (force)`));
    },
  };
}

/** Runs `work` on a connection of its own to the given database. */
export async function onAdminConnection<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** The same server, user and options; another database. */
export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}
