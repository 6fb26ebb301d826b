// Goal: what the documents name exists, and what exists is named. Method: their links, variables, commands, metrics, methods and
// reasons are read out of the text and compared with the code's own tables.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { VARIABLES, type VariableKey } from '../../src/config/variables.ts';
import { main } from '../../src/cli/main.ts';
import { DRIFT_KINDS } from '../../src/core/drift.ts';
import { INCONCLUSIVE_REASONS } from '../../src/core/run.ts';
import { createServices } from '../../src/rpc/services.ts';
import type { RpcPorts } from '../../src/rpc/ports.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { terminal } from '../cli/terminal.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const markdown = ['.', 'docs', 'docs/adr', 'docs/runbooks'].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name)),
);
const packageJson = JSON.parse(read('package.json')) as Record<
  'scripts' | 'dependencies' | 'devDependencies' | 'optionalDependencies',
  Record<string, string>
>;

/** Verbs whose second word is a verb too. */
const GROUPS = ['import', 'doctor', 'manifests', 'follower'];

test.each(markdown)('links of %s resolve', (file) => {
  const links = [...prose(read(file)).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!);
  const broken = links.filter((link) => {
    if (/^https?:/.test(link)) return false;
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? file : join(dirname(file), path);
    if (!existsSync(join(root, target))) return true;
    return anchor !== undefined && !anchorsOf(read(target)).includes(anchor);
  });
  expect(broken).toEqual([]);
});

test.each(markdown)('variables that %s names exist', (file) => {
  const known = new Set(
    Object.keys(VARIABLES).flatMap((key) => {
      const { name, aliases } = VARIABLES[key as VariableKey];
      return [name, ...aliases];
    }),
  );
  const named = new Set(read(file).match(/\bTRUEUP_[A-Z_]+[A-Z]\b/g));
  expect([...named].filter((name) => !known.has(name))).toEqual([]);
});

