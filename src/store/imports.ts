// Imports: what is kept of each, and where its rows wait for their one commit.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookBalance, BookLevel, BookProblemCode, BookRowInput } from '../core/book.ts';
import { deriveRowIdBase } from '../core/book.ts';
import { sql, sqlCount } from './database.ts';
import { ImportEntity } from './entities.ts';
import type { ImportRow } from './entities.ts';
import type { BookCounts } from './book-writes.ts';

export type ImportState = 'staging' | 'committed' | 'failed';

export interface ImportError {
  /** From 1; 0: the file as a whole. */
  readonly line: number;
  /** '' is the line as a whole. */
  readonly column: string;
  readonly code: BookProblemCode;
  readonly message: string;
}

export interface Import {
  readonly id: string;
  readonly requestId: string | null;
  readonly book: string;
  /** Null until the columns told it. */
  readonly level: BookLevel | null;
  readonly format: 'csv' | 'jsonl';
  readonly fileName: string | null;
  readonly state: ImportState;
  readonly receivedBytes: number;
  /** Data lines read. */
  readonly lineCount: number;
  readonly counts: BookCounts;
  /** The first ones only. */
  readonly errors: readonly ImportError[];
  /** All of them. */
  readonly errorCount: number;
  /** Hex; null where the file was not read to its end. */
  readonly sha256: string | null;
  /** What the book states after a committed import; before that, what the caller stated. */
  readonly completeThrough: Date | null;
  readonly actor: string;
  readonly createdAt: Date;
  readonly completedAt: Date | null;
}

/** Makes the import's row, or takes over the one of an interrupted import with the same request. */
export async function beginImport(
  em: EntityManager,
  start: Pick<Import, 'id' | 'requestId' | 'book' | 'level' | 'format' | 'fileName' | 'completeThrough' | 'actor'>,
): Promise<void> {
  await sql(
    em,
    `insert into trueup.imports (id, request_id, book, level, format, file_name, state, complete_through, actor)
     values ($1, $2, $3, $4, $5, $6, 'staging', $7, $8)
     on conflict (id) do update set book = excluded.book, level = excluded.level, format = excluded.format,
       file_name = excluded.file_name, state = 'staging', complete_through = excluded.complete_through, actor = excluded.actor,
       line_count = 0, received_bytes = 0, error_count = 0, errors = '[]', sha256 = null, heartbeat_at = now(), completed_at = null`,
    [
      start.id,
      start.requestId,
      start.book,
      start.level,
      start.format,
      start.fileName,
      start.completeThrough?.toISOString() ?? null,
      start.actor,
    ],
  );
}

/** Stages rows and notes how far the import is. At most BOOK_BATCH_ROWS at once. */
export async function stageRows(
  em: EntityManager,
  importId: string,
  rows: readonly { line: number; row: BookRowInput }[],
): Promise<void> {
  const of = (pick: (row: BookRowInput) => unknown) => rows.map(({ row }) => pick(row));
  await sql(
    em,
    `insert into trueup.book_import_rows (import_id, line, row_id, row_id_base, key, account, asset, amount, kind, counterparty,
       status, sub_account, occurred_at, ledger, retracted)
     select $1, * from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::numeric[],
       $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], $14::int[], $15::boolean[])`,
    [
      ...[
        importId,
        rows.map(({ line }) => line),
        of((row) => row.rowId),
        of((row) => (row.rowId === null ? deriveRowIdBase(row) : null)),
      ],
      ...[
        of((row) => row.key),
        of((row) => row.account),
        of((row) => row.asset),
        of((row) => row.amount?.toString() ?? null),
      ],
      ...[of((row) => row.kind), of((row) => row.counterparty), of((row) => row.status), of((row) => row.subAccount)],
      ...[of((row) => row.occurredAt?.toISOString() ?? null), of((row) => row.ledger), of((row) => row.retracted)],
    ],
  );
}

export async function stageBalances(
  em: EntityManager,
  importId: string,
  rows: readonly { line: number; row: BookBalance }[],
): Promise<void> {
  const of = (pick: (row: BookBalance) => unknown) => rows.map(({ row }) => pick(row));
  await sql(
    em,
    `insert into trueup.book_import_rows (import_id, line, account, asset, amount, as_of_ledger)
     select $1, * from unnest($2::bigint[], $3::text[], $4::text[], $5::numeric[], $6::int[])`,
    [
      ...[importId, rows.map(({ line }) => line), of((row) => row.account), of((row) => row.asset)],
      ...[of((row) => row.amount.toString()), of((row) => row.asOfLedger)],
    ],
  );
}

/** False when the import is no longer staging: it was swept. */
export async function noteProgress(
  em: EntityManager,
  importId: string,
  receivedBytes: number,
  lineCount: number,
): Promise<boolean> {
  const changed = await sqlCount(
    em,
    `update trueup.imports set received_bytes = $2, line_count = $3, heartbeat_at = now() where id = $1 and state = 'staging'`,
    [importId, receivedBytes, lineCount],
  );
  return changed === 1;
}

