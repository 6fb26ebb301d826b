// Goal: an auditor with a folder and no server gets the right answer, and the same one from two verifiers that share no code. Method: bundles
// on disk, damaged in each way there is; `trueup verify` in this process, and docs/verify-evidence.sh with the machine's own openssl.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ringDocument } from '../../src/core/key-ring.ts';
import { BIN } from '../_util/app.ts';
import { contentOf, logOf, manifestOf, newKey, ringOf } from '../_util/evidence-samples.ts';
import { jsonLines, terminal, trueup } from '../cli/terminal.ts';

const SCRIPT = fileURLToPath(new URL('../../docs/verify-evidence.sh', import.meta.url));
const CODES = { match: 0, altered: 10, missing: 11, gap: 12, empty: 13, unknown_key: 14, unverifiable: 15 } as const;

const key = newKey();
const root = mkdtempSync(join(tmpdir(), 'trueup-verify-'));
const keyFile = join(root, 'key.pem');
const strangerFile = join(root, 'stranger.pem');
const rows = Buffer.from('ledger,amount\n1,10\n2,20\n3,30\n');
const manifests = [
  manifestOf(0, contentOf([rows])),
  manifestOf(1, contentOf([rows, Buffer.from('4,40\n')])),
  manifestOf(2, contentOf([rows], { rowCount: 0 })),
  manifestOf(3, contentOf([rows], { coverage: [{ ...contentOf([rows]).coverage[0]!, complete: false }] })),
  ...Array.from({ length: 9 }, (_, i) => manifestOf(4 + i, contentOf([rows]))),
];
const log = logOf(manifests, key);

