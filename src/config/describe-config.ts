// What may be shown of the settings: the rows of the table, in its order, and of a secret at most where it leads.
import type { ConfigEntry } from '../core/status.ts';
import type { Config } from './config.ts';
import type { Found } from './read-variables.ts';
import { VARIABLES } from './variables.ts';
import type { Variable } from './variables.ts';

/**
 * For diagnostics. A secret has no value, not even a part of it; of a source's URL scheme and host remain. Variables that
 * aren't in the table don't exist here: what we don't know may be anybody's secret.
 */
export function describeConfig(config: Config): readonly ConfigEntry[] {
  return config.entries;
}

export function entriesOf(found: ReadonlyMap<string, Found>, policies: Config['reconciliation']): ConfigEntry[] {
  const entries = Object.values<Variable>(VARIABLES).map((variable): ConfigEntry => {
    const typed = found.get(variable.name);
    const origin = typed === undefined ? 'default' : 'environment';
    if (!variable.secret)
      return { name: variable.name, value: typed?.text ?? variable.default, redacted: false, origin };
    const value =
      typed !== undefined && variable.showsHost
        ? typed.text
            .split(/[\s,]+/)
            .filter(Boolean)
            .map(displayUrl)
            .join(', ')
        : null;
    return { name: variable.name, value, redacted: typed !== undefined, origin };
  });
  const names = policies.policies.map((policy) => policy.name).join(', ');
  entries.push({
    name: 'policies',
    value: names,
    redacted: false,
    origin: policies.configFile === null ? 'default' : 'file',
  });
  return entries;
}

/** Scheme and host, and the path of a file: URL; never user, password, query, or the path of a web address. */
export function displayUrl(url: string): string {
  const parsed = URL.parse(url);
  if (parsed === null) return '[not a URL]';
  if (parsed.protocol === 'file:') return `file://${parsed.pathname}`;
  return `${parsed.protocol}//${parsed.host}`;
}
