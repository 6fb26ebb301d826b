// Goal: what deploy/ names exists: variables, ports, probe paths, files; and its environments are ones that TrueUp starts with.
// Method: the files are parsed, their environments go through the real configuration, their paths are asked of a real metrics port.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { readConfig } from '../../src/config/read-config.ts';
import { VARIABLES, type VariableKey } from '../../src/config/variables.ts';
import { type HttpListener } from '../../src/http/listener.ts';
import { startMetricsPort } from '../../src/http/metrics-port.ts';

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

const known = new Set(
  Object.keys(VARIABLES).flatMap((key) => {
    const { name, aliases } = VARIABLES[key as VariableKey];
    return [name, ...aliases];
  }),
);
/** Not ours: Node's own. */
const OTHERS = ['NODE_ENV'];

interface Compose {
  readonly services: Record<
    string,
    {
      environment?: Record<string, string>;
      ports?: string[];
      volumes?: string[];
      secrets?: string[];
      build?: { dockerfile: string };
      image?: string;
      depends_on?: string[] | Record<string, unknown>;
    }
  >;
  readonly secrets: Record<string, { file: string }>;
  readonly volumes: Record<string, unknown>;
}
interface Probe {
  readonly httpGet: { path: string; port: string };
}
interface GrpcProbe {
  readonly grpc: { port: number };
}
interface Labelled {
  readonly matchLabels: Record<string, string>;
}
interface Deployment {
  readonly spec: {
    readonly replicas: number;
    readonly selector: Labelled;
    readonly template: {
      readonly metadata: { annotations: Record<string, string>; labels: Record<string, string> };
      readonly spec: {
        containers: [Container];
        volumes: { name: string }[];
        securityContext: { runAsNonRoot: boolean };
      };
    };
  };
}
interface Container {
  readonly env: { name: string; value?: string }[];
  readonly ports: { name: string; containerPort: number }[];
  readonly volumeMounts: { name: string }[];
  readonly livenessProbe: Probe;
  readonly readinessProbe: GrpcProbe;
  readonly startupProbe: GrpcProbe;
}

const compose = parse(read('deploy/compose.yaml')) as Compose;
const [deployment, service, budget] = parseAllDocuments(read('deploy/kubernetes.yaml')).map(
  (each) => each.toJS() as unknown,
) as [
  Deployment,
  { spec: { ports: { port: number; targetPort: string }[]; selector: Record<string, string> } },
  { spec: { minAvailable: number; selector: Labelled } },
];
const container = deployment.spec.template.spec.containers[0];
const dockerfile = read('deploy/Dockerfile');
const unit = read('deploy/trueup.service');
/** What a secret would hold. */
const SECRETS: Readonly<Record<string, string>> = {
  DATABASE_URL: 'postgresql://trueup:secret@db.internal/trueup',
  TRUEUP_BOOK_URL: 'postgresql://reader:secret@db.internal/shop',
};

const environments = {
  'deploy/compose.yaml': compose.services['trueup']!.environment!,
  'deploy/kubernetes.yaml': Object.fromEntries(
    container.env.map(({ name, value }) => [name, value ?? SECRETS[name] ?? '']),
  ),
  'deploy/Dockerfile': assignments(
    dockerfile
      .replaceAll('\\\n', ' ')
      .match(/^ENV .*$/m)![0]
      .slice(4)
      .split(/\s+/),
  ),
  'deploy/trueup.service': assignments([...unit.matchAll(/^Environment=(.*)$/gm)].map((match) => match[1]!)),
};

describe.each(Object.entries(environments))('%s', (_file, environment) => {
  test('sets only variables that exist', () => {
    expect(Object.keys(environment).filter((name) => !known.has(name) && !OTHERS.includes(name))).toEqual([]);
  });

  test('is an environment that TrueUp starts with', () => {
    const config = readConfig(environment, { cwd: '/', readFile: readNothingAtDefaults });
    expect(config.warnings.filter((warning) => !warning.includes('without TLS'))).toEqual([]);
  });
});

test('ports are those of the variables', () => {
  const kubernetes = environments['deploy/kubernetes.yaml'];
  const bound = { grpc: 'GRPC_BIND', http: 'HTTP_BIND', metrics: 'METRICS_BIND' } as const;
  for (const { name, containerPort } of container.ports) {
    expect(portOf(kubernetes[bound[name as keyof typeof bound]]!)).toBe(containerPort);
  }
  for (const { port, targetPort } of service.spec.ports) {
    expect(container.ports.find(({ name }) => name === targetPort)?.containerPort).toBe(port);
  }
  expect(deployment.spec.template.metadata.annotations['prometheus.io/port']).toBe(
    String(portOf(kubernetes['METRICS_BIND']!)),
  );
  const defaults = [VARIABLES.grpcBind, VARIABLES.httpBind, VARIABLES.metricsBind].map((variable) =>
    portOf(variable.default),
  );
  expect(
    dockerfile
      .match(/^EXPOSE (.*)$/m)![1]!
      .split(' ')
      .map(Number),
  ).toEqual(defaults);
  const inside = Object.entries(compose.services['trueup']!.environment!)
    .filter(([name]) => name.endsWith('_BIND'))
    .map(([, bind]) => portOf(bind));
  for (const mapping of compose.services['trueup']!.ports!) expect(inside).toContain(Number(mapping.split(':').at(-1)));
});