beforeAll(() => {
  writeFileSync(keyFile, key.pem);
  writeFileSync(strangerFile, newKey().pem);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A bundle as `trueup manifests bundle` writes it. */
function bundle(number = 0): string {
  const folder = mkdtempSync(join(root, 'bundle-'));
  const manifest = manifests[number]!;
  writeFileSync(join(folder, 'manifest.dsse.json'), log.envelopes[number]!);
  writeFileSync(join(folder, 'checkpoint'), log.checkpoint);
  writeFileSync(join(folder, 'proof.json'), log.proof(number));
  writeFileSync(join(folder, 'keys.json'), JSON.stringify(ringDocument(ringOf(key))));
  if (manifest.content.parts.length === 1) writeFileSync(join(folder, manifest.fileName), rows);
  else
    ['.0001', '.0002'].forEach((ending, i) =>
      writeFileSync(join(folder, manifest.fileName + ending), i === 0 ? rows : Buffer.from('4,40\n')),
    );
  return folder;
}

const verify = async (path: string, ...flags: string[]) => (await trueup(['verify', path, ...flags], terminal())).code;
const shell = (folder: string, pem = keyFile) => spawnSync('sh', [SCRIPT, folder, pem], { encoding: 'utf8' });
/** Both verifiers' answer; they must have the same. */
async function both(folder: string, pem = keyFile): Promise<number> {
  const code = await verify(folder, '--key', pem);
  const other = shell(folder, pem);
  expect([other.status, other.stderr], other.stdout).toEqual([code, '']);
  return code;
}
const flip = (path: string, offset: number): void => {
  const bytes = readFileSync(path);
  bytes[offset]! ^= 1 << (offset % 8);
  writeFileSync(path, bytes);
};

/** The parts of the second bundle as one file. */
const inOne = (name: string, more: string) => (at: string) => {
  const parts = ['.0001', '.0002'].map((ending) => join(at, `entries-1.csv${ending}`));
  writeFileSync(join(at, name), Buffer.concat([...parts.map((path) => readFileSync(path)), Buffer.from(more)]));
  for (const path of parts) rmSync(path);
};

describe('trueup verify and the shell script', () => {
  it.each([0, 1, 7, 12])('match a bundle as it is written, leaf %i', async (number) => {
    expect(await both(bundle(number))).toBe(CODES.match);
  });

  it.each(['manifest.dsse.json', 'checkpoint', 'proof.json', 'entries-0.csv'])(
    'find a flipped bit in %s at offsets all over it',
    async (name) => {
      const folder = bundle();
      const path = join(folder, name);
      const bytes = readFileSync(path);
      const step = Math.max(1, Math.floor(bytes.length / 5));
      for (let offset = 0; offset < bytes.length; offset += step) {
        flip(path, offset);
        expect([offset, await both(folder)]).toEqual([offset, CODES.altered]);
        writeFileSync(path, bytes);
      }
    },
  );

  it.each([
    ['an artifact that is gone', 0, (at: string) => rmSync(join(at, 'entries-0.csv')), CODES.missing],
    ['one part that is gone', 1, (at: string) => rmSync(join(at, 'entries-1.csv.0002')), CODES.missing],
    ['ledgers that were not covered', 3, () => {}, CODES.gap],
    ['an export without a row', 2, () => {}, CODES.empty],
    ['a folder without a manifest', 0, (at: string) => rmSync(join(at, 'manifest.dsse.json')), CODES.empty],
    ['a manifest that is not sealed yet', 0, (at: string) => rmSync(join(at, 'proof.json')), CODES.unverifiable],
    ['no checkpoint', 0, (at: string) => rmSync(join(at, 'checkpoint')), CODES.unverifiable],
    [
      'a proof of another manifest',
      0,
      (at: string) => writeFileSync(join(at, 'proof.json'), log.proof(5)),
      CODES.altered,
    ],
    [
      'an artifact cut short',
      0,
      (at: string) => writeFileSync(join(at, 'entries-0.csv'), rows.subarray(0, 9)),
      CODES.altered,
    ],
    ['a line too many', 0, (at: string) => writeFileSync(join(at, 'proof.json'), `${log.proof(0)}\n`), CODES.altered],
    [
      'an artifact of parts that was changed after it was downloaded as one',
      1,
      inOne('entries-1.csv', '9'),
      CODES.altered,
    ],
    ['one that was not', 1, inOne('renamed.csv', ''), CODES.match],
  ] as const)('have a code of its own for %s', async (_, number, damage, code) => {
    const folder = bundle(number);
    damage(folder);
    expect(await both(folder)).toBe(code);
  });

  it('take no signature of a key that they were not given', async () => {
    expect(await both(bundle(), strangerFile)).toBe(CODES.unknown_key);
  });

  it('find a file that was renamed or moved within the folder', async () => {
    const folder = bundle();
    mkdirSync(join(folder, 'elsewhere'));
    renameSync(join(folder, 'entries-0.csv'), join(folder, 'elsewhere', 'q3 final (2).csv'));
    expect(await both(folder)).toBe(CODES.match);
  });
});

describe('trueup verify', () => {
  it('says whose keys were believed when none was given, and names what it looked at', async () => {
    const folder = bundle();
    const { code, out } = await trueup(['verify', folder], terminal());
    expect(code).toBe(CODES.match);
    expect(out).toContain('keys lay in the folder itself');
    expect(out).toContain(manifests[0]!.manifestId);
    const json = jsonLines((await trueup(['verify', folder, '--json', '--key', keyFile], terminal())).out);
    expect(json.at(-1)).toEqual({ outcome: 'match', exitCode: 0, items: 1, trust: 'given' });
    expect(json[0]).toMatchObject({ manifestId: manifests[0]!.manifestId, outcome: 'match' });
  });

  it('answers for a single file: by its bytes, by its name, or that nothing vouches for it', async () => {
    const folder = bundle();
    const file = join(folder, 'entries-0.csv');
    expect(await verify(file)).toBe(CODES.match);
    expect(await verify(join(folder, 'manifest.dsse.json'))).toBe(CODES.match);
    const away = mkdtempSync(join(root, 'away-'));
    cpSync(file, join(away, 'x.csv'));
    expect(await verify(join(away, 'x.csv'))).toBe(CODES.unverifiable);
    expect(await verify(join(away, 'x.csv'), '--evidence', folder)).toBe(CODES.match);
    flip(file, 3);
    expect(await verify(file)).toBe(CODES.altered);
  });

  it('verifies several bundles at once, and answers with the worst', async () => {
    const folder = mkdtempSync(join(root, 'several-'));
    [0, 4, 5].forEach((number) => cpSync(bundle(number), join(folder, String(number)), { recursive: true }));
    expect(await verify(folder, '--key', keyFile)).toBe(CODES.match);
    rmSync(join(folder, '4', 'entries-4.csv'));
    // The same bytes lie elsewhere in the folder; what is asked for are the bytes.
    expect(await verify(folder, '--key', keyFile)).toBe(CODES.match);
    flip(join(folder, '5', 'checkpoint'), 20);
    expect(await verify(folder, '--key', keyFile)).toBe(CODES.altered);
  });

  it('verifies a whole log, and names the manifests that are missing, doubled or out of order', async () => {
    const folder = mkdtempSync(join(root, 'log-'));
    const write = (envelopes: readonly Buffer[], lines: readonly Buffer[] = log.lines): void => {
      writeFileSync(join(folder, 'log.jsonl'), lines.map((line) => `${line}\n`).join(''));
      writeFileSync(join(folder, 'manifests.jsonl'), envelopes.map((each) => `${each}\n`).join(''));
      writeFileSync(join(folder, 'checkpoint'), log.checkpoint);
    };
    const ask = () => trueup(['verify', folder, '--key', keyFile], terminal());
    const { envelopes } = log;
    write(envelopes);
    expect(await ask()).toMatchObject({ code: CODES.match });
    write(envelopes.filter((_, i) => i !== 3 && i !== 8));
    expect(await ask()).toMatchObject({
      code: CODES.missing,
      out: expect.stringContaining(`2 missing: ${manifests[3]!.manifestId}, ${manifests[8]!.manifestId}`) as string,
    });
    write([...envelopes, envelopes[2]!]);
    expect(await ask()).toMatchObject({
      code: CODES.altered,
      out: expect.stringContaining(`1 handed in twice: ${manifests[2]!.manifestId}`) as string,
    });
    write(envelopes.with(1, envelopes[6]!).with(6, envelopes[1]!));
    expect(await ask()).toMatchObject({
      code: CODES.altered,
      out: expect.stringContaining(
        `2 out of order: ${manifests[6]!.manifestId}, ${manifests[1]!.manifestId}`,
      ) as string,
    });
    write(envelopes, log.lines.slice(0, -1));
    expect((await ask()).code).toBe(CODES.gap);
  });

  it('says what is wrong with a path or a key, as a usage error', async () => {
    expect(await verify(join(root, 'nowhere'))).toBe(2);
    writeFileSync(join(root, 'bad.pem'), 'no key');
    const { code, err } = await trueup(['verify', bundle(), '--key', join(root, 'bad.pem')], terminal());
    expect(code).toBe(1);
    expect(err).toContain('INVALID_CONFIGURATION');
  });

  it('opens no socket and asks for no name, as a process of its own', () => {
    const guard = join(root, 'guard.mjs');
    writeFileSync(
      guard,
      `import net from 'node:net'; import dns from 'node:dns'; import dgram from 'node:dgram'; import tls from 'node:tls'; import http2 from 'node:http2'; import { syncBuiltinESMExports } from 'node:module';
       const refuse = (what) => () => { process._rawDebug('NETWORK ' + what); process.abort(); };
       net.Socket.prototype.connect = refuse('connect'); net.Server.prototype.listen = refuse('listen');
       tls.connect = refuse('tls'); http2.connect = refuse('http2'); dgram.createSocket = refuse('udp');
       for (const name of ['lookup', 'resolve']) { dns[name] = refuse(name); dns.promises[name] = refuse(name); }
       globalThis.fetch = refuse('fetch'); syncBuiltinESMExports();`,
    );
    const run = (args: string[]) =>
      spawnSync(process.execPath, ['--import', guard, BIN, ...args], { encoding: 'utf8', cwd: root });
    const ran = run(['verify', bundle(), '--key', keyFile]);
    expect([ran.status, ran.stderr]).toEqual([CODES.match, '']);
    // The guard itself is no decoration: a verb that asks a server is stopped by it.
    expect(run(['status', '--server', '127.0.0.1:9']).stderr).toContain('NETWORK');
  });
});
