// The embedded database: a real PostgreSQL from npm, run as a child for one machine, in one data folder.
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import pg from 'pg';
import { TrueUpError, isTrueUpError, messageOf } from '../core/errors.ts';
import { findServerPackage, prepareLibraries } from './embedded-binaries.ts';
import { lockDataDir } from './embedded-lock.ts';
import {
  findRunningServer,
  hasEnded,
  initCluster,
  isRunning,
  startServer,
  stopServer,
  waitForOrphans,
} from './embedded-server.ts';
import type { RunningServer, ServerSettings } from './embedded-server.ts';
import { chooseServerUser } from './embedded-user.ts';
import type { StoreLog } from './log.ts';

/** A port taken by somebody else between two starts is replaced, at most this often. */
const MAX_PORT_ATTEMPTS = 5;
/** How soon a server that died is started again. */
const LOOK_MS = 1_000;
const DATABASE_NAME = 'trueup';
const ROLE = 'trueup';

export interface EmbeddedOptions {
  /** The folder that holds everything; made when it isn't there. */
  readonly dataDir: string;
  readonly log?: StoreLog;
  /** Server settings that come after our own and so replace them, for example `max_connections`. */
  readonly settings?: ServerSettings;
}

export interface EmbeddedServer {
  /** With the password: for connecting, never for a log. */
  readonly url: string;
  readonly pid: number;
  /** True when the server was left running by a process that was killed, and was taken over. */
  readonly adopted: boolean;
  /** Stops the server (open transactions are rolled back) and gives the data folder free. Safe to call twice. */
  close(): Promise<void>;
}

/**
 * Starts the server of a data folder, or takes over the one that a killed process left running in it.
 *
 * Errors: DATA_DIR_LOCKED when another process uses the folder, INVALID_CONFIGURATION when the machine
 * can't run it here (the message says what to change), DATABASE_UNAVAILABLE when the server doesn't come up.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  await mkdir(options.dataDir, { recursive: true, mode: 0o711 });
  const lock = await lockDataDir(options.dataDir);
  try {
    const { server, url, adopted } = await openServer(lock.dataDir, options);
    let closing: Promise<void> | undefined;
    const keeper = keepRunning(lock.dataDir, options, { server, url });
    const close = async (): Promise<void> => {
      try {
        await stopServer(await keeper.stop());
      } finally {
        await lock.release();
      }
    };
    return {
      url,
      get pid() {
        return keeper.pid();
      },
      adopted,
      close: () => (closing ??= close()),
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Starts the server again when it died, as it may at the hands of a machine that is out of memory; whoever uses it only sees it away for a moment. */
function keepRunning(
  dataDir: string,
  options: EmbeddedOptions,
  opened: { readonly server: RunningServer; readonly url: string },
) {
  let { server } = opened;
  let stopped = false;
  let looking: Promise<void> = Promise.resolve();
  const look = async (): Promise<void> => {
    if (stopped || (await isRunning(server)) || stopped) return;
    options.log?.warn({ pid: server.pid, dataDir }, 'the embedded PostgreSQL died; starting it again');
    try {
      const again = await openServer(dataDir, options);
      server = again.server;
      // Its users know it by its port.
      if (again.url !== opened.url)
        options.log?.error(
          { dataDir },
          'the embedded PostgreSQL is back on another port, because its own was taken; start TrueUp again',
        );
    } catch (error) {
      options.log?.error(
        { err: messageOf(error), dataDir },
        "the embedded PostgreSQL can't be started again; trying on",
      );
    }
  };
  const timer = setInterval(() => {
    looking = looking.then(look);
  }, LOOK_MS);
  timer.unref();
  return {
    pid: () => server.pid,
    async stop(): Promise<RunningServer> {
      stopped = true;
      clearInterval(timer);
      await looking;
      return server;
    },
  };
}

