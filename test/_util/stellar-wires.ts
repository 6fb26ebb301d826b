// Transactions written down as the network would carry them: keys are one byte repeated, EUR is issued by key 7.
import type { Entry } from '../../src/core/entry.ts';
import { operationEntries, type AppliedTransaction } from '../../src/sources/stellar/operations.ts';
import { accountId } from '../../src/sources/stellar/strkeys.ts';
import type {
  AssetWire,
  EnvelopeWire,
  MemoWire,
  MuxedAccountWire,
  OperationResultWire,
  OperationWire,
  ResultWire,
} from '../../src/sources/stellar/wire.ts';

export const key = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
export const account = (fill: number): MuxedAccountWire => ({ type: 0, ed25519: key(fill) });
export const muxed = (fill: number, id: bigint): MuxedAccountWire => ({
  type: 256,
  med25519: { id, ed25519: key(fill) },
});
export const publicKey = (fill: number) => ({ type: 0 as const, ed25519: key(fill) });
export const A = accountId(key(1));
export const B = accountId(key(2));
export const PAYER = accountId(key(9));
export const NATIVE: AssetWire = { type: 0 };
export const EUR: AssetWire = {
  type: 1,
  alphaNum4: { assetCode: Uint8Array.from([69, 85, 82, 0]), issuer: publicKey(7) },
};
export const EUR_TEXT = `EUR:${accountId(key(7))}`;
export const NO_MEMO: MemoWire = { type: 0 };
export const HASH = 'ab'.repeat(32);

export type Body = OperationWire['body'];
export type Tr = Extract<OperationResultWire, { code: 0 }>['tr'];

export const payment = (to: MuxedAccountWire, asset: AssetWire = NATIVE, amount = 50n): Body => ({
  type: 1,
  paymentOp: { destination: to, asset, amount },
});
export const paid = (code = 0): OperationResultWire => ({
  code: 0,
  tr: { type: 1, paymentResult: { code } as Extract<Tr, { type: 1 }>['paymentResult'] },
});

export function v1(operations: Body[], memo = NO_MEMO, source = account(1)): Extract<EnvelopeWire, { type: 2 }> {
  const wires = operations.map((body) => ({ sourceAccount: null, body }));
  const tx = {
    sourceAccount: source,
    fee: 100,
    seqNum: 1n,
    cond: { type: 0 as const },
    memo,
    operations: wires,
    ext: { v: 0 as const },
  };
  return { type: 2, v1: { tx, signatures: [] } };
}

export function feeBump(inner: Extract<EnvelopeWire, { type: 2 }>, payer = account(9)): EnvelopeWire {
  return { type: 5, feeBump: { tx: { feeSource: payer, fee: 400n, innerTx: inner, ext: { v: 0 } }, signatures: [] } };
}

export const success = (...results: OperationResultWire[]): ResultWire => ({
  feeCharged: 100n,
  result: { code: 0, results },
  ext: { v: 0 },
});
export const failure = (...results: OperationResultWire[]): ResultWire => ({
  feeCharged: 100n,
  result: { code: -1, results },
  ext: { v: 0 },
});

export function read(envelope: EnvelopeWire, result: ResultWire, keep: (id: string) => boolean = () => true) {
  const tx: AppliedTransaction = { hash: HASH, txIndex: 3, envelope, result };
  return operationEntries(tx, 77, keep);
}

export const short = ({
  opIndex,
  leg,
  kind,
  account: owner,
  asset,
  amount,
  counterparty,
  status,
  resultCode,
  subAccount,
  subAccountType,
}: Entry): string =>
  [opIndex, leg, kind, owner, asset, amount, counterparty, status, resultCode, subAccountType, subAccount].join(' ');
