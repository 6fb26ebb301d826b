// Lists are answered from an index or not at all: a statement that takes longer than its limit is ended by the server.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { sql } from './database.ts';

/** Longest time that one statement of a list may take. */
export const LIST_STATEMENT_TIMEOUT_MS = 5_000;
const QUERY_CANCELED = '57014';

/**
 * Runs read-only work in a transaction of its own under the limit.
 *
 * @throws TrueUpError DEADLINE_EXCEEDED with `fix` where a statement was ended by the limit.
 */
export async function withinListLimit<T>(
  em: EntityManager,
  fix: string,
  work: (em: EntityManager) => Promise<T>,
  timeoutMs: number = LIST_STATEMENT_TIMEOUT_MS,
): Promise<T> {
  try {
    return await em.transactional(async (tx) => {
      await sql(
        tx,
        `select set_config('transaction_read_only', 'on', true), set_config('statement_timeout', $1, true)`,
        [String(Math.trunc(timeoutMs))],
      );
      return work(tx);
    });
  } catch (error) {
    if (!wasCanceled(error)) throw error;
    throw new TrueUpError('DEADLINE_EXCEEDED', `the list was not found within ${timeoutMs / 1000} s`, {
      fix,
      cause: error,
    });
  }
}

function wasCanceled(error: unknown): boolean {
  for (let each = error, depth = 0; each instanceof Error && depth < 5; each = each.cause, depth++) {
    if (Reflect.get(each, 'code') === QUERY_CANCELED) return true;
  }
  return false;
}
