// Goal: a side points to something that is there, and its URL is known to nobody who isn't asked to connect.
// Method: plain objects for the environment and for files; no process, no disk.
import { expect, test } from 'vitest';
import { readConfig } from '../../src/config/read-config.ts';
import { secretValues } from '../../src/config/secret-values.ts';

const URL_OF_THEIRS = 'postgresql://reader:s3cret-word@db.example:5432/theirs';

function read(sides: string, env: Record<string, string> = {}, more: Record<string, string> = {}) {
  const policy = 'policies: [{ name: a, level: entries, ledger: theirs, book: rows }]';
  const files: Record<string, string> = { '/srv/trueup.yaml': `sides:\n${sides}\n${policy}\n`, ...more };
  return readConfig(env, {
    cwd: '/srv',
    readFile(path) {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error(`ENOENT: no such file ${path}`), { code: 'ENOENT' });
      return text;
    },
  });
}

const ROWS = '  rows: { kind: file, path: data/rows.ndjson }';

test('a table and a file are found, the URL only among the secrets', () => {
  const theirs = '  theirs: { kind: postgres, url_env: THEIR_URL, query_file: theirs.sql, immutable: true }';
  const config = read(`${theirs}\n${ROWS}`, { THEIR_URL: URL_OF_THEIRS }, { '/srv/theirs.sql': 'select * from paid' });
  const { secrets, ...shown } = config;
  expect(config.reconciliation.sides).toEqual({
    theirs: { kind: 'postgres', query: 'select * from paid', immutable: true },
    rows: { kind: 'file', path: '/srv/data/rows.ndjson', format: 'jsonl' },
  });
  expect(secrets.sideUrls).toEqual({ theirs: URL_OF_THEIRS });
  expect(JSON.stringify(shown)).not.toContain('s3cret-word');
  expect(secretValues(secrets)).toEqual(expect.arrayContaining([URL_OF_THEIRS, 's3cret-word']));
});

test('what is not there is refused by name, and no URL is repeated', () => {
  const table = (more: string): string => `  theirs: { kind: postgres, url_env: THEIR_URL, ${more} }\n${ROWS}`;
  expect(() => read(table('query: select 1'))).toThrow(/sides\.theirs names THEIR_URL, which is unset/);
  const wrong = { THEIR_URL: 'mysql://u:s3cret-word@host/x' };
  expect(() => read(table('query: select 1'), wrong)).toThrow(/no postgresql:\/\/ URL/);
  expect(() => read(table('query: select 1'), wrong)).not.toThrow(/s3cret-word/);
  const right = { THEIR_URL: URL_OF_THEIRS };
  expect(() => read(table('query: select 1, query_file: a.sql'), right)).toThrow(/exactly one of query and query_file/);
  expect(() => read(table('query_file: gone.sql'), right)).toThrow(/gone\.sql.*can't be read/);
  expect(() => read(table('query: " "'), right)).toThrow(/empty query/);
  expect(() => read('  theirs: { kind: file, path: rows.txt }\n' + ROWS)).toThrow(/tells no format/);
  expect(() => read(`  theirs: { kind: postgres, url_env: TRUEUP_X, query: select 1 }\n${ROWS}`)).toThrow(/TRUEUP_/);
});
