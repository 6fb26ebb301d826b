// The `operations` layer: what envelopes and results alone say, so that an archive, Horizon, RPC and a lake agree.
//
// A pure function of one transaction's envelope and result; metadata is never consulted, even where a source has it.
// - Fee: 1 leg `fee` of -feeCharged on the payer (of a fee bump, the outer fee source), opIndex 0; none where it is 0.
//   A contract call's refund is inside feeCharged as the archive states it, so the leg is what was paid in the end.
// - create_account, payment, path_payment, account_merge: 2 legs, the giver's first; to oneself still 2. Amounts that
//   only the result knows (a merge, one end of a path payment) come from there.
// - create_claimable_balance (giver; counterparty B...) and clawback (holder; counterparty the issuer): 1 leg.
// - inflation: 1 leg per payout. trade: for each claimed offer or pool the seller's 2 legs, and for the three offer
//   operations the taker's 2; a path payment's own legs are already its sender's side.
// - An issuer has no balance of its own asset, yet its legs are legs: a payment has two ends whoever they are.
// - A transaction that failed: its fee, and each payment-type operation's legs with amount 0, status `failed` and the
//   operation's own code, or the transaction's where the operation succeeded or was never reached.
// - Claims of claimable balances and pool deposits and withdrawals give no leg: their amounts stand in neither envelope
//   nor result (underived.ts says whom they leave underived).
// Indexes: txIndex and opIndex count from 1, leg from 0 within the operation and the same whatever the watch.
import type { Entry, UnderivedTouch } from '../../core/entry.ts';
import { NATIVE } from '../../core/asset.ts';
import { assetText, issuerOf } from './assets.ts';
import { amountSent, claimOf, claimsOf, type ResultTr } from './claims.ts';
import { partyOf, readEnvelope, type Envelope, type Party, type SubAccount } from './envelope.ts';
import { Legs, type Side } from './legs.ts';
import { operationResultCode, OP_SUCCESS, transactionResultCode } from './result-codes.ts';
import { accountId, claimableBalanceId } from './strkeys.ts';
import { addTouches } from './underived.ts';
import type { AssetWire, ClaimAtomWire, EnvelopeWire, OperationResultWire, OperationWire, ResultWire } from './wire.ts';

export interface AppliedTransaction {
  /** Lower-case hex; of a fee bump, the outer transaction's. */
  readonly hash: string;
  /** 1-based position among the ledger's results, which stand in the order of application. */
  readonly txIndex: number;
  readonly envelope: EnvelopeWire;
  readonly result: ResultWire;
}

export interface OperationEntries {
  /** In canonical order: opIndex, then leg. */
  readonly entries: Entry[];
  /** Accounts inside the watch that the transaction moved in ways not shown here; each (account, reason) once. */
  readonly underived: UnderivedTouch[];
}

/**
 * The `operations` legs of one transaction of one ledger.
 *
 * @param keep the watch: legs and touches of other ids are left out.
 */
export function operationEntries(
  tx: AppliedTransaction,
  ledger: number,
  keep: (id: string) => boolean,
): OperationEntries {
  const envelope = readEnvelope(tx.envelope);
  const legs = new Legs(tx, ledger, keep);
  const underived: UnderivedTouch[] = [];

  if (tx.result.feeCharged !== 0n)
    legs.add(envelope.feeSource.account, NATIVE, -tx.result.feeCharged, 'fee', null, null);

  const succeeded = isSuccessful(tx.result);
  const results = operationResults(tx.result);
  const failure = succeeded ? null : transactionResultCode(tx.result);
  envelope.operations.forEach((operation, index) => {
    const source = operation.sourceAccount === null ? envelope.source : partyOf(operation.sourceAccount);
    const result = results[index];
    if (succeeded) {
      legs.begin(index + 1, 'success', null);
      if (result === undefined || result.code !== 0) return;
      addSuccessful(legs, operation.body, result.tr, source, envelope);
      addTouches(underived, operation.body, result.tr, source.account, envelope.readWrite, keep);
    } else {
      const code = result === undefined ? OP_SUCCESS : operationResultCode(result);
      legs.begin(index + 1, 'failed', code === OP_SUCCESS ? failure : code);
      addFailed(legs, operation.body, source, envelope);
    }
  });
  return { entries: legs.entries, underived };
}

/** Whether the transaction took effect; of a fee bump, whether its inner one did. */
export function isSuccessful(result: ResultWire): boolean {
  return result.result.code === 0 || result.result.code === FEE_BUMP_SUCCESS;
}

/** The operations' results in their order; empty where none was reached. */
export function operationResults(result: ResultWire): readonly OperationResultWire[] {
  const outer = result.result;
  const inner = 'innerResultPair' in outer ? outer.innerResultPair.result.result : outer;
  return 'results' in inner ? inner.results : [];
}

const FEE_BUMP_SUCCESS = 1;

type Body = OperationWire['body'];

