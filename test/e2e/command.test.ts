// Goal: the `trueup` command does what its help says against the real service: exit codes, JSON lines, and messages that name the line.
// Method: the real launcher as a child, one service on the sandbox.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { castOf } from '../../src/sources/sandbox/cast.ts';
import { type RunningApp, soon, startApp, trueup } from '../_util/app.ts';

const EXIT = { ok: 0, failed: 1, drift: 3, unreachable: 5 } as const;
const folder = mkdtempSync(join(tmpdir(), 'trueup-command-'));
const [vault] = castOf('1').vaults;
let app: RunningApp;
beforeAll(async () => {
  app = await startApp({ LEDGER_RECONCILIATION_ENABLED: 'false' });
  await soon(
    async () => expect(Number((await app.client.health.getStatus({})).streams[0]?.lagLedgers ?? 99)).toBeLessThan(3),
    30_000,
  );
  // The book keeper writes what a business has by now.
  await soon(async () =>
    expect((await app.client.reconciliation.listEntries({ side: 2, pageSize: 1 })).bookRows).toHaveLength(1),
  );
});
afterAll(async () => {
  await app?.close();
  rmSync(folder, { recursive: true, force: true });
});

const ask = (...args: string[]) => trueup(args, { TRUEUP_SERVER: app.grpc });
const lines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

it('status: one object, and words for people', async () => {
  const { code, out } = await ask('status', '--json');
  expect(code).toBe(EXIT.ok);
  expect(lines(out)).toMatchObject([
    { sandbox: true, healthy: true, streams: [{ syncStatus: expect.stringMatching(/SYNCED|CATCHING_UP/) }] },
  ]);
  expect((await ask('status')).out).toContain('SANDBOX');
});

it('policies: a line each', async () => {
  const { code, out } = await ask('policies', '--json');
  expect(code).toBe(EXIT.ok);
  expect(lines(out).map(({ name }) => name)).toEqual(['default', 'default-balances']);
});

it('reconcile --wait: the verdict, and exit code 3 for drift', async () => {
  const json = await ask('reconcile', '--wait', '--json');
  expect(json.code, json.err).toBe(EXIT.drift);
  expect(lines(json.out)).toMatchObject([
    { verdict: 'VERDICT_DRIFT_DETECTED', policy: 'default', sandbox: true, counts: { driftedCount: '5' } },
  ]);
  const words = await ask('reconcile', '--wait');
  expect(words.code).toBe(EXIT.drift);
  expect(words.out).toMatch(/DRIFT/);
});

it('drifts: a line each, and a page of words', async () => {
  const { code, out } = await ask('drifts', '--json');
  expect(code).toBe(EXIT.ok);
  expect(lines(out)).toHaveLength(5);
  expect((await ask('drifts')).out).toMatch(/MISSING_IN_DB|missing in/i);
});

it('entries: as many as asked for, over pages, of one account', async () => {
  const { code, out } = await ask('entries', '--json', '--limit', '450', '--account', vault!);
  expect(code).toBe(EXIT.ok);
  const entries = lines(out);
  expect(entries).toHaveLength(450);
  expect(new Set(entries.map(({ account }) => account))).toEqual(new Set([vault]));
  expect(new Set(entries.map(({ id, entryId }) => id ?? entryId)).size).toBe(450);
});

it('gaps: none before the ledger that is being read, said in words and as no line', async () => {
  const { layers } = (await app.client.health.getStatus({})).streams[0]!;
  const range = ['--from', String(layers[0]!.contiguousFrom), '--to', String(layers[0]!.contiguousThrough)];
  expect(await ask('gaps', ...range)).toMatchObject({ code: EXIT.ok, out: 'no gaps\n' });
  expect(await ask('gaps', '--json', ...range)).toMatchObject({ code: EXIT.ok, out: '' });
});

it('import book: a bad file changes nothing and names every bad line', async () => {
  const bad = file(
    'bad.csv',
    `key,account,asset,amount\n${'ab'.repeat(32)}:1,${vault},native,1.5\n${'cd'.repeat(32)}:1,${vault},native,1.23456789\n${'ef'.repeat(32)}:1,NOBODY,native,x\n`,
  );
  const words = await ask('import', 'book', bad, '--book', 'other');
  expect(words.code).toBe(EXIT.failed);
  expect(words.out).toMatch(/^ +3 +amount/m);
  expect(words.out).toMatch(/^ +4 +account/m);
  expect(words.out).toContain('nothing was recorded');
  const json = await ask('import', 'book', bad, '--book', 'other', '--json');
  expect(lines(json.out)[0]).toMatchObject({
    state: expect.stringMatching(/FAILED|REJECTED/),
    errors: expect.arrayContaining([expect.objectContaining({ line: '3', column: 'amount' })]),
  });
  const rows = await ask('entries', '--book', 'other', '--json');
  expect(rows.out).toBe('');
});

it('import book: a good file is counted, and again it is nothing new', async () => {
  const good = file(
    'good.csv',
    `key,account,asset,amount\n${'ab'.repeat(32)}:1,${vault},native,1.5\n${'cd'.repeat(32)}:1,${vault},native,-2.25\n`,
  );
  const first = await ask('import', 'book', good, '--book', 'other', '--json');
  expect(first.code, first.err).toBe(EXIT.ok);
  expect(lines(first.out)[0]).toMatchObject({ insertedCount: '2', fileName: 'good.csv' });
  const again = await ask('import', 'book', good, '--book', 'other', '--json');
  expect(lines(again.out)[0]).toMatchObject({ unchangedCount: '2' });
  expect(lines((await ask('entries', '--book', 'other', '--json')).out)).toHaveLength(2);
});

it('says where to look when there is no server, and which policies there are', async () => {
  const none = await trueup(['status', '--server', '127.0.0.1:1', '--timeout', '2']);
  expect(none.code).toBe(EXIT.unreachable);
  expect(none.err).toContain('trueup serve');
  const unknown = await ask('reconcile', '--policy', 'nope');
  expect(unknown.code).toBe(EXIT.failed);
  expect(unknown.err).toMatch(/POLICY_NOT_FOUND.*default/s);
});
