// Goal: what breaks is heard of, and so is its end. Method: the real service, Prometheus and Alertmanager with the files of deploy/,
// of which only addresses, receivers and waiting times are changed; the receiver is ours.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { type RunningApp, soon, startApp } from '../_util/app.ts';
import { createTestDatabase, type TestDatabase } from '../_util/database.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../_util/webhook-receiver.ts';

const PROGRAMS = ['prometheus', 'prometheus-alertmanager'];
const missing = PROGRAMS.filter((program) => spawnSync(program, ['--version']).status !== 0);
if (missing.length > 0)
  console.warn(`not installed (Debian packages of that name): ${missing.join(', ')}; no alarm is rung`);

const TIMEOUT_MS = 120_000;
const deploy = fileURLToPath(new URL('../../deploy/', import.meta.url));
const yaml = <T>(path: string): T => parse(readFileSync(join(deploy, path), 'utf8')) as T;

interface Notice {
  readonly receiver: string;
  readonly status: 'firing' | 'resolved';
  readonly alerts: readonly { readonly labels: Record<string, string>; readonly annotations: Record<string, string> }[];
}
interface Route {
  group_wait?: string;
  group_interval?: string;
  readonly routes?: readonly Route[];
}

let folder: string;
let database: TestDatabase;
let hooks: WebhookReceiver;
let app: RunningApp | undefined;
let metricsPort: number;
let prometheusUrl: string;
const children: ChildProcess[] = [];

const notices = (): Notice[] => hooks.received.map(({ body }) => JSON.parse(body) as Notice);
const noticeOf = (alert: string, status: Notice['status'], from = 0): Notice | undefined =>
  notices()
    .slice(from)
    .find((notice) => notice.status === status && notice.alerts.some(({ labels }) => labels['alertname'] === alert));

beforeAll(async () => {
  if (missing.length > 0) return;
  folder = mkdtempSync(join(tmpdir(), 'trueup-alarm-'));
  database = await createTestDatabase();
  hooks = await startWebhookReceiver();
  const [alertmanagerPort, prometheusPort, port] = await freePorts(3);
  metricsPort = port!;
  prometheusUrl = `http://127.0.0.1:${prometheusPort}`;
  app = await serve();
  writeAlertmanager();
  writePrometheus(alertmanagerPort!);
  launch('prometheus-alertmanager', [
    `--config.file=${folder}/alertmanager.yml`,
    `--storage.path=${folder}/alertmanager`,
    `--web.listen-address=127.0.0.1:${alertmanagerPort}`,
    '--cluster.listen-address=',
  ]);
  launch('prometheus', [
    `--config.file=${folder}/prometheus.yml`,
    `--storage.tsdb.path=${folder}/prometheus`,
    `--web.listen-address=127.0.0.1:${prometheusPort}`,
    // What Alertmanager wasn't up yet to hear is said again soon.
    '--rules.alert.resend-delay=1s',
  ]);
}, TIMEOUT_MS);

afterAll(async () => {
  for (const child of children) {
    const ended = child.exitCode === null ? new Promise((resolve) => child.once('close', resolve)) : undefined;
    child.kill('SIGKILL');
    await ended;
  }
  await app?.close();
  await hooks?.[Symbol.asyncDispose]();
  await database?.drop();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
}, TIMEOUT_MS);

test.skipIf(missing.length > 0)(
  'a service that dies is told of, and that it is back as well',
  async () => {
    await soon(() => expect(noticeOf('TrueUpWatchdog', 'firing')?.receiver).toBe('heartbeat'), TIMEOUT_MS);
    await soon(async () => {
      expect(await query('up{job="trueup"} == 1')).toHaveLength(1);
      expect(await query('ALERTS{alertname="TrueUpDown"}')).toHaveLength(0);
    }, TIMEOUT_MS);
    const before = notices().length;

    await app!.close();
    app = undefined;
    await soon(() => expect(noticeOf('TrueUpDown', 'firing', before)).toBeDefined(), TIMEOUT_MS);
    const fired = noticeOf('TrueUpDown', 'firing', before)!;
    expect(fired.receiver).toBe('page');
    expect(fired.alerts[0]!.annotations).toMatchObject({ runbook_url: 'docs/runbooks/service-down.md' });

    app = await serve();
    await soon(() => expect(noticeOf('TrueUpDown', 'resolved', before)).toBeDefined(), TIMEOUT_MS);
  },
  5 * TIMEOUT_MS,
);

function serve(): Promise<RunningApp> {
  return startApp({ DATABASE_URL: database.url, METRICS_BIND: `127.0.0.1:${metricsPort}` });
}

function writeAlertmanager(): void {
  const config = yaml<{ route: Route; receivers: { name: string; webhook_configs?: object[] }[] }>(
    'alertmanager/alertmanager.yml',
  );
  for (const route of [config.route, ...config.route.routes!]) {
    route.group_wait = '0s';
    route.group_interval = '1s';
  }
  for (const receiver of config.receivers) receiver.webhook_configs = [{ url: hooks.url }];
  writeFileSync(join(folder, 'alertmanager.yml'), stringify(config));
}

function writePrometheus(alertmanagerPort: number): void {
  const config = yaml<{
    global: Record<string, string>;
    rule_files: string[];
    alerting: { alertmanagers: { static_configs: { targets: string[] }[] }[] };
    scrape_configs: { static_configs: { targets: string[] }[] }[];
  }>('prometheus/prometheus.yml');
  config.global = { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' };
  config.rule_files = [join(folder, 'rules/*.rules.yml')];
  config.alerting.alertmanagers[0]!.static_configs[0]!.targets = [`127.0.0.1:${alertmanagerPort}`];
  config.scrape_configs[0]!.static_configs[0]!.targets = [`127.0.0.1:${metricsPort}`];
  writeFileSync(join(folder, 'prometheus.yml'), stringify(config));
  mkdirSync(join(folder, 'rules'));
  for (const name of readdirSync(join(deploy, 'prometheus')).filter((file) => file.endsWith('.rules.yml'))) {
    const rules = yaml<{ groups: { rules: { alert?: string; for?: string }[] }[] }>(join('prometheus', name));
    // Longer than a scrape that this machine holds up, shorter than anybody wants to wait.
    for (const rule of rules.groups.flatMap((group) => group.rules)) if (rule.alert === 'TrueUpDown') rule.for = '5s';
    writeFileSync(join(folder, 'rules', name), stringify(rules));
  }
}

function launch(program: string, args: readonly string[]): void {
  children.push(spawn(program, args, { stdio: 'ignore' }));
}

async function query(expr: string): Promise<unknown[]> {
  const answer = await fetch(`${prometheusUrl}/api/v1/query?query=${encodeURIComponent(expr)}`);
  return ((await answer.json()) as { data: { result: unknown[] } }).data.result;
}

/** All open at the same time, so that no two are the same. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(
    servers.map((server) => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
  return ports;
}
