// The server's processes: make a cluster, start, recognise one that was left running, stop.
import { execFile, spawn } from 'node:child_process';
import { openSync, closeSync } from 'node:fs';
import { open, readFile, readdir, rm, stat, truncate } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { TrueUpError, messageOf } from '../core/errors.ts';
import type { ServerUser } from './embedded-user.ts';

const START_TIMEOUT_MS = 60_000;
const ORPHAN_TIMEOUT_MS = 20_000;
const END_TIMEOUT_MS = 5_000;
/** How long clients get after the polite request before the server ends them by force. */
const STOP_TIMEOUT_MS = 15_000;
const POLL_MS = 10;
/** The server's own log is cut when it has grown past this at a start. */
const MAX_LOG_BYTES = 10 * 1024 * 1024;
const MAX_LOG_TAIL_BYTES = 4_096;

export type ServerSettings = Readonly<Record<string, string>>;

export interface ServerBinaries {
  /** Folder of the npm package. */
  readonly root: string;
  /** For LD_LIBRARY_PATH, where the package's own links couldn't be made. */
  readonly libraryPath: string | undefined;
}

export interface RunningServer {
  readonly pid: number;
  readonly port: number;
  readonly clusterDir: string;
}

export interface StartServer {
  readonly binaries: ServerBinaries;
  readonly user: ServerUser;
  readonly clusterDir: string;
  readonly logFile: string;
  readonly port: number;
  /** Name that the server's processes carry in their titles. */
  readonly cluster: string;
  readonly settings: ServerSettings;
}

/** Starts the server and waits until it takes connections. Error: DATABASE_UNAVAILABLE with the end of the server's log. */
export async function startServer(start: StartServer): Promise<RunningServer> {
  const settings: ServerSettings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    port: String(start.port),
    max_connections: '100',
    // The defaults, said aloud: what was committed survives a power cut.
    fsync: 'on',
    synchronous_commit: 'on',
    full_page_writes: 'on',
    // No replica follows an embedded server.
    wal_level: 'minimal',
    max_wal_senders: '0',
    timezone: 'UTC',
    log_timezone: 'UTC',
    // Failed statements reach our own log with their context; their text stays out of the server's.
    log_min_messages: 'log',
    log_min_error_statement: 'panic',
    log_checkpoints: 'off',
    cluster_name: start.cluster,
    ...start.settings,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);

  const logBytes = await stat(start.logFile).then(
    (found) => found.size,
    () => 0,
  );
  if (logBytes > MAX_LOG_BYTES) await truncate(start.logFile);
  const logStart = logBytes > MAX_LOG_BYTES ? 0 : logBytes;
  const log = openSync(start.logFile, 'a', 0o600);
  let exit: string | undefined;
  try {
    // Detached, or Ctrl-C in a terminal would end the server's clients before we have drained them; a file and no
    // pipe for its words, or it would lose its voice with us. Both let it outlive a killed parent and be taken over.
    const child = spawn(join(start.binaries.root, 'native/bin/postgres'), ['-D', start.clusterDir, ...flags], {
      ...processOptions(start.user, start.binaries),
      detached: true,
      stdio: ['ignore', log, log],
    });
    child.once('error', (error) => (exit = `can't be run: ${error.message}`));
    child.once('exit', (code, signal) => (exit = `ended with ${signal ?? `code ${code}`}`));
    child.unref();
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (exit === undefined && Date.now() < deadline) {
      const status = await readPidFile(start.clusterDir);
      if (status !== undefined && status.pid === child.pid && status.ready)
        return { pid: status.pid, port: status.port, clusterDir: start.clusterDir };
      await delay(POLL_MS);
    }
    if (exit === undefined) child.kill('SIGQUIT');
  } finally {
    closeSync(log);
  }
  const words = await tail(start.logFile, logStart);
  const portTaken = words.includes('could not bind') || words.includes('could not create any TCP/IP sockets');
  throw new TrueUpError(
    'DATABASE_UNAVAILABLE',
    `the embedded PostgreSQL didn't start: it ${exit ?? `wasn't ready after ${START_TIMEOUT_MS} ms`}; its last words in ${start.logFile}: ${words}`,
    {
      metadata: { cause: portTaken ? 'port_taken' : 'start_failed' },
    },
  );
}

/** Runs initdb in an empty folder that belongs to the server's user. */
export async function initCluster(init: {
  binaries: ServerBinaries;
  user: ServerUser;
  clusterDir: string;
  passwordFile: string;
  role: string;
}): Promise<void> {
  // Byte order everywhere, so that keys sort alike in every database and on every machine.
  const flags = [
    '-D',
    init.clusterDir,
    '-U',
    init.role,
    '--pwfile',
    init.passwordFile,
    '--auth',
    'scram-sha-256',
    '--encoding',
    'UTF8',
    '--locale-provider',
    'builtin',
    '--builtin-locale',
    'C.UTF-8',
    '--locale',
    'C',
    '--no-instructions',
  ];
  await new Promise<void>((resolve, reject) => {
    execFile(
      join(init.binaries.root, 'native/bin/initdb'),
      flags,
      { ...processOptions(init.user, init.binaries), timeout: START_TIMEOUT_MS },
      (error, _stdout, stderr) => {
        if (error === null) resolve();
        else
          reject(
            new TrueUpError(
              'DATABASE_UNAVAILABLE',
              `can't create the embedded database in ${init.clusterDir}: ${(stderr.trim() || messageOf(error)).slice(-MAX_LOG_TAIL_BYTES)}; see that the disk has room and user ${init.user.uid} may write there, or set DATABASE_URL`,
              { cause: error },
            ),
          );
      },
    );
  });
}

