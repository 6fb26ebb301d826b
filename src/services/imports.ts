// Importing a file into a book: all of it by one commit, or none of it with every bad line named.
import { randomUUID } from 'node:crypto';
import { isUuid } from '../core/ids.ts';
import type { BookBalance, BookLevel, BookRowInput } from '../core/book.ts';
import { isTrueUpError, messageOf, TrueUpError } from '../core/errors.ts';
import { createBookFileReader, formatOfFileName } from '../sources/book-file.ts';
import type { BookFileFormat, BookFileLimits, BookFileReader, NumberedRow } from '../sources/book-file.ts';
import { writeAudit } from '../store/audit.ts';
import type { Caller } from '../store/audit.ts';
import {
  advanceCompleteness,
  BOOK_BATCH_ROWS,
  lockBook,
  mergeStagedBalances,
  mergeStagedRows,
  NO_COUNTS,
} from '../store/book-writes.ts';
import type { Database } from '../store/database.ts';
import { isUniqueViolation } from '../store/db-errors.ts';
import { checkStaged } from '../store/import-checks.ts';
import {
  beginImport,
  clearStaging,
  countStaged,
  endImport,
  findImport,
  findImportByRequest,
  isImportAlive,
  lockStaging,
  noteProgress,
  stageBalances,
  stageRows,
  sweepStaleImports,
} from '../store/imports.ts';
import type { Import, ImportError } from '../store/imports.ts';
import { bookNameOf } from './book.ts';

export type { Import, ImportError } from '../store/imports.ts';

export const IMPORT_LIMITS = {
  /** Errors kept and shown; all are counted. */
  maxReportedErrors: 1_000,
  /** An import that gave no sign of life for so long is taken for dead. */
  staleImportMs: 60_000,
  heartbeatMs: 15_000,
} as const;

export interface ImportHeader {
  /** '' is `default`. */
  readonly book: string;
  /** Null: told by the columns. */
  readonly level: BookLevel | null;
  /** Null: told by the file's name. */
  readonly format: BookFileFormat | null;
  readonly fileName: string | null;
  /** A file that ends short of it fails as FILE_TRUNCATED; null: not known. */
  readonly fileSizeBytes: number | null;
  readonly completeThrough: Date | null;
  readonly requestId: string | null;
}

/**
 * Reads a file to its end and commits all of its rows, or none. What is wrong with the file is the import's answer
 * (state failed, errors), not an error of the call. A broken transfer is one: it leaves a failed import, and the same
 * request may be sent again.
 *
 * @throws TrueUpError INVALID_REQUEST, REQUEST_TOO_LARGE, REQUEST_ID_REUSED, RUN_ALREADY_ACTIVE; whatever `chunks` throws.
 */
