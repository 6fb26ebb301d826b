// Each variable of the table alone: found under its name or an alias, parsed, or noted as a problem.
import type { Problems } from './problems.ts';
import { hideSeeds, shown } from './problems.ts';
import { didYouMean } from './did-you-mean.ts';
import { VARIABLES } from './variables.ts';
import type { Variable, VariableValues } from './variables.ts';

/** A variable that is set: the name it was found under (its own or an alias) and its text. */
export interface Found {
  readonly name: string;
  readonly text: string;
}

const PREFIX = 'TRUEUP_';

/**
 * One value per row of the table. An empty text counts as unset. A row with a problem has its default, so that the rules
 * between rows can be checked in the same pass; nothing may be done with the result while `problems` has any.
 */
export function readVariables(
  env: Readonly<Record<string, string | undefined>>,
  problems: Problems,
  warnings: string[],
): { values: VariableValues; found: ReadonlyMap<string, Found> } {
  refuseUnknown(env, problems);
  const values: Record<string, unknown> = {};
  const foundByName = new Map<string, Found>();
  for (const [key, variable] of Object.entries<Variable>(VARIABLES)) {
    const found = find(env, variable, warnings);
    if (found !== undefined) foundByName.set(variable.name, found);
    const text = found?.text ?? variable.default;
    if (text === null) {
      values[key] = null;
      continue;
    }
    const result = variable.type.schema.safeParse(text);
    if (result.success) values[key] = result.data;
    else {
      const why = variable.secret ? `is not ${variable.type.expected}` : issuesOf(result.error.issues);
      const description = `${shown(text, variable.secret)}: ${why}. Fix: set it to ${variable.type.expected}.`;
      problems.addUnreadable(variable.name, found?.name ?? variable.name, description);
      values[key] = variable.default === null ? null : variable.type.schema.parse(variable.default);
    }
  }
  warnAboutOddSwitch(env, warnings);
  return { values: values as VariableValues, found: foundByName };
}

function find(
  env: Readonly<Record<string, string | undefined>>,
  variable: Variable,
  warnings: string[],
): Found | undefined {
  const set = [variable.name, ...variable.aliases].flatMap((name) => {
    const text = env[name]?.trim();
    return text === undefined || text === '' ? [] : [{ name, text }];
  });
  const [first, second] = set;
  if (first !== undefined && second !== undefined && first.text !== second.text) {
    warnings.push(`${second.name} is ignored because ${first.name} is set, and they differ`);
  }
  return first;
}

function refuseUnknown(env: Readonly<Record<string, string | undefined>>, problems: Problems): void {
  const known = Object.values<Variable>(VARIABLES).flatMap((variable) => [variable.name, ...variable.aliases]);
  for (const name of Object.keys(env)) {
    if (!name.startsWith(PREFIX) || known.includes(name)) continue;
    // Its value isn't shown: what a mistyped name holds may be a secret.
    problems.add(name, `is no setting of TrueUp.${didYouMean(name, known)} Fix: correct the name or remove it.`);
  }
}

function issuesOf(issues: readonly { readonly message: string }[]): string {
  const messages = issues.slice(0, 5).map((issue) => hideSeeds(issue.message));
  if (issues.length > 5) messages.push(`and ${issues.length - 5} more`);
  return messages.join('; ');
}

/** LEDGER_RECONCILIATION_ENABLED=0 leaves the schedule on, as it always did; somebody who wrote that should hear it. */
function warnAboutOddSwitch(env: Readonly<Record<string, string | undefined>>, warnings: string[]): void {
  const { name } = VARIABLES.reconciliationEnabled;
  const word = env[name]?.trim().toLowerCase() ?? '';
  if (!['', 'true', 'false', '1', 'yes', 'on'].includes(word)) {
    warnings.push(`${name} is on: only the word false switches it off`);
  }
}
