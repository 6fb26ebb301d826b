// Goal: what was committed to the embedded server survives any killing, and one folder has one TrueUp. Method: real
// processes that are really killed, real files, real users.
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  chown,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase, sql } from '../../src/store/database.ts';
import { startEmbedded } from '../../src/store/embedded.ts';
import type { EmbeddedServer } from '../../src/store/embedded.ts';
import { findServerPackage, prepareLibraries } from '../../src/store/embedded-binaries.ts';
import { findBarrier } from '../../src/store/embedded-user.ts';
import { eventually } from '../_util/eventually.ts';

const isRoot = process.getuid?.() === 0;
const NOBODY = 65534;
const childScript = fileURLToPath(new URL('../_util/embedded-child.ts', import.meta.url));
const run = promisify(execFile);

let folder: string;
let dataDir: string;
const servers: EmbeddedServer[] = [];
const children: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trueup-embedded-'));
  await chmod(folder, 0o755);
  dataDir = join(folder, 'data');
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await Promise.all(servers.splice(0).map((server) => server.close()));
  // Whatever a killed child left running.
  if (
    await stat(join(dataDir, 'postgres', 'postmaster.pid')).then(
      () => true,
      () => false,
    )
  )
    await (await startEmbedded({ dataDir })).close();
  await rm(folder, { recursive: true, force: true });
});

async function start(): Promise<EmbeddedServer> {
  const server = await startEmbedded({ dataDir });
  servers.push(server);
  return server;
}

interface Said {
  readonly pid: number;
  readonly adopted: boolean;
  readonly url: string;
  readonly reason?: string;
  readonly message?: string;
}

/** A process that commits rows; `committed()` is the last that it said was committed. */
async function startChild(
  options: { uid?: number; mode?: string } = {},
): Promise<{ process: ChildProcess; said: Said; committed: () => number }> {
  const child = spawn(process.execPath, [childScript, dataDir, options.mode ?? 'commit'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
  });
  children.push(child);
  let committed = 0;
  const said = await new Promise<Said>((resolve) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const value = JSON.parse(line) as { committed?: number };
      if (value.committed === undefined) resolve(value as unknown as Said);
      else committed = value.committed;
    });
  });
  return { process: child, said, committed: () => committed };
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function rowsIn(url: string): Promise<{ rows: number; last: number }> {
  const db = await openDatabase({ url });
  const [found] = await sql<{ rows: number; last: number }>(
    db.em(),
    'select count(*)::integer as rows, max(n) as last from kept',
  );
  await db.close();
  return found!;
}

describe('a killed process', () => {
  it('leaves its server running, and the next start takes it over with every committed row', async () => {
    const first = await startChild();
    await eventually(() => expect(first.committed()).toBeGreaterThan(20));
    await kill(first.process);
    const second = await start();
    expect(second).toMatchObject({ pid: first.said.pid, adopted: true, url: first.said.url });
    const { rows, last } = await rowsIn(second.url);
    expect(rows).toBe(last);
    expect(last).toBeGreaterThanOrEqual(first.committed());
    await second.close();
    // Empty for a process that has ended, also while nobody has asked for its exit code.
    expect(await readFile(`/proc/${second.pid}/cmdline`, 'utf8').catch(() => '')).toBe('');
  });

  it('together with its server killed, loses no committed row, three times in a row', async () => {
    for (let round = 1; round <= 3; round++) {
      const victim = await startChild();
      const before = victim.committed();
      await eventually(() => expect(victim.committed()).toBeGreaterThan(before + 20));
      // The main process only: its helpers must notice by themselves, and the next start must wait for them.
      process.kill(victim.said.pid, 'SIGKILL');
      await kill(victim.process);
      const server = await start();
      expect(server.adopted).toBe(false);
      const { rows, last } = await rowsIn(server.url);
      expect(rows).toBe(last);
      expect(last).toBeGreaterThanOrEqual(victim.committed());
      await server.close();
    }
  });

  it('whose number now belongs to an innocent process keeps nobody from starting', async () => {
    const server = await start();
    const pidFile = join(dataDir, 'postgres', 'postmaster.pid');
    const lines = (await readFile(pidFile, 'utf8')).split('\n');
    await server.close();
    const innocent = spawn('sleep', ['600'], isRoot ? { uid: (await stat(join(dataDir, 'postgres'))).uid } : {});
    children.push(innocent);
    await once(innocent, 'spawn');
    await writeFile(pidFile, [innocent.pid, ...lines.slice(1)].join('\n'));
    expect((await start()).adopted).toBe(false);
    expect(innocent.exitCode).toBeNull();
  });
});

