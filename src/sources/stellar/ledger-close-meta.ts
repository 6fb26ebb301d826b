// LedgerCloseMeta, what a lake stores and RPC's getLedgers returns, into a ledger record of either layer.
//
// Proven here: the header hashes to what it states, the transaction set and the result set hash to what the header
// states, and every result has its envelope. Ledger entry changes and events are the provider's word: no header names them.
import { hash } from 'node:crypto';

import { xdr } from '@stellar/stellar-sdk/base';

import type { Entry, Layer, UnderivedTouch } from '../../core/entry.ts';
import type { LedgerRecord } from '../../core/ledger.ts';
import { assetContracts, type AssetContracts } from './assets.ts';
import { genesisEntry, GENESIS_LEDGER } from './genesis.ts';
import { verifyHeaderEntry, type VerifiedHeader } from './header.ts';
import { operationEntries, type AppliedTransaction } from './operations.ts';
import { transactionTokenEntries, type TransactionMeta } from './token-transaction.ts';
import { networkIdOf, transactionHash } from './tx-set.ts';
import { corrupt, hexOf, oneLedger, type EnvelopeWire, type LedgerCloseMetaWire, type ResultPairWire } from './wire.ts';

/** Reads any number of ledgers of one network; remembers its assets' contracts between them. */
export interface LedgerCloseMetaReader {
  /** @throws TrueUpError SOURCE_CORRUPT for this ledger. */
  read(meta: LedgerCloseMetaWire, layers: readonly Layer[], keep: (id: string) => boolean): LedgerRecord;
}

export function ledgerCloseMetaReader(networkPassphrase: string): LedgerCloseMetaReader {
  const networkId = networkIdOf(networkPassphrase);
  const contracts = assetContracts(networkPassphrase);
  return {
    read: (meta, layers, keep) =>
      readLedger(meta, layers, keep, { passphrase: networkPassphrase, id: networkId, contracts }),
  };
}

/** The header of a ledger, verified, without looking at its transactions. @throws TrueUpError SOURCE_CORRUPT */
export function ledgerCloseMetaHeader(meta: LedgerCloseMetaWire): VerifiedHeader {
  return verifyHeaderEntry(armOf(meta).ledgerHeader);
}

interface Network {
  readonly passphrase: string;
  readonly id: Buffer;
  readonly contracts: AssetContracts;
}

function readLedger(
  meta: LedgerCloseMetaWire,
  layers: readonly Layer[],
  keep: (id: string) => boolean,
  network: Network,
): LedgerRecord {
  const header = ledgerCloseMetaHeader(meta);
  const { sequence } = header;
  const transactions = appliedTransactions(meta, header, network.id);
  const operations: Entry[] = [];
  const tokens: Entry[] = [];
  const underived = new Map<string, UnderivedTouch>();
  if (layers.includes('operations')) {
    if (sequence === GENESIS_LEDGER) {
      const genesis = genesisEntry(network.passphrase, header.totalCoins);
      if (keep(genesis.account)) operations.push(genesis);
    }
    for (const { tx } of transactions) {
      const found = operationEntries(tx, sequence, keep);
      for (const entry of found.entries) operations.push(entry);
      for (const touch of found.underived) underived.set(`${touch.reason} ${touch.account}`, touch);
    }
  }
  if (layers.includes('token_events')) {
    for (const { tx, meta: txMeta } of transactions) {
      for (const entry of transactionTokenEntries(tx, txMeta, header, network.contracts, keep)) tokens.push(entry);
    }
  }
  return {
    sequence,
    hash: header.hash,
    prevHash: header.prevHash,
    closeTime: header.closeTime,
    txCount: transactions.length,
    entries: operations.length === 0 ? tokens : [...operations, ...tokens],
    underived: [...underived.values()],
  };
}

interface MetaTransaction {
  readonly tx: AppliedTransaction;
  readonly meta: TransactionMeta;
}

function appliedTransactions(meta: LedgerCloseMetaWire, header: VerifiedHeader, networkId: Buffer): MetaTransaction[] {
  const range = oneLedger(header.sequence);
  const { envelopes, setHash } = readSet(meta);
  if (setHash !== header.txSetHash) {
    throw corrupt(range, `its transaction set hashes to ${setHash}, its header says ${header.txSetHash}`);
  }
  const { txProcessing } = armOf(meta);
  checkResults(
    txProcessing.map(({ result }) => result),
    header,
  );
  const byHash = new Map(envelopes.map((envelope) => [transactionHash(envelope, networkId), envelope]));
  if (byHash.size !== txProcessing.length) {
    throw corrupt(range, `${byHash.size} envelopes but ${txProcessing.length} results`);
  }
  return txProcessing.map((processed, index) => {
    const txHash = hexOf(processed.result.transactionHash);
    const envelope = byHash.get(txHash);
    if (envelope === undefined) {
      throw corrupt(
        range,
        `the results name transaction ${txHash}, which the set doesn't hold: is the network passphrase right?`,
      );
    }
    return {
      tx: { hash: txHash, txIndex: index + 1, envelope, result: processed.result.result },
      meta: {
        feeChanges: processed.feeProcessing,
        apply: processed.txApplyProcessing,
        afterAllChanges: 'postTxApplyFeeProcessing' in processed ? processed.postTxApplyFeeProcessing : [],
      },
    };
  });
}

function armOf(meta: LedgerCloseMetaWire) {
  return meta.v === 0 ? meta.v0 : meta.v === 1 ? meta.v1 : meta.v2;
}

function readSet(meta: LedgerCloseMetaWire): { envelopes: readonly EnvelopeWire[]; setHash: string } {
  if (meta.v === 0) {
    const { txSet } = meta.v0;
    const encoded = xdr.TransactionSet.schema.encode(txSet);
    const content = Buffer.concat([encoded.subarray(0, hashBytes), encoded.subarray(hashBytes + countBytes)]);
    return { envelopes: txSet.txs, setHash: hash('sha256', content, 'hex') };
  }
  const { txSet } = meta.v === 1 ? meta.v1 : meta.v2;
  const envelopes: EnvelopeWire[] = [];
  for (const phase of txSet.v1TxSet.phases) {
    if (phase.v === 0)
      for (const component of phase.v0Components) envelopes.push(...component.txsMaybeDiscountedFee.txs);
    else
      for (const stage of phase.parallelTxsComponent.executionStages)
        for (const cluster of stage) envelopes.push(...cluster);
  }
  return { envelopes, setHash: hash('sha256', xdr.GeneralizedTransactionSet.schema.encode(txSet), 'hex') };
}

/** A classic set's hash leaves out the count that its XDR has between the previous hash and the envelopes. */
const hashBytes = 32;
const countBytes = 4;
const NOTHING = '0'.repeat(64);

function checkResults(results: ResultPairWire[], header: VerifiedHeader): void {
  if (header.txSetResultHash === NOTHING && results.length === 0) return;
  const actual = hash('sha256', xdr.TransactionResultSet.schema.encode({ results }), 'hex');
  if (actual !== header.txSetResultHash) {
    throw corrupt(
      oneLedger(header.sequence),
      `its results hash to ${actual}, its header says ${header.txSetResultHash}`,
    );
  }
}
