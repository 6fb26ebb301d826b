// Goal: trueup.yaml says exactly what is compared, and a key that we don't know never silently means nothing.
// Method: YAML texts in, policies or problems out.
import { expect, test } from 'vitest';
import { POLICY_DEFAULTS } from '../../src/core/policy.ts';
import { parseConfigFile } from '../../src/config/policies.ts';
import { Problems } from '../../src/config/problems.ts';

const FALLBACKS = { windowHours: 12, intervalMs: 60_000 };
const ACCOUNT = 'GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ';

function parse(yaml: string) {
  const problems = new Problems();
  const file = parseConfigFile('trueup.yaml', yaml, FALLBACKS, problems);
  problems.throwIfAny();
  return file.policies;
}

test('a policy of two lines takes the defaults, its window and interval from the environment', () => {
  expect(parse('policies:\n  - name: vault\n    level: entries\n')).toEqual([
    {
      ...POLICY_DEFAULTS,
      name: 'vault',
      level: 'entries',
      windowHours: 12,
      schedule: { enabled: true, intervalMs: 60_000 },
    },
  ]);
});

test('every key is read, durations in all their units', () => {
  const [policy] = parse(`
policies:
  - name: payouts
    level: entries
    book: postgres
    layer: token_events
    join: tx_hash
    scope: { accounts: [${ACCOUNT}], assets: [XLM], kinds: [payment, fee] }
    status_map: { Paid_Out: success }
    time_tolerance: 30s
    grace: { missing_in_db: 1m, missing_on_ledger: 500ms }
    window: 2d
    lookaround: 90000
    book_max_lateness: 1h
    schedule: { enabled: false, interval: 10m }
`);
  expect(policy).toMatchObject({
    book: { kind: 'postgres' },
    layer: 'token_events',
    join: 'tx_hash',
    scope: { accounts: [ACCOUNT], assets: ['native'], kinds: ['payment', 'fee'] },
    timeToleranceMs: 30_000,
    grace: { missingInDbMs: 60_000, missingOnLedgerMs: 500 },
    windowHours: 48,
    lookaroundMs: 90_000,
    bookMaxLatenessMs: 3_600_000,
    schedule: { enabled: false, intervalMs: 600_000 },
  });
  expect(policy!.statusMap['paid_out']).toBe('success');
  expect(policy!.statusMap['completed']).toBe('success');
});

test('an unknown key is refused with its path and the key that was meant', () => {
  expect(() => parse('policies:\n  - name: a\n    level: entries\n    grace: { missing_in_bd: 5m }\n')).toThrow(
    /policies\[0\]\.grace .*missing_in_bd.*Did you mean missing_in_db\?/,
  );
  expect(() => parse('polices: []\n')).toThrow(/polices.*Did you mean policies\?/);
});

test('all that is wrong in the file is named at once', () => {
  const yaml =
    'policies:\n  - { name: A B, level: both, window: soon }\n  - { name: b, level: entries, join: magic, scope: { accounts: [GABC] } }\n';
  expect(() => parse(yaml)).toThrow(/5 settings are wrong/);
});

test('a broken file, an empty one, a doubled name and a doubled key are refused', () => {
  expect(() => parse('policies: [')).toThrow(/trueup\.yaml:\d+:\d+ is not valid YAML/);
  expect(() => parse('')).toThrow(/policies/);
  expect(() => parse('policies:\n  - {name: a, level: entries}\n  - {name: a, level: balances}\n')).toThrow(
    /two policies named a/,
  );
  expect(() => parse('policies: []\npolicies: []\n')).toThrow(/unique/);
});

test('an interval that would overflow a timer, or hammer a source, is refused', () => {
  for (const interval of ['0', '1ms', '30d']) {
    expect(
      () => parse(`policies:\n  - {name: a, level: entries, schedule: {interval: ${interval}}}\n`),
      interval,
    ).toThrow(/outside/);
  }
});
