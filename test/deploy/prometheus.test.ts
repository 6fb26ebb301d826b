// Goal: alarms and dashboards ask for what the service shows, and each alarm is proven to ring and to be silent.
// Method: the files are parsed; every expression's names are compared with the service's own; promtool parses the PromQL and plays the
// scenarios of deploy/prometheus/tests.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { metricsIn, servedNames } from '../_util/metric-names.ts';
import { hasPromtool, promtool } from '../_util/promtool.ts';

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly labels?: { readonly severity: string; readonly team: string };
  readonly annotations?: Readonly<Record<string, string>>;
}
interface Scenario {
  readonly name: string;
  readonly promql_expr_test: readonly { readonly exp_samples: readonly { readonly labels: string }[] }[];
}
interface Panel {
  readonly title: string;
  readonly type: string;
  readonly targets?: readonly { readonly expr: string; readonly datasource: { readonly uid: string } }[];
}

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = join(root, 'deploy/prometheus');
const filesIn = (path: string, end: string): string[] =>
  readdirSync(path)
    .filter((name) => name.endsWith(end))
    .map((name) => join(path, name));
const read = (path: string): string => readFileSync(path, 'utf8');

const ruleFiles = filesIn(folder, '.rules.yml');
const scenarioFiles = filesIn(join(folder, 'tests'), '.test.yml');
const dashboardFiles = filesIn(join(root, 'deploy/grafana/dashboards'), '.json');
const rules = ruleFiles.flatMap((file) =>
  (parse(read(file)) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules),
);
const alerts = rules.filter((rule) => rule.alert !== undefined);
const scenarios = scenarioFiles.flatMap((file) => (parse(read(file)) as { tests: Scenario[] }).tests);
const panels = dashboardFiles.flatMap((file) => (JSON.parse(read(file)) as { panels: Panel[] }).panels);
const queries = panels.flatMap(({ targets }) => targets ?? []).map(({ expr }) => expr);

/** Prometheus' own. */
const OTHERS = ['up', 'ALERTS'];
/** What rules and dashboards ask for already and the service doesn't show yet: they are silent until it does. */
const NOT_SERVED_YET = [
  'reconciler_actions_total',
  'reconciler_orphan_refunds_total',
  'reconciler_sweep_duration_seconds_bucket',
  'reconciler_last_run_timestamp',
];

test('names in an expression are told from functions, labels and strings', () => {
  expect(
    metricsIn(
      'sum by (job) (rate(a_total{b="c_total", d=~"x|y"}[5m])) / 0.5 > 2 * max(t:r:rate1h) unless on (e) f == 1e3',
    ),
  ).toEqual(['a_total', 't:r:rate1h', 'f']);
});

test('every metric of rules and dashboards is known to the service', async () => {
  const known = new Set([
    ...(await servedNames()),
    ...rules.flatMap(({ record }) => record ?? []),
    ...OTHERS,
    ...NOT_SERVED_YET,
  ]);
  const asked = new Set([...rules.map(({ expr }) => expr), ...queries].flatMap(metricsIn));
  expect(asked.size).toBeGreaterThan(40);
  expect([...asked].filter((name) => !known.has(name))).toEqual([]);
  expect(NOT_SERVED_YET.filter((name) => !asked.has(name))).toEqual([]);
});

describe.each(alerts.map((rule) => [rule.alert!, rule] as const))('%s', (name, { labels, annotations }) => {
  test('says what happened, why it stays, where to look, and has a runbook that names it', () => {
    expect(Object.keys(annotations ?? {})).toEqual(['summary', 'why', 'look', 'runbook_url']);
    expect(['page', 'ticket', 'none']).toContain(labels?.severity);
    const runbook = join(root, annotations!['runbook_url']!);
    expect(existsSync(runbook)).toBe(true);
    expect(read(runbook)).toContain(`\`${name}\``);
  });

  test('rings in a scenario and is not expected in another', () => {
    const rings = ({ promql_expr_test }: Scenario): boolean =>
      promql_expr_test.some(({ exp_samples }) => exp_samples.some((sample) => sample.labels.includes(`"${name}"`)));
    expect(scenarios.some(rings)).toBe(true);
    expect(scenarios.every(rings)).toBe(false);
  });
});

test('the severity table of the documents is that of the rules', () => {
  const rows = [...read(join(root, 'docs/operations.md')).matchAll(/^\| `(TrueUp\w+)` \| (\w+) \|/gm)];
  expect(Object.fromEntries(rows.map(([, name, severity]) => [name, severity]))).toEqual(
    Object.fromEntries(alerts.map(({ alert, labels }) => [alert, labels!.severity])),
  );
});

test('no rule asks for what the outbox tells: drift', () => {
  const asked = new Set(alerts.flatMap(({ expr }) => metricsIn(expr)));
  for (const name of ['reconciliation_status', 'reconciliation_drift_total', 'trueup_drifts_open'])
    expect(asked).not.toContain(name);
});

test('there are scenarios of booting, of what is disabled, of restarts and of missing data', () => {
  expect(scenarios.length).toBeGreaterThanOrEqual(40);
  for (const kind of [/\bboot/, /disabled/, /restart/, /missing data/])
    expect(scenarios.filter(({ name }) => kind.test(name)).length).toBeGreaterThan(1);
  expect(new Set(scenarios.map(({ name }) => name)).size).toBe(scenarios.length);
});

test('dashboards ask the provisioned datasource', () => {
  const { datasources } = parse(read(join(root, 'deploy/grafana/provisioning/datasources/prometheus.yaml'))) as {
    datasources: { uid: string }[];
  };
  const uids = new Set(panels.flatMap(({ targets }) => targets ?? []).map(({ datasource }) => datasource.uid));
  expect([...uids]).toEqual([datasources[0]!.uid]);
  for (const { title, type, targets } of panels) if (type !== 'row') expect(targets?.length, title).toBeGreaterThan(0);
});

describe.skipIf(!hasPromtool)('to promtool', () => {
  test('the rules are valid', async () => {
    const { ok, output } = await promtool('check', 'rules', ...ruleFiles);
    expect(ok, output).toBe(true);
  });

  test("every panel's query is PromQL", async () => {
    const made = mkdtempSync(join(tmpdir(), 'trueup-queries-'));
    const file = join(made, 'queries.yml');
    const recorded = queries.map((expr, n) => ({
      record: `panel:${n}`,
      expr: expr.replaceAll('$__rate_interval', '1m'),
    }));
    writeFileSync(file, stringify({ groups: [{ name: 'panels', rules: recorded }] }));
    const { ok, output } = await promtool('check', 'rules', file);
    rmSync(made, { recursive: true });
    expect(ok, output).toBe(true);
    expect(output).toContain(`${queries.length} rules found`);
  });

  test.each(scenarioFiles.map((file) => relative(root, file)))(
    '%s goes as it says',
    { timeout: 600_000 },
    async (file) => {
      const { ok, output } = await promtool('test', 'rules', join(root, file));
      expect(ok, output).toBe(true);
    },
  );
});