test('files that are named exist', () => {
  const { build } = compose.services['trueup']!;
  const mounted = Object.values(compose.services)
    .flatMap(({ volumes }) => volumes ?? [])
    .map((volume) => volume.split(':')[0]!)
    .filter((path) => path.startsWith('./'))
    .map((path) => path.replace('./', 'deploy/'));
  expect(mounted.length).toBeGreaterThan(3);
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap((match) => match[1]!.split(' '));
  const started = ['src/cli/bin.js'];
  const files = [build!.dockerfile, ...mounted, ...copied, ...started];
  expect(files.filter((file) => !existsSync(fileURLToPath(new URL(file, root))))).toEqual([]);
  for (const file of copied) expect(read('.dockerignore').split('\n')).toContain(`!${file.replace(/^\.\//, '')}`);
  // Hashes of tokens are made on the spot and never committed.
  expect(read('deploy/.gitignore').split('\n')).toContain(compose.secrets['tokens']!.file.replace('./', ''));
});

test('it is started as `npm start` starts it, by a user who is not root', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: { start: string } };
  const entrypoint = JSON.parse(/^ENTRYPOINT (.*)$/m.exec(dockerfile)![1]!) as string[];
  const command = JSON.parse(/^CMD (\[.*)$/m.exec(dockerfile)![1]!) as string[];
  expect([...entrypoint, ...command].join(' ')).toBe(scripts.start);
  expect(unit).toMatch(new RegExp(`^ExecStart=\\S+/${scripts.start}$`, 'm'));
  expect(dockerfile.match(/^FROM /gm)!.length).toBeGreaterThan(1);
  expect(dockerfile.slice(dockerfile.lastIndexOf('\nFROM '))).toMatch(/^USER node$/m);
  expect(deployment.spec.template.spec.securityContext.runAsNonRoot).toBe(true);
});

test('services, volumes and selectors that are referenced are there', () => {
  const { services, volumes } = compose;
  for (const [name, each] of Object.entries(services)) {
    const depends = each.depends_on ?? [];
    for (const other of Array.isArray(depends) ? depends : Object.keys(depends))
      expect(services, name).toHaveProperty(other);
    for (const volume of each.volumes ?? [])
      if (!volume.startsWith('./')) expect(Object.keys(volumes), name).toContain(volume.split(':')[0]);
    for (const secret of each.secrets ?? []) expect(compose.secrets, name).toHaveProperty(secret);
  }
  const named = (path: string): string[] =>
    [...read(path).matchAll(/(?:https?:\/\/|targets: \[)([a-z]+):\d+/g)].map((match) => match[1]!);
  const hosts = [
    ...named('deploy/prometheus/prometheus.yml'),
    ...named('deploy/grafana/provisioning/datasources/prometheus.yaml'),
  ];
  expect(new Set(hosts)).toEqual(new Set(['alertmanager', 'trueup', 'prometheus']));
  for (const host of hosts) expect(services).toHaveProperty(host);

  const { spec } = deployment;
  expect(spec.replicas).toBe(2);
  expect(budget.spec.minAvailable).toBeLessThan(spec.replicas);
  for (const selector of [spec.selector.matchLabels, service.spec.selector, budget.spec.selector.matchLabels])
    expect(spec.template.metadata.labels).toMatchObject(selector);
  const kept = spec.template.spec.volumes.map(({ name }) => name);
  for (const { name } of container.volumeMounts) expect(kept).toContain(name);
});

describe('paths', () => {
  let port: HttpListener;
  beforeAll(async () => {
    port = await startMetricsPort({
      bind: { host: '127.0.0.1', port: 0 },
      probes: {
        readiness: async () => ({ ready: true, problems: [] }),
        wellness: async () => ({ healthy: true, degraded: [] }),
      },
      metrics: async () => ({ contentType: 'text/plain', body: '' }),
      onMetricsFailed: () => undefined,
    });
  });
  afterAll(() => port.destroy());

  test('that are probed and scraped are answered', async () => {
    const prometheus = parse(read('deploy/prometheus/prometheus.yml')) as {
      scrape_configs: { metrics_path: string; static_configs: { targets: string[] }[] }[];
    };
    const scrape = prometheus.scrape_configs[0]!;
    expect(scrape.static_configs[0]!.targets).toEqual([
      `trueup:${portOf(compose.services['trueup']!.environment!['METRICS_BIND']!)}`,
    ]);
    const paths = [
      scrape.metrics_path,
      deployment.spec.template.metadata.annotations['prometheus.io/path']!,
      container.livenessProbe.httpGet.path,
      new URL(/fetch\('([^']*)'/.exec(dockerfile)![1]!).pathname,
    ];
    for (const path of new Set(paths)) {
      const answer = await fetch(`http://127.0.0.1:${port.address.port}${path}`);
      expect([path, answer.status]).toEqual([path, 200]);
    }
    // A degraded stream must not restart or unroute a process.
    expect(paths).not.toContain('/health');
    expect(container.livenessProbe.httpGet.port).toBe('metrics');
    const grpcPort = container.ports.find(({ name }) => name === 'grpc')!.containerPort;
    for (const probe of [container.readinessProbe, container.startupProbe]) expect(probe.grpc.port).toBe(grpcPort);
  });
});

function assignments(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    lines
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
}

function portOf(bind: string): number {
  return Number(bind.slice(bind.lastIndexOf(':') + 1));
}

/** No trueup.yaml anywhere; every file that is named holds something. */
function readNothingAtDefaults(path: string): string {
  if (path.endsWith('trueup.yaml')) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
  return 'select 1';
}
