// Which metrics a PromQL expression asks for, and which the service has.
import { createMetrics } from '../../src/telemetry/metrics.ts';

const WORDS = new Set([
  'by',
  'without',
  'on',
  'ignoring',
  'and',
  'or',
  'unless',
  'group_left',
  'group_right',
  'offset',
  'bool',
]);

/** Names that are neither a function's, a label's nor a keyword's. */
export function metricsIn(expression: string): string[] {
  const bare = expression
    .replace(/"(?:[^"\\]|\\.)*"/g, '')
    .replace(/\{[^}]*\}/g, ' ')
    .replace(/\[[^\]]*\]/g, ' ')
    .replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, ' ');
  const names = [...bare.matchAll(/(?<![\w:.])[a-zA-Z_:][\w:]*(?!\w*\s*\()/g)].map((match) => match[0]);
  return [...new Set(names.filter((name) => !WORDS.has(name)))];
}

/** Every name of a sample that /metrics may show, by the type that stands before it. */
export async function servedNames(): Promise<Set<string>> {
  const { body } = await createMetrics().render();
  return new Set(
    [...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name, type]) =>
      type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name!],
    ),
  );
}
