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
    }
  >;
  readonly secrets: Record<string, { file: string }>;
}
interface Probe {
  readonly httpGet: { path: string; port: string };
}
interface Container {
  readonly env: { name: string; value?: string }[];
  readonly ports: { name: string; containerPort: number }[];
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
  readonly startupProbe: Probe;
}

const compose = parse(read('deploy/compose.yaml')) as Compose;
const [deployment, service] = parseAllDocuments(read('deploy/kubernetes.yaml')).map(
  (each) => each.toJS() as unknown,
) as [
  { spec: { template: { metadata: { annotations: Record<string, string> }; spec: { containers: [Container] } } } },
  { spec: { ports: { port: number; targetPort: string }[] } },
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
  const mounted = compose.services['prometheus']!.volumes!.map((volume) =>
    volume.split(':')[0]!.replace(/^\.\//, 'deploy/'),
  );
  const copied = [...dockerfile.matchAll(/^COPY (.*) \S+$/gm)].flatMap((match) => match[1]!.split(' '));
  const started = ['src/cli/bin.js'];
  expect(dockerfile).toContain(`ENTRYPOINT ["node", "${started[0]}"]`);
  expect(unit).toContain(`${started[0]} serve`);
  const files = [build!.dockerfile, ...mounted, ...copied, ...started];
  expect(files.filter((file) => !existsSync(fileURLToPath(new URL(file, root))))).toEqual([]);
  for (const file of copied) expect(read('.dockerignore').split('\n')).toContain(`!${file.replace(/^\.\//, '')}`);
  // Hashes of tokens are made on the spot and never committed.
  expect(read('deploy/.gitignore').split('\n')).toContain(compose.secrets['tokens']!.file.replace('./', ''));
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
    const prometheus = parse(read('deploy/prometheus.yml')) as {
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
      container.readinessProbe.httpGet.path,
      container.startupProbe.httpGet.path,
      new URL(/fetch\('([^']*)'/.exec(dockerfile)![1]!).pathname,
    ];
    for (const path of new Set(paths)) {
      const answer = await fetch(`http://127.0.0.1:${port.address.port}${path}`);
      expect([path, answer.status]).toEqual([path, 200]);
    }
    // A degraded stream must not restart or unroute a process.
    expect(paths).not.toContain('/health');
    for (const probe of [container.livenessProbe, container.readinessProbe, container.startupProbe])
      expect(probe.httpGet.port).toBe('metrics');
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
