// A request that was done before is not done again: its audit row is its memory.
import { isDeepStrictEqual } from 'node:util';
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { findAuditEntry, type Caller } from './audit.ts';
import { sql } from './database.ts';

/**
 * Whether this request was done already; waits for one of the same id that is being done. Call it in the transaction that makes
 * the change, which writes `{ request: content }` into its audit row.
 *
 * @throws TrueUpError REQUEST_ID_REUSED where the earlier one said something else.
 */
export async function wasRequested(
  em: EntityManager,
  caller: Caller,
  requestId: string | null,
  content: Readonly<Record<string, unknown>>,
): Promise<boolean> {
  if (requestId === null) return false;
  await sql(em, `select pg_advisory_xact_lock(hashtext('trueup.request'), hashtext($1))`, [
    `${caller.method} ${requestId}`,
  ]);
  const earlier = await findAuditEntry(em, caller.method, requestId);
  if (earlier === null) return false;
  const { request } = JSON.parse(earlier.afterJson ?? '{}') as { request?: unknown };
  if (isDeepStrictEqual(request, JSON.parse(JSON.stringify(content)))) return true;
  throw new TrueUpError('REQUEST_ID_REUSED', `request id ${requestId} was used before with other content`, {
    fix: 'take a new UUID for a new request',
  });
}
