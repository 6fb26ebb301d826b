// Claim atoms: which offers and pools an operation traded with, and for how much.
import { assetText } from './assets.ts';
import { accountId, liquidityPoolId } from './strkeys.ts';
import type { AssetWire, ClaimAtomWire, OperationResultWire } from './wire.ts';

export type ResultTr = Extract<OperationResultWire, { code: 0 }>['tr'];

/** A claim from its seller's side: G... for an offer, L... for a pool. */
export interface Claim {
  readonly seller: string;
  readonly assetSold: AssetWire;
  readonly amountSold: bigint;
  readonly assetBought: AssetWire;
  readonly amountBought: bigint;
}

export function claimOf(atom: ClaimAtomWire): Claim {
  switch (atom.type) {
    case 0:
      return { ...atom.v0, seller: accountId(atom.v0.sellerEd25519) };
    case 1:
      return { ...atom.orderBook, seller: accountId(atom.orderBook.sellerId.ed25519) };
    case 2:
      return { ...atom.liquidityPool, seller: liquidityPoolId(atom.liquidityPool.liquidityPoolId) };
  }
}

/** The offers and pools that an operation traded with; empty for any other operation. */
export function claimsOf(tr: ResultTr): readonly ClaimAtomWire[] {
  switch (tr.type) {
    case 2:
      return tr.pathPaymentStrictReceiveResult.code === 0 ? tr.pathPaymentStrictReceiveResult.success.offers : [];
    case 13:
      return tr.pathPaymentStrictSendResult.code === 0 ? tr.pathPaymentStrictSendResult.success.offers : [];
    case 3:
      return tr.manageSellOfferResult.code === 0 ? tr.manageSellOfferResult.success.offersClaimed : [];
    case 4:
      return tr.createPassiveSellOfferResult.code === 0 ? tr.createPassiveSellOfferResult.success.offersClaimed : [];
    case 12:
      return tr.manageBuyOfferResult.code === 0 ? tr.manageBuyOfferResult.success.offersClaimed : [];
    default:
      return [];
  }
}

/**
 * What a strict-receive payment cost its sender. The path's first hop is the run of claims that took the send asset;
 * with no claim nothing was converted and the destination got what was sent.
 */
export function amountSent(offers: readonly ClaimAtomWire[], sendAsset: AssetWire, destAmount: bigint): bigint {
  if (offers.length === 0) return destAmount;
  const asset = assetText(sendAsset);
  let sent = 0n;
  for (const offer of offers) {
    const claim = claimOf(offer);
    if (assetText(claim.assetBought) !== asset) break;
    sent += claim.amountBought;
  }
  return sent;
}
