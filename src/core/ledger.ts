// What a source hands over: ledgers in order, each with its legs.
import type { Entry, Layer, UnderivedTouch } from './entry.ts';

/** Coverage rows are aligned to this many ledgers: chunk n holds ledgers [64 n, 64 n + 64). */
export const CHUNK_LEDGERS = 64;

/** Half-open: `from` is in, `to` is not. Inclusive ranges exist only where people type and read them. */
export interface LedgerRange {
  readonly from: number;
  readonly to: number;
}

export interface LedgerHeader {
  readonly sequence: number;
  /** Lower-case hex SHA-256 of the header. */
  readonly hash: string;
  readonly prevHash: string;
  /** Unix seconds; 0 for ledger 1 of every Stellar network. */
  readonly closeTime: number;
}

export interface LedgerRecord extends LedgerHeader {
  readonly txCount: number;
  /** Legs of the layers asked for and the watch given, ordered by layer, then position. */
  readonly entries: readonly Entry[];
  /** Accounts (inside the watch) whose balance the operations layer can no longer derive from this ledger on. */
  readonly underived: readonly UnderivedTouch[];
}

/**
 * `chained`: every header was hashed and linked to the one before. `provider-asserted`: the provider's word,
 * because its API carries no headers that prove completeness.
 */
export type CoverageProof = 'chained' | 'provider-asserted';

/**
 * One bounded read. A chained batch holds one record per ledger of the range; a provider-asserted one may leave
 * out ledgers without legs (the range says that they were looked at).
 */
export interface LedgerBatch {
  readonly range: LedgerRange;
  readonly layers: readonly Layer[];
  readonly proof: CoverageProof;
  readonly records: readonly LedgerRecord[];
  /** Header of the last ledger in the range, also when that ledger has no record. */
  readonly last: LedgerHeader;
  /** Bytes read from the outside for this batch, before decompression. */
  readonly bytesRead: number;
  /** Milliseconds this process spent decoding, apart from waiting. */
  readonly decodeMs: number;
  /** Which source gave it, where several stand behind one; absent: the one that was asked. */
  readonly source?: string;
}
