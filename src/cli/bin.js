#!/usr/bin/env node
// The launcher of `trueup`: plain JavaScript that an older Node can start. It hands over to the Node that npm brought
// along where the one that started it is too old, and otherwise runs the command itself.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

// From this release on, Node runs TypeScript without a flag.
const NEEDED = [22, 18];
const FORWARDED_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];
// Set for the process that is started, so that a wrong binary can't start itself for ever.
const HANDED_OVER = 'TRUEUP_NODE_HANDED_OVER';

if (isRecent(process.versions.node)) await run();
else handOver();

function isRecent(version) {
  const [major, minor] = version.split('.').map(Number);
  return major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]);
}

async function run() {
  delete process.env[HANDED_OVER];
  // What an auditor runs knows no network.
  const entry = process.argv[2] === 'verify' ? 'offline' : 'main';
  const built = new URL(`../../dist/cli/${entry}.js`, import.meta.url);
  // A checkout runs its sources; what is installed from a package has only the built files.
  const source = new URL(`./${entry}.ts`, import.meta.url);
  const { main } = await import(existsSync(source) ? source.href : built.href);
  const aborted = new AbortController();
  const world = {
    env: process.env,
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    now: Date.now,
    signal: aborted.signal,
    // `serve` has a shutdown of its own; every other command ends what it is doing.
    onInterrupt: () => {
      const stop = () => aborted.abort(new Error('interrupted'));
      process.once('SIGINT', stop);
      process.once('SIGTERM', stop);
    },
  };
  // `trueup entries | head` ends when its reader does.
  process.stdout.on('error', (error) => {
    if (error.code === 'EPIPE') aborted.abort(error);
    else throw error;
  });
  process.exitCode = await main(process.argv.slice(2), world);
}

function handOver() {
  const binary = process.env[HANDED_OVER] ? undefined : findNode();
  if (binary === undefined) {
    process.stderr.write(
      `trueup: Node ${process.versions.node} is too old, ${NEEDED.join('.')} or newer is needed, and the one that npm brings along` +
        ` (node-${process.platform}-${process.arch}) is not installed\n` +
        '  fix: npm install --include=optional, or start trueup with a newer Node\n',
    );
    process.exitCode = 1;
    return;
  }
  const child = spawn(binary, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, [HANDED_OVER]: '1' },
  });
  // A terminal sends Ctrl-C to both; whoever signals only this process means the other one.
  for (const signal of FORWARDED_SIGNALS) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`trueup: ${binary} can't be started: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (constants.signals[signal] ?? 0);
  });
}

function findNode() {
  const require = createRequire(import.meta.url);
  try {
    const binary = require.resolve(`node-${process.platform}-${process.arch}/bin/node`);
    return existsSync(binary) ? binary : undefined;
  } catch {
    return undefined;
  }
}
