// A file as a side: read whole at the start of each run, checked line by line, put in order, and complete as of its modification.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Book, BookPair, BookRow, BookSide } from '../core/book.ts';
import { isTrueUpError, messageOf, TrueUpError } from '../core/errors.ts';
import { createBookFileReader, type BookFileFormat, type BookFileReader, type FileProblem } from './book-file.ts';
import { sortRows, type SortedRows, type SpillLimits } from './sorted-rows.ts';
import { sortedSide } from './sorted-side.ts';

export interface FileSideOptions {
  /** Absolute. */
  readonly path: string;
  readonly format: BookFileFormat;
  /** Where rows are put in order that are too many to hold. */
  readonly spillFolder: string;
  readonly spillLimits?: SpillLimits;
  readonly maxScopePairs?: number;
}

const MAX_SCOPE_PAIRS = 100_000;

/** Nothing is read before it is opened. One bad line makes the whole file unreadable: half a side would accuse the other. */
export function createFileSide(options: FileSideOptions): Book {
  const label = `file ${basename(options.path)}`;
  return {
    async open(level, signal) {
      if (level !== 'entries') throw unreadable(label, 'a file is compared at the level of entries only');
      try {
        const before = await stat(options.path);
        const reader = createBookFileReader({ format: options.format, level: 'entries' });
        const rows = readFileRows(options.path, reader, label, signal);
        const sorted = await sortRows(rows, options.spillFolder, options.spillLimits);
        const after = await stat(options.path);
        if (before.mtimeMs === after.mtimeMs && before.size === after.size)
          return fileSide(sorted, label, after.mtime, reader.sha256(), options.maxScopePairs ?? MAX_SCOPE_PAIRS);
        await sorted.close();
        throw unreadable(label, 'it was changed while it was read; replace it as a whole, by renaming a finished file');
      } catch (error) {
        if (isTrueUpError(error)) throw error;
        signal.throwIfAborted();
        throw unreadable(label, messageOf(error));
      }
    },
  };
}

function fileSide(
  sorted: SortedRows,
  label: string,
  modifiedAt: Date,
  sha256: string,
  maxScopePairs: number,
): BookSide {
  const side = sortedSide(sorted, { describe: label, completeThrough: modifiedAt });
  return {
    ...side,
    content: () => Promise.resolve(sha256),
    async pairs(signal) {
      const pairs = new Map<string, BookPair>();
      for await (const rows of side.entries({}, signal)) {
        for (const { account, asset } of rows) pairs.set(`${account} ${asset}`, { account, asset });
        if (pairs.size > maxScopePairs)
          throw unreadable(
            label,
            `it has more than ${maxScopePairs} account and asset pairs; name accounts in the scope`,
          );
      }
      return [...pairs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, pair]) => pair);
    },
    balances() {
      throw unreadable(label, 'a file is compared at the level of entries only');
    },
    async sampleKeys(count, signal) {
      const keys = new Set<string>();
      for await (const rows of side.entries({}, signal)) {
        for (const { key } of rows) if (key !== '' && keys.size < count) keys.add(key);
        if (keys.size >= count) break;
      }
      return [...keys];
    },
  };
}

async function* readFileRows(
  path: string,
  reader: BookFileReader,
  label: string,
  signal: AbortSignal,
): AsyncGenerator<BookRow[]> {
  for await (const { rows, problems } of reader.batches(createReadStream(path, { signal }))) {
    const [problem] = problems.filter(({ code }) => code !== 'FILE_EMPTY');
    if (problem !== undefined) throw unreadable(label, wordsOf(problem));
    yield rows
      .filter(({ row }) => !row.retracted)
      .map(({ row }) => ({ ...row, rowId: row.rowId ?? '', amount: row.amount! }));
  }
}

function wordsOf({ line, column, message }: FileProblem): string {
  return `line ${line}: ${column === '' ? 'it' : column} ${message}`;
}

function unreadable(label: string, words: string): TrueUpError {
  return new TrueUpError('BOOK_UNREADABLE', `${label}: ${words}`, {
    fix: 'correct the file, or the path that `sides` in trueup.yaml gives',
  });
}
