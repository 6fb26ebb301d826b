// The one interface behind which every external ledger is read.
import type { Layer } from '../core/entry.ts';
import type { CoverageProof, LedgerBatch, LedgerHeader, LedgerRange } from '../core/ledger.ts';
import type { Watch } from '../core/watch.ts';

export const SOURCE_KINDS = ['stellar-archive', 'stellar-horizon', 'stellar-rpc', 'stellar-lake', 'sandbox'] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

export interface SourceTip extends Pick<LedgerHeader, 'sequence' | 'hash' | 'closeTime'> {
  /** The oldest ledger this endpoint still serves; 1 where history is whole. */
  readonly oldest: number;
}

export interface ReadRequest {
  /** At most `maxSpanLedgers` long. */
  readonly range: LedgerRange;
  readonly layers: readonly Layer[];
  readonly watch: Watch;
}

/** A balance as the network itself states it, at a ledger. */
export interface OpeningBalance {
  readonly account: string;
  readonly asset: string;
  readonly amount: bigint;
  readonly ledger: number;
}

/**
 * Every method either answers completely or throws a TrueUpError (core/errors.ts); none returns an empty
 * result for a failure. A ledger whose bytes are there but wrong throws SOURCE_CORRUPT, one that the
 * endpoint no longer has throws LEDGER_UNAVAILABLE, both with `range` in the error's details so that the caller can
 * set that range apart and go on. All retries, timeouts and limits are the source's own; `signal` ends it early.
 */
export interface Source {
  readonly kind: SourceKind;
  /** A short label for provenance and metrics, without credentials: kind and host. */
  readonly id: string;
  readonly networkPassphrase: string;
  /** The layers this source can show. */
  readonly layers: readonly Layer[];
  readonly proof: CoverageProof;
  /** The most ledgers one `read` takes. */
  readonly maxSpanLedgers: number;
  tip(signal: AbortSignal): Promise<SourceTip>;
  header(sequence: number, signal: AbortSignal): Promise<LedgerHeader>;
  read(request: ReadRequest, signal: AbortSignal): Promise<LedgerBatch>;
  /** Present where the network can be asked for balances (Horizon accounts, RPC ledger entries). */
  openingBalances?(accounts: readonly string[], signal: AbortSignal): Promise<readonly OpeningBalance[]>;
  close(): Promise<void>;
}