export async function importBook(
  deps: { db: Database; limits?: Partial<BookFileLimits> },
  header: ImportHeader,
  chunks: AsyncIterable<Uint8Array>,
  caller: Caller,
): Promise<Import> {
  const { db } = deps;
  const book = bookNameOf(header.book);
  const format = header.format ?? formatOfFileName(header.fileName ?? '');
  if (format === null) {
    throw new TrueUpError(
      'INVALID_REQUEST',
      "the file's name doesn't tell its format; name it .csv or .jsonl, or give the format",
    );
  }
  const reader = createBookFileReader({ format, level: header.level, ...(deps.limits && { limits: deps.limits }) });
  const earlier = header.requestId === null ? null : await findImportByRequest(db.em(), header.requestId);
  if (earlier !== null && earlier.sha256 !== null) return await repeatAnswer(earlier, reader, book, chunks);
  if (earlier !== null && (await isImportAlive(db.em(), earlier.id, IMPORT_LIMITS.staleImportMs)))
    throw underWay(earlier.id);

  const id = earlier?.id ?? randomUUID();
  await clearStaging(db.em(), id);
  const start = { id, requestId: header.requestId, book, level: header.level, format, fileName: header.fileName };
  try {
    await beginImport(db.em(), { ...start, completeThrough: header.completeThrough, actor: caller.actor });
  } catch (error) {
    if (isUniqueViolation(error)) throw underWay(id);
    throw error;
  }
  const heartbeat = setInterval(() => {
    // A missed beat is no failure; the next one follows, and the commit checks whether we were swept.
    noteProgress(db.em(), id, reader.bytes, reader.lines).catch(() => undefined);
  }, IMPORT_LIMITS.heartbeatMs);
  try {
    const errors = await stageFile(db, id, reader, chunks);
    if (header.fileSizeBytes !== null && reader.bytes !== header.fileSizeBytes) {
      errors.add({
        line: 0,
        column: '',
        code: 'FILE_TRUNCATED',
        message: `${reader.bytes} bytes came, but the file has ${header.fileSizeBytes}`,
      });
    }
    await commit(
      db,
      { id, book, completeThrough: header.completeThrough, requestId: header.requestId },
      reader,
      errors,
      caller,
    );
  } catch (error) {
    // The failure is recorded in a transaction of its own; where even that fails, the sweep does it later.
    const failure: ImportError = {
      line: 0,
      column: '',
      code: 'FILE_TRUNCATED',
      message: `the import was interrupted: ${messageFor(error)}`,
    };
    const summary = {
      level: reader.level,
      receivedBytes: reader.bytes,
      lineCount: reader.lines,
      counts: NO_COUNTS,
      completeThrough: null,
    };
    await endImport(db.em(), id, { ...summary, state: 'failed', errors: [failure], errorCount: 1, sha256: null }).catch(
      () => undefined,
    );
    throw error;
  } finally {
    clearInterval(heartbeat);
    await clearStaging(db.em(), id).catch(() => undefined);
  }
  return await getImport(deps, id);
}

/** @throws TrueUpError IMPORT_NOT_FOUND */
export async function getImport(deps: { db: Database }, id: string): Promise<Import> {
  const found = isUuid(id) ? await findImport(deps.db.em(), id) : null;
  if (found !== null) return found;
  throw new TrueUpError(
    'IMPORT_NOT_FOUND',
    `there is no import ${JSON.stringify(id.slice(0, 64))}; use the id that ImportEntries returned`,
  );
}

/** Ends imports whose process died and removes what they staged; call it at start and now and then. Returns how many. */
export async function sweepImports(deps: { db: Database; staleMs?: number }): Promise<number> {
  return (await sweepStaleImports(deps.db.em(), deps.staleMs ?? IMPORT_LIMITS.staleImportMs)).length;
}

/** Stages the rows of a file while it comes in: one statement is under way while the next batch is read. */
async function stageFile(
  db: Database,
  id: string,
  reader: BookFileReader,
  chunks: AsyncIterable<Uint8Array>,
): Promise<ErrorList> {
  const errors = createErrorList();
  let rows: NumberedRow<BookRowInput>[] = [];
  let balances: NumberedRow<BookBalance>[] = [];
  let underWay_: Promise<void> = Promise.resolve();
  const flush = async () => {
    const [staged, stagedBalances] = [rows, balances];
    [rows, balances] = [[], []];
    await underWay_;
    underWay_ = (async () => {
      for (let at = 0; at < staged.length; at += BOOK_BATCH_ROWS)
        await stageRows(db.em(), id, staged.slice(at, at + BOOK_BATCH_ROWS));
      for (let at = 0; at < stagedBalances.length; at += BOOK_BATCH_ROWS) {
        await stageBalances(db.em(), id, stagedBalances.slice(at, at + BOOK_BATCH_ROWS));
      }
      await noteProgress(db.em(), id, reader.bytes, reader.lines);
    })();
    // Its failure is met at the next await; until then it must not count as unhandled.
    underWay_.catch(() => undefined);
  };
  for await (const batch of reader.batches(chunks)) {
    for (const { line, column, code, message } of batch.problems) errors.add({ line, column, code, message });
    // With a bad line nothing will be committed: the rest is only read for its errors.
    if (errors.count > 0) continue;
    rows.push(...batch.rows);
    balances.push(...batch.balances);
    if (rows.length + balances.length >= BOOK_BATCH_ROWS) await flush();
  }
  if (errors.count === 0) await flush();
  await underWay_;
  return errors;
}

