// Transaction sets: the envelopes of a ledger, each with its hash, and the hash of the set.
//
// The SDK decodes an envelope but doesn't say where its bytes began and ended, and hashing needs those bytes. Encoding
// each one again would double the cost of reading, so the sets' own few fields are read here and the envelopes by the SDK.
import { createHash, hash } from 'node:crypto';

import { xdr } from '@stellar/stellar-sdk/base';

import type { LedgerRange } from '../../core/ledger.ts';
import { decodeXdr, type EnvelopeWire } from './wire.ts';

export interface SetTransaction {
  /** Lower-case hex; of a fee bump, the outer transaction's. */
  readonly hash: string;
  readonly envelope: EnvelopeWire;
}

export interface TransactionSet {
  readonly ledger: number;
  /** Lower-case hex, to be compared with the header's `txSetHash`. */
  readonly hash: string;
  /** In the set's order, which is not the order of application. */
  readonly transactions: readonly SetTransaction[];
}

/** SHA-256 of the passphrase, which every transaction hash covers. */
export function networkIdOf(passphrase: string): Buffer {
  return createHash('sha256').update(passphrase).digest();
}

/**
 * One TransactionHistoryEntry as an archive stores it, classic or generalized.
 *
 * @param range the ledgers that are lost where the bytes are no such entry.
 * @throws TrueUpError SOURCE_CORRUPT
 */
export function readTransactionSet(entry: Buffer, networkId: Buffer, range: LedgerRange): TransactionSet {
  const set = decodeXdr(HISTORY_ENTRY, entry, 'a transaction set', range);
  return {
    ledger: set.ledger,
    hash: set.generalized
      ? hash('sha256', entry.subarray(set.start, set.end), 'hex')
      : hashParts(entry.subarray(set.previousHash, set.previousHash + hashBytes), entry.subarray(set.start, set.end)),
    transactions: set.envelopes.map((found) => ({
      hash: hashFound(networkId, entry, found),
      envelope: found.envelope,
    })),
  };
}

/** The hash by which a transaction is known, from its decoded envelope. */
export function transactionHash(envelope: EnvelopeWire, networkId: Buffer): string {
  switch (envelope.type) {
    case 0:
      return hashParts(networkId, V0_PREFIX, xdr.TransactionV0.schema.encode(envelope.v0.tx));
    case 2:
      return hashParts(networkId, V1_PREFIX, xdr.Transaction.schema.encode(envelope.v1.tx));
    case 5:
      return hashParts(networkId, FEE_BUMP_PREFIX, xdr.FeeBumpTransaction.schema.encode(envelope.feeBump.tx));
  }
}

const hashBytes = 32;
const envelopeTypeBytes = 4;

/** What the network hashes before the transaction: its envelope type and, for V0, the key type its account lacks. */
const V0_PREFIX = Buffer.from([0, 0, 0, 2, 0, 0, 0, 0]);
const V1_PREFIX = Buffer.from([0, 0, 0, 2]);
const FEE_BUMP_PREFIX = Buffer.from([0, 0, 0, 5]);

/** An envelope and where its signed part lies: from its type to the end of the transaction. */
interface FoundEnvelope {
  readonly envelope: EnvelopeWire;
  readonly start: number;
  readonly signedEnd: number;
}

interface FoundSet {
  readonly ledger: number;
  readonly generalized: boolean;
  readonly previousHash: number;
  readonly start: number;
  readonly end: number;
  readonly envelopes: readonly FoundEnvelope[];
}

type Reader = Parameters<xdr.XdrType<unknown>['_read']>[0];

/** TransactionHistoryEntry: sequence, a classic set (empty where a generalized one follows), and that one. */
class HistoryEntry extends xdr.BaseType<FoundSet> {
  readonly kind = 'struct';

