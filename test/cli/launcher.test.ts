// Goal: `trueup` starts whatever Node a machine has, and its exit code and signals pass through. Method: the real
// launcher in processes of their own, under this Node and under an older one where the machine has one.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { contract } from '../../src/client/index.ts';
import { sampleRun, sampleStatus } from './samples.ts';
import { stubGrpcServer } from './stub-server.ts';

const launcher = fileURLToPath(new URL('../../src/cli/bin.js', import.meta.url));
const older = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'node'))
  .filter((node) => existsSync(node))
  .find((node) =>
    /^v(18|20|21|22\.\d\.|22\.1[0-7]\.)/.test(spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout),
  );

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(node: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(node, [launcher, ...args], { env: { PATH: process.env['PATH'], ...env } });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const ended = new Promise<Ended>((resolve) => child.on('close', (code) => resolve({ code, out, err })));
  return { child, ended };
}

describe.each([
  { name: 'this Node', node: process.execPath },
  { name: 'an older Node', node: older ?? '' },
])('under $name', ({ node }) => {
  test.skipIf(node === '')('prints its help and passes exit codes on', async () => {
    const [help, usage] = await Promise.all([start(node, ['--help']).ended, start(node, ['nonsense']).ended]);
    expect(help).toMatchObject({ code: 0, err: '' });
    expect(help.out).toContain('Usage: trueup');
    expect(usage.code).toBe(2);
  });

  test.skipIf(node === '')('asks a server', async () => {
    await using server = await stubGrpcServer({ health: { getStatus: () => sampleStatus() } });
    const { code, out } = await start(node, ['status', '--json'], { TRUEUP_SERVER: server.address }).ended;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ version: '0.1.0', sandbox: true });
  });

  test.skipIf(node === '')('ends with 130 when it is interrupted while it waits', async () => {
    const watching = Promise.withResolvers<void>();
    await using server = await stubGrpcServer({
      reconciliation: {
        startReconciliation: () => ({ reconciliation: sampleRun({ state: contract.ReconciliationState.QUEUED }) }),
        async *watchReconciliation(_request, { signal }) {
          yield { sequence: '1', heartbeat: true };
          watching.resolve();
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
        },
      },
    });
    const { child, ended } = start(node, ['reconcile', '--wait'], { TRUEUP_SERVER: server.address });
    await watching.promise;
    child.kill('SIGINT');
    expect(await ended).toEqual({ code: 130, out: '', err: '' });
  });
});

test('says what is missing where no Node is new enough', async () => {
  const { code, err } = await start(older ?? process.execPath, ['--help'], { TRUEUP_NODE_HANDED_OVER: '1' }).ended;
  if (older === undefined) return expect(code).toBe(0);
  expect(code).toBe(1);
  expect(err).toContain('too old');
});
