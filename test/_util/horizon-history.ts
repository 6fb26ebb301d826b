// What a Horizon would have ingested from the recorded testnet archive (ledgers 1 to 4095): the data behind horizon-server.ts.
// It decodes with the SDK alone, so that it can disagree with our own readers.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { StrKey, xdr } from '@stellar/stellar-sdk/base';
import { sharedData } from './shared-data.ts';

export const TESTNET_PASSPHRASE = 'Test SDF Network ; September 2015';

export interface HistoryTransaction {
  readonly hash: string;
  readonly ledger: number;
  /** 1-based order of application. */
  readonly index: number;
  readonly successful: boolean;
  readonly envelopeXdr: string;
  readonly resultXdr: string;
  readonly feeCharged: string;
  readonly sourceAccount: string;
  readonly feeAccount: string;
  readonly operationCount: number;
  /** Accounts under whose history Horizon lists the transaction. */
  readonly participants: ReadonlySet<string>;
  readonly trades: readonly HistoryTrade[];
}

export interface HistoryTrade {
  readonly opIndex: number;
  readonly order: number;
  readonly seller: string;
  readonly taker: string;
}

export interface HistoryLedger {
  readonly sequence: number;
  readonly hash: string;
  readonly prevHash: string;
  readonly closedAt: string;
  readonly headerXdr: string;
  readonly transactions: readonly HistoryTransaction[];
}

export interface History {
  readonly passphrase: string;
  /** By ascending sequence, contiguous. */
  readonly ledgers: readonly HistoryLedger[];
  /** Payment-type operations as Horizon shows them, by ascending id. */
  readonly payments: readonly Record<string, unknown>[];
  /** Stroops at the last ledger. */
  readonly native: ReadonlyMap<string, bigint>;
  /** By account: CODE:ISSUER and stroops. */
  readonly trustlines: ReadonlyMap<string, readonly (readonly [string, bigint])[]>;
}

/** Ledgers of one checkpoint file of the archive are 64, named after the last. */
export function loadTestnetHistory(through = 4095): History {
  const ledgers: HistoryLedger[] = [];
  for (let checkpoint = 63; checkpoint <= (through | 63); checkpoint += 64) ledgers.push(...loadCheckpoint(checkpoint));
  return {
    passphrase: TESTNET_PASSPHRASE,
    ledgers: ledgers.filter((ledger) => ledger.sequence <= through),
    payments: jsonLines('payments.jsonl.gz').filter((payment) => (payment['ledger'] as number) <= through),
    native: new Map(
      csvLines('native-balances-at-4095.csv.gz').map(([account, stroops]) => [account!, BigInt(stroops!)]),
    ),
    trustlines: groupTrustlines(),
  };
}

function loadCheckpoint(checkpoint: number): HistoryLedger[] {
  const networkId = createHash('sha256').update(TESTNET_PASSPHRASE).digest();
  const envelopes = new Map<string, xdr.TransactionEnvelopeWire>();
  for (const record of records('transactions', checkpoint)) {
    const entry = xdr.TransactionHistoryEntry.schema.decode(record);
    for (const envelope of envelopesOf(entry)) envelopes.set(hashOf(envelope, networkId), envelope);
  }
  const results = new Map<number, xdr.TransactionResultPairWire[]>();
  for (const record of records('results', checkpoint)) {
    const entry = xdr.TransactionHistoryResultEntry.schema.decode(record);
    results.set(entry.ledgerSeq, [...entry.txResultSet.results]);
  }
  return records('ledger', checkpoint).map((record) => {
    const { hash, header } = xdr.LedgerHeaderHistoryEntry.schema.decode(record);
    const transactions = (results.get(header.ledgerSeq) ?? []).map((pair, i) => {
      const txHash = hex(pair.transactionHash);
      return transactionOf(txHash, header.ledgerSeq, i + 1, envelopes.get(txHash)!, pair.result);
    });
    return {
      sequence: header.ledgerSeq,
      hash: hex(hash),
      prevHash: hex(header.previousLedgerHash),
      closedAt: new Date(Number(header.scpValue.closeTime) * 1_000).toISOString().replace('.000Z', 'Z'),
      headerXdr: base64(xdr.LedgerHeader.schema.encode(header)),
      transactions,
    };
  });
}

