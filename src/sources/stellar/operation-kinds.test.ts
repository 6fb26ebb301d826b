// Goal: each kind of operation has the legs that operations.ts promises, and leaves underived whom it must.
// Method: successful operations written down as the network would carry them.
import { describe, expect, it } from 'vitest';
import {
  key,
  account,
  muxed,
  publicKey,
  A,
  B,
  NATIVE,
  EUR,
  EUR_TEXT,
  v1,
  success,
  failure,
  read,
  short,
  type Body,
  type Tr,
} from '../../../test/_util/stellar-wires.ts';
import { accountId, claimableBalanceId, liquidityPoolId } from './strkeys.ts';
import type { OperationResultWire } from './wire.ts';

describe('the operations layer, operation by operation', () => {
  it('takes a merge from its result, a clawback from its operation, and a claimable balance to its id', () => {
    const balance = claimableBalanceId(key(4));
    const bodies: Body[] = [
      { type: 8, destination: account(2) },
      { type: 19, clawbackOp: { asset: EUR, from: muxed(2, 5n), amount: 30n } },
      { type: 14, createClaimableBalanceOp: { asset: EUR, amount: 20n, claimants: [] } },
    ];
    const results: OperationResultWire[] = [
      { code: 0, tr: { type: 8, accountMergeResult: { code: 0, sourceAccountBalance: 990n } } },
      { code: 0, tr: { type: 19, clawbackResult: { code: 0 } } },
      { code: 0, tr: { type: 14, createClaimableBalanceResult: { code: 0, balanceId: { type: 0, v0: key(4) } } } },
    ];
    const { entries, underived } = read(v1(bodies), success(...results));
    expect(entries.slice(1).map(short)).toEqual([
      `1 0 account_merge ${A} native -990 ${B} success   `,
      `1 1 account_merge ${B} native 990 ${A} success   `,
      `2 0 clawback ${B} ${EUR_TEXT} -30 ${accountId(key(7))} success  muxed 5`,
      `3 0 create_claimable_balance ${A} ${EUR_TEXT} -20 ${balance} success   `,
    ]);
    expect(underived).toEqual([{ account: B, reason: 'clawback' }]);
  });

  it('writes inflation as one leg per payout, and no fee leg where nothing was charged', () => {
    const payouts = [1, 2].map((fill) => ({ destination: publicKey(fill), amount: BigInt(fill) }));
    const result = { ...success({ code: 0, tr: { type: 9, inflationResult: { code: 0, payouts } } }), feeCharged: 0n };
    expect(read(v1([{ type: 9 }]), result).entries.map(short)).toEqual([
      `1 0 inflation ${A} native 1  success   `,
      `1 1 inflation ${B} native 2  success   `,
    ]);
  });

  it('gives both sides of an offer that traded, and only the owners of what a path payment passed through', () => {
    const atoms = [
      {
        type: 1 as const,
        orderBook: {
          sellerId: publicKey(2),
          offerId: 8n,
          assetSold: EUR,
          amountSold: 10n,
          assetBought: NATIVE,
          amountBought: 4n,
        },
      },
      {
        type: 2 as const,
        liquidityPool: {
          liquidityPoolId: key(6),
          assetSold: EUR,
          amountSold: 5n,
          assetBought: NATIVE,
          amountBought: 3n,
        },
      },
    ];
    const pool = liquidityPoolId(key(6));
    const offer: Body = {
      type: 3,
      manageSellOfferOp: { selling: NATIVE, buying: EUR, amount: 7n, price: { n: 1, d: 1 }, offerId: 0n },
    };
    const traded: Tr = {
      type: 3,
      manageSellOfferResult: { code: 0, success: { offersClaimed: [atoms[0]!], offer: { effect: 2 } } },
    };
    const found = read(v1([offer]), success({ code: 0, tr: traded }));
    expect(found.entries.slice(1).map(short)).toEqual([
      `1 0 trade ${B} ${EUR_TEXT} -10 ${A} success   `,
      `1 1 trade ${B} native 4 ${A} success   `,
      `1 2 trade ${A} native -4 ${B} success   `,
      `1 3 trade ${A} ${EUR_TEXT} 10 ${B} success   `,
    ]);
    expect(found.underived).toEqual([
      { account: B, reason: 'offer' },
      { account: A, reason: 'offer' },
    ]);

    const path: Body = {
      type: 2,
      pathPaymentStrictReceiveOp: {
        sendAsset: NATIVE,
        sendMax: 100n,
        destination: account(2),
        destAsset: EUR,
        destAmount: 15n,
        path: [],
      },
    };
    const last = { destination: publicKey(2), asset: EUR, amount: 15n };
    const passed: Tr = { type: 2, pathPaymentStrictReceiveResult: { code: 0, success: { offers: atoms, last } } };
    const through = read(v1([path]), success({ code: 0, tr: passed }));
    expect(through.entries.slice(1).map(short)).toEqual([
      `1 0 path_payment ${A} native -7 ${B} success   `,
      `1 1 path_payment ${B} ${EUR_TEXT} 15 ${A} success   `,
      `1 2 trade ${B} ${EUR_TEXT} -10 ${A} success   `,
      `1 3 trade ${B} native 4 ${A} success   `,
      `1 4 trade ${pool} ${EUR_TEXT} -5 ${A} success   `,
      `1 5 trade ${pool} native 3 ${A} success   `,
    ]);
    expect(through.underived).toEqual([
      { account: B, reason: 'offer' },
      { account: pool, reason: 'liquidity_pool' },
    ]);
  });

  it('leaves underived whom it moves without saying by how much, and nobody when it moved nothing', () => {
    const claim: Body = { type: 15, claimClaimableBalanceOp: { balanceId: { type: 0, v0: key(4) } } };
    const claimed: OperationResultWire = { code: 0, tr: { type: 15, claimClaimableBalanceResult: { code: 0 } } };
    const found = read(v1([claim]), success(claimed));
    expect([found.entries.length, found.underived]).toEqual([1, [{ account: A, reason: 'claimable_balance' }]]);
    expect(read(v1([claim]), success(claimed), (id) => id === B).underived).toEqual([]);
    expect(
      read(v1([claim]), failure({ code: 0, tr: { type: 15, claimClaimableBalanceResult: { code: -1 } } })).underived,
    ).toEqual([]);
    const offer: Body = {
      type: 4,
      createPassiveSellOfferOp: { selling: NATIVE, buying: EUR, amount: 7n, price: { n: 1, d: 1 } },
    };
    const resting: Tr = {
      type: 4,
      createPassiveSellOfferResult: { code: 0, success: { offersClaimed: [], offer: { effect: 2 } } },
    };
    expect(read(v1([offer]), success({ code: 0, tr: resting })).underived).toEqual([]);
  });
});
