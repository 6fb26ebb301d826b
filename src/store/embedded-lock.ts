// One TrueUp on one data folder: a lock that the kernel gives free when its holder dies, however it dies.
import { realpath, rename, rm, stat } from 'node:fs/promises';
import { createConnection, createServer } from 'node:net';
import type { Server } from 'node:net';
import { join, relative } from 'node:path';
import { TrueUpError } from '../core/errors.ts';

const ANSWER_TIMEOUT_MS = 2_000;
/** sun_path holds 108 bytes with its closing zero. */
const MAX_SOCKET_PATH_BYTES = 107;

export interface DataDirLock {
  /** The folder's real path. */
  readonly dataDir: string;
  release(): Promise<void>;
}

/**
 * A bound socket is the lock, so there is no stale lock to judge by age: the kernel unbinds it with the process.
 * Two sockets are bound. The first has a name without a file and is exclusive by itself, but only
 * among processes that share a network namespace; the second is a file in the folder, which containers that share a
 * volume see too. Whoever connects to either reads its holder's pid.
 *
 * Error: DATA_DIR_LOCKED, naming the holder's pid and the folder.
 */
export async function lockDataDir(dataDir: string): Promise<DataDirLock> {
  const folder = await realpath(dataDir);
  const { dev, ino } = await stat(folder);
  const named = `\0trueup-data-dir-${dev}-${ino}`;
  const first = await bind(named);
  if (first === undefined) throw locked(folder, await ask(named));

  let second: Server | undefined;
  const file = shortest(join(folder, 'lock.sock'));
  try {
    if (file !== undefined) second = await bindFile(folder, file);
  } catch (error) {
    await close(first);
    throw error;
  }
  return {
    dataDir: folder,
    async release() {
      if (second !== undefined) await close(second);
      await close(first);
    },
  };
}

async function bindFile(folder: string, file: string): Promise<Server | undefined> {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const server = await bind(file);
      if (server !== undefined) return server;
    } catch {
      // Some mounted file systems hold no sockets; there the first socket alone guards.
      return undefined;
    }
    const holder = await ask(file);
    if (holder !== undefined) throw locked(folder, holder);
    // Nobody listens behind this file: its process died. Renaming it first keeps a second newcomer from removing ours.
    const stale = `${file}.stale`;
    await rename(file, stale).catch(() => undefined);
    await rm(stale, { force: true });
  }
  throw locked(folder, undefined);
}

/** @returns undefined when the name is taken */
function bind(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.end(String(process.pid));
    });
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    );
    server.listen(path, () => {
      // The lock alone is no reason for the process to stay up.
      server.unref();
      resolve(server);
    });
  });
}

/** The holder's pid as it states it; 'unknown' when it is there but silent, undefined when nobody is there. */
function ask(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = createConnection(path);
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => {
      socket.destroy();
      resolve('unknown');
    });
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => (answer = (answer + text).slice(0, 20)));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code === 'ECONNREFUSED' || error.code === 'ENOENT' ? undefined : 'unknown'),
    );
    socket.on('end', () => resolve(/^\d+$/.test(answer) ? answer : 'unknown'));
  });
}

function locked(folder: string, holder: string | undefined): TrueUpError {
  const pid = holder ?? 'unknown';
  return new TrueUpError(
    'DATA_DIR_LOCKED',
    `another TrueUp (pid ${pid}) is using the data folder ${folder}; stop it, or start this one with another TRUEUP_DATA_DIR, or give both the same DATABASE_URL`,
    { metadata: { pid, data_dir: folder } },
  );
}

function shortest(path: string): string | undefined {
  const fromHere = relative(process.cwd(), path);
  const candidate = Buffer.byteLength(fromHere) < Buffer.byteLength(path) ? fromHere : path;
  return Buffer.byteLength(candidate) <= MAX_SOCKET_PATH_BYTES ? candidate : undefined;
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