async function openServer(
  dataDir: string,
  options: EmbeddedOptions,
): Promise<{ server: RunningServer; url: string; adopted: boolean }> {
  const clusterDir = join(dataDir, 'postgres');
  const root = findServerPackage();
  const user = await chooseServerUser({ clusterDir, serverPackage: root });
  // The server's user must pass through the data folder, but has no business in listing it.
  if (user.switched) await chmod(dataDir, ((await stat(dataDir)).mode & 0o777) | 0o011);
  const binaries = { root, libraryPath: await prepareLibraries(root, join(dataDir, 'lib')) };

  const secretFile = join(dataDir, 'embedded.json');
  let secret = await readSecret(secretFile);
  if (!(await exists(join(clusterDir, 'PG_VERSION')))) {
    secret = {
      port: await freePort(),
      password: randomBytes(24).toString('base64url'),
      cluster: `trueup_${randomBytes(4).toString('hex')}`,
    };
    await writeSecret(secretFile, secret);
    await initialise(dataDir, clusterDir, binaries, user, secret.password);
    options.log?.info({ dataDir }, 'created an embedded PostgreSQL');
  }
  if (secret === undefined) {
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      `${secretFile} is missing, and with it the password of the database beside it; restore that file from the backup of ${dataDir}, or start with another TRUEUP_DATA_DIR`,
    );
  }

  // More than once, for the server found may be dying of what killed its TrueUp; then what it left is looked at again.
  for (let left = await findRunningServer(clusterDir); left !== undefined; left = await findRunningServer(clusterDir)) {
    const url = urlOf(left.port, secret.password);
    if (!(await answers(left, url))) continue;
    options.log?.warn({ pid: left.pid, dataDir }, 'took over the embedded PostgreSQL of a process that was killed');
    return { server: left, url, adopted: true };
  }
  await waitForOrphans(secret.cluster);

  for (let attempt = 1; ; attempt++) {
    try {
      const server = await startServer({
        binaries,
        user,
        clusterDir,
        logFile: join(dataDir, 'postgres.log'),
        port: secret.port,
        cluster: secret.cluster,
        settings: options.settings ?? {},
      });
      const url = urlOf(server.port, secret.password);
      try {
        await ensureDatabase(url);
      } catch (error) {
        await stopServer(server);
        throw error;
      }
      options.log?.info({ pid: server.pid, port: server.port, dataDir }, 'embedded PostgreSQL is up');
      return { server, url, adopted: false };
    } catch (error) {
      const taken = isTrueUpError(error) && error.details.metadata?.['cause'] === 'port_taken';
      if (!taken || attempt === MAX_PORT_ATTEMPTS) throw error;
      secret = { ...secret, port: await freePort() };
      await writeSecret(secretFile, secret);
    }
  }
}

/** Makes the cluster under another name and renames it, so that a half-made one is never taken for a whole one. */
async function initialise(
  dataDir: string,
  clusterDir: string,
  binaries: { root: string; libraryPath: string | undefined },
  user: Awaited<ReturnType<typeof chooseServerUser>>,
  password: string,
): Promise<void> {
  const draft = join(dataDir, 'postgres.new');
  const passwordFile = join(dataDir, 'password.new');
  await rm(draft, { recursive: true, force: true });
  // What is left without PG_VERSION is a folder that initdb never finished; it can hold no data.
  await rm(clusterDir, { recursive: true, force: true });
  await rm(passwordFile, { force: true });
  await mkdir(draft, { mode: 0o700 });
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (user.switched) {
    await chown(draft, user.uid, user.gid);
    await chown(passwordFile, user.uid, user.gid);
  }
  try {
    await initCluster({ binaries, user, clusterDir: draft, passwordFile, role: ROLE });
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rename(draft, clusterDir);
}

/** False when the server that was found was dying, for then a new one is to be started; an error when it lives and is silent. */
async function answers(server: RunningServer, url: string): Promise<boolean> {
  try {
    await ensureDatabase(url);
    return true;
  } catch (error) {
    if (await hasEnded(server)) return false;
    throw error;
  }
}

/** Also the proof that the server answers and that the password is ours. */
async function ensureDatabase(url: string): Promise<void> {
  const client = new pg.Client({
    connectionString: url.replace(/\/[^/]*$/, '/postgres'),
    connectionTimeoutMillis: 5_000,
  });
  try {
    await client.connect();
    const found = await client.query('select 1 from pg_database where datname = $1', [DATABASE_NAME]);
    if (found.rowCount === 0) await client.query(`create database ${DATABASE_NAME}`);
  } catch (error) {
    throw new TrueUpError(
      'DATABASE_UNAVAILABLE',
      `the embedded PostgreSQL doesn't answer: ${messageOf(error)}; see postgres.log in the data folder`,
      { cause: error },
    );
  } finally {
    await client.end().catch(() => undefined);
  }
}

interface Secret {
  readonly port: number;
  readonly password: string;
  /** Shown in the titles of the server's processes, by which leftovers of this very folder are recognised. */
  readonly cluster: string;
}

async function readSecret(file: string): Promise<Secret | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Secret;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      `can't read ${file}: ${messageOf(error)}; start as the user who owns it, or restore it from a backup`,
      { cause: error },
    );
  }
}

async function writeSecret(file: string, secret: Secret): Promise<void> {
  const draft = `${file}.new`;
  await rm(draft, { force: true });
  await writeFile(draft, JSON.stringify(secret), { mode: 0o600, flush: true });
  await rename(draft, file);
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (address === null || typeof address === 'string')
    throw new TrueUpError('INTERNAL', 'the system gave no free port on 127.0.0.1');
  return address.port;
}

function urlOf(port: number, password: string): string {
  return `postgresql://${ROLE}:${password}@127.0.0.1:${port}/${DATABASE_NAME}`;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
