// Goal: TrueUp starts only on settings that mean something, and says everything that is wrong at once, without secrets.
// Method: plain objects for the environment and for files; no process, no disk.
import { expect, test, describe } from 'vitest';
import { TrueUpError } from '../../src/core/errors.ts';
import { CONFIGURED_SOURCE_KINDS, SANDBOX_FAULTS } from '../../src/config/config.ts';
import { describeConfig } from '../../src/config/describe-config.ts';
import { readConfig } from '../../src/config/read-config.ts';
import { VARIABLES } from '../../src/config/variables.ts';
import type { Variable } from '../../src/config/variables.ts';
import { faultsNamed } from '../../src/sources/sandbox/faults.ts';
import { SOURCE_KINDS } from '../../src/sources/source.ts';

const ACCOUNT = 'GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ';
const MUXED = 'MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVAAAAAAAAAAAAAJLK';
const CONTRACT = 'CA3D5KRYM6CB7OWQ6TWYRR3Z4T7GNZLKERYNZGGA5SOAOPIFY6YQGAXE';
const SEED = `S${'A'.repeat(55)}`;
const HORIZON = { STELLAR_HORIZON_URL: 'https://horizon.example', TRUEUP_WATCH_ACCOUNTS: ACCOUNT };

function read(env: Record<string, string>, files: Record<string, string> = {}) {
  return readConfig(env, {
    cwd: '/srv/trueup',
    readFile(path) {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error(`ENOENT: no such file ${path}`), { code: 'ENOENT' });
      return text;
    },
  });
}

function refusal(env: Record<string, string>, files?: Record<string, string>): TrueUpError {
  try {
    read(env, files);
  } catch (error) {
    expect(error).toBeInstanceOf(TrueUpError);
    expect((error as TrueUpError).reason).toBe('INVALID_CONFIGURATION');
    return error as TrueUpError;
  }
  throw new Error('the settings were accepted');
}

const fieldsOf = (error: TrueUpError) => (error.details.fields ?? []).map(({ field }) => field).sort();

test('an empty environment is the sandbox on loopback with an embedded database, everything watched', () => {
  const config = read({ PATH: '/usr/bin', SOMETHING_ELSE: 'ignored' });
  expect(config.source.kind).toBe('sandbox');
  expect(config.source.watch.everything).toBe(true);
  expect(config.database.kind).toBe('embedded');
  expect(config.service.dataDir).toBe('/srv/trueup/.trueup');
  expect(config.serving).toMatchObject({
    grpc: { host: '127.0.0.1', port: 50051 },
    http: { host: '127.0.0.1', port: 8080 },
    metrics: { host: '127.0.0.1', port: 9464 },
    tls: null,
    tokensFile: null,
  });
  expect(config.warnings).toEqual([]);
  expect(
    config.reconciliation.policies.map(({ name, level, schedule, book }) => ({ name, level, schedule, book })),
  ).toEqual([
    {
      name: 'default',
      level: 'entries',
      schedule: { enabled: true, intervalMs: 300_000 },
      book: { kind: 'recorded', name: 'default' },
    },
    {
      name: 'default-balances',
      level: 'balances',
      schedule: { enabled: false, intervalMs: 300_000 },
      book: { kind: 'recorded', name: 'default' },
    },
  ]);
});

test('all bad variables are named at once, each with its value and a fix', () => {
  const error = refusal({
    POLL_INTERVAL_SECS: 'five',
    RPC_MAX_ATTEMPTS: '0',
    GRPC_BIND: '0.0.0.0:50051',
    METRICS_BIND: 'nowhere',
    LOG_LEVEL: 'loud',
    TRUEUP_WACH: 'all',
    TRUEUP_START_LEDGER: '10',
    TRUEUP_END_LEDGER: '9',
    TRUEUP_TLS_CERT_FILE: 'cert.pem',
  });
  expect(fieldsOf(error)).toEqual(
    [
      'GRPC_BIND',
      'LOG_LEVEL',
      'METRICS_BIND',
      'POLL_INTERVAL_SECS',
      'RPC_MAX_ATTEMPTS',
      'TRUEUP_END_LEDGER',
      'TRUEUP_TLS_KEY_FILE',
      'TRUEUP_WACH',
    ].sort(),
  );
  for (const { field } of error.details.fields!) expect(error.message).toContain(field);
  expect(error.message).toContain('"five"');
  expect(error.message).toContain('Did you mean TRUEUP_WATCH?');
  expect(error.message.match(/Fix: /g)).toHaveLength(8);
});

