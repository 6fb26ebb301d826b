// What the database says, in our words: which failures a later try can mend, and which are ours to mend.
import { TrueUpError, messageOf } from '../core/errors.ts';

/** SQLSTATE codes and the codes of Node's sockets that mean: the server isn't there for us now. */
const UNAVAILABLE = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'ETIMEDOUT',
  'EPIPE',
  'EHOSTUNREACH',
  'EAI_AGAIN',
  '57P01',
  '57P02',
  '57P03',
  '57P05',
  '25006',
]);
const UNAVAILABLE_WORDS = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'timeout expired',
  'is not currently accepting connections',
  'Client has encountered a connection error',
  'not queryable',
];
/** Serialization failure, deadlock, lock wait: the same transaction run again can succeed. */
const CONFLICT = new Set(['40001', '40P01', '55P03']);

/**
 * A TrueUpError where the failure has a meaning of its own, else the very error. Unique violations stay as they are:
 * only the statement's author knows what they mean (see `isUniqueViolation`).
 */
export function toTrueUpError(error: unknown): unknown {
  if (error instanceof TrueUpError) return error;
  const code = codeOf(error);
  if (
    code?.startsWith('08') === true ||
    (code !== undefined && UNAVAILABLE.has(code)) ||
    UNAVAILABLE_WORDS.some((words) => messageOf(error).includes(words))
  ) {
    return new TrueUpError(
      'DATABASE_UNAVAILABLE',
      `the database can't be reached: ${messageOf(error)}; check DATABASE_URL and that its server is up`,
      { cause: error },
    );
  }
  switch (code) {
    case '53300':
      return new TrueUpError(
        'DATABASE_UNAVAILABLE',
        'the database has no connection left; raise its max_connections or lower the pool sizes of its clients',
        { cause: error },
      );
    case '53100':
      return new TrueUpError('DATABASE_UNAVAILABLE', "the database's disk is full; give it room", { cause: error });
    case '28P01':
    case '28000':
      return new TrueUpError(
        'INVALID_CONFIGURATION',
        `the database refuses this user: ${messageOf(error)}; check the user and password in DATABASE_URL`,
        { cause: error },
      );
    case '3D000':
      return new TrueUpError(
        'INVALID_CONFIGURATION',
        `${messageOf(error)}; create it, or name another one in DATABASE_URL`,
        { cause: error },
      );
    case '42501':
      return new TrueUpError(
        'INVALID_CONFIGURATION',
        `the database user lacks a right: ${messageOf(error)}; let an administrator run: create schema trueup authorization <user>; create schema trueup_queue authorization <user>`,
        { cause: error },
      );
    case '42P01':
    case '42703':
    case '3F000':
      return new TrueUpError(
        'DATABASE_UNAVAILABLE',
        `the database's schema isn't the one this version needs: ${messageOf(error)}; run the migrations by starting trueup serve once`,
        { cause: error },
      );
    case undefined:
      return error;
    default:
      return CONFLICT.has(code)
        ? new TrueUpError('DATABASE_UNAVAILABLE', `the transaction met another one: ${messageOf(error)}`, {
            cause: error,
            metadata: { cause: 'conflict' },
          })
        : error;
  }
}

/** True when this is a unique violation; of the named constraint or index, when one is named. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  return codeOf(error) === '23505' && (constraint === undefined || fieldOf(error, 'constraint') === constraint);
}

/** True when the transaction lost against another one and is worth running again. */
export function isConflict(error: unknown): boolean {
  const code = codeOf(error);
  return code !== undefined && CONFLICT.has(code);
}

/** True when the server ended the statement because it took longer than it was given. */
export function isTimeout(error: unknown): boolean {
  return codeOf(error) === '57014';
}

function codeOf(error: unknown): string | undefined {
  return fieldOf(error, 'code');
}

/** The ORM wraps what the driver threw, and we wrap what the ORM threw: look through both. */
function fieldOf(error: unknown, field: 'code' | 'constraint'): string | undefined {
  for (let each = error, depth = 0; each instanceof Error && depth < 5; each = each.cause, depth++) {
    const value: unknown = Reflect.get(each, field);
    if (typeof value === 'string') return value;
  }
  return undefined;
}
