// The reference of all settings, written by the same tables that read them, so that it can't be out of date.
import { z } from 'zod';
import { configFileSchema } from './policy-schema.ts';
import { VARIABLES } from './variables.ts';
import type { Variable } from './variables.ts';

/** docs/trueup.schema.json: editors complete and check trueup.yaml with it. */
export function configFileJsonSchema(): string {
  const schema = z.toJSONSchema(configFileSchema, { io: 'input', target: 'draft-2020-12' });
  return `${JSON.stringify({ title: 'trueup.yaml', ...schema }, null, 2)}\n`;
}

/** docs/configuration.md. */
export function configurationMarkdown(): string {
  const variables = Object.values<Variable>(VARIABLES);
  const groups = [...new Set(variables.map(({ group }) => group))];
  return [INTRODUCTION, ...groups.map((group) => section(group, variables)), fileSection()].join('\n');
}

const INTRODUCTION = `# Configuration

<!-- Generated from src/config by \`node test/house/config-docs.ts --write\`; edit the tables there. -->

TrueUp reads the environment once, at start. Everything that is wrong is reported together, and nothing starts until it is
right. A variable that begins with \`TRUEUP_\` and isn't listed here is refused, with the name that was probably meant; other
variables that we don't know are ignored. An empty variable counts as unset. Ledger numbers are inclusive. Secrets (🔒) are
never printed: not in logs, not in errors, not in diagnostics.

The source is \`TRUEUP_SOURCE\`, or else the one whose URL is set. With no source, no \`DATABASE_URL\` and no
\`TRUEUP_BOOK_URL\` the built-in sandbox is followed; with a database or a book but no source, TrueUp asks for one instead of
comparing real books with an invented network. A real network with no watch refuses to start.
`;

function section(group: string, variables: readonly Variable[]): string {
  const rows = variables.filter((variable) => variable.group === group).map(row);
  return [`## ${group}`, '', '| Name | Type | Default | Meaning |', '| --- | --- | --- | --- |', ...rows, ''].join(
    '\n',
  );
}

function row(variable: Variable): string {
  const alias = variable.aliases.map((name) => ` (alias \`${name}\`)`).join('');
  const unit = variable.unit === '' ? '' : ` (${variable.unit})`;
  const part = variable.since === 'first house' ? '' : ` Part: ${variable.since}.`;
  const cells = [
    `\`${variable.name}\`${alias}${variable.secret ? ' 🔒' : ''}`,
    `${variable.type.label}${unit}`,
    variable.default === null ? '—' : `\`${variable.default}\``,
    `${variable.description}${part}`,
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

interface JsonSchema {
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
}

function fileSection(): string {
  const schema = z.toJSONSchema(configFileSchema, { io: 'input' }) as JsonSchema;
  const policy = schema.properties?.['policies']?.items?.properties ?? {};
  const rows = Object.entries(policy).flatMap(([name, value]) => [
    keyRow(name, value),
    ...Object.entries(value.properties ?? {}).map(([inner, innerValue]) => keyRow(`${name}.${inner}`, innerValue)),
  ]);
  return `## trueup.yaml

The file of \`TRUEUP_CONFIG\`, or \`./trueup.yaml\` if it is there, declares the policies: named reconciliations. Without it there
are two: \`default\` (entries) and \`default-balances\` (balances, run on request). Both read the book of \`TRUEUP_BOOK_URL\`
where that is set, else the recorded book \`default\`. Durations are written as \`250ms\`, \`300s\`, \`5m\`, \`1h\`, \`2d\`, or as a
number of milliseconds. A key that isn't listed is refused. \`trueup.schema.json\` beside this file is the same as JSON Schema.

\`\`\`yaml
policies:
  - name: vault
    level: entries
    book: postgres
    window: 48h
    grace: { missing_in_db: 5m }
    schedule: { interval: 5m }
\`\`\`

| Key of a policy | Default | Meaning |
| --- | --- | --- |
${rows.join('\n')}
`;
}

function keyRow(name: string, schema: JsonSchema): string {
  const words = schema.enum ?? schema.items?.enum;
  const choices = words === undefined ? '' : ` One of ${words.map((word) => `\`${String(word)}\``).join(', ')}.`;
  const fallback =
    schema.default === undefined || schema.properties !== undefined ? '—' : `\`${JSON.stringify(schema.default)}\``;
  return `| \`${name}\` | ${fallback} | ${schema.description ?? ''}${choices} |`;
}