describe('A18: a number that is none, or out of range, stops the start', () => {
  const timers = Object.values<Variable>(VARIABLES).filter(({ unit }) => unit !== '' && unit !== 'ledger');
  test.each(timers.map(({ name }) => name))('%s', (name) => {
    for (const bad of ['abc', 'NaN', '-1', '1e3', '0x10', '99999999999999', 'Infinity', '5 s']) {
      expect(fieldsOf(refusal({ [name]: bad })), bad).toEqual([name]);
    }
  });
  test('an interval of 0, of 1 ms, and one that overflows the timer are refused', () => {
    for (const bad of ['0', '1', '2147483648']) {
      expect(fieldsOf(refusal({ LEDGER_RECONCILIATION_INTERVAL_MS: bad }))).toEqual([
        'LEDGER_RECONCILIATION_INTERVAL_MS',
      ]);
    }
    expect(read({ LEDGER_RECONCILIATION_INTERVAL_MS: '2147483647' }).reconciliation.intervalMs).toBe(2_147_483_647);
  });
});

test('the variables of the command are no typing mistakes in the environment of the service', () => {
  expect(read({ TRUEUP_SERVER: 'trueup.example:50051', TRUEUP_TOKEN: 'abc' }).source.kind).toBe('sandbox');
});

test('an empty variable counts as unset', () => {
  expect(read({ DATABASE_URL: '', STELLAR_RPC_URL: ' ', POLL_INTERVAL_SECS: '' }).source).toMatchObject({
    kind: 'sandbox',
    pollIntervalMs: 5000,
  });
});

test('LEDGER_RECONCILIATION_ENABLED is on unless the word is false, and an odd word is pointed out', () => {
  expect(read({ LEDGER_RECONCILIATION_ENABLED: 'false' }).reconciliation.enabled).toBe(false);
  expect(read({ LEDGER_RECONCILIATION_ENABLED: 'true' }).warnings).toEqual([]);
  const odd = read({ LEDGER_RECONCILIATION_ENABLED: '0' });
  expect(odd.reconciliation.enabled).toBe(true);
  expect(odd.warnings.join()).toContain('LEDGER_RECONCILIATION_ENABLED');
});

