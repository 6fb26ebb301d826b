// Single fields of a book record. Each takes what arrived and the list to which it adds what is wrong.
import { isTrueUpError } from './errors.ts';
import type { FieldViolation } from './errors.ts';
import { parseAmount, parseMinor } from './money.ts';

/** What kind of thing is wrong, in the words of the contract's closed list of reasons. */
export type BookProblemCode =
  | 'COLUMN_MISSING'
  | 'COLUMN_UNKNOWN'
  | 'VALUE_MISSING'
  | 'VALUE_INVALID'
  | 'VALUE_TOO_LONG'
  | 'AMOUNT_INVALID'
  | 'SCALE_UNKNOWN'
  | 'ACCOUNT_INVALID'
  | 'ASSET_INVALID'
  | 'TIME_INVALID'
  | 'KEY_CONFLICT'
  | 'ENCODING_INVALID'
  | 'FILE_TRUNCATED'
  | 'FILE_EMPTY';

export interface BookProblem extends FieldViolation {
  readonly code: BookProblemCode;
}

const MAX_LEDGER = 2 ** 31 - 1;
const TRUE_WORDS = new Set(['true', 't', 'yes', '1']);
const FALSE_WORDS = new Set(['', 'false', 'f', 'no', '0']);
const TIME = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|z|[+-]\d\d(?::?\d\d)?)?$/;

/** Trimmed text; '' for absent. Refuses other types, too many bytes, and characters that no database keeps. */
export function parseText(value: unknown, field: string, maxBytes: number, problems: BookProblem[]): string {
  if (value === undefined || value === null || value === '') return '';
  let text: string;
  if (typeof value === 'string') text = value.trim();
  else if (typeof value === 'bigint' || Number.isSafeInteger(value)) text = String(value);
  else {
    problems.push({
      field,
      code: 'VALUE_INVALID',
      description: `must be text, but is ${describeType(value)}: send a string`,
    });
    return '';
  }
  if (text.length * 3 > maxBytes && Buffer.byteLength(text) > maxBytes) {
    problems.push({ field, code: 'VALUE_TOO_LONG', description: `is longer than ${maxBytes} bytes` });
  } else if (text.includes('\0') || text.includes('\ufffd') || !text.isWellFormed()) {
    problems.push({ field, code: 'ENCODING_INVALID', description: 'has bytes that are not UTF-8 text: send UTF-8' });
  }
  return text;
}

/**
 * The amount from `<name>` (decimal, needs the asset's scale) or `<name>_minor` (integer), exactly one of them; null
 * where it is absent and not required, or bad. A JavaScript number is taken only where it is a safe integer.
 */
export function parseMoney(
  record: Readonly<Record<string, unknown>>,
  name: string,
  scale: number | undefined,
  required: boolean,
  problems: BookProblem[],
): bigint | null {
  const minorName = `${name}_minor`;
  const whole = isAbsent(record[name]) ? null : record[name];
  const minor = isAbsent(record[minorName]) ? null : record[minorName];
  if (whole !== null && minor !== null) {
    problems.push({
      field: name,
      code: 'AMOUNT_INVALID',
      description: `stands beside ${minorName}; give one of the two`,
    });
    return null;
  }
  if (whole === null && minor === null) {
    if (required)
      problems.push({ field: name, code: 'VALUE_MISSING', description: `is missing; give ${name} or ${minorName}` });
    return null;
  }
  const field = whole === null ? minorName : name;
  if (whole !== null && scale === undefined) {
    const description = `can't be read: the decimals of this asset are not known; give ${minorName} as an integer`;
    problems.push({ field, code: 'SCALE_UNKNOWN', description });
    return null;
  }
  const text = digitsOf(whole ?? minor, field, problems);
  if (text === null) return null;
  try {
    return whole === null ? parseMinor(text) : parseAmount(text, scale!);
  } catch (error) {
    if (!isTrueUpError(error)) throw error;
    problems.push({ field, code: 'AMOUNT_INVALID', description: error.message.replace(/^amount /, '') });
    return null;
  }
}

/**
 * ISO 8601 with a zone, cut to milliseconds; null for absent or bad. Unix numbers are refused, because they don't say
 * whether they count seconds or milliseconds.
 */
export function parseBookTime(value: unknown, field: string, problems: BookProblem[]): Date | null {
  if (isAbsent(value)) return null;
  const problem = (description: string) => {
    problems.push({ field, code: 'TIME_INVALID', description });
    return null;
  };
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? problem('is no valid time') : value;
  const text = typeof value === 'string' ? value.trim() : String(value);
  if (typeof value !== 'string' || /^\d+(\.\d+)?$/.test(text)) {
    return problem(`${quote(text)} doesn't say its unit: send ISO 8601 such as "2026-01-31T12:00:00Z"`);
  }
  const match = TIME.exec(text);
  if (!match) return problem(`${quote(text)} is no ISO 8601 time such as "2026-01-31T12:00:00Z"`);
  const [, year, month, day, hour, minute, second = '00', fraction = '', zone] = match;
  if (zone === undefined) return problem(`${quote(text)} has no zone: append Z for UTC, or an offset such as +02:00`);
  const offset = zone.length === 1 ? 'Z' : `${zone.slice(0, 3)}:${zone.slice(3).replace(':', '') || '00'}`;
  const milliseconds = fraction.slice(0, 3).padEnd(3, '0');
  const time = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}.${milliseconds}${offset}`);
  // 30 February would otherwise become 1 March.
  const real = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() === Number(day);
  if (Number.isNaN(time.getTime()) || !real) return problem(`${quote(text)} is not in the calendar`);
  return time;
}

/** A ledger number; 0 for absent, "0" or bad. */
export function parseCount(value: unknown, field: string, problems: BookProblem[]): number {
  if (isAbsent(value)) return 0;
  const text = String(value).trim();
  if (/^\d{1,10}$/.test(text) && Number(text) <= MAX_LEDGER) return Number(text);
  problems.push({
    field,
    code: 'VALUE_INVALID',
    description: `${quote(text)} is no ledger number from 1 to ${MAX_LEDGER}`,
  });
  return 0;
}

export function parseFlag(value: unknown, field: string, problems: BookProblem[]): boolean {
  if (value === undefined || value === null || value === false) return false;
  if (value === true) return true;
  const word = String(value).trim().toLowerCase();
  if (TRUE_WORDS.has(word)) return true;
  if (!FALSE_WORDS.has(word))
    problems.push({ field, code: 'VALUE_INVALID', description: `${quote(word)} is neither true nor false` });
  return false;
}

function digitsOf(value: unknown, field: string, problems: BookProblem[]): string | null {
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return String(value);
  const kind =
    typeof value === 'number'
      ? `is a floating-point number${Number.isNaN(value) ? '' : ` (${value})`}, which may already have lost digits`
      : `must be text, but is ${describeType(value)}`;
  problems.push({ field, code: 'AMOUNT_INVALID', description: `${kind}: send a string such as "12.5"` });
  return null;
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'string' && value.trim() === '');
}

function describeType(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'number' ? `the number ${value}` : `of type ${typeof value}`;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
