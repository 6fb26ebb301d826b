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

const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
const reporter = fileURLToPath(new URL('./summary-reporter.ts', import.meta.url));

async function lastLine(files: Record<string, string>): Promise<string | undefined> {
  return (await lines(files)).at(-1);
}

async function lines(files: Record<string, string>, ...more: string[]): Promise<string[]> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const flags = ['run', '--root', folder, '--globals', '--reporter', 'default', '--reporter', reporter, ...more];
  const output = await new Promise<string>((resolve) =>
    execFile(process.execPath, [vitest, ...flags], { cwd: folder }, (_error, stdout) => resolve(stdout)),
  );
  return output.trimEnd().split('\n');
}

describe('the last line', () => {
  it('counts passed, failed and skipped tests', async () => {
    expect(
      await lastLine({
        'a.test.js': `it('a', () => {}); it('b', () => { throw new Error('no') }); it.skip('c', () => {})`,
      }),
    ).toBe('1 passed, 1 failed, 1 skipped');
  });

  it('names no skipped ones where there are none', async () => {
    expect(await lastLine({ 'a.test.js': `it('a', () => {}); describe('s', () => it('b', () => {}))` })).toBe(
      '2 passed, 0 failed',
    );
  });

  it('counts a file that does not load, a hook that fails and an error outside all tests', async () => {
    expect(await lastLine({ 'a.test.js': `it('a', () => {})`, 'b.test.js': `throw new Error('does not load')` })).toBe(
      '1 passed, 1 failed',
    );
    expect(
      await lastLine({
        'b.test.js': `describe('s', () => { beforeAll(() => { throw new Error('hook') }); it('b', () => {}) })`,
      }),
    ).toMatch(/^1 passed, 1 failed/);
    expect(
      await lastLine({ 'b.test.js': `it('b', () => { queueMicrotask(() => Promise.reject(new Error('stray'))) })` }),
    ).toBe('2 passed, 1 failed');
  });

  it('names the tests that passed only when tried again', async () => {
    const file = `let tries = 0; it('b', () => { if (tries++ === 0) throw new Error('late') }); it('a', () => {})`;
    const [named, last] = (await lines({ 'a.test.js': file }, '--retry', '1')).slice(-2);
    expect(named).toMatch(/^passed only when tried again: .*a\.test\.js > b$/);
    expect(last).toBe('2 passed, 0 failed');
  });

  it('counts a run that has no tests as failed', async () => {
    expect(await lastLine({})).toBe('0 passed, 1 failed');
  });
});
