// The audit row of a recording is also its memory: a repeated request finds its first answer there.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { findAuditEntry, writeAudit } from './audit.ts';
import type { Caller } from './audit.ts';
import type { BookCounts } from './book-writes.ts';

export interface RecordedAnswer {
  readonly entries: BookCounts & { readonly completeThrough: Date | null };
  readonly balances: BookCounts & { readonly completeThrough: Date | null };
}

/** `requestId` null: nobody can ask for this answer again. `digest`: hex SHA-256 of the content. */
export async function writeRecordAudit(
  em: EntityManager,
  caller: Caller,
  recorded: { book: string; requestId: string | null; digest: string | null; answer: RecordedAnswer },
): Promise<void> {
  const { book, requestId, digest, answer } = recorded;
  await writeAudit(
    em,
    { ...caller, requestId: requestId ?? '' },
    { resourceType: 'books', resourceId: book, after: { digest, ...answer } },
  );
}

/**
 * The answer given to a request before; null where there was none.
 *
 * @throws TrueUpError REQUEST_ID_REUSED where the content was another one; a null `digest` doesn't ask.
 */
export async function findRecordedAnswer(
  em: EntityManager,
  caller: Caller,
  requestId: string,
  digest: string | null,
): Promise<RecordedAnswer | null> {
  const entry = await findAuditEntry(em, caller.method, requestId);
  if (entry === null || entry.afterJson === null) return null;
  const after = JSON.parse(entry.afterJson) as RecordedJson;
  if (digest !== null && after.digest !== digest) {
    throw new TrueUpError(
      'REQUEST_ID_REUSED',
      `request_id ${requestId} was used before with other rows; send a new one, or the same rows`,
    );
  }
  return { entries: revive(after.entries), balances: revive(after.balances) };
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
