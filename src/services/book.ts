// Recording into a book: rows pushed by the business, in one call or as a stream.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import {
  bookProblemsOf,
  createOccurrenceCounter,
  deriveRowIdBase,
  derivedRowId,
  parseBookBalance,
  parseBookRow,
} from '../core/book.ts';
import type { BookBalance, BookRowInput } from '../core/book.ts';
import type { FieldViolation } from '../core/errors.ts';
import { TrueUpError } from '../core/errors.ts';
import type { Caller } from '../store/audit.ts';
import { findRecordedAnswer, writeRecordAudit } from '../store/book-audit.ts';
import {
  advanceCompleteness,
  BOOK_BATCH_ROWS,
  lockBook,
  mergeBookBalances,
  mergeBookRows,
  NO_COUNTS,
  unknownRowIds,
} from '../store/book-writes.ts';
import type { BookCounts, BookRowToStore } from '../store/book-writes.ts';
import type { Database } from '../store/database.ts';

export const DEFAULT_BOOK = 'default';
export const BOOK_CALL_LIMITS = {
  /** Rows of one call or one message of a stream, and balances likewise. */
  maxRowsPerCall: BOOK_BATCH_ROWS,
  maxBookNameChars: 128,
  /** Problems listed in one refusal. */
  maxReportedProblems: 100,
  /** Different rows without a row id in one stream: each is remembered until the stream ends. */
  maxDerivedRowsPerStream: 500_000,
} as const;

export interface RecordCall {
  /** '' is `default`. */
  readonly book: string;
  readonly rows: readonly BookRowInput[];
  readonly balances: readonly BookBalance[];
  /**
   * States that the book is complete up to here, inclusive; never moves back. It is said of entries, unless the call holds
   * balances only, and of balances where the call holds any: nobody's old balances become fresh by a new entry.
   */
  readonly completeThrough: Date | null;
  /** Repeated with the same content, the call answers with the first result; null: every call counts as new. */
  readonly requestId: string | null;
}

export interface RecordResult extends BookCounts {
  /** What the book states now; null: it never stated anything. */
  readonly completeThrough: Date | null;
}

export interface RecordAnswer {
  readonly entries: RecordResult;
  readonly balances: RecordResult;
}

/**
 * Records rows and balances in one transaction. A row that came without an id is the n-th of its key, account and asset
 * in this call (core/book-identity.ts).
 *
 * @throws TrueUpError INVALID_REQUEST (fields as `entries[3].row_id`), REQUEST_TOO_LARGE, REQUEST_ID_REUSED.
 */
export async function recordEntries(deps: { db: Database }, call: RecordCall, caller: Caller): Promise<RecordAnswer> {
  const book = bookNameOf(call.book);
  const occurrences = createOccurrenceCounter(Infinity);
  const rows = withRowIds(call.rows, (base) => occurrences.next(base));
  const digest = call.requestId === null ? null : contentDigest(createHash('sha256'), { ...call, book }).digest('hex');
  return await deps.db.em().transactional(async (em) => {
    const { id } = await lockBook(em, book);
    if (call.requestId !== null) {
      const answer = await findRecordedAnswer(em, caller, call.requestId, digest!);
      if (answer !== null) return answer;
    }
    const answer = await writeRows(em, id, rows, call.balances, call.completeThrough);
    await writeRecordAudit(em, caller, { requestId: call.requestId, book, digest, answer });
    return answer;
  });
}

export interface StreamMessage {
  readonly rows: readonly BookRowInput[];
  readonly balances: readonly BookBalance[];
}

/**
 * Records the messages of a stream, each in a transaction of its own; `completeThrough` is stated once all of them are in.
 * A stream that broke is sent again: rows with ids may go on from anywhere, rows without ids must come from the
 * beginning, because their ids count occurrences from there.
 *
 * @throws as recordEntries; what was committed before stays.
 */
