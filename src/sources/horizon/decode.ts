// Horizon's transactions as legs, ledger by ledger, and the proof that a whole ledger was given.
import { createHash } from 'node:crypto';
import type { Entry, UnderivedTouch } from '../../core/entry.ts';
import { decoding } from '../../core/raw-payload.ts';
import { isSuccessful, operationEntries } from '../stellar/operations.ts';
import { transactionHash } from '../stellar/tx-set.ts';
import { corrupt, decodeEnvelope, decodeResult, oneLedger } from '../stellar/wire.ts';
import type { VerifiedHeader } from '../stellar/header.ts';
import { txIndexOf } from './api.ts';
import type { HorizonTransaction } from './shapes.ts';

/** What one ledger's transactions amount to. */
export interface DecodedLedger {
  readonly entries: Entry[];
  readonly underived: UnderivedTouch[];
  readonly txCount: number;
}

export interface LedgerDecoder {
  /** Transactions in ascending order. @throws TrueUpError SOURCE_CORRUPT where hash, flag and content don't agree */
  add(transactions: readonly HorizonTransaction[]): void;
  /** What was decoded of a ledger; empty where nothing was added. */
  of(sequence: number): DecodedLedger;
  /** Ledgers that hold legs or touches. */
  sequencesWithContent(): number[];
  readonly transactionCount: number;
  /**
   * Proves that all transactions of a ledger were added, in order and with their true results: the hash over them is
   * the one that the (hashed, linked) header names.
   *
   * @throws TrueUpError SOURCE_CORRUPT
   */
  proveWhole(header: VerifiedHeader, statedCount: number | undefined): void;
  readonly decodeMs: number;
}

interface Ledger extends DecodedLedger {
  entries: Entry[];
  underived: UnderivedTouch[];
  txCount: number;
  readonly touched: Set<string>;
  /** XDR of the results in order of application. */
  readonly results: Buffer[];
  lastIndex: number;
}

/** @param keepResults whether proveWhole will be asked; otherwise nothing is kept for it. */
export function createLedgerDecoder(
  networkId: Buffer,
  keep: (id: string) => boolean,
  keepResults: boolean,
): LedgerDecoder {
  const ledgers = new Map<number, Ledger>();
  let transactionCount = 0;
  let decodeMs = 0;

  const addOne = (tx: HorizonTransaction): void => {
    const ledger = ledgerAt(ledgers, tx.ledger);
    const txIndex = txIndexOf(tx);
    const envelope = decodeEnvelope(tx.envelope_xdr, tx.ledger);
    const result = decodeResult(tx.result_xdr, tx.ledger);
    if (transactionHash(envelope, networkId) !== tx.hash) {
      throw corrupt(
        oneLedger(tx.ledger),
        `the envelope given as transaction ${tx.hash} is another one: is the network passphrase right?`,
      );
    }
    if (isSuccessful(result) !== tx.successful) {
      throw corrupt(
        oneLedger(tx.ledger),
        `transaction ${tx.hash} is called ${tx.successful ? 'successful' : 'failed'} and its result says otherwise`,
      );
    }
    const found = operationEntries({ hash: tx.hash, txIndex, envelope, result }, tx.ledger, keep);
    ledger.entries.push(...found.entries);
    for (const touch of found.underived) {
      const key = `${touch.reason} ${touch.account}`;
      if (!ledger.touched.has(key)) ledger.underived.push(touch);
      ledger.touched.add(key);
    }
    ledger.txCount += 1;
    if (keepResults) {
      if (txIndex !== ledger.lastIndex + 1) throw missing(tx.ledger, ledger.lastIndex + 1);
      ledger.lastIndex = txIndex;
      ledger.results.push(Buffer.from(tx.hash, 'hex'), Buffer.from(tx.result_xdr, 'base64'));
    }
    transactionCount += 1;
  };

  return {
    add(transactions) {
      const startedAt = performance.now();
      for (const tx of transactions) {
        decoding(
          () => ({ format: 'JSON of a transaction', bytes: Buffer.from(JSON.stringify(tx)) }),
          () => addOne(tx),
        );
      }
      decodeMs += performance.now() - startedAt;
    },
    of: (sequence) => ledgers.get(sequence) ?? { entries: [], underived: [], txCount: 0 },
    sequencesWithContent: () =>
      [...ledgers]
        .filter(([, ledger]) => ledger.entries.length > 0 || ledger.underived.length > 0)
        .map(([sequence]) => sequence),
    get transactionCount() {
      return transactionCount;
    },
    get decodeMs() {
      return decodeMs;
    },
    proveWhole(header, statedCount) {
      const ledger = ledgers.get(header.sequence);
      const count = ledger?.txCount ?? 0;
      if (statedCount !== undefined && statedCount !== count) {
        throw corrupt(oneLedger(header.sequence), `it has ${statedCount} transactions, and ${count} were listed`);
      }
      // The genesis header names no result set at all.
      if (count === 0 && header.txSetResultHash === NOTHING) return;
      const startedAt = performance.now();
      const sha = createHash('sha256').update(xdrCount(count));
      for (const part of ledger?.results ?? []) sha.update(part);
      const actual = sha.digest('hex');
      decodeMs += performance.now() - startedAt;
      if (actual !== header.txSetResultHash) {
        throw corrupt(
          oneLedger(header.sequence),
          `its ${count} results hash to ${actual}, its header says ${header.txSetResultHash}`,
        );
      }
    },
  };
}

const NOTHING = '0'.repeat(64);

function ledgerAt(ledgers: Map<number, Ledger>, sequence: number): Ledger {
  let ledger = ledgers.get(sequence);
  if (!ledger) {
    ledger = { entries: [], underived: [], txCount: 0, touched: new Set(), results: [], lastIndex: 0 };
    ledgers.set(sequence, ledger);
  }
  return ledger;
}

function xdrCount(count: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(count);
  return bytes;
}

function missing(sequence: number, index: number) {
  return corrupt(oneLedger(sequence), `transaction ${index} of the ledger was not listed`);
}