function addSuccessful(legs: Legs, body: Body, tr: ResultTr, source: Party, { memo }: Envelope): void {
  switch (body.type) {
    case 0: {
      const side = { asset: NATIVE, amount: body.createAccountOp.startingBalance };
      legs.pair(
        source,
        { account: accountId(body.createAccountOp.destination.ed25519), muxed: null },
        side,
        side,
        'create_account',
        memo,
      );
      return;
    }
    case 1: {
      const side = { asset: assetText(body.paymentOp.asset), amount: body.paymentOp.amount };
      legs.pair(source, partyOf(body.paymentOp.destination), side, side, 'payment', memo);
      return;
    }
    case 2: {
      if (tr.type !== 2 || tr.pathPaymentStrictReceiveResult.code !== 0) return;
      const op = body.pathPaymentStrictReceiveOp;
      const { offers } = tr.pathPaymentStrictReceiveResult.success;
      const sold = { asset: assetText(op.sendAsset), amount: amountSent(offers, op.sendAsset, op.destAmount) };
      const bought = { asset: assetText(op.destAsset), amount: op.destAmount };
      legs.pair(source, partyOf(op.destination), sold, bought, 'path_payment', memo);
      addTrades(legs, offers, source.account, false);
      return;
    }
    case 13: {
      if (tr.type !== 13 || tr.pathPaymentStrictSendResult.code !== 0) return;
      const op = body.pathPaymentStrictSendOp;
      const { offers, last } = tr.pathPaymentStrictSendResult.success;
      const sold = { asset: assetText(op.sendAsset), amount: op.sendAmount };
      const bought = { asset: assetText(op.destAsset), amount: last.amount };
      legs.pair(source, partyOf(op.destination), sold, bought, 'path_payment', memo);
      addTrades(legs, offers, source.account, false);
      return;
    }
    case 3:
    case 4:
    case 12:
      addTrades(legs, claimsOf(tr), source.account, true);
      return;
    case 8: {
      if (tr.type !== 8 || tr.accountMergeResult.code !== 0) return;
      const side = { asset: NATIVE, amount: tr.accountMergeResult.sourceAccountBalance };
      legs.pair(source, partyOf(body.destination), side, side, 'account_merge', memo);
      return;
    }
    case 9: {
      if (tr.type !== 9 || tr.inflationResult.code !== 0) return;
      for (const payout of tr.inflationResult.payouts) {
        legs.add(accountId(payout.destination.ed25519), NATIVE, payout.amount, 'inflation', null, null);
      }
      return;
    }
    case 14: {
      if (tr.type !== 14 || tr.createClaimableBalanceResult.code !== 0) return;
      const { asset, amount } = body.createClaimableBalanceOp;
      const balance = claimableBalanceId(tr.createClaimableBalanceResult.balanceId.v0);
      legs.add(source.account, assetText(asset), -amount, 'create_claimable_balance', balance, source.muxed ?? memo);
      return;
    }
    case 19:
      addClawback(legs, body.clawbackOp, body.clawbackOp.amount, memo);
      return;
    default:
  }
}

/** The same legs as in success, empty: the books need to see that the attempt was made and moved nothing. */
function addFailed(legs: Legs, body: Body, source: Party, { memo }: Envelope): void {
  switch (body.type) {
    case 0: {
      const side = nothingOf({ type: 0 });
      legs.pair(
        source,
        { account: accountId(body.createAccountOp.destination.ed25519), muxed: null },
        side,
        side,
        'create_account',
        memo,
      );
      return;
    }
    case 1: {
      const side = nothingOf(body.paymentOp.asset);
      legs.pair(source, partyOf(body.paymentOp.destination), side, side, 'payment', memo);
      return;
    }
    case 2:
    case 13: {
      const op = body.type === 2 ? body.pathPaymentStrictReceiveOp : body.pathPaymentStrictSendOp;
      legs.pair(
        source,
        partyOf(op.destination),
        nothingOf(op.sendAsset),
        nothingOf(op.destAsset),
        'path_payment',
        memo,
      );
      return;
    }
    case 8: {
      const side = nothingOf({ type: 0 });
      legs.pair(source, partyOf(body.destination), side, side, 'account_merge', memo);
      return;
    }
    case 14: {
      const asset = assetText(body.createClaimableBalanceOp.asset);
      legs.add(source.account, asset, 0n, 'create_claimable_balance', null, source.muxed ?? memo);
      return;
    }
    case 19:
      addClawback(legs, body.clawbackOp, 0n, memo);
      return;
    default:
  }
}

function addClawback(
  legs: Legs,
  op: Extract<Body, { type: 19 }>['clawbackOp'],
  amount: bigint,
  memo: SubAccount | null,
): void {
  const asset = assetText(op.asset);
  const from = partyOf(op.from);
  legs.add(from.account, asset, -amount, 'clawback', issuerOf(asset) ?? null, from.muxed ?? memo);
}

function addTrades(legs: Legs, claims: readonly ClaimAtomWire[], taker: string, takerToo: boolean): void {
  for (const claim of claims) {
    const atom = claimOf(claim);
    const sold = assetText(atom.assetSold);
    const bought = assetText(atom.assetBought);
    legs.add(atom.seller, sold, -atom.amountSold, 'trade', taker, null);
    legs.add(atom.seller, bought, atom.amountBought, 'trade', taker, null);
    if (!takerToo) continue;
    legs.add(taker, bought, -atom.amountBought, 'trade', atom.seller, null);
    legs.add(taker, sold, atom.amountSold, 'trade', atom.seller, null);
  }
}

function nothingOf(asset: AssetWire): Side {
  return { asset: assetText(asset), amount: 0n };
}
