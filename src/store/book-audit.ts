// The audit row of a recording is also its memory: a repeated request finds its first answer there.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import type { BookCounts } from './book-writes.ts';
import { sql } from './database.ts';

const METHOD = 'RecordEntries';

export interface RecordedAnswer {
  readonly entries: BookCounts & { readonly completeThrough: Date | null };
  readonly balances: BookCounts & { readonly completeThrough: Date | null };
}

export interface RecordAudit {
  readonly actor: string;
  readonly role: string;
  readonly traceId: string | null;
  readonly requestId: string;
  readonly book: string;
  /** Hex SHA-256 of the content; null where nobody can ask for it again. */
  readonly digest: string | null;
  readonly answer: RecordedAnswer;
}

export async function writeRecordAudit(em: EntityManager, audit: RecordAudit): Promise<void> {
  await sql(
    em,
    `insert into trueup.audit_log (actor, role, method, request_id, trace_id, resource, after)
     values ($1, $2, $3, $4, $5, $6, $7::jsonb)`,
    [audit.actor, audit.role, METHOD, audit.requestId, audit.traceId, `books/${audit.book}`, JSON.stringify({ digest: audit.digest, ...audit.answer })],
  );
}

/**
 * The answer given to a request before; null where there was none.
 *
 * @throws TrueUpError REQUEST_ID_REUSED where the content was another one; a null `digest` doesn't ask.
 */
export async function findRecordedAnswer(em: EntityManager, requestId: string, digest: string | null): Promise<RecordedAnswer | null> {
  const [row] = await sql<{ after: RecordedJson }>(
    em,
    `select after from trueup.audit_log where method = '${METHOD}' and request_id = $1 order by id limit 1`,
    [requestId],
  );
  if (row === undefined) return null;
  if (digest !== null && row.after.digest !== digest) {
    throw new TrueUpError('REQUEST_ID_REUSED', `request_id ${requestId} was used before with other rows; send a new one, or the same rows`);
  }
  return { entries: revive(row.after.entries), balances: revive(row.after.balances) };
}

type JsonResult = BookCounts & { readonly completeThrough: string | null };

interface RecordedJson {
  readonly digest: string | null;
  readonly entries: JsonResult;
  readonly balances: JsonResult;
}

function revive(result: JsonResult): BookCounts & { completeThrough: Date | null } {
  return { ...result, completeThrough: result.completeThrough === null ? null : new Date(result.completeThrough) };
}
