// What a request did the first time, so that its repetition does nothing and gets the same answer.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import { sql, sqlCount } from './database.ts';
import { fromJson, toJson } from './json.ts';

export interface RepeatableCall {
  readonly method: string;
  /** Null: every call counts as new. */
  readonly requestId: string | null;
  /** Of the call's content, hex. */
  readonly digest: string;
}

/**
 * Runs `work` once for each request id, inside the caller's transaction; a repetition gets the answer that was kept. Two at
 * once take turns.
 *
 * @throws TrueUpError REQUEST_ID_REUSED where the content was another one.
 */
export async function answerOnce<T>(em: EntityManager, call: RepeatableCall, work: () => Promise<T>): Promise<T> {
  if (call.requestId === null) return work();
  const { method, requestId, digest } = call;
  const isFirst = await sqlCount(
    em,
    `insert into trueup.call_answers (method, request_id, digest) values ($1, $2, $3) on conflict do nothing`,
    [method, requestId, digest],
  );
  if (isFirst === 1) {
    const answer = await work();
    await sqlCount(em, `update trueup.call_answers set answer = $3::jsonb where method = $1 and request_id = $2`, [
      method,
      requestId,
      toJson(answer),
    ]);
    return answer;
  }
  const [row] = await sql<{ digest: string; answer: unknown }>(
    em,
    `select digest, answer from trueup.call_answers where method = $1 and request_id = $2`,
    [method, requestId],
  );
  if (row?.digest === digest) return fromJson<T>(row.answer);
  throw new TrueUpError('REQUEST_ID_REUSED', `request_id ${requestId} was used before with other content`, {
    fix: 'take a new UUID for a new request',
  });
}

/** Rows of one statement, so that pruning never holds locks for long. */
const PRUNE_BATCH_ROWS = 1000;

export async function pruneAnswers(em: EntityManager, days: number): Promise<void> {
  for (;;) {
    const deleted = await sqlCount(
      em,
      `delete from trueup.call_answers where ctid = any(array(
         select ctid from trueup.call_answers where created_at < now() - $1 * interval '1 day' limit ${PRUNE_BATCH_ROWS}))`,
      [days],
    );
    if (deleted < PRUNE_BATCH_ROWS) return;
  }
}