function transactionOf(
  hash: string,
  ledger: number,
  index: number,
  envelope: xdr.TransactionEnvelopeWire,
  result: xdr.TransactionResultWire,
): HistoryTransaction {
  const tx = innerOf(envelope);
  const sourceAccount = 'sourceAccountEd25519' in tx ? account(tx.sourceAccountEd25519) : muxed(tx.sourceAccount);
  const feeAccount = envelope.type === 5 ? muxed(envelope.feeBump.tx.feeSource) : sourceAccount;
  const outer = result.result;
  const successful = outer.code === 0 || outer.code === 1;
  const inner = 'innerResultPair' in outer ? outer.innerResultPair.result.result : outer;
  const opResults = 'results' in inner ? inner.results : [];
  const participants = new Set([sourceAccount, feeAccount]);
  const trades: HistoryTrade[] = [];
  tx.operations.forEach((op, i) => {
    const opSource = op.sourceAccount ? muxed(op.sourceAccount) : sourceAccount;
    participants.add(opSource);
    for (const other of namedIn(op.body)) participants.add(other);
    const opResult = opResults[i];
    if (!successful || opResult?.code !== 0) return;
    claimsIn(opResult.tr).forEach((claim, order) => {
      if (claim.type === 2) return;
      const atom = claim.type === 0 ? claim.v0 : claim.orderBook;
      const seller = account(claim.type === 0 ? claim.v0.sellerEd25519 : claim.orderBook.sellerId.ed25519);
      trades.push({ opIndex: i + 1, order, seller, taker: opSource });
      // Horizon lists a transaction under accounts whose own entry changed: an offer between two issued assets that is
      // filled in part changes trustlines only, so its owner finds that transaction among the trades alone.
      if (atom.assetSold.type === 0 || atom.assetBought.type === 0) participants.add(seller);
    });
  });
  return {
    hash,
    ledger,
    index,
    successful,
    envelopeXdr: base64(xdr.TransactionEnvelope.schema.encode(envelope)),
    resultXdr: base64(xdr.TransactionResult.schema.encode(result)),
    feeCharged: result.feeCharged.toString(),
    sourceAccount,
    feeAccount,
    operationCount: tx.operations.length,
    participants,
    trades,
  };
}

/** The accounts that an operation names besides its source. */
function namedIn(body: xdr.OperationWire['body']): string[] {
  switch (body.type) {
    case 0:
      return [account(body.createAccountOp.destination.ed25519)];
    case 1:
      return [muxed(body.paymentOp.destination)];
    case 2:
      return [muxed(body.pathPaymentStrictReceiveOp.destination)];
    case 13:
      return [muxed(body.pathPaymentStrictSendOp.destination)];
    case 7:
      return [account(body.allowTrustOp.trustor.ed25519)];
    case 8:
      return [muxed(body.destination)];
    case 14:
      return body.createClaimableBalanceOp.claimants.map((claimant) => account(claimant.v0.destination.ed25519));
    case 16:
      return [account(body.beginSponsoringFutureReservesOp.sponsoredId.ed25519)];
    case 19:
      return [muxed(body.clawbackOp.from)];
    case 21:
      return [account(body.setTrustLineFlagsOp.trustor.ed25519)];
    default:
      return [];
  }
}