  _read(reader: Reader): FoundSet {
    const ledger = reader.readUint32('ledgerSeq');
    const previousHash = reader.offset;
    reader.readBytes(hashBytes, 'previousLedgerHash');
    const envelopes: FoundEnvelope[] = [];
    let count = reader.readUint32('txs');
    let start = reader.offset;
    while (count-- > 0) envelopes.push(readEnvelope(reader));
    let end = reader.offset;
    const generalized = reader.readInt32('ext') === 1;
    if (generalized) {
      start = reader.offset;
      readGeneralized(reader, envelopes);
      end = reader.offset;
    }
    return { ledger, generalized, previousHash, start, end, envelopes };
  }

  _write(): void {
    throw new Error('transaction sets are only read');
  }
}

const HISTORY_ENTRY = new HistoryEntry('TransactionHistoryEntry');

function readGeneralized(reader: Reader, into: FoundEnvelope[]): void {
  expectArm(reader.readInt32('v'), 1, 'GeneralizedTransactionSet');
  reader.readBytes(hashBytes, 'previousLedgerHash');
  repeat(reader, () => {
    const phase = reader.readInt32('phase');
    if (phase === 0) {
      repeat(reader, () => {
        expectArm(reader.readInt32('component'), 0, 'TxSetComponent');
        readBaseFee(reader);
        repeat(reader, () => into.push(readEnvelope(reader)));
      });
    } else {
      expectArm(phase, 1, 'TransactionPhase');
      readBaseFee(reader);
      // Stages of clusters of transactions (CAP-63).
      repeat(reader, () => repeat(reader, () => repeat(reader, () => into.push(readEnvelope(reader)))));
    }
  });
}

function readEnvelope(reader: Reader): FoundEnvelope {
  const start = reader.offset;
  const type = reader.readInt32('envelopeType');
  switch (type) {
    case 0: {
      const tx = xdr.TransactionV0.schema._read(reader, 'tx');
      const signedEnd = reader.offset;
      return { envelope: { type, v0: { tx, signatures: readSignatures(reader) } }, start, signedEnd };
    }
    case 2: {
      const tx = xdr.Transaction.schema._read(reader, 'tx');
      const signedEnd = reader.offset;
      return { envelope: { type, v1: { tx, signatures: readSignatures(reader) } }, start, signedEnd };
    }
    case 5: {
      const tx = xdr.FeeBumpTransaction.schema._read(reader, 'tx');
      const signedEnd = reader.offset;
      return { envelope: { type, feeBump: { tx, signatures: readSignatures(reader) } }, start, signedEnd };
    }
    default:
      throw new xdr.XdrError(`TransactionEnvelope: unknown type ${type}`);
  }
}

function readSignatures(reader: Reader): xdr.DecoratedSignatureWire[] {
  const signatures: xdr.DecoratedSignatureWire[] = [];
  repeat(reader, () => signatures.push(xdr.DecoratedSignature.schema._read(reader, 'signature')));
  return signatures;
}

function readBaseFee(reader: Reader): void {
  if (reader.readInt32('baseFee') === 1) reader.readBigInt64('baseFee');
}

/** An XDR array. Its count is never believed in advance: a wrong one runs into the end of the record. */
function repeat(reader: Reader, read: () => void): void {
  let count = reader.readUint32('count');
  while (count-- > 0) read();
}

function expectArm(actual: number, expected: number, union: string): void {
  if (actual !== expected) throw new xdr.XdrError(`${union}: unknown arm ${actual}`);
}

function hashFound(networkId: Buffer, entry: Buffer, found: FoundEnvelope): string {
  // For V1 and fee bumps the type that stands before the transaction is the one that is hashed with it.
  if (found.envelope.type !== 0) return hashParts(networkId, entry.subarray(found.start, found.signedEnd));
  return hashParts(networkId, V0_PREFIX, entry.subarray(found.start + envelopeTypeBytes, found.signedEnd));
}

function hashParts(...parts: Uint8Array[]): string {
  const sha = createHash('sha256');
  for (const part of parts) sha.update(part);
  return sha.digest('hex');
}
