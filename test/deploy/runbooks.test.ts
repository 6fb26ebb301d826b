// Goal: whoever is woken at night can paste what the runbook says. Method: every line of a block that is marked `sh sandbox` is run
// by a shell against a sandbox, with the addresses of this one.
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BIN, type RunningApp, soon, startApp } from '../_util/app.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = `${root}docs/runbooks/`;
const runbooks = readdirSync(folder).filter((name) => name.endsWith('.md'));
/** Of `reconcile --wait`: there is drift, or it is inconclusive. The command did what it should. */
const VERDICTS = [3, 4];

const commandsOf = (name: string): string[] =>
  [...readFileSync(folder + name, 'utf8').matchAll(/^```sh sandbox\n([\s\S]*?)^```$/gm)].flatMap((block) =>
    block[1]!.trim().split('\n'),
  );
const commands = [...new Set(runbooks.flatMap(commandsOf))];

const hasCurl = spawnSync('curl', ['--version']).status === 0;
if (!hasCurl) console.warn('curl is not installed: its lines of the runbooks are not run');

let app: RunningApp;
beforeAll(async () => {
  app = await startApp();
  await soon(async () => expect((await fetch(`${app.metrics}/health`)).status).toBe(200), 50_000);
});
afterAll(() => app?.close());

test('there are commands to run', () => expect(commands.length).toBeGreaterThan(10));

test.each(commands.filter((command) => hasCurl || !command.startsWith('curl ')))('%s', async (command) => {
  const { code, output } = await run(command);
  const fine = command.includes('reconcile --wait') ? [0, ...VERDICTS] : [0];
  expect(fine, output).toContain(code);
});

async function run(command: string): Promise<{ code: number | null; output: string }> {
  const here = command
    .replaceAll('npx trueup', `'${process.execPath}' '${BIN}'`)
    .replaceAll('npx buf', `'${root}node_modules/.bin/buf'`)
    .replaceAll('http://127.0.0.1:9464', app.metrics)
    .replaceAll('127.0.0.1:50051', app.grpc);
  const child = spawn('bash', ['-c', here], {
    cwd: root,
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], TRUEUP_SERVER: app.grpc },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += String(text)));
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).once('close', resolve));
  return { code, output };
}