export async function streamEntries(
  deps: { db: Database },
  header: Pick<RecordCall, 'book' | 'completeThrough' | 'requestId'>,
  messages: AsyncIterable<StreamMessage>,
  caller: Caller,
): Promise<RecordAnswer & { batches: number }> {
  const book = bookNameOf(header.book);
  const hash = contentDigest(createHash('sha256'), {
    book,
    completeThrough: header.completeThrough,
    rows: [],
    balances: [],
  });
  // Asked beforehand: a repeated stream must not write before it is known whether its content is the same.
  const repeated =
    header.requestId !== null && (await findRecordedAnswer(deps.db.em(), caller, header.requestId, null)) !== null;
  const occurrences = createOccurrenceCounter(BOOK_CALL_LIMITS.maxDerivedRowsPerStream);
  let totals = { entries: NO_COUNTS, balances: NO_COUNTS };
  let [batches, hadRows, hadBalances] = [0, false, false];
  for await (const message of messages) {
    contentDigest(hash, { book, completeThrough: null, ...message });
    if (message.rows.length + message.balances.length === 0) continue;
    batches++;
    if (repeated) continue;
    if (occurrences.full && message.rows.some((row) => row.rowId === null)) throw tooManyDerived();
    const rows = withRowIds(message.rows, (base) => occurrences.next(base));
    hadRows ||= rows.length > 0;
    hadBalances ||= message.balances.length > 0;
    const done = await deps.db.em().transactional(async (em) => {
      const { id } = await lockBook(em, book);
      const answer = await writeRows(em, id, rows, message.balances, null);
      await writeRecordAudit(em, caller, { requestId: null, book, digest: null, answer });
      return answer;
    });
    totals = { entries: addCounts(totals.entries, done.entries), balances: addCounts(totals.balances, done.balances) };
  }
  const digest = hash.digest('hex');
  return await deps.db.em().transactional(async (em) => {
    const { id } = await lockBook(em, book);
    if (header.requestId !== null) {
      const answer = await findRecordedAnswer(em, caller, header.requestId, digest);
      if (answer !== null) return { ...answer, batches };
    }
    const through = await advanceCompleteness(em, id, throughOf(header.completeThrough, hadRows, hadBalances));
    const answer = {
      entries: { ...totals.entries, completeThrough: through.completeThrough },
      balances: { ...totals.balances, completeThrough: through.balancesCompleteThrough },
    };
    await writeRecordAudit(em, caller, { requestId: header.requestId, book, digest, answer });
    return { ...answer, batches };
  });
}

/**
 * Rows and balances of a call from named columns (see parseBookRow): what the door hands over.
 *
 * @throws TrueUpError INVALID_REQUEST; its details name bad fields as `entries[3].amount`, at most maxReportedProblems.
 */
export function parseBookCall(
  entries: readonly Readonly<Record<string, unknown>>[],
  balances: readonly Readonly<Record<string, unknown>>[],
): StreamMessage {
  const problems: FieldViolation[] = [];
  const collect = <Row>(
    list: readonly Readonly<Record<string, unknown>>[],
    name: string,
    parse: (record: Readonly<Record<string, unknown>>) => Row,
  ) =>
    list.flatMap((record, index) => {
      try {
        return [parse(record)];
      } catch (error) {
        for (const problem of bookProblemsOf(error))
          problems.push({ ...problem, field: `${name}[${index}].${problem.field}` });
        return [];
      }
    });
  const rows = collect(entries, 'entries', (record) => parseBookRow(record));
  const parsedBalances = collect(balances, 'balances', (record) => parseBookBalance(record));
  if (problems.length > 0) throw refuse(problems);
  return { rows, balances: parsedBalances };
}

/** @throws TrueUpError INVALID_REQUEST */
export function bookNameOf(text: string): string {
  const name = text === '' ? DEFAULT_BOOK : text;
  if (name.length <= BOOK_CALL_LIMITS.maxBookNameChars && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) return name;
  throw refuse([
    { field: 'book', description: `must be 1 to ${BOOK_CALL_LIMITS.maxBookNameChars} letters, digits, dots, dashes` },
  ]);
}