test.each(markdown)('commands that %s names exist', async (file) => {
  const commands = [...blocks(read(file)), ...inlineCode(read(file))]
    .flatMap((text) => text.split(/\n|&&/))
    .map((line) => line.replace(/\s#.*$/, '').trim());
  const scripts = commands.flatMap((command) => /^npm (?:run )?(start|test|[a-z]+)\b/.exec(command)?.[1] ?? []);
  expect(scripts.filter((script) => !(script in packageJson.scripts) && !['ci', 'install'].includes(script))).toEqual(
    [],
  );
  const tools = new Set(commands.flatMap((command) => /^npx ([a-z]+)/.exec(command)?.[1] ?? []));
  tools.delete('trueup');
  expect([...tools].filter((tool) => !existsSync(join(root, 'node_modules/.bin', tool)))).toEqual([]);
  for (const script of commands.flatMap((command) => /^node (\S+\.[jt]s)/.exec(command)?.[1] ?? []))
    expect(existsSync(join(root, script)), script).toBe(true);
  for (const command of commands) {
    const args = /^(?:npx )?trueup ([a-z].*)$/.exec(command)?.[1]?.split(/\s+/);
    if (args === undefined) continue;
    const world = terminal();
    const verbs = args
      .filter((_, index) => args.slice(0, index + 1).every((arg) => /^[a-z][a-z-]*$/.test(arg)))
      .slice(0, 2);
    expect([command, await main([...verbs, '--help'], world)]).toEqual([command, 0]);
    const help = world.printed();
    // An unknown verb with --help gets the help of all of them.
    expect(help).toMatch(`Usage: trueup ${GROUPS.includes(verbs[0]!) ? verbs.join(' ') : verbs[0]!} `);
    for (const flag of args.filter((arg) => arg.startsWith('--'))) expect(help, command).toContain(flag);
  }
});

test('every metric stands in the list of metrics, and nothing else does', async () => {
  const { body } = await createMetrics({ defaults: false }).render();
  const made = [...body.matchAll(/^# HELP (\S+)/gm)].map((match) => match[1]!);
  const listed = [...section(read('docs/operations.md'), 'Metrics').matchAll(/^\| (.*?) \|/gm)].flatMap(
    (row) => row[1]!.match(/[a-z]+_[a-z_]+(?=[{`])/g) ?? [],
  );
  expect(listed.toSorted()).toEqual(made.toSorted());
});

test('methods that are listed as not filled are those that have no handler', () => {
  // Only the routes are looked at; nothing behind a port is called.
  const ports = new Proxy({}, { get: () => ({}) }) as RpcPorts;
  const unfilled = Object.fromEntries(
    createServices(ports)
      .map(({ desc, routes }) => {
        const empty = routes.filter((route) => route.handler === undefined);
        return [desc.name, empty.map((route) => route.method.method).toSorted()] as const;
      })
      .filter(([, methods]) => methods.length > 0),
  );
  const rows = [
    ...section(read('docs/migrating.md'), 'Not filled in this release').matchAll(/^\| `(\w+)` \| (.*) \|$/gm),
  ];
  expect(Object.fromEntries(rows.map((row) => [row[1]!, row[2]!.match(/\w+/g)!.toSorted()]))).toEqual(unfilled);
  // Nowhere else is a method promised that isn't there, or put off that is.
  const known = new Set(createServices(ports).flatMap(({ routes }) => routes.map((route) => route.method.method)));
  const named = read('docs/migrating.md').match(
    /(?<=`|Service\.)(Start|Get|List|Watch|Pause|Resume|Cancel|Verify|Restart|Rescan|Download|Place|Release|Transition|Replay|Record|Stream|Import)[A-Z]\w+/g,
  )!;
  expect(named.filter((name) => !known.has(name))).toEqual([]);
});

test('every reason for an inconclusive run says what to do', () => {
  const rows = [
    ...section(read('docs/connect-your-account.md'), 'When a run is INCONCLUSIVE').matchAll(
      /^\| `([A-Z_]+)` \| .+ \| .+ \|$/gm,
    ),
  ];
  expect(rows.map((row) => row[1]!).toSorted()).toEqual([...INCONCLUSIVE_REASONS].toSorted());
});

test('every kind of drift is explained', () => {
  const rows = [...section(read('docs/concepts.md'), 'Kinds of drift').matchAll(/^\| `([A-Z_]+)` \|/gm)];
  expect(rows.map((row) => row[1]!)).toEqual([...DRIFT_KINDS]);
});

test('every dependency has its reason in ARCHITECTURE.md', () => {
  const stack = section(read('ARCHITECTURE.md'), 'Stack')
    .split('\n')
    .filter((line) => line.startsWith('| `'));
  const words = stack.flatMap((line) => [...line.split(' | ')[0]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!));
  // `@mikro-orm/postgresql`, `core`: the scope is said once a row.
  const listed = stack.flatMap((line) => {
    const names = [...line.split(' | ')[0]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
    const scope = /^(@[^/]+\/)/.exec(names[0]!)?.[1] ?? '';
    return names.flatMap((name) => [name, `${scope}${name}`]);
  });
  const { dependencies, devDependencies, optionalDependencies } = packageJson;
  const wanted = Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies });
  expect(wanted.filter((name) => !listed.includes(name))).toEqual([]);
  expect(words.filter((word) => !wanted.some((name) => name === word || name.endsWith(`/${word}`)))).toEqual([]);
});

/** The text without its code. */
function prose(text: string): string {
  return text.replace(/^\s*```[\s\S]*?^\s*```/gm, '').replace(/`[^`\n]*`/g, '`');
}

function blocks(text: string): string[] {
  return [...text.matchAll(/^\s*```sh\n([\s\S]*?)^\s*```/gm)].map((match) => match[1]!);
}

function inlineCode(text: string): string[] {
  const rest = text.replace(/^\s*```[\s\S]*?^\s*```/gm, '');
  return [...rest.matchAll(/`((?:npx|npm|node|trueup) [^`\n]+)`/g)].map((match) => match[1]!);
}

function anchorsOf(text: string): string[] {
  return [...text.replace(/^```[\s\S]*?^```/gm, '').matchAll(/^#+ (.*)$/gm)].map((match) =>
    match[1]!
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** From a heading to the next one of the same depth. */
function section(text: string, title: string): string {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => /^#+ /.test(line) && line.replace(/^#+ /, '') === title);
  expect(start, `a section ${title}`).toBeGreaterThanOrEqual(0);
  const depth = /^#+/.exec(lines[start]!)![0];
  const length = lines.slice(start + 1).findIndex((line) => line.startsWith(`${depth} `));
  return lines.slice(start, length < 0 ? undefined : start + 1 + length).join('\n');
}