describe('the lock of a data folder', () => {
  it('refuses a second process, under whatever name the folder goes, naming the first and the fix', async () => {
    const first = await startChild();
    const alias = join(folder, 'alias');
    await symlink(dataDir, alias);
    for (const name of [dataDir, alias]) {
      await expect(startEmbedded({ dataDir: name })).rejects.toMatchObject({
        reason: 'DATA_DIR_LOCKED',
        message: expect.stringMatching(new RegExp(`pid ${first.process.pid}\\b.*${dataDir}.*TRUEUP_DATA_DIR`)),
      });
    }
    const { said } = await startChild();
    expect(said).toMatchObject({ reason: 'DATA_DIR_LOCKED' });
    await kill(first.process);
    expect((await start()).adopted).toBe(true);
  });

  it('goes to one of several that start at once', async () => {
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => start()));
    expect(results.filter((each) => each.status === 'fulfilled')).toHaveLength(1);
    for (const each of results)
      if (each.status === 'rejected') expect(each.reason).toMatchObject({ reason: 'DATA_DIR_LOCKED' });
  });

  it('is free after close, and close may be called twice', async () => {
    const server = await start();
    await Promise.all([server.close(), server.close()]);
    expect(await readdir(dataDir)).not.toContain('lock.sock');
    expect((await start()).url).toBe(server.url);
  });
});

