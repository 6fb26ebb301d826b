// Ledgers that were read and could not be decoded, as they are kept until they can.
import type { Layer } from './entry.ts';
import type { LedgerRange } from './ledger.ts';
import type { Failure, Provenance } from './status.ts';

export interface Quarantine {
  readonly stream: string;
  readonly layer: Layer;
  readonly range: LedgerRange;
  readonly source: Provenance;
  readonly failure: Failure;
  /** Reads that failed, over all tries to heal it. */
  readonly attempts: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
  /** Null where no bytes are kept: the source had none to show, or there were too many of them. */
  readonly payload: {
    readonly format: string;
    /** As the source gave them. */
    readonly sizeBytes: number;
    /** How many of them are kept, from the first. */
    readonly keptBytes: number;
  } | null;
}

export interface QuarantineFilter {
  /** Null: the stream that is followed. */
  readonly stream: string | null;
  readonly layer?: Layer;
  /** Half-open; quarantines that touch it. */
  readonly range?: LedgerRange;
}