async function commit(
  db: Database,
  target: { id: string; book: string; completeThrough: Date | null; requestId: string | null },
  reader: BookFileReader,
  errors: ErrorList,
  caller: Caller,
): Promise<void> {
  const summary = {
    receivedBytes: reader.bytes,
    lineCount: reader.lines,
    sha256: reader.sha256(),
    level: reader.level,
  };
  const auditEnd = async (em: Parameters<typeof writeAudit>[0], after: object) => {
    const change = {
      resourceType: 'imports',
      resourceId: target.id,
      after: { book: target.book, sha256: summary.sha256, ...after },
    };
    await writeAudit(em, { ...caller, requestId: target.requestId ?? '' }, change);
  };
  await db.em().transactional(async (em) => {
    if (!(await lockStaging(em, target.id)))
      throw new TrueUpError('LEASE_LOST', 'the import gave no sign of life and was ended; send the file again');
    const level = reader.level;
    if (errors.count === 0 && level !== null) {
      const { id: bookId } = await lockBook(em, target.book);
      const staged = await countStaged(em, target.id);
      if (staged !== reader.lines) {
        throw new TrueUpError(
          'DATABASE_UNAVAILABLE',
          `${reader.lines - staged} staged rows are gone: the database crashed meanwhile; send the file again`,
        );
      }
      const check = await checkStaged(em, bookId, target.id, level, IMPORT_LIMITS.maxReportedErrors);
      for (const error of check.errors) errors.add(error);
      errors.count += check.errorCount - check.errors.length;
      if (errors.count === 0) {
        const merged =
          level === 'entries'
            ? await mergeStagedRows(em, bookId, target.id)
            : await mergeStagedBalances(em, bookId, target.id);
        const counts = { ...merged, unchanged: merged.unchanged + check.repeated };
        const through = await advanceCompleteness(em, bookId, {
          entries: level === 'entries' ? target.completeThrough : null,
          balances: level === 'balances' ? target.completeThrough : null,
        });
        const completeThrough = level === 'entries' ? through.completeThrough : through.balancesCompleteThrough;
        await endImport(em, target.id, {
          ...summary,
          state: 'committed',
          counts,
          errors: [],
          errorCount: 0,
          completeThrough,
        });
        await auditEnd(em, { state: 'committed', ...counts });
        return;
      }
    }
    await endImport(em, target.id, {
      ...summary,
      state: 'failed',
      counts: NO_COUNTS,
      errors: errors.first,
      errorCount: errors.count,
      completeThrough: null,
    });
    await auditEnd(em, { state: 'failed', error_count: errors.count });
  });
}

/** The request came before and was read to its end: the same bytes get the same answer. */
async function repeatAnswer(
  earlier: Import,
  reader: BookFileReader,
  book: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<Import> {
  for await (const batch of reader.batches(chunks)) void batch;
  if (earlier.sha256 === reader.sha256() && earlier.book === book) return earlier;
  throw new TrueUpError(
    'REQUEST_ID_REUSED',
    `request_id ${earlier.requestId} was used before for another file; send a new one, or the same file`,
  );
}

interface ErrorList {
  readonly first: readonly ImportError[];
  count: number;
  add(error: ImportError): void;
}

function createErrorList(): ErrorList {
  const first: ImportError[] = [];
  return {
    first,
    count: 0,
    add(error) {
      this.count++;
      if (first.length < IMPORT_LIMITS.maxReportedErrors) first.push(error);
    },
  };
}

function underWay(id: string): TrueUpError {
  return new TrueUpError('RUN_ALREADY_ACTIVE', `the same import is under way; ask for it by GetImport`, {
    metadata: { import_id: id },
  });
}

function messageFor(error: unknown): string {
  return isTrueUpError(error) ? error.message : messageOf(error).slice(0, 200);
}
