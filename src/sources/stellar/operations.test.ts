// Goal: legs, sub-accounts and failures are as operations.ts promises, whatever form the envelope has.
// Method: transactions written down as the network would carry them, some of them in forms that recordings lack.
import { describe, expect, it } from 'vitest';
import {
  key,
  account,
  muxed,
  A,
  B,
  PAYER,
  EUR,
  EUR_TEXT,
  NO_MEMO,
  HASH,
  payment,
  paid,
  v1,
  feeBump,
  success,
  failure,
  read,
  short,
  type Body,
} from '../../../test/_util/stellar-wires.ts';
import { networkIdOf, transactionHash } from './tx-set.ts';
import type { EnvelopeWire, MemoWire, ResultWire } from './wire.ts';

describe('the operations layer', () => {
  it('writes a payment as two legs after the fee, with its whole position', () => {
    const { entries, underived } = read(v1([payment(account(2))]), success(paid()));
    expect(underived).toEqual([]);
    expect(entries[1]).toEqual({
      ledger: 77,
      txIndex: 3,
      opIndex: 1,
      leg: 0,
      layer: 'operations',
      txHash: HASH,
      account: A,
      asset: 'native',
      amount: -50n,
      kind: 'payment',
      counterparty: B,
      status: 'success',
      resultCode: null,
      subAccount: null,
      subAccountType: null,
    });
    expect(entries.map(short)).toEqual([
      `0 0 fee ${A} native -100  success   `,
      `1 0 payment ${A} native -50 ${B} success   `,
      `1 1 payment ${B} native 50 ${A} success   `,
    ]);
  });

  it('keeps both legs of a payment to oneself, and leg numbers when one side is not watched', () => {
    const self = read(v1([payment(account(1))]), success(paid())).entries;
    expect(self.slice(1).map(({ leg, amount }) => [leg, amount])).toEqual([
      [0, -50n],
      [1, 50n],
    ]);
    const watched = read(v1([payment(account(2))]), success(paid()), (id) => id === B).entries;
    expect(watched.map(short)).toEqual([`1 1 payment ${B} native 50 ${A} success   `]);
  });

  it('gives each end its own muxed id, and the memo to an end without one', () => {
    const memo: MemoWire = { type: 2, id: 18_446_744_073_709_551_615n };
    const { entries } = read(v1([payment(muxed(2, 9_007_199_254_740_993n), EUR)], memo), success(paid()));
    expect(entries.slice(1).map(short)).toEqual([
      `1 0 payment ${A} ${EUR_TEXT} -50 ${B} success  memo_id 18446744073709551615`,
      `1 1 payment ${B} ${EUR_TEXT} 50 ${A} success  muxed 9007199254740993`,
    ]);
    expect(entries[0]!.subAccount).toBeNull();
  });

  it('charges a fee bump to its outer payer, and reads the legs inside it', () => {
    const inner = { feeCharged: 0n, result: { code: 0 as const, results: [paid()] }, ext: { v: 0 as const } };
    const result: ResultWire = {
      feeCharged: 200n,
      result: { code: 1, innerResultPair: { transactionHash: key(5), result: inner } },
      ext: { v: 0 },
    };
    expect(read(feeBump(v1([payment(account(2))])), result).entries.map(short)).toEqual([
      `0 0 fee ${PAYER} native -200  success   `,
      `1 0 payment ${A} native -50 ${B} success   `,
      `1 1 payment ${B} native 50 ${A} success   `,
    ]);
  });

  it('says of a failed transaction what failed, with amounts of nothing', () => {
    const bodies = [payment(account(2)), payment(account(2), EUR), { type: 9 } as Body];
    const failed = read(v1(bodies), failure(paid(), paid(-5), { code: -1 })).entries;
    expect(failed.map(short)).toEqual([
      `0 0 fee ${A} native -100  success   `,
      `1 0 payment ${A} native 0 ${B} failed tx_failed  `,
      `1 1 payment ${B} native 0 ${A} failed tx_failed  `,
      `2 0 payment ${A} ${EUR_TEXT} 0 ${B} failed op_no_destination  `,
      `2 1 payment ${B} ${EUR_TEXT} 0 ${A} failed op_no_destination  `,
    ]);
    const early: ResultWire = { feeCharged: 100n, result: { code: -5 }, ext: { v: 0 } };
    expect(
      read(v1([payment(account(2))]), early)
        .entries.slice(1)
        .map(({ resultCode }) => resultCode),
    ).toEqual(['tx_bad_seq', 'tx_bad_seq']);
    const inner = { feeCharged: 0n, result: { code: -9 as const }, ext: { v: 0 as const } };
    const bumped: ResultWire = {
      feeCharged: 7n,
      result: { code: -13, innerResultPair: { transactionHash: key(5), result: inner } },
      ext: { v: 0 },
    };
    expect(read(feeBump(v1([payment(account(2))])), bumped).entries.at(-1)!.resultCode).toBe('tx_insufficient_fee');
  });

  it('reads a V0 envelope like the V1 that it hashes as', () => {
    const { tx } = v1([payment(account(2))]).v1;
    const v0: EnvelopeWire = {
      type: 0,
      v0: {
        tx: {
          sourceAccountEd25519: key(1),
          fee: 100,
          seqNum: 1n,
          timeBounds: null,
          memo: NO_MEMO,
          operations: tx.operations,
          ext: { v: 0 },
        },
        signatures: [],
      },
    };
    expect(read(v0, success(paid())).entries).toEqual(read(v1([payment(account(2))]), success(paid())).entries);
    const networkId = networkIdOf('Test SDF Network ; September 2015');
    expect(transactionHash(v0, networkId)).toBe(transactionHash(v1([payment(account(2))]), networkId));
  });

  it('keeps texts that a database can hold: no NUL, no half characters, and nothing for an empty memo', () => {
    const memo = (bytes: number[]): MemoWire => ({
      type: 1,
      text: { bytes: Uint8Array.from(bytes) } as Extract<MemoWire, { type: 1 }>['text'],
    });
    const shown = (wire: MemoWire): string | null =>
      read(v1([payment(account(2))], wire), success(paid())).entries[1]!.subAccount;
    expect(shown(memo([72, 105]))).toBe('Hi');
    expect(shown(memo([72, 0, 105]))).toBe('H\uFFFDi');
    expect(shown(memo([72, 0xff]))).toBe('H\uFFFD');
    expect(shown(memo([]))).toBeNull();
    expect(shown({ type: 4, retHash: key(0xab) })).toBe('ab'.repeat(32));
  });
});
