// Goal: the last line of a test run never says less than what went wrong. Method: real runs over small folders of tests.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'summary-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const main = fileURLToPath(new URL('../main.ts', import.meta.url));

async function lastLine(files: Record<string, string>): Promise<string | undefined> {
  return (await lines(files)).at(-1);
}

async function lines(files: Record<string, string>, env: NodeJS.ProcessEnv = {}): Promise<string[]> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const { CI: _, ...rest } = process.env;
  const output = await new Promise<string>((resolve) =>
    execFile(
      process.execPath,
      [main, '--root', folder, '--globals'],
      { cwd: folder, env: { ...rest, ...env } },
      (error, stdout) => resolve(`${stdout.trimEnd()}${error === null ? '' : ` (exit ${error.code})`}`),
    ),
  );
  return output.split('\n');
}

describe('the last line', () => {
  it('counts passed, failed and skipped tests', async () => {
    expect(
      await lastLine({
        'a.test.js': `it('a', () => {}); it('b', () => { throw new Error('no') }); it.skip('c', () => {})`,
      }),
    ).toBe('1 passed, 1 failed, 1 skipped (exit 1)');
  });

  it('names no skipped ones where there are none', async () => {
    expect(await lastLine({ 'a.test.js': `it('a', () => {}); describe('s', () => it('b', () => {}))` })).toBe(
      '2 passed, 0 failed',
    );
  });

  it('counts a file that does not load, a hook that fails and an error outside all tests', async () => {
    expect(await lastLine({ 'a.test.js': `it('a', () => {})`, 'b.test.js': `throw new Error('does not load')` })).toBe(
      '1 passed, 1 failed (exit 1)',
    );
    expect(
      await lastLine({
        'b.test.js': `describe('s', () => { beforeAll(() => { throw new Error('hook') }); it('b', () => {}) })`,
      }),
    ).toMatch(/^1 passed, 1 failed/);
    expect(
      await lastLine({ 'b.test.js': `it('b', () => { queueMicrotask(() => Promise.reject(new Error('stray'))) })` }),
    ).toBe('2 passed, 1 failed (exit 1)');
  });

  it('names the files that passed only when they were tried again, which is in CI alone', async () => {
    const late = `import { existsSync, writeFileSync } from 'node:fs';
      it('a', () => {}); it('b', () => { if (!existsSync('tried')) { writeFileSync('tried', ''); throw new Error('late') } })`;
    const files = { 'a.test.js': late, 'c.test.js': `it('c', () => {})` };
    expect(await lastLine(files)).toBe('2 passed, 1 failed (exit 1)');
    await rm(join(folder, 'tried'));
    const [named, last] = (await lines(files, { CI: 'true' })).slice(-2);
    expect(named).toMatch(/^passed only when tried again: .*a\.test\.js$/);
    expect(last).toBe('3 passed, 0 failed');
  });

  it('never tries again what fails every time, or what a random case failed', async () => {
    const broken = `it('b', () => { throw new Error('no') })`;
    expect((await lines({ 'a.test.js': broken }, { CI: 'true' })).at(-1)).toBe('0 passed, 1 failed (exit 1)');
    const random = `it('b', () => { throw new Error('Property failed after 7 tests') })`;
    const said = await lines({ 'a.test.js': random }, { CI: 'true' });
    expect(said.at(-1)).toBe('0 passed, 1 failed (exit 1)');
    expect(said.join()).not.toContain('tried again');
  });

  it('counts a run that has no tests as failed', async () => {
    expect(await lastLine({})).toBe('0 passed, 1 failed (exit 1)');
  });
});
