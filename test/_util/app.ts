// The whole service for tests: in this process on free ports, or as a child that can be signalled and killed.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createApp } from '../../src/app.ts';
import { createTrueUpClient, type TrueUpClient } from '../../src/client/index.ts';
import { readConfig } from '../../src/config/read-config.ts';
import type { Overrides } from '../../src/base.ts';
import { createTestDatabase } from './database.ts';
import { eventually } from './eventually.ts';
import { checkHealth } from './grpc-health.ts';

export type Env = Readonly<Record<string, string>>;

/** Where a running service is, and who may ask it. */
export interface Served {
  /** host:port */
  readonly grpc: string;
  /** http://host:port */
  readonly http: string;
  /** http://host:port */
  readonly metrics: string;
  /** Calls over gRPC, without a token. */
  readonly client: TrueUpClient;
  /** What was logged up to now, one JSON object a line. */
  log(): string;
}

export interface RunningApp extends Served, AsyncDisposable {
  readonly databaseUrl: string;
  close(): Promise<void>;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunningProcess extends Served, AsyncDisposable {
  readonly pid: number;
  /** What it wrote to standard output. */
  banner(): string;
  kill(signal: NodeJS.Signals): void;
  readonly exited: Promise<Exit>;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const BIN = join(ROOT, 'src/cli/bin.js');
const FREE_PORTS: Env = { GRPC_BIND: '127.0.0.1:0', HTTP_BIND: '127.0.0.1:0', METRICS_BIND: '127.0.0.1:0' };
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;

/** Opens the whole service in this process. Without DATABASE_URL in `env` it gets a cloned test database of its own. */
export async function startApp(env: Env = {}, overrides: Overrides = {}): Promise<RunningApp> {
  const database = env['DATABASE_URL'] === undefined ? await createTestDatabase() : undefined;
  const databaseUrl = env['DATABASE_URL'] ?? database!.url;
  const folder = mkdtempSync(join(tmpdir(), 'trueup-app-'));
  const lines: string[] = [];
  const config = readConfig(
    {
      ...FREE_PORTS,
      DATABASE_URL: databaseUrl,
      TRUEUP_DATA_DIR: join(folder, 'data'),
      TRUEUP_DRAIN_TIMEOUT_MS: '2000',
      ...sourceOf(env),
      ...env,
    },
    { cwd: folder, readFile: (path) => readFileSync(path, 'utf8') },
  );
  const app = createApp(config, { logDestination: { write: (line) => void lines.push(line) }, ...overrides });
  let client: TrueUpClient | undefined;
  const close = async (): Promise<void> => {
    client?.close();
    await app.close('the test is over');
    await database?.drop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const addresses = await app.start();
    client = createTrueUpClient({ server: addresses.grpc });
    return {
      grpc: addresses.grpc,
      http: `http://${addresses.http}`,
      metrics: `http://${addresses.metrics}`,
      client,
      databaseUrl,
      log: () => lines.join(''),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A source must be said where a database is configured; the sandbox unless the test names one. */
function sourceOf(env: Env): Env {
  return Object.keys(env).some((name) => /^(TRUEUP_SOURCE|STELLAR_.*_URL)$/.test(name))
    ? {}
    : { TRUEUP_SOURCE: 'sandbox' };
}

/** `trueup serve` as a child. Resolves once it prints where it is and its gRPC health is SERVING; rejects with its words when it ends before. */
export async function startProcess(env: Env): Promise<RunningProcess> {
  const child = spawn(nodeBinary(), [BIN, 'serve'], {
    cwd: env['TRUEUP_DATA_DIR'] ?? tmpdir(),
    env: cleanEnv({ ...FREE_PORTS, ...env }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, err] = [collect(child.stdout), collect(child.stderr)];
  let ended: Exit | undefined;
  const exited = new Promise<Exit>((resolve) =>
    child.once('close', (code, signal) => resolve((ended = { code, signal }))),
  );
  try {
    await eventually(() => {
      if (ended === undefined && !/Ctrl-C stops/.test(out())) throw new Error(`no banner yet: ${out()}${err()}`);
    }, START_TIMEOUT_MS);
    if (ended !== undefined) throw new Error(`the service ended with ${JSON.stringify(ended)}: ${err()}`);
    const address = (pattern: RegExp): string => pattern.exec(out())?.[1] ?? '';
    const grpc = address(/gRPC +(\S+)/);
    await eventually(async () => {
      if ((await checkHealth(grpc)) !== 'SERVING') throw new Error('not serving');
    }, START_TIMEOUT_MS);
    const client = createTrueUpClient({ server: grpc });
    return {
      pid: child.pid!,
      grpc,
      http: address(/page +(http:\/\/[^/\s]+)/),
      metrics: address(/metrics +(http:\/\/[^/\s]+)/),
      client,
      banner: out,
      log: err,
      kill: (signal) => void child.kill(signal),
      exited,
      async [Symbol.asyncDispose]() {
        client.close();
        await stop(child, exited);
      },
    };
  } catch (error) {
    await stop(child, exited);
    throw error;
  }
}

/** Runs `trueup ARGS` through the real launcher to its end. */
export async function trueup(
  args: readonly string[],
  env: Env = {},
): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(nodeBinary(), [BIN, ...args], {
    cwd: tmpdir(),
    env: cleanEnv(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [out, err] = [collect(child.stdout), collect(child.stderr)];
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out: out(), err: err() };
}

/** A data folder for the embedded PostgreSQL; whatever server is left running in it is stopped before it is removed. */
export function temporaryDataDir(): { readonly path: string; remove(): Promise<void> } {
  const path = mkdtempSync(join(tmpdir(), 'trueup-e2e-'));
  return {
    path,
    async remove() {
      const pid = postgresPid(path);
      if (pid !== null && isAlive(pid)) {
        process.kill(pid, 'SIGQUIT');
        await eventually(() => {
          if (isAlive(pid)) throw new Error(`PostgreSQL ${pid} is still there`);
        });
      }
      rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
}

/** Waits for what a running service does by itself; asked a few times a second, for each question is a call that it answers and logs. */
export const soon = (check: () => void | Promise<void>, timeoutMs?: number): Promise<void> =>
  eventually(check, timeoutMs, 200);

/** Messages that were logged as errors. */
export function complaints(served: Pick<Served, 'log'>): string[] {
  const lines = served
    .log()
    .split('\n')
    .filter((line) => line.startsWith('{'));
  return lines
    .map((line) => JSON.parse(line) as { level: string; msg: string; err?: { message: string } })
    .flatMap(({ level, msg, err }) =>
      level === 'error' || level === 'fatal' ? [`${msg}${err ? `: ${err.message}` : ''}`] : [],
    );
}

/** The embedded server of a data folder; null when none has left its number there. */
export function postgresPid(dataDir: string): number | null {
  try {
    return Number(readFileSync(join(dataDir, 'postgres/postmaster.pid'), 'utf8').split('\n', 1)[0]);
  } catch {
    return null;
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** This process's own Node where it can run the sources, else the one that npm brought: a launcher in between couldn't be killed whole. */
function nodeBinary(): string {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) return process.execPath;
  return createRequire(import.meta.url).resolve(`node-${process.platform}-${process.arch}/bin/node`);
}

/** Nothing of the developer's own configuration reaches the service under test. */
function cleanEnv(env: Env): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR } = process.env;
  return { PATH, HOME, ...(TMPDIR && { TMPDIR }), ...env };
}

function collect(stream: NodeJS.ReadableStream): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  return () => text;
}

async function stop(child: ChildProcess, exited: Promise<Exit>): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(force);
}
