// Rows that come in no useful order, put into the order of their key: by runs on disk that are merged as they are read, so that memory
// stays flat whatever their number. A run's file is removed from its folder the moment it is opened, before anything is
// written: the system frees it when this process ends, however it ends.
import { randomUUID } from 'node:crypto';
import { mkdir, open, unlink, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { BookRow } from '../core/book.ts';
import { TrueUpError } from '../core/errors.ts';
import { compareBytes } from '../core/order.ts';
import { ALL_KEYS, type KeyRange } from '../core/row-side.ts';
import { readRows, writeRows } from './row-text.ts';

export interface SpillLimits {
  /** Rows sorted at once; up to so many nothing is written. */
  readonly maxRowsInMemory: number;
  readonly maxRunFiles: number;
  readonly maxSpillBytes: number;
}

export const SPILL_LIMITS: SpillLimits = { maxRowsInMemory: 50_000, maxRunFiles: 500, maxSpillBytes: 16 * 1024 ** 3 };
/** Rows of one block: what is read from a run at once, and found by its first key. */
const BLOCK_ROWS = 256;
/** Rows handed over at once. */
const BATCH_ROWS = 2_000;

export interface SortedRows {
  readonly count: number;
  /** In byte order of key, and of one key in the order in which `before` has them, else in which they came. */
  rows(keys?: KeyRange): AsyncGenerator<readonly BookRow[]>;
  /** Keys must be in byte order. */
  rowsByKeys(keys: readonly string[]): Promise<BookRow[]>;
  close(): Promise<void>;
}

/** Reads all batches. @throws TrueUpError TOO_MANY_ROWS beyond the limits. */
export async function sortRows(
  batches: AsyncIterable<readonly BookRow[]>,
  folder: string,
  limits: SpillLimits = SPILL_LIMITS,
): Promise<SortedRows> {
  const runs: Run[] = [];
  let rows: BookRow[] = [];
  let [count, bytes] = [0, 0];
  const close = async (): Promise<void> => {
    for (const run of runs.splice(0)) await run.close();
  };
  const spill = async (): Promise<void> => {
    if (runs.length === limits.maxRunFiles)
      throw tooMany(`${count} rows need more than ${limits.maxRunFiles} run files`);
    const run = await writeRun(rows.sort(byKey), folder);
    runs.push(run);
    rows = [];
    bytes += run.bytes;
    if (bytes > limits.maxSpillBytes) throw tooMany(`sorting takes more than ${limits.maxSpillBytes} bytes on disk`);
  };
  try {
    for await (const batch of batches) {
      for (const row of batch) {
        if (rows.length === limits.maxRowsInMemory) await spill();
        rows.push(row);
        count++;
      }
    }
  } catch (error) {
    await close();
    throw error;
  }
  // The last rows stay where they are: they came last, and so they are last among equals.
  runs.push(inMemory(rows.sort(byKey)));
  return {
    count,
    rows: (keys = ALL_KEYS) => merge(runs, keys),
    async rowsByKeys(keys) {
      const found: BookRow[] = [];
      for (const run of runs) found.push(...(await rowsOfRun(run, keys)));
      return found.sort(byKey);
    },
    close,
  };
}

/** A sorted part of the rows, in blocks. */
interface Run {
  /** First key of each block. */
  readonly firstKeys: readonly string[];
  readonly bytes: number;
  block(index: number): Promise<readonly BookRow[]>;
  close(): Promise<void>;
}

function inMemory(rows: readonly BookRow[]): Run {
  const firstKeys: string[] = [];
  for (let at = 0; at < rows.length; at += BLOCK_ROWS) firstKeys.push(rows[at]!.key);
  return {
    firstKeys,
    bytes: 0,
    block: (index) => Promise.resolve(rows.slice(index * BLOCK_ROWS, (index + 1) * BLOCK_ROWS)),
    close: () => Promise.resolve(),
  };
}

async function writeRun(rows: readonly BookRow[], folder: string): Promise<Run> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${randomUUID()}.run`);
  const file: FileHandle = await open(path, 'wx+', 0o600);
  try {
    await unlink(path);
    const [firstKeys, offsets]: [string[], number[]] = [[], [0]];
    for (let at = 0; at < rows.length; at += BLOCK_ROWS) {
      const bytes = Buffer.from(writeRows(rows.slice(at, at + BLOCK_ROWS)));
      await file.write(bytes, 0, bytes.length, offsets.at(-1)!);
      firstKeys.push(rows[at]!.key);
      offsets.push(offsets.at(-1)! + bytes.length);
    }
    return {
      firstKeys,
      bytes: offsets.at(-1)!,
      async block(index) {
        const bytes = Buffer.allocUnsafe(offsets[index + 1]! - offsets[index]!);
        await file.read(bytes, 0, bytes.length, offsets[index]!);
        return readRows(bytes.toString());
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Rows of one run, from the first to the last key of a range, block by block. */
class RunReader {
  row: BookRow | null = null;
  readonly #run: Run;
  readonly #keys: KeyRange;
  #rows: readonly BookRow[] = [];
  #at = 0;
  #block: number;

  constructor(run: Run, keys: KeyRange) {
    this.#run = run;
    this.#keys = keys;
    this.#block = keys.from === null ? 0 : firstBlock(run.firstKeys, keys.from);
  }

  /** Moves to the next row; false where the block must be read first. */
  next(): boolean {
    if (this.#at === this.#rows.length) return false;
    const row = this.#rows[this.#at++]!;
    const { to } = this.#keys;
    this.row = to !== null && compareBytes(row.key, to) >= 0 ? null : row;
    return true;
  }

  async read(): Promise<void> {
    const { from } = this.#keys;
    do {
      if (this.#block === this.#run.firstKeys.length) {
        this.row = null;
        return;
      }
      const rows = await this.#run.block(this.#block++);
      this.#rows = from === null ? rows : rows.filter((row) => compareBytes(row.key, from) >= 0);
      this.#at = 0;
    } while (!this.next());
  }
}

/** Earlier runs first among equal keys, as their rows came first. */
async function* merge(runs: readonly Run[], keys: KeyRange): AsyncGenerator<readonly BookRow[]> {
  const readers = runs.map((run) => new RunReader(run, keys));
  for (const reader of readers) await reader.read();
  let batch: BookRow[] = [];
  for (;;) {
    let first: RunReader | null = null;
    for (const reader of readers) {
      if (reader.row === null) continue;
      if (first === null || byKey(reader.row, first.row!) < 0) first = reader;
    }
    if (first === null) break;
    batch.push(first.row!);
    if (!first.next()) await first.read();
    if (batch.length < BATCH_ROWS) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

async function rowsOfRun(run: Run, keys: readonly string[]): Promise<BookRow[]> {
  const found: BookRow[] = [];
  let [loaded, rows]: [number, readonly BookRow[]] = [-1, []];
  for (const key of keys) {
    for (let index = firstBlock(run.firstKeys, key); index < run.firstKeys.length; index++) {
      if (compareBytes(run.firstKeys[index]!, key) > 0) break;
      if (index !== loaded) [loaded, rows] = [index, await run.block(index)];
      for (const row of rows) if (row.key === key) found.push(row);
    }
  }
  return found;
}

/** The first block that may hold a key: the one before the first that begins with it or with a later one. */
function firstBlock(firstKeys: readonly string[], key: string): number {
  let [low, high] = [0, firstKeys.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareBytes(firstKeys[middle]!, key) < 0) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/** By key, then by the row's own id; rows without one keep the order in which they came. */
function byKey(a: BookRow, b: BookRow): number {
  return compareBytes(a.key, b.key) || compareBytes(a.rowId, b.rowId);
}

function tooMany(what: string): TrueUpError {
  return new TrueUpError('TOO_MANY_ROWS', what, {
    fix: 'narrow the side by its query or its file, or give it an order',
  });
}
