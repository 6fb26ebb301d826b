// `npm run check`: everything that can be known without running TrueUp. A line a step; what failed says why at the end.
//
//   node test/check.ts            all steps
//   node test/check.ts lint types those steps
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

interface Step {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** What mends it, where a command does. */
  readonly fix?: string;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const maxParallelSteps = 2;
const node = (script: string): Pick<Step, 'command' | 'args'> => ({ command: process.execPath, args: [script] });

/** The slow ones first, so that the quick ones fill the second place beside them. */
const STEPS: readonly Step[] = [
  { name: 'lint', command: 'eslint', args: ['.', '--max-warnings=0'], fix: 'npx eslint . --fix' },
  { name: 'types', command: 'tsc', args: ['--noEmit', '-p', '.'] },
  { name: 'format', command: 'prettier', args: ['--check', '--log-level=warn', '.'], fix: 'npx prettier --write .' },
  { name: 'unused', ...node('test/house/unused-exports.ts') },
  {
    name: 'fences',
    command: 'depcruise',
    args: ['src', '--config', '.dependency-cruiser.cjs', '--output-type', 'err-long'],
  },
  { name: 'generated', ...node('test/house/generated-code.ts'), fix: 'node test/house/generated-code.ts --write' },
  { name: 'settings', ...node('test/house/config-docs.ts'), fix: 'node test/house/config-docs.ts --write' },
  { name: 'contract', command: 'buf', args: ['lint'] },
  { name: 'breaking', command: 'buf', args: ['breaking', '--against', 'proto/trueup.v1.baseline.binpb'] },
  {
    name: 'proto-format',
    command: 'buf',
    args: ['format', '--diff', '--exit-code', 'proto'],
    fix: 'npx buf format -w proto',
  },
];

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));

async function main(wanted: readonly string[]): Promise<number> {
  const unknown = wanted.filter((name) => !STEPS.some((step) => step.name === name));
  if (unknown.length > 0) {
    console.error(`no step ${unknown.join(', ')}; there are ${STEPS.map(({ name }) => name).join(', ')}`);
    return 2;
  }
  const queue = STEPS.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  const total = queue.length;
  const failures: { step: Step; output: string }[] = [];
  async function work(): Promise<void> {
    for (let step = queue.shift(); step !== undefined; step = queue.shift()) {
      const { ok, seconds, output } = await run(step);
      console.log(`${ok ? 'ok  ' : 'FAIL'} ${step.name.padEnd(13)} ${seconds.toFixed(1)} s`);
      if (!ok) failures.push({ step, output });
    }
  }
  await Promise.all(Array.from({ length: maxParallelSteps }, work));
  for (const { step, output } of failures) {
    console.log(`\n--- ${step.name}: ${step.command} ${step.args.join(' ')}\n${output.trimEnd()}`);
    if (step.fix !== undefined) console.log(`fix: ${step.fix}`);
  }
  console.log(`\n${total - failures.length} of ${total} steps ok`);
  return failures.length === 0 ? 0 : 1;
}

function run(step: Step): Promise<{ ok: boolean; seconds: number; output: string }> {
  const started = performance.now();
  // The tools of this checkout, and the Node that runs this, whatever else is installed.
  const path = `${root}node_modules/.bin:${process.env['PATH'] ?? ''}`;
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const child = spawn(step.command, step.args, { cwd: root, env: { ...process.env, PATH: path, NO_COLOR: '1' } });
    const end = (ok: boolean, extra = ''): void =>
      resolve({ ok, seconds: (performance.now() - started) / 1000, output: Buffer.concat(chunks).toString() + extra });
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', (error) => end(false, `${step.command} can't be started: ${error.message}; npm ci installs it`));
    child.on('close', (code) => end(code === 0));
  });
}
