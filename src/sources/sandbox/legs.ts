// One operation told as legs, in each of the two layers.
import { NATIVE } from '../../core/asset.ts';
import type { Entry, Layer, SubAccountType, UnderivedTouch } from '../../core/entry.ts';
import type { Operation, PlannedLedger, Transaction } from './plan.ts';

type Leg = Pick<Entry, 'account' | 'asset' | 'amount' | 'kind' | 'counterparty'> & {
  readonly muxed?: string | undefined;
  /** Whether a memo of the transaction names a sub-account of this leg's account. */
  readonly takesMemo?: boolean;
};

/** Entries of one ledger: the layers in the order given, positions rising, only accounts that `watched` accepts. */
export function entriesOf(
  ledger: PlannedLedger,
  layers: readonly Layer[],
  watched: (account: string) => boolean,
): Entry[] {
  const entries: Entry[] = [];
  for (const layer of layers) {
    ledger.transactions.forEach((transaction, index) => {
      const txIndex = ledger.hashes[index] === null ? 0 : index + 1;
      const tell = (opIndex: number, legs: readonly Leg[], failure: string | null): void => {
        legs.forEach((leg, position) => {
          if (!watched(leg.account)) return;
          const [subAccount, subAccountType] = subAccountOf(leg, transaction);
          entries.push({
            ledger: ledger.sequence,
            txIndex,
            opIndex,
            leg: position,
            layer,
            txHash: ledger.hashes[index]!,
            account: leg.account,
            asset: leg.asset,
            amount: failure === null ? leg.amount : 0n,
            kind: leg.kind,
            counterparty: leg.counterparty,
            status: failure === null ? 'success' : 'failed',
            resultCode: failure,
            subAccount,
            subAccountType,
          });
        });
      };
      tell(0, feeLegs(transaction), null);
      transaction.operations.forEach((operation, opIndex) => {
        const position = txIndex === 0 ? 0 : opIndex + 1;
        if (layer === 'token_events')
          tell(position, transaction.failure === null ? eventsOfOperation(operation) : [], null);
        // A failed movement is told once, where it would have been paid from.
        else if (transaction.failure !== null) tell(position, visibleLegs(operation).slice(0, 1), transaction.failure);
        else tell(position, visibleLegs(operation), null);
      });
    });
  }
  return entries;
}

/** Accounts whose balance envelopes and results can't show any more: callers of contracts. */
export function underivedOf(ledger: PlannedLedger, watched: (account: string) => boolean): UnderivedTouch[] {
  const touched = new Set<string>();
  for (const transaction of ledger.transactions) {
    for (const operation of transaction.operations) {
      if (operation.type === 'contract_transfer') touched.add(operation.from).add(operation.to).add(operation.caller);
    }
  }
  return [...touched].filter(watched).map((account) => ({ account, reason: 'contract_call' as const }));
}

/** What an operation really does to balances, in whichever layer it can be seen. */
export function legsOfOperation(operation: Operation): readonly Leg[] {
  switch (operation.type) {
    case 'genesis':
      return [{ account: operation.to, asset: NATIVE, amount: operation.amount, kind: 'genesis', counterparty: null }];
    case 'payment':
      return pair(operation, 'payment', operation.asset);
    case 'create_account':
    case 'account_merge':
      return pair(operation, operation.type, NATIVE);
    case 'contract_transfer':
      return pair(operation, 'transfer', operation.asset);
    case 'path_payment': {
      const { from, to, maker, sendAsset, asset, sendAmount, amount } = operation;
      return [
        { account: from, asset: sendAsset, amount: -sendAmount, kind: 'path_payment', counterparty: to },
        { account: to, asset, amount, kind: 'path_payment', counterparty: from, takesMemo: true },
        { account: maker, asset: sendAsset, amount: sendAmount, kind: 'trade', counterparty: from },
        { account: maker, asset, amount: -amount, kind: 'trade', counterparty: from },
      ];
    }
    case 'create_claimable_balance':
    case 'claim_claimable_balance': {
      const { account, balance, asset, type } = operation;
      const amount = type === 'create_claimable_balance' ? -operation.amount : operation.amount;
      return [
        { account, asset, amount, kind: type, counterparty: balance },
        { account: balance, asset, amount: -amount, kind: type, counterparty: account },
      ];
    }
  }
}

function visibleLegs(operation: Operation): readonly Leg[] {
  return operation.type === 'contract_transfer' ? [] : legsOfOperation(operation);
}

/** The same movements as an asset contract's events tell them: transfers, and mint and burn at the issuer. */
function eventsOfOperation(operation: Operation): readonly Leg[] {
  if (operation.type === 'genesis') return legsOfOperation(operation);
  if (operation.type === 'path_payment') {
    const { from, to, maker, sendAsset, sendAmount, asset, amount } = operation;
    return [...event({ from, to: maker, amount: sendAmount }, sendAsset), ...event({ from: maker, to, amount }, asset)];
  }
  if ('balance' in operation) {
    const { type, account, balance, asset, amount } = operation;
    const created = type === 'create_claimable_balance';
    return event({ from: created ? account : balance, to: created ? balance : account, amount }, asset);
  }
  const asset = operation.type === 'payment' || operation.type === 'contract_transfer' ? operation.asset : NATIVE;
  return event(operation, asset);
}

interface Movement {
  readonly from: string;
  readonly to: string;
  readonly amount: bigint;
  readonly fromMuxed?: string;
  readonly toMuxed?: string;
}

function event(movement: Movement, asset: string): readonly Leg[] {
  const issuer = asset.split(':')[1];
  const [paid, received] = pair(movement, 'transfer', asset);
  if (issuer !== undefined && movement.from === issuer) return [{ ...received!, kind: 'mint' }];
  if (issuer !== undefined && movement.to === issuer) return [{ ...paid!, kind: 'burn' }];
  return [paid!, received!];
}

function pair(movement: Movement, kind: Entry['kind'], asset: string): readonly Leg[] {
  const { from, to, amount, fromMuxed, toMuxed } = movement;
  return [
    { account: from, asset, amount: -amount, kind, counterparty: to, muxed: fromMuxed },
    { account: to, asset, amount, kind, counterparty: from, muxed: toMuxed, takesMemo: true },
  ];
}

/** The fee, and what is given back of it. */
function feeLegs(transaction: Transaction): readonly Leg[] {
  const { payer, fee, refund } = transaction;
  if (fee === 0n) return [];
  const charged: Leg = { account: payer, asset: NATIVE, amount: -fee, kind: 'fee', counterparty: null };
  if (refund === 0n) return [charged];
  return [charged, { account: payer, asset: NATIVE, amount: refund, kind: 'fee_refund', counterparty: null }];
}

function subAccountOf(leg: Leg, transaction: Transaction): [string | null, SubAccountType | null] {
  if (leg.muxed !== undefined) return [leg.muxed, 'muxed'];
  if (leg.takesMemo && transaction.memo) return [transaction.memo.value, transaction.memo.type];
  return [null, null];
}
