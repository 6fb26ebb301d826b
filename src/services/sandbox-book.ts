// The sandbox's own book keeper: writes the rows that a correct business would have, but for five planted mistakes.
import { randomUUID } from 'node:crypto';
import type { BookBalance, BookRowInput } from '../core/book.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { makeWatch } from '../core/watch.ts';
import { createSandboxSource, type SandboxOptions, type SandboxSource } from '../sources/sandbox.ts';
import { findBook } from '../store/books.ts';
import type { Database } from '../store/database.ts';
import { recordEntries } from './book.ts';
import { bookRowsOf, findPlants, type Plant } from './sandbox-rows.ts';

export const SANDBOX_BOOK = 'default';
/** How often the keeper wants to be called. Every call leaves a row in the audit log, so not with every ledger. */
export const sandboxBookIntervalMs = 5_000;
/** The row that is missing in the book is written this long after the keeper began to work. */
export const missingRowRepairMs = 60_000;
/** Rows of one call to `record`, about: one ledger's rows are never split. */
const maxRowsPerRecord = 1_000;
/** Balances are stated as of the last ledger of every block of this many. */
const balanceEveryLedgers = 64;

/** Where the keeper writes: the book that everybody else writes to, by the same door. */
export interface SandboxBookWriter {
  /** Up to when the book states that its entries are complete; null: it never did. */
  completeThrough(): Promise<Date | null>;
  /**
   * Records rows and balances in one transaction and moves both completeness statements to `completeThrough`; null
   * leaves them as they are. Repeating a call changes nothing.
   */
  record(write: {
    readonly rows: readonly BookRowInput[];
    readonly balances: readonly BookBalance[];
    readonly completeThrough: Date | null;
  }): Promise<void>;
}

/** The writer to use: the book's own service, so that the keeper's rows are audited and revised like anybody's. */
export function createSandboxBookWriter(db: Database): SandboxBookWriter {
  const keeper = { actor: 'sandbox-book-keeper', role: 'operate', method: 'sandbox-book', traceId: null } as const;
  return {
    completeThrough: async () => (await findBook(db.em(), SANDBOX_BOOK))?.completeThrough ?? null,
    async record(write) {
      await recordEntries(
        { db },
        { ...write, book: SANDBOX_BOOK, requestId: null },
        { ...keeper, requestId: randomUUID() },
      );
    },
  };
}

export interface SandboxBookOptions {
  /** The same seed, rate, start and traffic as the source that is followed. Faults don't belong here: a business knows its own payments. */
  readonly sandbox: Omit<SandboxOptions, 'faults' | 'now'>;
  /** The follower's first ledger, as stored; the mistakes are planted from there on. */
  readonly startLedger: number;
  readonly writer: SandboxBookWriter;
  /** Unix milliseconds. Default Date.now. */
  readonly now?: () => number;
}

export interface SandboxBookTick {
  readonly ledgers: number;
  readonly rows: number;
  /** Whether this tick wrote the missing row. */
  readonly repaired: boolean;
}

export interface SandboxBookKeeper {
  /** What was planted, for tests and for people who wonder. */
  readonly plants: readonly Plant[];
  /**
   * Writes everything up to the last closed ledger, and the repair when it is due. Safe to repeat, to run twice at
   * once and to kill: rows have stable ids, and where to go on is read from the book itself.
   */
  tick(signal: AbortSignal): Promise<SandboxBookTick>;
}

/** `tick` throws whatever the writer throws; the next one goes on where that one stopped. */
export async function createSandboxBookKeeper(options: SandboxBookOptions): Promise<SandboxBookKeeper> {
  const { writer, startLedger, now = Date.now } = options;
  // Whoever passes on the source's own options passes on its faults too.
  const sandbox: SandboxOptions = { ...options.sandbox, faults: {} };
  const source = createSandboxSource({ ...sandbox, now });
  const plants = await findPlants(sandbox, startLedger, now());
  const missing = plants.find((plant) => plant.mistake === 'missing');
  let beganAtMs: number | null = null;
  let next: number | null = null;
  let repaired = missing === undefined;
  return {
    plants,
    async tick(signal) {
      beganAtMs ??= now();
      // After a restart the book itself says where to go on.
      next ??= await nextLedger(source, writer, startLedger);
      const tip = source.sequenceAt(now());
      const written = { ledgers: Math.max(0, tip + 1 - next), rows: 0 };
      for await (const done of writeLedgers(source, { from: next, to: tip + 1 }, writer, plants, signal)) {
        next = done.next;
        written.rows += done.rows;
      }
      if (repaired || !missing || now() - beganAtMs < missingRowRepairMs) return { ...written, repaired: false };
      // After a restart this is a repetition, and so nothing.
      await writer.record({ rows: [missing.row], balances: [], completeThrough: null });
      repaired = true;
      return { ...written, repaired };
    },
  };
}

async function* writeLedgers(
  source: SandboxSource,
  range: LedgerRange,
  writer: SandboxBookWriter,
  plants: readonly Plant[],
  signal: AbortSignal,
): AsyncGenerator<{ readonly next: number; readonly rows: number }> {
  const watch = makeWatch(source.cast.vaults);
  for (let from = range.from; from < range.to; from += source.maxSpanLedgers) {
    const to = Math.min(range.to, from + source.maxSpanLedgers);
    const { records } = await source.read({ range: { from, to }, layers: ['operations'], watch }, signal);
    let [rows, balances]: [BookRowInput[], BookBalance[]] = [[], []];
    for (const record of records) {
      rows.push(...bookRowsOf(record, plants));
      if (record.sequence % balanceEveryLedgers === balanceEveryLedgers - 1)
        balances.push(...balancesOf(source, record.sequence));
      if (rows.length + balances.length < maxRowsPerRecord && record.sequence < to - 1) continue;
      await writer.record({ rows, balances, completeThrough: new Date(record.closeTime * 1000) });
      yield { next: record.sequence + 1, rows: rows.length };
      [rows, balances] = [[], []];
    }
  }
}

function balancesOf(source: SandboxSource, sequence: number): BookBalance[] {
  return source
    .balancesAt(source.cast.vaults, sequence)
    .map(({ account, asset, amount }) => ({ account, asset, amount, asOfLedger: sequence }));
}

/**
 * The first ledger after those that the book says it is complete through. Where several close in one second, some of
 * them are written again, which changes nothing.
 */
async function nextLedger(source: SandboxSource, writer: SandboxBookWriter, startLedger: number): Promise<number> {
  const through = await writer.completeThrough();
  if (through === null) return startLedger;
  return Math.max(startLedger, source.sequenceAt(through.getTime()) + 1);
}
