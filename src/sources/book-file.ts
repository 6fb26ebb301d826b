// A book as a file: CSV or JSON lines, read as a stream, one bad line never hiding the next.
import { createHash } from 'node:crypto';
import { bookLevelOf, bookProblemsOf, checkBookColumns, parseBookBalance, parseBookRow } from '../core/book.ts';
import type { BookBalance, BookLevel, BookProblem, BookProblemCode, BookRowInput } from '../core/book.ts';
import { TrueUpError } from '../core/errors.ts';
import { createCsvFormat } from './book-csv.ts';
import { createJsonLinesFormat } from './book-jsonl.ts';

export type BookFileFormat = 'csv' | 'jsonl';

export interface BookFileLimits {
  readonly maxFileBytes: number;
  /** A record with quoted line breaks counts as one line. */
  readonly maxLineBytes: number;
  readonly maxColumns: number;
}

export const BOOK_FILE_LIMITS: BookFileLimits = {
  maxFileBytes: 8 * 1024 ** 3,
  maxLineBytes: 64 * 1024,
  maxColumns: 64,
};
/** A larger piece is cut, so that only the records of so many bytes are held at once. */
const SLICE_BYTES = 64 * 1024;

export interface FileProblem {
  /** From 1, the header counted; 0: the file as a whole. */
  readonly line: number;
  /** '' is the line as a whole. */
  readonly column: string;
  readonly code: BookProblemCode;
  readonly message: string;
}

export interface NumberedRow<Row> {
  readonly line: number;
  readonly row: Row;
}

/** What one slice of the file held; a file has rows or balances, never both. */
export interface BookFileBatch {
  readonly rows: readonly NumberedRow<BookRowInput>[];
  readonly balances: readonly NumberedRow<BookBalance>[];
  readonly problems: readonly FileProblem[];
}

export interface BookFileReader {
  /** @throws TrueUpError REQUEST_TOO_LARGE above maxFileBytes; what is wrong in the file comes as problems. */
  batches(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<BookFileBatch>;
  /** Null until the columns were seen. */
  readonly level: BookLevel | null;
  readonly bytes: number;
  /** Data lines, without the header and empty ones. */
  readonly lines: number;
  /** Hex, of all bytes read so far, also of those after a problem that ended the reading. */
  sha256(): string;
}

/** What a format hands its findings to. */
export interface RecordSink {
  readonly limits: BookFileLimits;
  /** Says what is wrong with the columns, and learns the level from them. */
  takeColumns(columns: readonly string[]): readonly BookProblem[];
  isLevelKnown(): boolean;
  takeRecord(line: number, record: Readonly<Record<string, unknown>>): void;
  countLine(): void;
  report(line: number, column: string, code: BookProblemCode, message: string): void;
  /** Reports a problem after which the rest of the file can't be read. */
  breakOff(line: number, code: BookProblemCode, message: string): void;
}

export interface FileFormat {
  /** Resolves when every whole record of the bytes so far went to the sink. */
  write(bytes: Uint8Array): Promise<void>;
  end(): Promise<void>;
}

/** A reader for one file. `level` null: told by the columns. */
export function createBookFileReader(options: {
  readonly format: BookFileFormat;
  readonly level: BookLevel | null;
  readonly limits?: Partial<BookFileLimits>;
}): BookFileReader {
  const limits = { ...BOOK_FILE_LIMITS, ...options.limits };
  const hash = createHash('sha256');
  let { level } = options;
  let [bytes, lines, broken] = [0, 0, false];
  let rows: NumberedRow<BookRowInput>[] = [];
  let balances: NumberedRow<BookBalance>[] = [];
  let problems: FileProblem[] = [];

  const sink: RecordSink = {
    limits,
    countLine: () => ++lines,
    isLevelKnown: () => level !== null,
    report: (line, column, code, message) => problems.push({ line, column, code, message }),
    breakOff(line, code, message) {
      problems.push({ line, column: '', code, message });
      broken = true;
    },
    takeColumns(columns) {
      level ??= bookLevelOf(columns);
      if (level !== null) return checkBookColumns(columns, level);
      const description =
        'is missing: give amount or amount_minor for entries, balance or balance_minor for balances, not both';
      return [{ field: 'amount', code: 'COLUMN_MISSING', description }];
    },
    takeRecord(line, record) {
      try {
        if (level === 'balances') balances.push({ line, row: parseBookBalance(record) });
        else rows.push({ line, row: parseBookRow(record) });
      } catch (error) {
        for (const { field, code, description } of bookProblemsOf(error))
          problems.push({ line, column: field, code, message: description });
      }
    },
  };
  const format = options.format === 'csv' ? createCsvFormat(sink) : createJsonLinesFormat(sink);

  function* drain(): Generator<BookFileBatch> {
    if (rows.length + balances.length + problems.length === 0) return;
    yield { rows, balances, problems };
    [rows, balances, problems] = [[], [], []];
  }

  return {
    get level() {
      return level;
    },
    get bytes() {
      return bytes;
    },
    get lines() {
      return lines;
    },
    sha256: () => hash.copy().digest('hex'),
    async *batches(chunks) {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        if (bytes > limits.maxFileBytes) {
          throw new TrueUpError('REQUEST_TOO_LARGE', `the file is larger than ${limits.maxFileBytes} bytes; split it`);
        }
        hash.update(chunk);
        // After breaking off, the rest is only hashed: a repeated request is known by the hash of the whole file.
        for (let at = 0; at < chunk.length && !broken; at += SLICE_BYTES) {
          await format.write(chunk.subarray(at, at + SLICE_BYTES));
          yield* drain();
        }
      }
      if (!broken) await format.end();
      if (!broken && lines === 0) sink.breakOff(0, 'FILE_EMPTY', 'the file has no row');
      yield* drain();
    },
  };
}

/** The format that a file's name tells; null where it doesn't. */
export function formatOfFileName(name: string): BookFileFormat | null {
  if (/\.csv$/i.test(name)) return 'csv';
  return /\.(jsonl|ndjson)$/i.test(name) ? 'jsonl' : null;
}
