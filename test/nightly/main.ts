// `npm run nightly -- NAME [--seed S] [--cases N]`: the random tests at length. The proofs are the tests themselves, tried with
// more cases and a seed that is printed, so that a failure can be had again.
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

interface Proof {
  readonly files: readonly string[];
  readonly cases: number;
  readonly proves: string;
}

const PROOFS: Readonly<Record<string, Proof>> = {
  digest: { files: ['src/core/digest.test.ts'], cases: 20_000, proves: 'no set of entries is mistaken for another' },
  digests: {
    files: ['src/core/segments.test.ts', 'test/reconcile/digest.test.ts'],
    cases: 2_000,
    proves: 'two SQL sides differ by digests exactly where their rows do',
  },
  alerts: {
    files: ['src/core/alerting.test.ts'],
    cases: 100_000,
    proves: 'nobody is woken twice inside a cooldown, and nothing is resolved that was not told',
  },
  coverage: { files: ['src/core/coverage.test.ts'], cases: 20_000, proves: 'range arithmetic equals sets of ledgers' },
  matching: {
    files: ['src/core/match.test.ts', 'src/core/order.test.ts', 'src/core/align.test.ts', 'src/core/tolerance.test.ts'],
    cases: 20_000,
    proves: 'every row is paired once, in whatever order it comes, and a tolerance takes what it says',
  },
  sorting: {
    files: ['test/sources/sorted-rows.test.ts'],
    cases: 5_000,
    proves: 'rows sorted on disk are the rows that came, in order',
  },
  oracle: {
    files: ['test/reconcile/oracle.test.ts'],
    cases: 1_000_000,
    proves: 'the engine accuses nobody falsely and misses nothing, whatever faults there are',
  },
  'oracle-properties': {
    files: ['test/reconcile/oracle-properties.test.ts'],
    cases: 20_000,
    proves: 'order, batches, rows that agree and exchanged roles change nothing',
  },
  'oracle-tables': {
    files: ['test/reconcile/oracle-tables.test.ts'],
    cases: 10_000,
    proves: 'the same through real tables of a thousand rows and more, run after run',
  },
  ticks: {
    files: ['test/reconcile/ticks.test.ts'],
    cases: 1_000,
    proves: 'two replicas whose clocks differ run each tick once',
  },
  'kill-run': {
    files: ['test/reconcile/kill-run.test.ts'],
    cases: 200,
    proves: 'a run that is killed anywhere ends in the digest of one that was left alone',
  },
  batches: {
    files: ['test/follow/atomic.test.ts'],
    cases: 1_000,
    proves: 'batches in any order and size end in the coverage and digests of one pass',
  },
  evidence: {
    files: ['src/core/merkle.test.ts', 'src/core/verify.test.ts', 'test/evidence/evidence.test.ts'],
    cases: 10_000,
    proves: 'no schedule of exports, holds, retention and crashes loses what is held; no change goes unnoticed',
  },
  'kill-export': {
    files: ['test/exports/crash.test.ts'],
    cases: 200,
    proves: 'an export that is killed at any moment is whole or not there, and is done again',
  },
  'kill-backfill': {
    files: ['test/backfill/kill.test.ts'],
    cases: 1_000,
    proves: 'workers of a backfill that are killed at any moment leave no gap and no row twice',
  },
};

const { values, positionals } = parseArgs({
  options: { seed: { type: 'string' }, cases: { type: 'string' } },
  allowPositionals: true,
});
const name = positionals[0] ?? '';
const proof = PROOFS[name];
if (proof === undefined) {
  console.error(`usage: npm run nightly -- NAME [--seed S] [--cases N]\n\nproofs:`);
  for (const [each, { proves, cases }] of Object.entries(PROOFS))
    console.error(`  ${each.padEnd(17)} ${proves} (${cases} cases)`);
  process.exitCode = 2;
} else {
  const seed = values.seed ?? String(randomInt(2 ** 31));
  const cases = values.cases ?? String(proof.cases);
  console.log(`${name}: ${cases} cases from seed ${seed}`);
  const main = fileURLToPath(new URL('../main.ts', import.meta.url));
  const run = spawnSync(process.execPath, [main, '--testTimeout=3600000', ...proof.files], {
    stdio: 'inherit',
    env: { ...process.env, NIGHTLY_CASES: cases, NIGHTLY_SEED: seed },
  });
  process.exitCode = run.status ?? 1;
}