/** Locks the import for its end; false when it is no longer staging. */
export async function lockStaging(em: EntityManager, importId: string): Promise<boolean> {
  const rows = await sql(em, `select 1 from trueup.imports where id = $1 and state = 'staging' for update`, [importId]);
  return rows.length === 1;
}

export async function countStaged(em: EntityManager, importId: string): Promise<number> {
  const [row] = await sql<{ count: string }>(
    em,
    'select count(*) as count from trueup.book_import_rows where import_id = $1',
    [importId],
  );
  return Number(row!.count);
}

export interface ImportEnd {
  readonly state: 'committed' | 'failed';
  readonly level: BookLevel | null;
  readonly receivedBytes: number;
  readonly lineCount: number;
  readonly counts: BookCounts;
  readonly errors: readonly ImportError[];
  readonly errorCount: number;
  readonly sha256: string | null;
  readonly completeThrough: Date | null;
}

export async function endImport(em: EntityManager, importId: string, end: ImportEnd): Promise<void> {
  await sql(
    em,
    `update trueup.imports set state = $2, level = $3, received_bytes = $4, line_count = $5, inserted_count = $6,
       revised_count = $7, unchanged_count = $8, retracted_count = $9, errors = $10::jsonb, error_count = $11, sha256 = $12,
       complete_through = $13, completed_at = now()
     where id = $1 and state = 'staging'`,
    [
      ...[importId, end.state, end.level, end.receivedBytes, end.lineCount, end.counts.inserted, end.counts.revised],
      ...[end.counts.unchanged, end.counts.retracted, JSON.stringify(end.errors), end.errorCount, end.sha256],
      end.completeThrough?.toISOString() ?? null,
    ],
  );
}

export async function clearStaging(em: EntityManager, importId: string): Promise<void> {
  await sql(em, 'delete from trueup.book_import_rows where import_id = $1', [importId]);
}

/**
 * Ends imports that nobody has worked on for `staleMs`, by the database's clock, and clears what any import that is
 * over left behind. Returns the ids that it ended.
 */
export async function sweepStaleImports(em: EntityManager, staleMs: number): Promise<string[]> {
  const error: ImportError = {
    line: 0,
    column: '',
    code: 'FILE_TRUNCATED',
    message: 'the import was interrupted; nothing of it counts, send the file again',
  };
  const rows = await sql<{ id: string }>(
    em,
    `update trueup.imports set state = 'failed', completed_at = now(), error_count = 1, errors = $2::jsonb
     where id in (select id from trueup.imports where state = 'staging' and heartbeat_at < now() - $1 * interval '1 millisecond'
       for update skip locked) returning id`,
    [staleMs, JSON.stringify([error])],
  );
  await sql(
    em,
    `delete from trueup.book_import_rows where import_id in (
       with recursive held as (
         (select import_id from trueup.book_import_rows order by import_id limit 1)
         union all
         select next.import_id from held cross join lateral (select import_id from trueup.book_import_rows r
           where r.import_id > held.import_id order by import_id limit 1) next)
       select held.import_id from held left join trueup.imports i on i.id = held.import_id
       where i.state is distinct from 'staging')`,
  );
  return rows.map((row) => row.id);
}

export async function findImport(em: EntityManager, id: string): Promise<Import | null> {
  return toImport(await em.findOne(ImportEntity, { id }));
}

export async function findImportByRequest(em: EntityManager, requestId: string): Promise<Import | null> {
  return toImport(await em.findOne(ImportEntity, { requestId }));
}

/** Whether a staging import was worked on within `staleMs`. */
export async function isImportAlive(em: EntityManager, id: string, staleMs: number): Promise<boolean> {
  const rows = await sql(
    em,
    `select 1 from trueup.imports where id = $1 and state = 'staging' and heartbeat_at >= now() - $2 * interval '1 millisecond'`,
    [id, staleMs],
  );
  return rows.length > 0;
}

function toImport(row: ImportRow | null): Import | null {
  if (row === null) return null;
  return {
    id: row.id,
    requestId: row.requestId,
    book: row.book,
    level: row.level,
    format: row.format,
    fileName: row.fileName,
    state: row.state,
    receivedBytes: row.receivedBytes,
    lineCount: row.lineCount,
    counts: {
      inserted: row.insertedCount,
      revised: row.revisedCount,
      unchanged: row.unchangedCount,
      retracted: row.retractedCount,
    },
    errors: row.errors as ImportError[],
    errorCount: row.errorCount,
    sha256: row.sha256,
    completeThrough: row.completeThrough,
    actor: row.actor,
    createdAt: row.createdAt,
    completedAt: row.completedAt,
  };
}
