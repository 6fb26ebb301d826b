// What a transaction's envelope says about its parties: who pays, who acts, with which memo.
import type { SubAccountType } from '../../core/entry.ts';
import { accountId } from './strkeys.ts';
import { hexOf, type EnvelopeWire, type MemoWire, type MuxedAccountWire, type OperationWire } from './wire.ts';

/** The inner transaction and its payer, whichever of the three envelope forms carries it. */
export interface Envelope {
  readonly feeSource: Party;
  readonly source: Party;
  readonly sequence: bigint;
  readonly memo: SubAccount | null;
  readonly operations: readonly OperationWire[];
  /** Whether it is a contract transaction, which pays for resources in advance. */
  readonly isContractCall: boolean;
  /** Keys that a contract call may write; empty for a classic transaction. */
  readonly readWrite: readonly LedgerKeyWire[];
}

/** An account as an envelope names it: M-addresses become the G-address and the id inside. */
export interface Party {
  readonly account: string;
  readonly muxed: SubAccount | null;
}

export interface SubAccount {
  readonly id: string;
  readonly type: SubAccountType;
}

export type LedgerKeyWire = Extract<
  Extract<EnvelopeWire, { type: 2 }>['v1']['tx']['ext'],
  { v: 1 }
>['sorobanData']['resources']['footprint']['readWrite'][number];

export function readEnvelope(envelope: EnvelopeWire): Envelope {
  switch (envelope.type) {
    case 0: {
      const { tx } = envelope.v0;
      const source = { account: accountId(tx.sourceAccountEd25519), muxed: null };
      return {
        feeSource: source,
        source,
        sequence: tx.seqNum,
        memo: memoOf(tx.memo),
        operations: tx.operations,
        isContractCall: false,
        readWrite: [],
      };
    }
    case 2:
      return readV1(envelope.v1.tx);
    case 5: {
      const { tx } = envelope.feeBump;
      return { ...readV1(tx.innerTx.v1.tx), feeSource: partyOf(tx.feeSource) };
    }
  }
}

export function partyOf(account: MuxedAccountWire): Party {
  if (account.type === 0) return { account: accountId(account.ed25519), muxed: null };
  const { id, ed25519 } = account.med25519;
  return { account: accountId(ed25519), muxed: { id: id.toString(), type: 'muxed' } };
}

/**
 * Text that is no UTF-8 keeps its readable part, with U+FFFD for the rest, as Horizon shows it; so does the NUL
 * character, which PostgreSQL's text can't hold. An empty text is no memo.
 */
export function memoOf(memo: MemoWire): SubAccount | null {
  switch (memo.type) {
    case 0:
      return null;
    case 1: {
      const text = storableText(memo.text.bytes);
      return text === '' ? null : { id: text, type: 'memo_text' };
    }
    case 2:
      return { id: memo.id.toString(), type: 'memo_id' };
    case 3:
      return { id: hexOf(memo.hash), type: 'memo_hash' };
    case 4:
      return { id: hexOf(memo.retHash), type: 'memo_return' };
  }
}

export function storableText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8').replaceAll('\0', '\uFFFD');
}

type TransactionWire = Extract<EnvelopeWire, { type: 2 }>['v1']['tx'];

function readV1(tx: TransactionWire): Envelope {
  const source = partyOf(tx.sourceAccount);
  return {
    feeSource: source,
    source,
    sequence: tx.seqNum,
    memo: memoOf(tx.memo),
    operations: tx.operations,
    isContractCall: tx.ext.v === 1,
    readWrite: tx.ext.v === 1 ? tx.ext.sorobanData.resources.footprint.readWrite : [],
  };
}
