// One checkpoint of a history archive: 64 ledgers in three files, proven against their headers.
//
// Headers are hashed and linked when the checkpoint is opened; a ledger's envelopes and results are decoded and hashed
// when it is asked for, so that one bad transaction set costs one ledger and not sixty-four.
import { hash } from 'node:crypto';

import { xdr } from '@stellar/stellar-sdk/base';

import type { Entry, Layer, UnderivedTouch } from '../../core/entry.ts';
import type { LedgerRange, LedgerRecord } from '../../core/ledger.ts';
import { decoding, type RawPayload } from '../../core/raw-payload.ts';
import { genesisEntry, GENESIS_LEDGER } from './genesis.ts';
import { readHeaderEntry, verifyChain, type VerifiedHeader } from './header.ts';
import { operationEntries } from './operations.ts';
import { readTransactionSet } from './tx-set.ts';
import { corrupt, decodeXdr, hexOf, oneLedger, type EnvelopeWire } from './wire.ts';
import { splitRecords } from './xdr-stream.ts';

/** The three files of a checkpoint, decompressed. */
export interface CheckpointFiles {
  readonly ledger: Buffer;
  readonly transactions: Buffer;
  readonly results: Buffer;
}

export interface Network {
  readonly passphrase: string;
  /** SHA-256 of the passphrase. */
  readonly id: Buffer;
}

/** The verified headers of a checkpoint's ledger file, all of `range`, linked. @throws TrueUpError SOURCE_CORRUPT */
export function readCheckpointHeaders(file: Buffer, range: LedgerRange): VerifiedHeader[] {
  const headers = splitRecords(file, 'the ledger file', range).map((record) => readHeaderEntry(record, range));
  const first = headers[0];
  const last = headers.at(-1);
  if (first?.sequence !== range.from || last?.sequence !== range.to - 1) {
    const found = first && last ? `holds ${first.sequence} to ${last.sequence}` : 'is empty';
    throw corrupt(range, `the ledger file ${found}`);
  }
  verifyChain(headers);
  return headers;
}

export interface Checkpoint {
  readonly range: LedgerRange;
  readonly headers: readonly VerifiedHeader[];
  /** @throws TrueUpError SOURCE_CORRUPT for this ledger alone. */
  record(sequence: number, layers: readonly Layer[], keep: (id: string) => boolean): LedgerRecord;
}

/** @throws TrueUpError SOURCE_CORRUPT for the whole range where framing or headers are bad. */
export function openCheckpoint(files: CheckpointFiles, range: LedgerRange, network: Network): Checkpoint {
  const headers = readCheckpointHeaders(files.ledger, range);
  const transactions = bySequence(files.transactions, 'the transactions file', range);
  const results = bySequence(files.results, 'the results file', range);

  const recordOf: Checkpoint['record'] = (sequence, layers, keep) => {
    const header = headers[sequence - range.from]!;
    const applied = readResults(results.get(sequence), header);
    const envelopes = readEnvelopes(transactions.get(sequence), header, network.id);
    const entries: Entry[] = [];
    const underived: UnderivedTouch[] = [];
    if (applied.length !== envelopes.size) {
      throw corrupt(oneLedger(sequence), `${envelopes.size} envelopes but ${applied.length} results`);
    }
    if (layers.includes('operations')) {
      if (sequence === GENESIS_LEDGER) addGenesis(entries, network.passphrase, header.totalCoins, keep);
      const touched = new Set<string>();
      applied.forEach(({ transactionHash, result }, index) => {
        const txHash = hexOf(transactionHash);
        const envelope = envelopes.get(txHash);
        if (envelope === undefined) throw unknownTransaction(sequence, txHash);
        const found = operationEntries({ hash: txHash, txIndex: index + 1, envelope, result }, sequence, keep);
        for (const entry of found.entries) entries.push(entry);
        for (const touch of found.underived) {
          const key = `${touch.reason} ${touch.account}`;
          if (touched.has(key)) continue;
          touched.add(key);
          underived.push(touch);
        }
      });
    }
    return {
      sequence,
      hash: header.hash,
      prevHash: header.prevHash,
      closeTime: header.closeTime,
      txCount: applied.length,
      entries,
      underived,
    };
  };
  const payloadOf = (sequence: number): RawPayload => ({
    format: 'TransactionHistoryEntry and TransactionHistoryResultEntry XDR, one after the other',
    bytes: Buffer.concat([transactions, results].flatMap((records) => records.get(sequence) ?? [])),
  });
  return {
    range,
    headers,
    record: (sequence, ...how) =>
      decoding(
        () => payloadOf(sequence),
        () => recordOf(sequence, ...how),
      ),
  };
}

type ResultPair = xdr.TransactionResultPairWire;

/** XDR of an array without elements, which is what the header hashes for a ledger without transactions. */
const NO_RESULTS = hash('sha256', Buffer.alloc(4), 'hex');
/** The genesis header names no result set at all. */
const NOTHING = '0'.repeat(64);
const sequenceBytes = 4;
const extensionBytes = 4;

function readResults(entry: Buffer | undefined, header: VerifiedHeader): readonly ResultPair[] {
  const range = oneLedger(header.sequence);
  const isEmpty = header.txSetResultHash === NO_RESULTS || header.txSetResultHash === NOTHING;
  if (entry === undefined) {
    if (isEmpty) return [];
    throw corrupt(range, 'its results are missing although the header names some');
  }
  const actual = hash('sha256', entry.subarray(sequenceBytes, entry.length - extensionBytes), 'hex');
  if (actual !== header.txSetResultHash) {
    throw corrupt(range, `its results hash to ${actual}, its header says ${header.txSetResultHash}`);
  }
  return decodeXdr(xdr.TransactionHistoryResultEntry.schema, entry, 'a result set', range).txResultSet.results;
}

function readEnvelopes(
  entry: Buffer | undefined,
  header: VerifiedHeader,
  networkId: Buffer,
): Map<string, EnvelopeWire> {
  const envelopes = new Map<string, EnvelopeWire>();
  // A set that is missing although transactions were applied shows as fewer envelopes than results.
  if (entry === undefined) return envelopes;
  const range = oneLedger(header.sequence);
  const set = readTransactionSet(entry, networkId, range);
  if (set.hash !== header.txSetHash) {
    throw corrupt(range, `its transaction set hashes to ${set.hash}, its header says ${header.txSetHash}`);
  }
  for (const { hash: txHash, envelope } of set.transactions) envelopes.set(txHash, envelope);
  return envelopes;
}

function bySequence(file: Buffer, what: string, range: LedgerRange): Map<number, Buffer> {
  const records = new Map<number, Buffer>();
  for (const record of splitRecords(file, what, range)) {
    if (record.length < sequenceBytes) throw corrupt(range, `${what} has a record of ${record.length} bytes`);
    const sequence = record.readUInt32BE(0);
    if (sequence < range.from || sequence >= range.to || records.has(sequence)) {
      throw corrupt(range, `${what} has a record of ledger ${sequence} out of place`);
    }
    records.set(sequence, record);
  }
  return records;
}

function addGenesis(entries: Entry[], passphrase: string, totalCoins: bigint, keep: (id: string) => boolean): void {
  const entry = genesisEntry(passphrase, totalCoins);
  if (keep(entry.account)) entries.push(entry);
}

function unknownTransaction(sequence: number, txHash: string): Error {
  return corrupt(
    oneLedger(sequence),
    `the results name transaction ${txHash}, which the set doesn't hold: is the network passphrase that of this archive?`,
  );
}