/**
 * The server that runs on this cluster already, or undefined. A pid file alone proves nothing: after a crash its number
 * may belong to anybody, so the process itself must say that it is PostgreSQL on this folder.
 */
export async function findRunningServer(clusterDir: string): Promise<RunningServer | undefined> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const status = await readPidFile(clusterDir);
    if (status === undefined) return undefined;
    if (!(await isServer(status.pid, clusterDir))) {
      // PostgreSQL takes a living process of its own user for another server and would refuse to start for ever.
      // That no process of the old server lives is seen to by waitForOrphans.
      if (await isAlive(status.pid)) await rm(join(clusterDir, 'postmaster.pid'), { force: true });
      return undefined;
    }
    if (status.ready) return { pid: status.pid, port: status.port, clusterDir };
    if (Date.now() > deadline)
      throw new TrueUpError(
        'DATABASE_UNAVAILABLE',
        `the PostgreSQL with pid ${status.pid} in ${clusterDir} is neither ready nor gone after ${START_TIMEOUT_MS} ms; see postgres.log in the data folder`,
      );
    await delay(POLL_MS);
  }
}

/** When the main process was killed its helpers notice within moments; two servers must never share a folder. */
export async function waitForOrphans(cluster: string): Promise<void> {
  const deadline = Date.now() + ORPHAN_TIMEOUT_MS;
  for (;;) {
    const left: string[] = [];
    for (const pid of await readdir('/proc').catch(() => [])) {
      if (/^\d+$/.test(pid) && (await commandLine(Number(pid))).startsWith(`postgres: ${cluster}:`)) left.push(pid);
    }
    if (left.length === 0) return;
    if (Date.now() > deadline)
      throw new TrueUpError(
        'DATABASE_UNAVAILABLE',
        `processes of a killed PostgreSQL still run (pid ${left.join(', ')}); end them and start again`,
      );
    await delay(POLL_MS);
  }
}

/** Waits a while for a server that may be on its way out. */
export async function hasEnded(server: RunningServer): Promise<boolean> {
  const deadline = Date.now() + END_TIMEOUT_MS;
  while (await isServer(server.pid, server.clusterDir)) {
    if (Date.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

export function isRunning(server: RunningServer): Promise<boolean> {
  return isServer(server.pid, server.clusterDir);
}

/** Asks for a fast shutdown (running transactions are rolled back), and after a while for an immediate one. */
export async function stopServer(server: RunningServer): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (!(await isServer(server.pid, server.clusterDir))) return;
    try {
      process.kill(server.pid, signal);
    } catch {
      return;
    }
    const deadline = Date.now() + STOP_TIMEOUT_MS;
    while (Date.now() < deadline) {
      if (!(await isServer(server.pid, server.clusterDir))) return;
      await delay(POLL_MS);
    }
  }
}

interface PidFile {
  readonly pid: number;
  readonly port: number;
  readonly ready: boolean;
}

/** postmaster.pid: line 1 the pid, 4 the port, 8 the status. */
async function readPidFile(clusterDir: string): Promise<PidFile | undefined> {
  const lines = (await readFile(join(clusterDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
  const pid = Number(lines[0]);
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  return { pid, port: Number(lines[3]), ready: lines[7]?.trim() === 'ready' };
}

async function isServer(pid: number, clusterDir: string): Promise<boolean> {
  // A process that has ended but wasn't waited for has an empty command line, so it doesn't count.
  const [program, ...rest] = (await commandLine(pid)).split('\0');
  return program !== undefined && basename(program) === 'postgres' && rest[0] === '-D' && rest[1] === clusterDir;
}

/** Readable for every user, where the links to a process's folder and program are not. */
async function commandLine(pid: number): Promise<string> {
  return readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
}

async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function tail(file: string, from: number): Promise<string> {
  const handle = await open(file, 'r').catch(() => undefined);
  if (handle === undefined) return '(no log)';
  try {
    const { size } = await handle.stat();
    const start = Math.max(from, size - MAX_LOG_TAIL_BYTES);
    const { buffer, bytesRead } = await handle.read({
      buffer: Buffer.alloc(Math.max(0, size - start)),
      position: start,
    });
    return buffer.toString('utf8', 0, bytesRead).trim();
  } finally {
    await handle.close();
  }
}

function processOptions(
  user: ServerUser,
  binaries: ServerBinaries,
): { cwd: string; env: NodeJS.ProcessEnv; uid?: number; gid?: number } {
  // Nothing of our environment is the server's business: it holds secrets, and PG* variables that would change its behaviour.
  const env: NodeJS.ProcessEnv = { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' };
  if (binaries.libraryPath !== undefined) env['LD_LIBRARY_PATH'] = binaries.libraryPath;
  return { cwd: '/', env, ...(user.switched ? { uid: user.uid, gid: user.gid } : {}) };
}