describe('the source', () => {
  test('is the one whose URL is set', () => {
    for (const [name, kind] of [
      ['STELLAR_ARCHIVE_URL', 'stellar-archive'],
      ['STELLAR_LAKE_URL', 'stellar-lake'],
      ['STELLAR_RPC_URL', 'stellar-rpc'],
      ['STELLAR_HORIZON_URL', 'stellar-horizon'],
    ] as const) {
      const config = read({ [name]: 'https://ledger.example/x', TRUEUP_WATCH: 'all' });
      expect(config.source.kind).toBe(kind);
      expect(config.secrets.sourceUrl).toBe('https://ledger.example/x');
    }
  });
  test('must be said when two URLs are set; the other URL is kept for a cross-check', () => {
    const both = { ...HORIZON, STELLAR_RPC_URL: 'https://rpc.example' };
    const error = refusal(both);
    expect(fieldsOf(error)).toEqual(['TRUEUP_SOURCE']);
    expect(error.message).toContain('STELLAR_RPC_URL and STELLAR_HORIZON_URL');
    const config = read({ ...both, TRUEUP_SOURCE: 'rpc' });
    expect(config.source.kind).toBe('stellar-rpc');
    expect(config.secrets.otherSourceUrls).toEqual({ 'stellar-horizon': ['https://horizon.example'] });
  });
  test('may have several URLs of one kind: the first is followed, the others are fallbacks before those of other kinds', () => {
    const config = read({
      ...HORIZON,
      TRUEUP_SOURCE: 'rpc',
      TRUEUP_SOURCE_FALLBACKS: 'horizon',
      STELLAR_RPC_URL:
        'https://one.example/key-one-1234567890, https://two.example,https://one.example/key-one-1234567890',
    });
    expect(config.secrets.sourceUrl).toBe('https://one.example/key-one-1234567890');
    expect(config.secrets.otherSourceUrls).toEqual({
      'stellar-rpc': ['https://two.example'],
      'stellar-horizon': ['https://horizon.example'],
    });
    expect(config.source.fallbacks).toEqual(['stellar-rpc', 'stellar-horizon']);
    const shown = describeConfig(config).find(({ name }) => name === 'STELLAR_RPC_URL');
    expect(shown?.value).toBe('https://one.example, https://two.example, https://one.example');
    expect(fieldsOf(refusal({ ...HORIZON, STELLAR_HORIZON_URL: 'https://a.example,b.example' }))).toEqual([
      'STELLAR_HORIZON_URL',
    ]);
  });
  test('is never the sandbox by default when a database or a book is configured', () => {
    expect(refusal({ DATABASE_URL: 'postgres://db/x' }).message).toContain('TRUEUP_SOURCE=sandbox');
    expect(
      fieldsOf(
        refusal(
          { TRUEUP_BOOK_URL: 'postgres://db/x', TRUEUP_BOOK_QUERY_FILE: 'q.sql' },
          { '/srv/trueup/q.sql': 'select 1' },
        ),
      ),
    ).toEqual(['TRUEUP_SOURCE']);
    expect(read({ DATABASE_URL: 'postgres://db/x', TRUEUP_SOURCE: 'sandbox' }).source.kind).toBe('sandbox');
  });
  test('needs its URL, and no complaint is made of what a bad URL would have settled', () => {
    expect(fieldsOf(refusal({ TRUEUP_SOURCE: 'stellar-rpc', TRUEUP_WATCH: 'all' }))).toEqual(['STELLAR_RPC_URL']);
    expect(fieldsOf(refusal({ STELLAR_RPC_URL: 'rpc.example', DATABASE_URL: 'postgres://db/x' }))).toEqual([
      'STELLAR_RPC_URL',
    ]);
  });
  test('takes pubnet and testnet for their passphrases', () => {
    expect(read({ ...HORIZON, STELLAR_NETWORK_PASSPHRASE: 'testnet' }).source.networkPassphrase).toBe(
      'Test SDF Network ; September 2015',
    );
    expect(read({ ...HORIZON, STELLAR_NETWORK_PASSPHRASE: 'Our Own ; 2026' }).source.networkPassphrase).toBe(
      'Our Own ; 2026',
    );
    expect(read(HORIZON).source.networkPassphrase).toBeNull();
  });
  test('is one of the kinds that sources implement', () => {
    expect([...CONFIGURED_SOURCE_KINDS]).toEqual([...SOURCE_KINDS]);
  });
});

test('every fault that may be named is one that the sandbox plays, and others are refused', () => {
  for (const fault of SANDBOX_FAULTS) expect(Object.keys(faultsNamed([fault], 1)), fault).not.toEqual([]);
  expect(read({ TRUEUP_SANDBOX_FAULTS: 'gap, lag,gap' }).source.sandbox.faults).toEqual(['gap', 'lag']);
  expect(refusal({ TRUEUP_SANDBOX_FAULTS: 'gap,flood' }).message).toContain('item flood');
});

describe('the watch', () => {
  test('a real network with no watch refuses to start', () => {
    expect(refusal({ STELLAR_RPC_URL: 'https://rpc.example' }).message).toContain('TRUEUP_WATCH=all');
  });
  test('takes lists under both names', () => {
    const config = read({
      STELLAR_RPC_URL: 'https://rpc.example',
      VAULT_PUBLIC_ADDRESS: ACCOUNT,
      VAULT_CONTRACT_ID: CONTRACT,
    });
    expect(config.source.watch).toEqual({ everything: false, accounts: [ACCOUNT], contracts: [CONTRACT] });
  });
  test('refuses mistyped ids, muxed accounts, ids in the wrong list, and all beside a list', () => {
    const rpc = { STELLAR_RPC_URL: 'https://rpc.example' };
    expect(refusal({ ...rpc, TRUEUP_WATCH_ACCOUNTS: `${ACCOUNT},${ACCOUNT.replace('Q', 'R')}` }).message).toContain(
      'checksum',
    );
    expect(refusal({ ...rpc, TRUEUP_WATCH_ACCOUNTS: MUXED }).message).toContain('muxed');
    expect(refusal({ ...rpc, TRUEUP_WATCH_ACCOUNTS: CONTRACT }).message).toContain('TRUEUP_WATCH_CONTRACTS');
    expect(fieldsOf(refusal({ ...HORIZON, TRUEUP_WATCH: 'all' }))).toEqual(['TRUEUP_WATCH']);
  });
  test('a pasted secret seed is refused without being shown', () => {
    const error = refusal({ ...HORIZON, TRUEUP_WATCH_ACCOUNTS: SEED });
    expect(JSON.stringify([error.message, error.details])).not.toContain('SAAAA');
  });
});