describe('starting', () => {
  it('takes another port when the remembered one is taken', async () => {
    const first = await start();
    await first.close();
    const port = Number(new URL(first.url).port);
    const squatter = createServer().listen(port, '127.0.0.1');
    await once(squatter, 'listening');
    const second = await start();
    expect(Number(new URL(second.url).port)).not.toBe(port);
    squatter.close();
  });

  it('begins anew after a kill in the middle of the first start', async () => {
    await mkdir(join(dataDir, 'postgres.new', 'base'), { recursive: true });
    await writeFile(join(dataDir, 'password.new'), 'left over');
    await chmod(dataDir, 0o711);
    const server = await start();
    await openDatabase({ url: server.url }).then((db) => db.close());
    expect((await readdir(dataDir)).filter((name) => name.endsWith('.new'))).toEqual([]);
  });

  it('keeps the password where only its owner can read it, and says what to do when it is lost', async () => {
    const server = await start();
    expect((await stat(join(dataDir, 'embedded.json'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(dataDir, 'postgres'))).mode & 0o777).toBe(0o700);
    await expect(openDatabase({ url: server.url.replace(/:[^:@/]+@/, ':wrong@') })).rejects.toMatchObject({
      reason: 'INVALID_CONFIGURATION',
    });
    await server.close();
    await unlink(join(dataDir, 'embedded.json'));
    await expect(startEmbedded({ dataDir })).rejects.toMatchObject({
      reason: 'INVALID_CONFIGURATION',
      message: expect.stringContaining('restore'),
    });
  });

  it('syncs to disk and takes 100 connections', async () => {
    const db = await openDatabase({ url: (await start()).url });
    expect(
      await sql(
        db.em(),
        `select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'max_connections', 'data_checksums') order by name`,
      ),
    ).toEqual([
      { name: 'data_checksums', setting: 'on' },
      { name: 'fsync', setting: 'on' },
      { name: 'full_page_writes', setting: 'on' },
      { name: 'max_connections', setting: '100' },
      { name: 'synchronous_commit', setting: 'on' },
    ]);
    await db.close();
  });
});

describe('library links that npm could not make', () => {
  async function packageWithoutLinks(): Promise<string> {
    const copy = join(folder, 'package');
    await cp(findServerPackage(), copy, { recursive: true, verbatimSymlinks: true });
    const links = JSON.parse(await readFile(join(copy, 'native/pg-symlinks.json'), 'utf8')) as { target: string }[];
    for (const link of links) await rm(join(copy, link.target), { force: true });
    await expect(run(join(copy, 'native/bin/postgres'), ['--version'])).rejects.toThrow('shared librar');
    return copy;
  }

  it('are made in the package', async () => {
    const copy = await packageWithoutLinks();
    expect(await prepareLibraries(copy, join(folder, 'lib'))).toBeUndefined();
    expect((await run(join(copy, 'native/bin/postgres'), ['--version'])).stdout).toContain('PostgreSQL');
  });

  it.runIf(isRoot)('are made in the data folder when the package belongs to somebody else', async () => {
    const copy = await packageWithoutLinks();
    const own = join(folder, 'own');
    await mkdir(own);
    await chown(own, NOBODY, NOBODY);
    const module = fileURLToPath(new URL('../../src/store/embedded-binaries.ts', import.meta.url));
    const code = `const { prepareLibraries } = await import(${JSON.stringify(module)}); console.log(await prepareLibraries(${JSON.stringify(copy)}, ${JSON.stringify(join(own, 'lib'))}));`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], { uid: NOBODY, gid: NOBODY });
    expect(stdout.trim()).toBe(join(own, 'lib'));
    expect(
      (await run(join(copy, 'native/bin/postgres'), ['--version'], { env: { LD_LIBRARY_PATH: stdout.trim() } })).stdout,
    ).toContain('PostgreSQL');
  });
});

describe.runIf(isRoot)('started as root', () => {
  it('runs the server as another user', async () => {
    const server = await start();
    const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
    const uid = Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]);
    expect(uid).not.toBe(0);
    expect((await stat(join(dataDir, 'postgres'))).uid).toBe(uid);
  });

  it('says which folder is in the way of that user', async () => {
    await chmod(folder, 0o700);
    await expect(startEmbedded({ dataDir })).rejects.toMatchObject({
      reason: 'INVALID_CONFIGURATION',
      message: expect.stringMatching(new RegExp(`can't pass through ${folder} .*TRUEUP_DATA_DIR`)),
    });
    expect(await findBarrier(dataDir, { uid: NOBODY, gid: NOBODY })).toBe(folder);
    await chmod(folder, 0o755);
  });

  it('goes on as the user who owns the folder, and an ordinary user needs no switching at all', async () => {
    await mkdir(dataDir);
    await chown(dataDir, NOBODY, NOBODY);
    const ordinary = await startChild({ uid: NOBODY });
    await eventually(() => expect(ordinary.committed()).toBeGreaterThan(1));
    await kill(ordinary.process);
    process.kill(ordinary.said.pid, 'SIGKILL');
    const server = await start();
    expect((await rowsIn(server.url)).rows).toBeGreaterThan(1);
    expect(await readFile(`/proc/${server.pid}/status`, 'utf8')).toMatch(new RegExp(`^Uid:\\s+${NOBODY}`, 'm'));
  });

  it('tells an ordinary user that the folder is not theirs', async () => {
    const server = await start();
    await server.close();
    const { said } = await startChild({ uid: NOBODY });
    expect(said).toMatchObject({
      reason: 'INVALID_CONFIGURATION',
      message: expect.stringContaining(`chown -R ${NOBODY} ${dirname(join(dataDir, 'postgres'))}`),
    });
  });
});
