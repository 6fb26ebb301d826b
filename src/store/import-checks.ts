// What only shows when all rows of a file are there: rows that contradict one another or the book.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookLevel } from '../core/book.ts';
import { STAGED_ROW_ID } from './book-writes.ts';
import { sql, sqlCount } from './database.ts';
import type { ImportError } from './imports.ts';

export interface StagedCheck {
  readonly errors: readonly ImportError[];
  readonly errorCount: number;
  /** Rows that stood twice with the same content; the later ones were removed. */
  readonly repeated: number;
}

/** Checks the staged rows of an import against one another, and its retractions against the book. */
export async function checkStaged(
  em: EntityManager,
  bookId: number,
  importId: string,
  level: BookLevel,
  maxErrors: number,
): Promise<StagedCheck> {
  const found = await sql<{ line: string; first_line: string; total: string }>(em, conflictSql(level), [
    importId,
    maxErrors,
  ]);
  const conflicts: ImportError[] = found.map((row) => ({
    line: Number(row.line),
    column: level === 'entries' ? 'row_id' : 'account',
    code: 'KEY_CONFLICT',
    message: `contradicts line ${row.first_line}: the same ${level === 'entries' ? 'row_id' : 'account, asset and ledger'} with other content`,
  }));
  const unknown = level === 'entries' ? await unknownRetractions(em, bookId, importId, maxErrors) : [];
  const errorCount = Number(found[0]?.total ?? 0) + Number(unknown[0]?.total ?? 0);
  if (errorCount > 0) {
    const message = 'retracts a row that the book does not have; give its amount, or correct its row_id';
    const retractions = unknown.map((row): ImportError => ({
      line: Number(row.line),
      column: 'row_id',
      code: 'VALUE_INVALID',
      message,
    }));
    return { errors: [...conflicts, ...retractions].slice(0, maxErrors), errorCount, repeated: 0 };
  }
  return { errors: [], errorCount: 0, repeated: await sqlCount(em, removeRepeatedSql(level), [importId]) };
}

async function unknownRetractions(em: EntityManager, bookId: number, importId: string, limit: number) {
  return await sql<{ line: string; total: string }>(
    em,
    `select line, count(*) over () as total from (select line, amount, ${STAGED_ROW_ID} as row_id
       from trueup.book_import_rows where import_id = $1) given
     where amount is null
       and not exists (select from trueup.book_entries b where b.book_id = $2 and b.row_id = given.row_id)
     order by line limit $3`,
    [importId, bookId, limit],
  );
}

const IDENTITY: Record<BookLevel, string> = { entries: 'row_id', balances: 'account, asset, as_of_ledger' };
const CONTENT: Record<BookLevel, string> = {
  entries: 'key, account, asset, amount, kind, counterparty, status, sub_account, occurred_at, ledger, retracted',
  balances: 'amount',
};

/** Only rows whose identity stands more than once are compared; rows without a row id can't contradict one another. */
function repeatedRows(level: BookLevel): string {
  const identity = IDENTITY[level];
  return `select r.*, md5(row(${CONTENT[level]
    .split(', ')
    .map((column) => `r.${column}`)
    .join(', ')})::text) as content
    from trueup.book_import_rows r
    where import_id = $1 and (${identity}) in (select ${identity} from trueup.book_import_rows
      where import_id = $1 ${level === 'entries' ? 'and row_id is not null' : ''} group by ${identity} having count(*) > 1)`;
}

function conflictSql(level: BookLevel): string {
  return `select line, first_line, count(*) over () as total from (
      select line, content, first_value(line) over w as first_line, first_value(content) over w as first_content
      from (${repeatedRows(level)}) repeated window w as (partition by ${IDENTITY[level]} order by line)) compared
    where content <> first_content order by line limit $2`;
}

function removeRepeatedSql(level: BookLevel): string {
  return `delete from trueup.book_import_rows where import_id = $1 and line in (
      select line from (select line, row_number() over (partition by ${IDENTITY[level]} order by line) as place
        from (${repeatedRows(level)}) repeated) placed where place > 1)`;
}
