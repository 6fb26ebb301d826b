// Goal: the table of who may import whom holds, and it would be noticed if it didn't. Method: the rules of
// .dependency-cruiser.cjs are run over src, and over a small made-up house in which every fence is broken once.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ICruiseResult, type IForbiddenRuleType, cruise } from 'dependency-cruiser';
import { afterAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const config = createRequire(import.meta.url)(join(root, '.dependency-cruiser.cjs')) as {
  forbidden: IForbiddenRuleType[];
  options: { enhancedResolveOptions: object };
};

const temporary: string[] = [];
afterAll(() => {
  for (const folder of temporary) rmSync(folder, { recursive: true });
});

test('the house keeps its fences', async () => {
  const { violations, modules } = await violationsIn(root);
  expect(violations).toEqual([]);
  expect(modules).toBeGreaterThan(50);
});

const INNOCENT = 'export const value = 1;\nexport type Shape = { readonly a: number };\n';
const TREE = [
  'core',
  'telemetry',
  'config',
  'store',
  'sources',
  'outbound',
  'services',
  'rpc',
  'scheduler',
  'http',
  'client',
  'cli',
].map((room) => `src/${room}/neighbour.ts`);

test.each([
  [
    'core imports another room',
    'src/core/x.ts',
    "import { value } from '../store/neighbour.ts';",
    'core-uses-only-itself',
  ],
  [
    'core imports the intercom',
    'src/core/x.ts',
    "import { value } from '../telemetry/neighbour.ts';",
    'core-uses-only-itself',
  ],
  [
    'core names a type of another room',
    'src/core/x.ts',
    "import type { Shape } from '../store/neighbour.ts';",
    'core-uses-only-itself',
  ],
  ['core imports a part of Node', 'src/core/x.ts', "import { readFileSync } from 'node:fs';", 'core-is-pure'],
  ['core imports a package', 'src/core/x.ts', "import { z } from 'zod';", 'core-is-pure'],
  [
    'store imports services',
    'src/store/x.ts',
    "import { value } from '../services/neighbour.ts';",
    'store-uses-core-telemetry',
  ],
  [
    'sources import store',
    'src/sources/deep/x.ts',
    "import { value } from '../../store/neighbour.ts';",
    'sources-uses-core-telemetry',
  ],
  [
    'outbound imports sources',
    'src/outbound/x.ts',
    "import { value } from '../sources/neighbour.ts';",
    'outbound-uses-core-telemetry',
  ],
  [
    'services import a door',
    'src/services/x.ts',
    "import { value } from '../rpc/neighbour.ts';",
    'services-uses-core-store-sources-outbound-telemetry',
  ],
  [
    'rpc imports store',
    'src/rpc/x.ts',
    "import { value } from '../store/neighbour.ts';",
    'rpc-uses-services-core-telemetry',
  ],
  [
    'scheduler imports sources',
    'src/scheduler/x.ts',
    "import type { Shape } from '../sources/neighbour.ts';",
    'scheduler-uses-services-core-telemetry',
  ],
  [
    'the command imports services',
    'src/cli/x.ts',
    "import { value } from '../services/neighbour.ts';",
    'cli-uses-client-core-main-ts-app-ts-config-telemetry',
  ],
  [
    'a room imports the composition root',
    'src/services/x.ts',
    "import { value } from '../context.ts';",
    'nobody-imports-the-doors',
  ],
  [
    'services import gen',
    'src/services/x.ts',
    "import { value } from '../../gen/made.js';",
    'contract-stays-at-the-doors',
  ],
  [
    'a service uses the ORM',
    'src/services/x.ts',
    "import { MikroORM } from '@mikro-orm/postgresql';",
    'orm-only-as-type-in-services',
  ],
  [
    'a door names the ORM',
    'src/rpc/x.ts',
    "import type { EntityManager } from '@mikro-orm/postgresql';",
    'orm-lives-in-store',
  ],
  ['a service logs by itself', 'src/services/x.ts', "import { pino } from 'pino';", 'pino-lives-in-telemetry'],
  ['a door counts by itself', 'src/rpc/x.ts', "import { Counter } from 'prom-client';", 'pino-lives-in-telemetry'],
  ['the scheduler queues by itself', 'src/scheduler/x.ts', "import PgBoss from 'pg-boss';", 'pg-boss-lives-in-store'],
  [
    'the service is built on a test',
    'src/services/x.ts',
    "import { value } from '../../test/made.ts';",
    'source-knows-no-test',
  ],
  [
    'the service needs a development package',
    'src/services/x.ts',
    "import fc from 'fast-check';",
    'no-dev-packages-in-source',
  ],
  ['modules run in a circle', 'src/core/x.ts', "import { y } from './y.ts';", 'no-circles'],
  ['an import leads nowhere', 'src/core/x.ts', "import { value } from './gone.ts';", 'everything-resolves'],
])('it is noticed when %s', async (_title, path, line, rule) => {
  const house = makeHouse({
    [path]: `${line}\nexport const x = 1;\n`,
    'src/core/y.ts': "import { x } from './x.ts';\nexport const y = x;\n",
  });
  expect((await violationsIn(house)).violations.map((violation) => violation.split(':')[0])).toContain(rule);
});

test('what the table allows is let through', async () => {
  const house = makeHouse({
    'src/core/x.ts': "import { createHash } from 'node:crypto';\nexport const x = createHash;\n",
    'src/store/x.ts':
      "import { MikroORM } from '@mikro-orm/postgresql';\nimport PgBoss from 'pg-boss';\nimport { value } from '../core/neighbour.ts';\nexport const x = [MikroORM, PgBoss, value];\n",
    'src/services/x.ts':
      "import type { EntityManager } from '@mikro-orm/postgresql';\nimport { x } from '../store/x.ts';\nimport { value } from '../sources/neighbour.ts';\nexport type E = EntityManager;\nexport const y = [x, value];\n",
    'src/rpc/x.ts':
      "import { y } from '../services/x.ts';\nimport { value } from '../../gen/made.js';\nimport { z } from '../telemetry/neighbour.ts';\nexport const w = [y, value, z];\n",
    'src/context.ts':
      "import { w } from './rpc/x.ts';\nimport { x } from './store/x.ts';\nexport const value = [w, x];\n",
    'src/cli/x.ts': "import { value } from '../client/neighbour.ts';\nexport const x = value;\n",
    'src/core/x.test.ts': "import fc from 'fast-check';\nimport { x } from './x.ts';\nexport const y = [fc, x];\n",
  });
  expect((await violationsIn(house)).violations).toEqual([]);
});

async function violationsIn(folder: string): Promise<{ violations: string[]; modules: number }> {
  const { enhancedResolveOptions, ...options } = config.options;
  const { output } = await cruise(
    ['src'],
    { ...options, baseDir: folder, validate: true, ruleSet: { forbidden: config.forbidden } },
    enhancedResolveOptions,
  );
  const { summary } = output as ICruiseResult;
  return {
    violations: summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} -> ${to}`),
    modules: summary.totalCruised,
  };
}

function makeHouse(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'trueup-fences-'));
  temporary.push(folder);
  const rest = [...TREE, 'src/context.ts', 'gen/made.js', 'test/made.ts'].map((path) => [path, INNOCENT] as const);
  for (const [path, text] of [...rest, ...Object.entries(files)]) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), path.endsWith('.js') ? 'export const value = 1;\n' : text);
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  symlinkSync(join(root, 'package.json'), join(folder, 'package.json'));
  return folder;
}
