// One snapshot of the ledger side, for as long as a run or a re-check reads.
import { IsolationLevel } from '@mikro-orm/core';
import type { EntityManager } from '@mikro-orm/postgresql';
import { sql, type Database } from './database.ts';

/**
 * Runs `work` over one snapshot of the ledger side. Read-only, so that nothing a run does can change what it compares. When the
 * signal aborts, the statement under way is ended by the server: sorting five million rows doesn't hold up a cancel.
 */
export async function withLedgerSnapshot<T>(
  db: Database,
  work: (em: EntityManager) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  return db.em().transactional(
    async (em) => {
      await sql(em, 'set transaction read only');
      const [backend] = await sql<{ pid: number }>(em, 'select pg_backend_pid() as pid');
      const ending: Promise<unknown>[] = [];
      const end = (): void => {
        ending.push(sql(db.em(), 'select pg_cancel_backend($1)', [backend!.pid]).catch(() => undefined));
      };
      signal?.addEventListener('abort', end, { once: true });
      try {
        signal?.throwIfAborted();
        return await work(em);
      } finally {
        signal?.removeEventListener('abort', end);
        // Not later: the next statement of this connection is somebody else's.
        await Promise.all(ending);
      }
    },
    { isolationLevel: IsolationLevel.REPEATABLE_READ },
  );
}
