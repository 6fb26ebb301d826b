// Says whether gen/ is what the contract generates now; `--write` generates it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

if (import.meta.main) {
  if (process.argv.includes('--write')) generate(root);
  else {
    const folder = mkdtempSync(join(tmpdir(), 'trueup-gen-'));
    try {
      generate(folder);
      const differences = compare(join(root, 'gen'), join(folder, 'gen'));
      for (const difference of differences) console.error(`gen/${difference}`);
      if (differences.length > 0) console.error('out of date: node test/house/generated-code.ts --write');
      process.exitCode = differences.length === 0 ? 0 : 1;
    } finally {
      rmSync(folder, { recursive: true });
    }
  }
}

function generate(folder: string): void {
  const buf = (...args: string[]) => execFileSync('buf', args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  buf('generate', '-o', folder);
  // Server reflection answers from this; comments would double its size.
  buf('build', '--as-file-descriptor-set', '--exclude-source-info', '-o', join(folder, 'gen/descriptors.binpb'));
}

function compare(committed: string, fresh: string): string[] {
  const names = new Set([...filesOf(committed), ...filesOf(fresh)]);
  return [...names].sort().flatMap((name) => {
    const [before, now] = [read(join(committed, name)), read(join(fresh, name))];
    if (before === undefined) return [`${name} is missing`];
    if (now === undefined) return [`${name} is generated no more`];
    return before.equals(now) ? [] : [`${name} differs`];
  });
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(folder, name)).isFile())
    .map((name) => relative(folder, join(folder, name)));
}

function read(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
