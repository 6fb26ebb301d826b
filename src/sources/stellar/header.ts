// Ledger headers: a header is what it hashes to, and each one names the hash of the one before.
import { hash } from 'node:crypto';

import { xdr } from '@stellar/stellar-sdk/base';

import { TrueUpError } from '../../core/errors.ts';
import type { LedgerHeader, LedgerRange } from '../../core/ledger.ts';
import { corrupt, decodeXdr, hexOf, oneLedger, type HeaderWire } from './wire.ts';

/** A header whose stated hash was found to be the hash of its bytes, with what it says about its ledger's contents. */
export interface VerifiedHeader extends LedgerHeader {
  /** Lower-case hex, of the transaction set as nominated. */
  readonly txSetHash: string;
  /** Lower-case hex, of the XDR of the results in application order. */
  readonly txSetResultHash: string;
  /** Stroops in existence, including the fee pool. */
  readonly totalCoins: bigint;
  readonly protocol: number;
}

/**
 * One LedgerHeaderHistoryEntry as an archive stores it.
 *
 * @param range the ledgers that are lost where the bytes are no header; a header that reads well but hashes to
 *   something else loses only its own ledger.
 * @throws TrueUpError SOURCE_CORRUPT
 */
export function readHeaderEntry(entry: Buffer, range: LedgerRange): VerifiedHeader {
  const wire = decodeXdr(xdr.LedgerHeaderHistoryEntry.schema, entry, 'a ledger header', range);
  const { ledgerSeq } = wire.header;
  // A sequence outside the file is itself the damage, and can't say which ledger was lost.
  if (ledgerSeq < range.from || ledgerSeq >= range.to)
    throw corrupt(range, `a header says that it is ledger ${ledgerSeq}`);
  return verify(hexOf(wire.hash), entry.subarray(hashBytes, entry.length - extensionBytes), wire.header);
}

/** The header inside a LedgerCloseMeta, already decoded. @throws TrueUpError SOURCE_CORRUPT */
export function verifyHeaderEntry(entry: xdr.LedgerHeaderHistoryEntryWire): VerifiedHeader {
  return verify(hexOf(entry.hash), xdr.LedgerHeader.schema.encode(entry.header), entry.header);
}

/** A header as Horizon carries it (`header_xdr`, base64) beside the hash it states. @throws TrueUpError SOURCE_CORRUPT */
export function readHeaderXdr(base64: string, statedHash: string, sequence: number): VerifiedHeader {
  const bytes = Buffer.from(base64, 'base64');
  const wire = decodeXdr(xdr.LedgerHeader.schema, bytes, 'a ledger header', oneLedger(sequence));
  if (wire.ledgerSeq !== sequence) throw corrupt(oneLedger(sequence), `the header says that it is ${wire.ledgerSeq}`);
  return verify(statedHash, bytes, wire);
}

/**
 * Proves that the headers follow one another without a gap, and follow `prevHash` where that is given.
 *
 * @throws TrueUpError SOURCE_CORRUPT, with the ledgers that are missing or don't link; SOURCE_DIVERGED where the first
 *   header is sound but is not the successor of `prevHash`.
 */
export function verifyChain(headers: readonly LedgerHeader[], prevHash?: string): void {
  let previous: LedgerHeader | undefined;
  for (const header of headers) {
    if (previous === undefined) {
      if (prevHash !== undefined && header.prevHash !== prevHash) throw diverged(header, prevHash);
    } else if (header.sequence !== previous.sequence + 1) {
      throw gap(previous.sequence, header.sequence);
    } else if (header.prevHash !== previous.hash) {
      throw corrupt(
        oneLedger(header.sequence),
        `its header names ${header.prevHash} as the ledger before, which hashes to ${previous.hash}`,
      );
    }
    previous = header;
  }
}

/** XDR of the hash before a header in its history entry, and of the empty extension after it. */
const hashBytes = 32;
const extensionBytes = 4;

function verify(statedHash: string, bytes: Uint8Array, header: HeaderWire): VerifiedHeader {
  const actual = hash('sha256', bytes, 'hex');
  if (actual !== statedHash) {
    throw corrupt(oneLedger(header.ledgerSeq), `its header hashes to ${actual}, not to ${statedHash} as stated`);
  }
  return {
    sequence: header.ledgerSeq,
    hash: actual,
    prevHash: hexOf(header.previousLedgerHash),
    closeTime: Number(header.scpValue.closeTime),
    txSetHash: hexOf(header.scpValue.txSetHash),
    txSetResultHash: hexOf(header.txSetResultHash),
    totalCoins: header.totalCoins,
    protocol: header.ledgerVersion,
  };
}

function gap(before: number, after: number): TrueUpError {
  if (after <= before) return corrupt(oneLedger(after), `its header comes after that of ledger ${before}`);
  return corrupt({ from: before + 1, to: after }, `the headers jump from ledger ${before} to ${after}`);
}

function diverged(header: LedgerHeader, prevHash: string): TrueUpError {
  return new TrueUpError(
    'SOURCE_DIVERGED',
    `ledger ${header.sequence} follows ${header.prevHash}, but the stream's last ledger hashes to ${prevHash}`,
    {
      range: oneLedger(header.sequence),
      fix: 'The network was reset or the source serves another history: compare with a second source before opening a new epoch.',
    },
  );
}
