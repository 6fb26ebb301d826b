// Goal: the console's files are served and nothing else, under headers that allow no foreign code. Method: a real
// HTTP server with only the console's handler, and the files' own text.
import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { consoleHandler } from '../../src/http/console.ts';

const folder = new URL('../../src/console/', import.meta.url);
/** The page's own words: plain JavaScript, so without types. */
const words = (await import(new URL('words.js', folder).href)) as Record<
  Word,
  (value: unknown, prefix?: string) => unknown
>;
type Word = 'amount' | 'assetName' | 'count' | 'durationMs' | 'enumWords' | 'short' | 'span' | 'timeMs';
const handler = consoleHandler();
const server = createServer((request, response) => {
  if (!handler(request, response)) response.writeHead(404).end('left alone');
});
let origin = '';

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

test('serves every file of the page with its type, and the page itself under /', async () => {
  const names = await readdir(folder);
  expect(names.sort()).toEqual([
    'app.js',
    'calls.js',
    'dom.js',
    'drift-views.js',
    'icon.svg',
    'index.html',
    'style.css',
    'views.js',
    'words.js',
  ]);
  for (const name of [...names, '']) {
    const response = await fetch(`${origin}/${name}`);
    expect(response.status, name).toBe(200);
    expect(await response.text()).toBe(await readFile(new URL(name || 'index.html', folder), 'utf8'));
  }
  expect((await fetch(`${origin}/`)).headers.get('content-type')).toBe('text/html; charset=utf-8');
  expect((await fetch(`${origin}/app.js`)).headers.get('content-type')).toBe('text/javascript; charset=utf-8');
});

test('allows the page its own files and calls and nothing else, on every answer', async () => {
  for (const init of [{}, { method: 'DELETE' }, { headers: { 'if-none-match': '*' } }]) {
    const { headers } = await fetch(`${origin}/`, init);
    const policy = headers.get('content-security-policy')!;
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*|data:/);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
  }
});

test('answers a page that did not change without a body, refuses to be written to, and leaves the rest alone', async () => {
  const first = await fetch(`${origin}/style.css`);
  const etag = first.headers.get('etag')!;
  expect(first.headers.get('cache-control')).toBe('no-cache');
  expect((await fetch(`${origin}/style.css`, { headers: { 'if-none-match': `W/${etag}, "other"` } })).status).toBe(304);
  expect((await fetch(`${origin}/style.css`, { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
  expect((await fetch(`${origin}/`, { method: 'POST' })).status).toBe(405);
  const head = await fetch(`${origin}/`, { method: 'HEAD' });
  expect([head.status, await head.text()]).toEqual([200, '']);
  for (const path of [
    '/trueup.v1.HealthService/GetStatus',
    '/../package.json',
    '/%2e%2e/package.json',
    '/app.js/',
    '//app.js',
  ]) {
    expect((await fetch(origin + path)).status, path).toBe(404);
  }
  expect((await fetch(`${origin}/?a=b`)).status).toBe(200);
});

test('has no script, style or handler inside its markup, and makes no markup out of answers', async () => {
  const html = await readFile(new URL('index.html', folder), 'utf8');
  expect(html).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:/i);
  for (const name of ['app.js', 'calls.js', 'dom.js', 'drift-views.js', 'views.js', 'words.js']) {
    const script = await readFile(new URL(name, folder), 'utf8');
    expect(script, name).not.toMatch(
      /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.style\b/,
    );
  }
});

test('writes what is not known as unknown, and numbers as they are', () => {
  const { amount, assetName, count, durationMs, enumWords, short, span, timeMs } = words;
  expect([count(undefined), count(undefined, 'unknown'), count('28133902'), count(-1234)]).toEqual([
    '0',
    'unknown',
    '28,133,902',
    '-1,234',
  ]);
  expect([span(null), span(0), span(742_000), span(90_061_000)]).toEqual(['unknown', '0s', '12m 22s', '1d 1h']);
  expect([amount(undefined), amount({}), amount({ amountMinor: '5' }), amount({ amount: '-1234567.5000000' })]).toEqual(
    ['unknown', 'unknown', '5 minor', '-1,234,567.5000000'],
  );
  expect([
    enumWords(undefined, 'X_'),
    enumWords('SYNC_STATUS_UNSPECIFIED', 'SYNC_STATUS_'),
    enumWords('SYNC_STATUS_CATCHING_UP', 'SYNC_STATUS_'),
  ]).toEqual(['unknown', 'unknown', 'catching up']);
  expect([timeMs(undefined), timeMs('nonsense'), timeMs('1970-01-01T00:00:01Z')]).toEqual([null, null, 1000]);
  expect([durationMs(undefined), durationMs('742.5s'), durationMs('5m')]).toEqual([null, 742_500, null]);
  expect([assetName('native'), assetName('USDX:GABC'), assetName(undefined)]).toEqual(['XLM', 'USDX', '']);
  expect(short(`${'0f'.repeat(32)}:1`)).toBe('0f0f…0f0f:1');
});
