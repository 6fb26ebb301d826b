// Rows as lists show them: entries, book rows, balances, imports and policies, each with what the service knows beside.
import type { BalanceState } from './balance.ts';
import type { BookRow } from './book.ts';
import type { Entry, EntryStatus, Layer } from './entry.ts';
import type { Reason } from './errors.ts';
import type { LedgerRange } from './ledger.ts';
import type { Level, Policy } from './policy.ts';
import type { Failure, Provenance } from './status.ts';

export interface ListedEntry extends Entry {
  readonly stream: string;
  readonly closedAt: Date;
  readonly source: Provenance | null;
}

/** Absent fields, and empty lists, select everything; those of different fields must all hold. */
export interface EntryFilter {
  /** Null: the stream that is followed. */
  readonly stream: string | null;
  readonly layer: Layer;
  readonly accounts?: readonly string[];
  readonly assets?: readonly string[];
  readonly kinds?: readonly string[];
  readonly status?: EntryStatus;
  /** 64 lower-case hex digits. */
  readonly txHash?: string;
  /** Transaction hash, with or without `:operation`. */
  readonly matchKey?: string;
  readonly subAccount?: string;
  /** Half-open. */
  readonly ledgers?: LedgerRange;
  /** Inclusive. */
  readonly from?: Date;
  /** Exclusive. */
  readonly to?: Date;
}

/** The latest revision of a row, retracted ones too. */
export interface ListedBookRow extends BookRow {
  readonly book: string;
  readonly revision: number;
  readonly recordedAt: Date;
  /** Null: it was pushed, or the import isn't kept. */
  readonly importId: string | null;
}

export interface BookRowFilter extends Omit<EntryFilter, 'stream' | 'layer' | 'matchKey'> {
  /** '' is `default`. */
  readonly book: string;
  readonly key?: string;
}

export interface ListedBalance {
  readonly side: 'ledger' | 'book';
  /** The stream's or the book's name. */
  readonly name: string;
  readonly account: string;
  readonly asset: string;
  readonly amount: bigint;
  /** `stated` on the book side, which derives nothing. */
  readonly state: BalanceState | 'stated';
  readonly reasons: readonly string[];
  readonly asOfLedger: number | null;
  readonly asOfAt: Date | null;
  readonly openingLedger: number | null;
  readonly openingAmount: bigint | null;
  readonly legsAmount: bigint | null;
  readonly source: Provenance | null;
}

export interface BalanceFilter {
  /** Null: the stream that is followed. */
  readonly stream: string | null;
  readonly layer: Layer;
  readonly accounts?: readonly string[];
  readonly assets?: readonly string[];
  /** Null: as far as coverage is contiguous. */
  readonly asOfLedger: number | null;
}

export interface BookBalanceFilter {
  /** '' is `default`. */
  readonly book: string;
  readonly accounts?: readonly string[];
  readonly assets?: readonly string[];
}

export interface ImportError {
  /** From 1, a header line counts; 0: the file as a whole. */
  readonly line: number;
  readonly column: string | null;
  readonly reason: Reason;
  readonly message: string;
}

export interface Import {
  readonly id: string;
  readonly book: string;
  /** Null while the columns haven't told. */
  readonly level: Level | null;
  readonly format: 'csv' | 'jsonl' | null;
  readonly state: 'staging' | 'committed' | 'failed';
  readonly fileName: string | null;
  readonly receivedBytes: number;
  readonly lines: number;
  readonly inserted: number;
  readonly revised: number;
  readonly unchanged: number;
  readonly retracted: number;
  /** The first ones, at most 1,000. */
  readonly errors: readonly ImportError[];
  /** Also those not listed. */
  readonly errorCount: number;
  readonly sha256: string | null;
  readonly completeThrough: Date | null;
  readonly actor: string;
  readonly createdAt: Date;
  readonly completedAt: Date | null;
  readonly requestId: string | null;
}

/** The first message of an import. */
export interface ImportHeader {
  /** '' is `default`. */
  readonly book: string;
  /** Null: told by the columns. */
  readonly level: Level | null;
  /** Null: told by the file name's ending. */
  readonly format: 'csv' | 'jsonl' | null;
  readonly completeThrough: Date | null;
  readonly fileName: string | null;
  /** Null: not known; a stream that ends short of it fails. */
  readonly fileSizeBytes: number | null;
  readonly requestId: string | null;
}

export interface AlertRule {
  readonly driftThreshold: number;
  readonly cooldownMs: number;
  /** Empty: all that are configured. */
  readonly channels: readonly string[];
  readonly alertInconclusive: boolean;
}

/** A policy as configured, with what the deployment makes of it. */
export interface PolicyView {
  readonly policy: Policy;
  /** Null before the stream is known. */
  readonly stream: string | null;
  readonly sandbox: boolean;
  readonly alert: AlertRule | null;
  /** Why it can't run as declared; null: it can. */
  readonly failure: Failure | null;
}
