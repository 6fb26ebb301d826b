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

test('sides, fields, tolerances, the alert rule and exemptions are read, each in its own units', () => {
  const [policy] = parse(`
sides:
  processor: { kind: postgres, url_env: PROCESSOR_URL, query: select 1, immutable: true }
  export: { kind: file, path: ./rows.csv }
policies:
  - name: payouts
    level: entries
    ledger: processor
    book: export
    exact: [amount, asset, time]
    amount_tolerances: [{ asset: XLM, minor: "5" }, { basis_points: 10 }]
    alert: { threshold: 3, cooldown: 10m }
    exemptions:
      - { match: { account: ${ACCOUNT}, kind: MISSING_IN_DB }, reason: known, owner: us, expires: 2027-01-31 }
`);
  expect(policy).toMatchObject({
    ledger: { kind: 'external', name: 'processor', type: 'postgres', immutable: true },
    book: { kind: 'external', name: 'export', type: 'file', immutable: false },
    exact: ['amount', 'asset'],
    timeToleranceMs: 0,
    windowHours: null,
    amountTolerances: [
      { asset: 'native', minor: 5n, basisPoints: null },
      { asset: '*', minor: null, basisPoints: 10 },
    ],
    alert: { enabled: true, threshold: 3, cooldownMs: 600_000 },
    exemptions: [
      {
        match: { account: ACCOUNT, kind: 'MISSING_IN_DB' },
        reason: 'known',
        owner: 'us',
        expiresAt: new Date('2027-01-31T00:00:00Z'),
      },
    ],
  });
});

test('what contradicts itself is refused with its fix', () => {
  const policy = (more: string): string => `
sides: { theirs: { kind: postgres, url_env: THEIR_URL, query: select 1 } }
policies: [{ name: a, level: entries, ${more} }]
`;
  expect(() => parse(policy('ledger: thiers'))).toThrow(/which is no side. Did you mean theirs\?/);
  expect(() => parse(policy('ledger: theirs, book: theirs'))).toThrow(/compares theirs with itself/);
  expect(() => parse(policy('exact: [amount], time_tolerance: 5s'))).toThrow(/leaves time out/);
  expect(() => parse(policy('exact: [asset], amount_tolerances: [{ minor: 1 }]'))).toThrow(/leaves amount out/);
  expect(() => parse(policy('amount_tolerances: [{ minor: 1, basis_points: 1 }]'))).toThrow(/exactly one of/);
  expect(() => parse(policy('exemptions: [{ match: {}, reason: r, owner: o, expires: 2027-01-01 }]'))).toThrow(
    /would exempt everything/,
  );
  expect(() => parse(policy('exemptions: [{ match: { key: k }, reason: r, owner: o }]'))).toThrow(/expires/);
  expect(() => parse(policy('exemptions: [{ match: { key: k }, reason: r, owner: o, expires: 2027-02-30 }]'))).toThrow(
    /is no date/,
  );
  expect(() => parse(policy('alert: { treshold: 3 }'))).toThrow(/Did you mean threshold\?/);
  expect(() =>
    parse('sides: { x: { kind: postgres, url: postgres://a } }\npolicies: [{name: a, level: entries}]'),
  ).toThrow(/url is no key here/);
});
