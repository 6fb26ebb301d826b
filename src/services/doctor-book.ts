// Looks at the user's own book before anything depends on it: can it be read, does it mean what it should, do its keys meet?
import { formatBookRow, inferJoin, parseBookBalance, parseBookRow, bookProblemsOf } from '../core/book.ts';
import type { BookLevel, InferredJoin } from '../core/book.ts';
import { assetScale } from '../core/asset.ts';
import { isTrueUpError } from '../core/errors.ts';
import { formatAmount } from '../core/money.ts';
import type { PostgresBook, PostgresBookInspection } from '../sources/book-postgres.ts';

export const DOCTOR_LIMITS = { sampleRows: 5, sampleKeys: 200 } as const;

export interface BookDoctorReport {
  readonly book: string;
  /** Null where it couldn't be connected. */
  readonly inspection: PostgresBookInspection | null;
  readonly level: BookLevel | null;
  /** The first rows as TrueUp understands them, or as they came with what is wrong. */
  readonly rows: readonly { readonly columns: Readonly<Record<string, string>>; readonly problem: string | null }[];
  /** Null at the level of balances, or where the rows couldn't be read. */
  readonly join: InferredJoin | null;
  /** Null where it wasn't looked up. */
  readonly overlap: { readonly sampled: number; readonly found: number } | null;
  /** What to do, in order; empty: the book is ready. */
  readonly fixes: readonly string[];
  /** What is good to know, but keeps nothing from working. */
  readonly notes: readonly string[];
}

/**
 * Never throws for what is wrong with the book: that is its answer. `countKeysFound` tells how many of the keys name an
 * entry on the ledger side; null where no ledger has been read yet.
 */
export async function doctorBook(
  options: {
    readonly book: PostgresBook;
    readonly countKeysFound: ((keys: readonly string[], join: InferredJoin) => Promise<number>) | null;
  },
  signal: AbortSignal,
): Promise<BookDoctorReport> {
  const { book, countKeysFound } = options;
  const fixes: string[] = [];
  const notes: string[] = [];
  const report = {
    book: book.describe(),
    inspection: null,
    level: null,
    rows: [],
    join: null,
    overlap: null,
    fixes,
    notes,
  };
  const inspection = await orFix(() => book.inspect(signal), fixes);
  if (inspection === null) return report;
  if (inspection.writable.length > 0) {
    notes.push(
      `the role ${inspection.user} could write (${inspection.writable.join('; ')}); TrueUp reads in a read-only transaction, but give it a role that can only SELECT`,
    );
  }
  for (const problem of inspection.problems) fixes.push(`column ${problem.field} ${problem.description}`);
  const { level } = inspection;
  if (fixes.length > 0 || level === null) return { ...report, inspection, level };

  const sample = await orFix(() => book.sample(DOCTOR_LIMITS.sampleRows, signal), fixes);
  if (sample === null) return { ...report, inspection, level };
  const rows = sample.map((record) => mapRow(record, level));
  for (const problem of new Set(rows.flatMap((row) => row.problem ?? [])))
    fixes.push(`a row can't be read: ${problem}`);
  if (rows.length === 0) fixes.push('the query gives no row; check its conditions');
  if (level === 'balances' || rows.length === 0) return { ...report, inspection, level, rows };

  const keys = await orFix(() => sampleKeys(book, signal), fixes);
  if (keys === null) return { ...report, inspection, level, rows };
  const join = inferJoin(keys);
  if (join.join === null) fixes.push(join.reason);
  if (!inspection.columns.some((column) => column.name === 'occurred_at')) {
    notes.push('without occurred_at every run reads the whole book; add the time of the movement');
  }
  if (countKeysFound === null) {
    notes.push('no ledger has been read yet, so the keys were not looked up');
    return { ...report, inspection, level, rows, join };
  }
  if (join.join === null) return { ...report, inspection, level, rows, join };
  const found = await countKeysFound(keys, join);
  if (found === 0) {
    fixes.push(
      `none of ${keys.length} sampled keys is on the ledger; check the key column, the network and the watched accounts`,
    );
  } else if (found < keys.length) {
    notes.push(
      `${found} of ${keys.length} sampled keys are on the ledger; the others may lie outside what has been read so far`,
    );
  }
  return { ...report, inspection, level, rows, join, overlap: { sampled: keys.length, found } };
}

async function sampleKeys(book: PostgresBook, signal: AbortSignal): Promise<readonly string[]> {
  const side = await book.open('entries', signal);
  try {
    return await side.sampleKeys(DOCTOR_LIMITS.sampleKeys, signal);
  } finally {
    await side.close();
  }
}

function mapRow(record: Readonly<Record<string, string | null>>, level: BookLevel): BookDoctorReport['rows'][number] {
  try {
    if (level === 'entries') return { columns: formatBookRow(parseBookRow(record)), problem: null };
    const { account, asset, amount, asOfLedger } = parseBookBalance(record);
    const scale = assetScale(asset);
    const balance: Record<string, string> =
      scale === undefined ? { balance_minor: amount.toString() } : { balance: formatAmount(amount, scale) };
    return {
      columns: { account, asset, ...balance, ...(asOfLedger > 0 && { as_of_ledger: String(asOfLedger) }) },
      problem: null,
    };
  } catch (error) {
    const problem = bookProblemsOf(error)
      .map(({ field, description }) => `${field} ${description}`)
      .join('; ');
    const columns = Object.fromEntries(Object.entries(record).map(([name, value]) => [name, value ?? '']));
    return { columns, problem };
  }
}

/** The book's own failures become advice; anything else is a fault of ours and is thrown on. */
async function orFix<T>(work: () => Promise<T>, fixes: string[]): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (!isTrueUpError(error, 'BOOK_UNREADABLE', 'INVALID_CONFIGURATION')) throw error;
    fixes.push(error.message);
    return null;
  }
}
