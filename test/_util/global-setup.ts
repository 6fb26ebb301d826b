// One database server for the whole run, with one migrated database from which every test file clones its own.
// TEST_DATABASE_URL names another server (its user must be allowed to create databases), to test other versions.
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { openDatabase, sql } from '../../src/store/database.ts';
import { startEmbedded } from '../../src/store/embedded.ts';
import { migrate } from '../../src/store/migrate.ts';
import { onAdminConnection, withDatabase } from './database.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** A database on the test server from which others can be created. */
    adminUrl: string;
    templateDatabase: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await sweep();
  const outside = process.env['TEST_DATABASE_URL'];
  const dataDir = outside === undefined ? await mkdtemp(join(tmpdir(), 'trueup-test-')) : undefined;
  // Tests prove our transactions, not the disk: only the tests of the embedded server itself run with fsync.
  const server =
    dataDir === undefined
      ? undefined
      : await startEmbedded({ dataDir, settings: { fsync: 'off', full_page_writes: 'off', max_connections: '200' } });
  const adminUrl = outside ?? server?.url ?? '';
  const templateDatabase = `trueup_template_${process.pid}`;
  const teardown = async (): Promise<void> => {
    if (outside !== undefined)
      await onAdminConnection(adminUrl, (client) =>
        client.query(`drop database if exists ${templateDatabase} with (force)`),
      );
    await server?.close();
    if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true });
  };
  try {
    await onAdminConnection(adminUrl, async (client) => {
      await client.query(`drop database if exists ${templateDatabase} with (force)`);
      await client.query(`create database ${templateDatabase}`);
    });
    const db = await openDatabase({ url: withDatabase(adminUrl, templateDatabase) });
    try {
      await migrate(db);
      await sql(db.em(), 'vacuum analyze');
    } finally {
      await db.close();
    }
  } catch (error) {
    await teardown();
    throw error;
  }
  project.provide('adminUrl', adminUrl);
  project.provide('templateDatabase', templateDatabase);
  return teardown;
}

const FOLDERS = /^trueup-(test|embedded)-/;
const ABANDONED_AFTER_MS = 3_600_000;

/** A run that was killed leaves its server running: end those whose folder nobody holds any more. */
async function sweep(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const folder = join(tmpdir(), name);
    if (!FOLDERS.test(name) || Date.now() - (await stat(folder)).mtimeMs < ABANDONED_AFTER_MS) continue;
    try {
      const dataDir = name.startsWith('trueup-test-') ? folder : join(folder, 'data');
      if (
        await stat(join(dataDir, 'postgres', 'postmaster.pid')).then(
          () => true,
          () => false,
        )
      )
        await (await startEmbedded({ dataDir })).close();
      await rm(folder, { recursive: true, force: true });
    } catch {
      // In use by a run that takes long, or not ours.
    }
  }
}
