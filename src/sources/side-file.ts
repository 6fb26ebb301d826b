// A file as a side: checked line by line, put in order, and complete as of its modification.
//
// Where digests can tell that it agrees with the other side, they are all that is made of its rows, line by line as it is read; it is
// read once more for what differs. Only what has to be met key by key is put in order on disk.
import { createReadStream, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Book, BookPair, BookRow, BookRowInput, BookSide } from '../core/book.ts';
import { isTrueUpError, messageOf, TrueUpError } from '../core/errors.ts';
import { createBookFileReader, type BookFileFormat, type FileProblem, type NumberedRow } from './book-file.ts';
import { addToSketch, isChosen, RowHasher, SegmentSums } from './row-digests.ts';
import type { DigestedSide, DigestRequest, DigestSide, RowChoice } from './side-digest.ts';
import { sortRows, type SortedRows, type SpillLimits } from './sorted-rows.ts';
import { createIdGiver, isAsked, sortedSide } from './sorted-side.ts';

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

/** Its rows are read when they are first asked for. One bad line makes the whole file unreadable: half a side would accuse the other. */
export function createFileSide(options: FileSideOptions): Book {
  const label = `file ${basename(options.path)}`;
  return {
    async open(level, signal) {
      if (level !== 'entries') throw unreadable(label, 'a file is compared at the level of entries only');
      const file = new FileRows(options, label, signal);
      return fileSide(file, label, (await file.stat()).mtime, options.maxScopePairs ?? MAX_SCOPE_PAIRS);
    },
  };
}

function fileSide(file: FileRows, label: string, modifiedAt: Date, maxScopePairs: number): BookSide & DigestedSide {
  const side = sortedSide(file, { describe: label, completeThrough: modifiedAt });
  return {
    ...side,
    content: () => file.sha256(),
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
    sampleKeys: (count) => file.firstKeys(count),
    hashable: 'any',
    digests: (request) => digestsOf(file, request),
    chosen: (digests, choice, signal) => digests.rows<BookRow>(choice, signal),
  };
}

/** Nothing is known of a key before the file was read, so no sample of keys is asked about. */
function digestsOf(file: FileRows, request: DigestRequest): DigestSide {
  const newHasher = (): RowHasher => new RowHasher(request);
  const isCounted = (row: LineRow): boolean => isAsked(row, request.times);
  return {
    async segments() {
      const [hasher, sums] = [newHasher(), new SegmentSums()];
      await file.forEach((row) => {
        if (!isCounted(row)) return;
        hasher.row(row);
        sums.add(hasher);
      });
      return sums.digests();
    },
    async sketch(into, side, segments) {
      const [hasher, wanted] = [newHasher(), segments && new Set(segments)];
      await file.forEach((row) => {
        if (!isCounted(row)) return;
        hasher.row(row);
        if (wanted === null || wanted.has(hasher.segment)) addToSketch(hasher, into, side);
      });
    },
    async *rows<Row extends object>(choice: RowChoice, signal: AbortSignal) {
      const [hasher, wanted] = [newHasher(), choice.segments && new Set(choice.segments)];
      const withId = createIdGiver();
      const chosen = await file.sortSome((row) => {
        hasher.key(row.key);
        return isCounted(row) && isChosen(hasher, wanted, choice);
      });
      try {
        for await (const rows of chosen.rows()) {
          signal.throwIfAborted();
          yield rows.map(withId) as object[] as Row[];
        }
      } finally {
        await chosen.close();
      }
    },
    sample: () => Promise.resolve([]),
    hashesOf: () => Promise.resolve(null),
  };
}

/** The rows of a file, the same whenever they are read: a file that was changed since it was opened is refused. */
class FileRows {
  readonly #options: FileSideOptions;
  readonly #label: string;
  readonly #signal: AbortSignal;
  #opened: Stats | null = null;
  #sorted: Promise<SortedRows> | null = null;
  #sha256 = '';