async function writeRows(
  em: EntityManager,
  bookId: number,
  rows: readonly BookRowToStore[],
  balances: readonly BookBalance[],
  completeThrough: Date | null,
): Promise<RecordAnswer> {
  const limit = BOOK_CALL_LIMITS.maxRowsPerCall;
  if (rows.length > limit || balances.length > limit) {
    throw new TrueUpError(
      'REQUEST_TOO_LARGE',
      `more than ${limit} rows in one call; split it, stream them, or import a file`,
    );
  }
  const distinct = distinctBy(rows, (row) => row.rowId, 'entries', 'row_id');
  const distinctBalances = distinctBy(
    balances,
    (each) => `${each.account} ${each.asset} ${each.asOfLedger}`,
    'balances',
    'account',
  );
  const amountless = distinct.kept.filter((row) => row.amount === null).map((row) => row.rowId);
  const unknown = new Set(await unknownRowIds(em, bookId, amountless));
  if (unknown.size > 0) {
    const description = 'retracts a row that the book does not have; send the row with its amount, or correct its id';
    throw refuse(
      rows.flatMap((row, index) =>
        unknown.has(row.rowId) ? [{ field: `entries[${index}].row_id`, description }] : [],
      ),
    );
  }
  const entryCounts = addCounts(await mergeBookRows(em, bookId, distinct.kept), {
    ...NO_COUNTS,
    unchanged: distinct.repeated,
  });
  const balanceCounts = addCounts(await mergeBookBalances(em, bookId, distinctBalances.kept), {
    ...NO_COUNTS,
    unchanged: distinctBalances.repeated,
  });
  const through = await advanceCompleteness(
    em,
    bookId,
    throughOf(completeThrough, rows.length > 0, balances.length > 0),
  );
  return {
    entries: { ...entryCounts, completeThrough: through.completeThrough },
    balances: { ...balanceCounts, completeThrough: through.balancesCompleteThrough },
  };
}

function throughOf(
  time: Date | null,
  hasRows: boolean,
  hasBalances: boolean,
): { entries: Date | null; balances: Date | null } {
  return { entries: hasRows || !hasBalances ? time : null, balances: hasBalances ? time : null };
}

function withRowIds(rows: readonly BookRowInput[], next: (base: string) => number): BookRowToStore[] {
  return rows.map((row) => {
    if (row.rowId !== null) return { ...row, rowId: row.rowId };
    const base = deriveRowIdBase(row);
    return { ...row, rowId: derivedRowId(base, next(base)) };
  });
}

/** The same row said twice is said once; two contents for one id in one call have no order, so they are refused. */
function distinctBy<Row>(
  rows: readonly Row[],
  idOf: (row: Row) => string,
  list: string,
  column: string,
): { kept: Row[]; repeated: number } {
  const first = new Map<string, Row>();
  const problems: FieldViolation[] = [];
  rows.forEach((row, index) => {
    const id = idOf(row);
    const known = first.get(id);
    if (known === undefined) first.set(id, row);
    else if (toJson(known) !== toJson(row)) {
      problems.push({
        field: `${list}[${index}].${column}`,
        description: 'stands twice in this call with other content',
      });
    }
  });
  if (problems.length > 0) throw refuse(problems);
  return { kept: [...first.values()], repeated: rows.length - first.size };
}

function contentDigest(
  hash: ReturnType<typeof createHash>,
  content: {
    book: string;
    rows: readonly BookRowInput[];
    balances: readonly BookBalance[];
    completeThrough: Date | null;
  },
): ReturnType<typeof createHash> {
  return hash.update(toJson([content.book, content.rows, content.balances, content.completeThrough]));
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? each.toString() : each));
}

function addCounts(a: BookCounts, b: BookCounts): BookCounts {
  return {
    inserted: a.inserted + b.inserted,
    revised: a.revised + b.revised,
    unchanged: a.unchanged + b.unchanged,
    retracted: a.retracted + b.retracted,
  };
}

function refuse(problems: readonly FieldViolation[]): TrueUpError {
  const shown = problems.slice(0, BOOK_CALL_LIMITS.maxReportedProblems);
  const more = problems.length > shown.length ? `; and ${problems.length - shown.length} more` : '';
  const first = shown.slice(0, 3).map((problem) => `${problem.field} ${problem.description}`);
  return new TrueUpError('INVALID_REQUEST', `${first.join('; ')}${more}`, { fields: shown });
}

function tooManyDerived(): TrueUpError {
  const limit = BOOK_CALL_LIMITS.maxDerivedRowsPerStream;
  return new TrueUpError(
    'REQUEST_TOO_LARGE',
    `more than ${limit} rows without a row_id in one stream; send row ids, or import a file`,
  );
}
