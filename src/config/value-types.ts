// How the text of a variable becomes a value: one zod schema per type, with the words that say what is expected.
import { isIP } from 'node:net';
import { z } from 'zod';
import type { Bind } from './config.ts';

export interface ValueType<T> {
  /** For the reference: `whole number, 1 to 20`. */
  readonly label: string;
  /** What to write instead, as the end of "Fix: set it to ...". */
  readonly expected: string;
  readonly schema: z.ZodType<T, string>;
}

/** Node's timers overflow above this many milliseconds and then fire after 1 ms. */
export const MAX_TIMER_MS = 2_147_483_647;
/** Nothing is repeated faster than this, so that a typing mistake can't hammer a source. */
export const MIN_TIMER_MS = 100;
export const MAX_LEDGER = 4_294_967_295;
export const maxListItems = 10_000;

export function integer(min: number, max: number): ValueType<number> {
  const expected = `a whole number from ${min} to ${max}`;
  return {
    label: `whole number, ${min} to ${max}`,
    expected,
    // Plain digits only: Number() would also take "0x10", "1e3" and "".
    schema: parsed((text) => (/^\d{1,16}$/.test(text) ? inside(Number(text), min, max) : undefined), expected),
  };
}

export function decimal(min: number, max: number): ValueType<number> {
  const expected = `a number from ${min} to ${max}`;
  return {
    label: `number, ${min} to ${max}`,
    expected,
    schema: parsed(
      (text) => (/^\d{1,9}(\.\d{1,9})?$/.test(text) ? inside(Number(text), min, max) : undefined),
      expected,
    ),
  };
}

export const timerMs: ValueType<number> = integer(MIN_TIMER_MS, MAX_TIMER_MS);

const GO_UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** As Go writes durations: `30m`, `1h30m`, `1.5h`. */
export function goDuration(minMs: number, maxMs: number): ValueType<number> {
  const expected = `a duration such as 90s, 30m or 1h30m, from ${minMs} to ${maxMs} ms`;
  return {
    label: `duration such as \`30m\` or \`1h30m\`, ${minMs} to ${maxMs} ms`,
    expected,
    schema: parsed((text) => {
      if (!/^(\d{1,9}(\.\d{1,6})?(ms|s|m|h))+$/.test(text)) return undefined;
      const parts = [...text.matchAll(/([\d.]+)([a-z]+)/g)];
      return inside(
        Math.round(parts.reduce((sum, [, count, unit]) => sum + Number(count) * GO_UNIT_MS[unit!]!, 0)),
        minMs,
        maxMs,
      );
    }, expected),
  };
}

export const boolean: ValueType<boolean> = {
  label: '`true` or `false`',
  expected: 'true or false',
  schema: parsed((text) => ({ true: true, false: false })[text.toLowerCase()], 'true or false'),
};

/** System A's switch: on unless the word is `false`. */
export const onUnlessFalse: ValueType<boolean> = {
  label: 'on unless `false`',
  expected: 'true or false',
  schema: parsed((text) => text.toLowerCase() !== 'false', 'true or false'),
};

export function oneOf<const W extends string>(words: readonly W[], shorthands: Record<string, W> = {}): ValueType<W> {
  const expected = `one of ${words.join(', ')}`;
  return {
    label: words.map((word) => `\`${word}\``).join(', '),
    expected,
    schema: parsed((text) => {
      const word = text.toLowerCase();
      return words.find((known) => known === word) ?? shorthands[word];
    }, expected),
  };
}

/** Words separated by commas or blanks. */
export function listOf<T>(item: ValueType<T>): ValueType<readonly T[]> {
  const schema = z.string().transform((text, context): readonly T[] => {
    const words = text.split(/[\s,]+/).filter((word) => word !== '');
    if (words.length > maxListItems) {
      context.addIssue({ code: 'custom', message: `has more than ${maxListItems} items` });
      return z.NEVER;
    }
    const values: T[] = [];
    for (const word of words) {
      const result = item.schema.safeParse(word);
      if (result.success) values.push(result.data);
      else context.addIssue({ code: 'custom', message: `item ${word}: ${result.error.issues[0]!.message}` });
    }
    return values;
  });
  return {
    label: `list of ${item.label}, separated by commas`,
    expected: `${item.expected}, separated by commas`,
    schema,
  };
}

export const text: ValueType<string> = {
  label: 'text',
  expected: 'up to 1000 characters of text',
  schema: z.string().max(1000, 'is longer than 1000 characters'),
};

export function matching(pattern: RegExp, label: string): ValueType<string> {
  return {
    label,
    expected: label,
    schema: parsed((value) => (pattern.test(value) ? value : undefined), label),
  };
}

/** A predicate over an id, with a hint for the mistakes that are made most. */
export function id(label: string, problem: (value: string) => string | undefined): ValueType<string> {
  const schema = z.string().superRefine((value, context) => {
    const found = problem(value);
    if (found !== undefined) context.addIssue({ code: 'custom', message: found });
  });
  return { label, expected: label, schema };
}

export const path: ValueType<string> = {
  label: 'path',
  expected: 'a path, relative to the folder in which TrueUp starts',
  schema: parsed((value) => (value.includes('\0') ? undefined : value), 'a path'),
};

export const bind: ValueType<Bind> = {
  label: 'host:port',
  expected: 'host:port, for example 127.0.0.1:8080 or [::1]:8080',
  schema: parsed(parseBind, 'host:port with a port from 0 to 65535'),
};

export function url(...protocols: readonly string[]): ValueType<string> {
  const expected = `a URL that begins with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`;
  return {
    label: 'URL',
    expected,
    schema: parsed((value) => {
      const parsedUrl = URL.parse(value);
      return parsedUrl !== null && protocols.includes(parsedUrl.protocol) ? value : undefined;
    }, expected),
  };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function parseBind(value: string): Bind | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(value);
  if (match === null || Number(match[3]) > 65_535) return undefined;
  if (match[1] !== undefined && isIP(match[1]) !== 6) return undefined;
  const host = match[1] ?? match[2]!;
  // 127.0.0.256 is no host name, it is a mistyped address.
  if (/^[\d.]+$/.test(host) && isIP(host) !== 4) return undefined;
  return { host, port: Number(match[3]) };
}

function inside(value: number, min: number, max: number): number | undefined {
  return value >= min && value <= max ? value : undefined;
}

function parsed<T>(parse: (value: string) => T | undefined, expected: string): z.ZodType<T, string> {
  return z.string().transform((value, context): T => {
    const result = parse(value);
    if (result !== undefined) return result;
    context.addIssue({ code: 'custom', message: `is not ${expected}` });
    return z.NEVER;
  });
}
