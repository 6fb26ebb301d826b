// A second source really is compared: the same ledgers asked of two providers.
import { createHash } from 'node:crypto';
import { xdr } from '@stellar/stellar-sdk/base';
import { compareHeaders } from '../core/cross-check.ts';
import type { HeaderComparison } from '../core/cross-check.ts';
import { TrueUpError, isTrueUpError } from '../core/errors.ts';
import type { LedgerHeader } from '../core/ledger.ts';
import { mapLimited } from './concurrency.ts';
import type { Source } from './source.ts';
import { decodeXdr, hexOf, oneLedger } from './stellar/wire.ts';

export interface CrossCheck extends HeaderComparison {
  /** Ledgers that a source gave, but whose bytes are wrong in themselves. */
  readonly corrupt: readonly { readonly source: string; readonly sequence: number; readonly message: string }[];
}

const DEFAULT_MAX_CONCURRENT_REQUESTS = 4;

/**
 * Headers of the given ledgers, from both sources. A ledger that only one has (retention, tip) is in `onlyInA` or `onlyInB`.
 *
 * @throws TrueUpError SOURCE_WRONG_NETWORK where the two are of different networks; whatever made a source unreadable, since
 *   a comparison with a source that could not be read is none
 */
export async function crossCheckSources(
  a: Source,
  b: Source,
  sequences: readonly number[],
  signal: AbortSignal,
  maxConcurrentRequests = DEFAULT_MAX_CONCURRENT_REQUESTS,
): Promise<CrossCheck> {
  if (a.networkPassphrase !== b.networkPassphrase) {
    throw new TrueUpError('SOURCE_WRONG_NETWORK', `${a.id} and ${b.id} are sources of different networks`);
  }
  const corrupt: CrossCheck['corrupt'][number][] = [];
  const headersOf = async (source: Source): Promise<LedgerHeader[]> => {
    const found = await mapLimited(sequences, maxConcurrentRequests, signal, async (sequence, both) => {
      try {
        return await source.header(sequence, both);
      } catch (error) {
        if (isTrueUpError(error, 'SOURCE_CORRUPT'))
          corrupt.push({ source: source.id, sequence, message: error.message });
        else if (!isTrueUpError(error, 'LEDGER_UNAVAILABLE', 'LEDGER_NOT_YET_CLOSED')) throw error;
        return undefined;
      }
    });
    return found.filter((header) => header !== undefined);
  };
  const [inA, inB] = await Promise.all([headersOf(a), headersOf(b)]);
  return { ...compareHeaders(inA, inB), corrupt };
}

/** A header as Horizon carries it (`header_xdr`), with the hash that its bytes have. @throws TrueUpError SOURCE_CORRUPT */
export function headerFromXdr(base64: string, sequence: number): LedgerHeader {
  return hashed(Buffer.from(base64, 'base64'), sequence);
}

/** A header as RPC carries it (`headerXdr`: stated hash, header, extension); the stated hash is not believed. @throws TrueUpError SOURCE_CORRUPT */
export function headerFromHistoryEntry(base64: string, sequence: number): LedgerHeader {
  const bytes = Buffer.from(base64, 'base64');
  return hashed(bytes.subarray(HASH_BYTES, bytes.length - EXTENSION_BYTES), sequence);
}

const HASH_BYTES = 32;
const EXTENSION_BYTES = 4;

function hashed(bytes: Buffer, sequence: number): LedgerHeader {
  const header = decodeXdr(xdr.LedgerHeader.schema, bytes, 'a ledger header', oneLedger(sequence));
  return {
    sequence: header.ledgerSeq,
    hash: createHash('sha256').update(bytes).digest('hex'),
    prevHash: hexOf(header.previousLedgerHash),
    closeTime: Number(header.scpValue.closeTime),
  };
}