function claimsIn(tr: Extract<xdr.OperationResultWire, { code: 0 }>['tr']): readonly xdr.ClaimAtomWire[] {
  if (tr.type === 2 && tr.pathPaymentStrictReceiveResult.code === 0)
    return tr.pathPaymentStrictReceiveResult.success.offers;
  if (tr.type === 13 && tr.pathPaymentStrictSendResult.code === 0) return tr.pathPaymentStrictSendResult.success.offers;
  if (tr.type === 3 && tr.manageSellOfferResult.code === 0) return tr.manageSellOfferResult.success.offersClaimed;
  if (tr.type === 4 && tr.createPassiveSellOfferResult.code === 0)
    return tr.createPassiveSellOfferResult.success.offersClaimed;
  if (tr.type === 12 && tr.manageBuyOfferResult.code === 0) return tr.manageBuyOfferResult.success.offersClaimed;
  return [];
}

function innerOf(envelope: xdr.TransactionEnvelopeWire) {
  if (envelope.type === 0) return envelope.v0.tx;
  return envelope.type === 2 ? envelope.v1.tx : envelope.feeBump.tx.innerTx.v1.tx;
}

function envelopesOf(entry: xdr.TransactionHistoryEntryWire): xdr.TransactionEnvelopeWire[] {
  if (entry.ext.v !== 1) return [...entry.txSet.txs];
  return entry.ext.generalizedTxSet.v1TxSet.phases.flatMap((phase) =>
    phase.v === 0
      ? phase.v0Components.flatMap((component) => [...component.txsMaybeDiscountedFee.txs])
      : phase.parallelTxsComponent.executionStages.flatMap((stage) => stage.flatMap((cluster) => [...cluster])),
  );
}

function hashOf(envelope: xdr.TransactionEnvelopeWire, networkId: Buffer): string {
  const sha = createHash('sha256').update(networkId);
  if (envelope.type === 5)
    return sha
      .update(Buffer.from([0, 0, 0, 5]))
      .update(xdr.FeeBumpTransaction.schema.encode(envelope.feeBump.tx))
      .digest('hex');
  sha.update(Buffer.from([0, 0, 0, 2]));
  if (envelope.type === 2) return sha.update(xdr.Transaction.schema.encode(envelope.v1.tx)).digest('hex');
  return sha
    .update(Buffer.from([0, 0, 0, 0]))
    .update(xdr.TransactionV0.schema.encode(envelope.v0.tx))
    .digest('hex');
}

function records(kind: string, checkpoint: number): Buffer[] {
  const name = checkpoint.toString(16).padStart(8, '0');
  const path = `stellar-testnet-archive/raw/${kind}/${name.slice(0, 2)}/${name.slice(2, 4)}/${name.slice(4, 6)}/${kind}-${name}.xdr.gz`;
  const file = gunzipSync(readFileSync(sharedData(path)));
  const found: Buffer[] = [];
  for (let at = 0; at < file.length;) {
    const length = file.readUInt32BE(at) & 0x7fff_ffff;
    found.push(file.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

function groupTrustlines(): Map<string, [string, bigint][]> {
  const byAccount = new Map<string, [string, bigint][]>();
  for (const [owner, asset, stroops] of csvLines('trustlines-at-4095.csv.gz')) {
    const list = byAccount.get(owner!) ?? [];
    list.push([asset!, BigInt(stroops!)]);
    byAccount.set(owner!, list);
  }
  return byAccount;
}

function expected(name: string): string {
  return gunzipSync(readFileSync(sharedData(`stellar-testnet-archive/expected/${name}`))).toString();
}

function jsonLines(name: string): Record<string, unknown>[] {
  return expected(name)
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function csvLines(name: string): string[][] {
  return expected(name)
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(','));
}

function muxed(id: xdr.MuxedAccountWire): string {
  return account(id.type === 0 ? id.ed25519 : id.med25519.ed25519);
}

const known = new Map<string, string>();
function account(raw: Uint8Array): string {
  const key = hex(raw);
  let id = known.get(key);
  if (id === undefined) known.set(key, (id = StrKey.encodeEd25519PublicKey(Buffer.from(raw))));
  return id;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