test('without tokens every port but metrics binds loopback only', () => {
  expect(fieldsOf(refusal({ GRPC_BIND: '0.0.0.0:1', HTTP_BIND: '[::]:2', METRICS_BIND: '0.0.0.0:3' }))).toEqual([
    'GRPC_BIND',
    'HTTP_BIND',
  ]);
  expect(read({ GRPC_BIND: 'localhost:0', HTTP_BIND: '[::1]:0', BIND_ADDR: '0.0.0.0:3000' }).serving.metrics).toEqual({
    host: '0.0.0.0',
    port: 3000,
  });
  const open = read({ GRPC_BIND: '0.0.0.0:1', TRUEUP_TOKENS_FILE: 'tokens' }, { '/srv/trueup/tokens': '' });
  expect(open.serving.tokensFile).toBe('/srv/trueup/tokens');
  expect(open.warnings.join()).toContain('cleartext');
  expect(fieldsOf(refusal({ GRPC_BIND: '0.0.0.0:1', TRUEUP_TOKENS_FILE: 'gone' }))).toEqual(['TRUEUP_TOKENS_FILE']);
});

test('binds that are no host:port are refused', () => {
  for (const bad of ['50051', ':50051', '127.0.0.256:1', '127.0.0.1:65536', '::1:80', 'a b:1', 'http://x:1']) {
    expect(fieldsOf(refusal({ GRPC_BIND: bad })), bad).toEqual(['GRPC_BIND']);
  }
});

test('the book needs its URL and its query together, and default policies then read it', () => {
  const files = { '/srv/trueup/q.sql': 'select 1' };
  expect(fieldsOf(refusal({ ...HORIZON, TRUEUP_BOOK_URL: 'postgres://b/x' }))).toEqual(['TRUEUP_BOOK_QUERY_FILE']);
  expect(fieldsOf(refusal({ ...HORIZON, TRUEUP_BOOK_QUERY_FILE: 'q.sql' }, files))).toEqual(['TRUEUP_BOOK_URL']);
  const config = read({ ...HORIZON, TRUEUP_BOOK_URL: 'postgres://b/x', TRUEUP_BOOK_QUERY_FILE: 'q.sql' }, files);
  expect(config.book).toEqual({ queryFile: '/srv/trueup/q.sql', query: 'select 1' });
  expect(config.reconciliation.policies.map(({ book }) => book.kind)).toEqual(['postgres', 'postgres']);
});

test('A16: secrets are neither in errors nor in diagnostics, not by four characters', () => {
  const secret = 'hunter2hunter2';
  const env = {
    ...HORIZON,
    STELLAR_HORIZON_URL: `https://user:${secret}@horizon.example/${secret}?key=${secret}`,
    DATABASE_URL: `postgres://trueup:${secret}@db/trueup`,
    SLACK_WEBHOOK_URL: `https://hooks.example/${secret}`,
  };
  const config = read(env);
  const shown = JSON.stringify(describeConfig(config));
  expect(shown).not.toContain('hunt');
  expect(shown).toContain('https://horizon.example');
  expect(config.secrets.alertWebhookUrl).toContain(secret);
  const entry = describeConfig(config).find(({ name }) => name === 'DATABASE_URL');
  expect(entry).toEqual({ name: 'DATABASE_URL', value: null, redacted: true, origin: 'environment' });
  const error = refusal({
    ...env,
    DATABASE_URL: `mysql://trueup:${secret}@db/x`,
    STELLAR_HORIZON_URL: `htps://${secret}`,
    TRUEUP_TOKN: secret,
  });
  expect(fieldsOf(error)).toEqual(['DATABASE_URL', 'STELLAR_HORIZON_URL', 'TRUEUP_TOKN']);
  expect(JSON.stringify([error.message, error.details])).not.toContain('hunt');
});
