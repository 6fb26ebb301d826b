// An embedded PostgreSQL of the bench's own, as TrueUp runs it: fsync on, in a folder that is gone afterwards.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type Database, openDatabase } from '../src/store/database.ts';
import { startEmbedded } from '../src/store/embedded.ts';
import { migrate } from '../src/store/migrate.ts';

export interface BenchServer extends AsyncDisposable {
  /** A migrated, empty database, cloned from a template. */
  fresh(): Promise<Database>;
}

const open = new Set<AsyncDisposable>();

/** Ends every server that is still up. */
export async function closeServers(): Promise<void> {
  for (const server of [...open]) await server[Symbol.asyncDispose]();
}

export async function startBenchServer(): Promise<BenchServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'trueup-bench-'));
  const embedded = await startEmbedded({ dataDir }).catch(async (error: unknown) => {
    await rm(dataDir, { recursive: true, force: true });
    throw error;
  });
  let made = 0;
  const server: BenchServer = {
    async fresh() {
      const name = `bench_${++made}`;
      // What earlier rounds left to be written is written now, not while the next one is measured.
      await administer(embedded.url, 'checkpoint', `create database ${name} template trueup`);
      return openDatabase({ url: databaseUrl(embedded.url, name) });
    },
    async [Symbol.asyncDispose]() {
      if (!open.delete(server)) return;
      await embedded.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
  open.add(server);
  // The server's own database is the template that every round clones.
  await using template = await openDatabase({ url: embedded.url });
  await migrate(template);
  return server;
}

async function administer(url: string, ...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl(url, 'postgres') });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

function databaseUrl(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}
