// Who was moved in ways that envelopes and results don't show: their balances can't be derived from the operations layer.
//
// Reads only operations that took effect:
// - a contract call: its source, and every account whose entry or trustline its footprint may write; the network
//   refuses a write outside the footprint, so nobody else's classic balance moved;
// - an offer or path payment that traded: the owners of the offers claimed and, of an offer operation, its source (an
//   offer that claimed nothing moved nothing);
// - pool deposits and withdrawals, claims and clawbacks of claimable balances: the source, since the amounts are elsewhere;
// - a clawback: its holder.
import type { UnderivedReason, UnderivedTouch } from '../../core/entry.ts';
import { claimOf, claimsOf, type ResultTr } from './claims.ts';
import { partyOf, type LedgerKeyWire } from './envelope.ts';
import { accountId } from './strkeys.ts';
import type { OperationWire } from './wire.ts';

/** Adds to `touches` whom this successful operation leaves underived; each (account, reason) once per list. */
export function addTouches(
  touches: UnderivedTouch[],
  body: OperationWire['body'],
  tr: ResultTr,
  source: string,
  readWrite: readonly LedgerKeyWire[],
  keep: (id: string) => boolean,
): void {
  const touch = (account: string, reason: UnderivedReason): void => {
    if (!keep(account)) return;
    if (touches.some((known) => known.account === account && known.reason === reason)) return;
    touches.push({ account, reason });
  };
  switch (body.type) {
    case 2:
    case 3:
    case 4:
    case 12:
    case 13: {
      const claims = claimsOf(tr);
      for (const claim of claims)
        touch(claimOf(claim).seller, claim.type === CLAIMED_POOL ? 'liquidity_pool' : 'offer');
      if (claims.length > 0 && body.type !== 2 && body.type !== 13) touch(source, 'offer');
      return;
    }
    case 15:
    case 20:
      return touch(source, 'claimable_balance');
    case 19:
      return touch(partyOf(body.clawbackOp.from).account, 'clawback');
    case 22:
    case 23:
      return touch(source, 'liquidity_pool');
    case 24:
      touch(source, 'contract_call');
      for (const key of readWrite) {
        if (key.type === 0) touch(accountId(key.account.accountId.ed25519), 'contract_call');
        else if (key.type === 1) touch(accountId(key.trustLine.accountId.ed25519), 'contract_call');
      }
      return;
    default:
  }
}

const CLAIMED_POOL = 2;