  constructor(options: FileSideOptions, label: string, signal: AbortSignal) {
    this.#options = options;
    this.#label = label;
    this.#signal = signal;
  }

  async stat(): Promise<Stats> {
    return (this.#opened = await this.#reading(() => stat(this.#options.path)));
  }

  /** Every row once, as they lie in the file. */
  forEach(take: (row: LineRow) => void): Promise<void> {
    return this.#reading(async () => {
      for await (const rows of this.#lines()) for (const { row } of rows) if (!row.retracted) take(row as LineRow);
      await this.#refuseChanged();
    });
  }

  /** Those rows, in order; whoever asks closes them. */
  sortSome(wants: (row: LineRow) => boolean): Promise<SortedRows> {
    return this.#reading(async () => {
      const { spillFolder, spillLimits } = this.#options;
      const sorted = await sortRows(this.#bookRows(wants), spillFolder, spillLimits);
      await this.#refuseChanged().catch(async (error: unknown) => {
        await sorted.close();
        throw error;
      });
      return sorted;
    });
  }

  async *rows(...keys: Parameters<SortedRows['rows']>): ReturnType<SortedRows['rows']> {
    yield* (await this.#all()).rows(...keys);
  }

  async rowsByKeys(keys: readonly string[]): Promise<BookRow[]> {
    return (await this.#all()).rowsByKeys(keys);
  }

  /** Of the file's bytes. */
  async sha256(): Promise<string> {
    await this.#all();
    return this.#sha256;
  }

  /** Of the rows that stand first in the file. */
  async firstKeys(count: number): Promise<string[]> {
    const keys = new Set<string>();
    await this.#reading(async () => {
      for await (const rows of this.#bookRows(({ key }) => key !== '')) {
        for (const { key } of rows) if (keys.size < count) keys.add(key);
        if (keys.size >= count) break;
      }
    });
    return [...keys];
  }

  async close(): Promise<void> {
    const sorted = await this.#sorted?.catch(() => null);
    await sorted?.close();
  }

  /** Put in order once, when it is first asked for. */
  #all(): Promise<SortedRows> {
    return (this.#sorted ??= this.sortSome(() => true));
  }

  async *#bookRows(wants: (row: LineRow) => boolean): AsyncGenerator<BookRow[]> {
    for await (const rows of this.#lines())
      yield rows.flatMap(({ row }) =>
        row.retracted || !wants(row as LineRow) ? [] : [{ ...row, rowId: row.rowId ?? '', amount: row.amount! }],
      );
  }

  async *#lines(): AsyncGenerator<readonly NumberedRow<BookRowInput>[]> {
    const { path, format } = this.#options;
    const reader = createBookFileReader({ format, level: 'entries' });
    for await (const { rows, problems } of reader.batches(createReadStream(path, { signal: this.#signal }))) {
      const [problem] = problems.filter(({ code }) => code !== 'FILE_EMPTY');
      if (problem !== undefined) throw unreadable(this.#label, wordsOf(problem));
      yield rows;
    }
    this.#sha256 = reader.sha256();
  }

  async #refuseChanged(): Promise<void> {
    const now = await stat(this.#options.path);
    if (this.#opened?.mtimeMs === now.mtimeMs && this.#opened.size === now.size) return;
    throw unreadable(
      this.#label,
      'it was changed while it was read; replace it as a whole, by renaming a finished file',
    );
  }

  async #reading<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isTrueUpError(error)) throw error;
      this.#signal.throwIfAborted();
      throw unreadable(this.#label, messageOf(error));
    }
  }
}

/** A row of the file that isn't taken back: it has an amount. */
type LineRow = BookRowInput & { readonly amount: bigint };

function wordsOf({ line, column, message }: FileProblem): string {
  return `line ${line}: ${column === '' ? 'it' : column} ${message}`;
}

function unreadable(label: string, words: string): TrueUpError {
  return new TrueUpError('BOOK_UNREADABLE', `${label}: ${words}`, {
    fix: 'correct the file, or the path that `sides` in trueup.yaml gives',
  });
}
