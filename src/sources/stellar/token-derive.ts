// Token events of ledgers whose metadata carries none: derived from operations, results and ledger entry changes.
//
// The rules are those of Stellar's own token transfer processor (CAP-67, "retroactively emitting events"), the order is the
// network's, so that a history read from old metadata equals one in which the network itself wrote the events.
import { createHash } from 'node:crypto';

import { Keypair, xdr } from '@stellar/stellar-sdk/base';

import { NATIVE } from '../../core/asset.ts';
import { assetText, type AssetContracts } from './assets.ts';
import { claimOf, claimsOf, type ResultTr } from './claims.ts';
import { partyOf, type Envelope, type Party, type SubAccount } from './envelope.ts';
import {
  changesOf,
  claimableBalancesCreated,
  claimableBalancesRemoved,
  nativeDelta,
  poolChanges,
  type Change,
  type ChangeWire,
  type ClaimableBalance,
  type PoolChange,
} from './meta-changes.ts';
import { accountId, claimableBalanceId, liquidityPoolId } from './strkeys.ts';
import { asMintOrBurn, type TokenEvent } from './token-events.ts';
import type { AssetWire } from './wire.ts';

/** One operation of a transaction that took effect. */
export interface AppliedOperation {
  readonly envelope: Envelope;
  /** From 0. */
  readonly index: number;
  readonly tr: ResultTr;
  readonly changes: readonly ChangeWire[];
}

/** Events of one classic operation in the processor's order; contract calls have events of their own. */
export function deriveEvents(operation: AppliedOperation, protocol: number, contracts: AssetContracts): TokenEvent[] {
  const { envelope, index } = operation;
  const { sourceAccount } = envelope.operations[index]!;
  const source = sourceAccount === null ? envelope.source : partyOf(sourceAccount);
  const changes = changesOf(operation.changes);
  const events = eventsOf({ ...operation, source, changes, make: maker(contracts) });
  return protocol < RECONCILED_FROM_PROTOCOL ? reconcile(events, changes, source.account, contracts) : events;
}

/** A fee, or what of it was given back (negative). */
export function feeEvent(payer: string, amount: bigint, contracts: AssetContracts): TokenEvent {
  return {
    kind: 'fee',
    contract: contracts.contractOf({ type: 0 }),
    asset: NATIVE,
    from: payer,
    to: null,
    amount,
    toMuxed: null,
  };
}

/** Before this version a bug minted and burnt lumens (pubnet ledgers 9652679 and 9652698 among others). */
const RECONCILED_FROM_PROTOCOL = 8;

interface Context extends Omit<AppliedOperation, 'changes'> {
  readonly source: Party;
  readonly changes: readonly Change[];
  readonly make: Make;
}

type Make = (asset: AssetWire, from: string, to: string, amount: bigint, toMuxed: SubAccount | null) => TokenEvent;

function maker(contracts: AssetContracts): Make {
  return (asset, from, to, amount, toMuxed) =>
    asMintOrBurn({
      kind: 'transfer',
      contract: contracts.contractOf(asset),
      asset: assetText(asset),
      from,
      to,
      amount,
      toMuxed,
    });
}

const LUMENS: AssetWire = { type: 0 };

function eventsOf(op: Context): TokenEvent[] {
  const { envelope, tr, source, make } = op;
  const { body } = envelope.operations[op.index]!;
  const paid = (asset: AssetWire, to: Party, amount: bigint): TokenEvent =>
    make(asset, source.account, to.account, amount, to.muxed ?? envelope.memo);
  switch (body.type) {
    case 0: {
      const { destination, startingBalance } = body.createAccountOp;
      return [make(LUMENS, source.account, accountId(destination.ed25519), startingBalance, envelope.memo)];
    }
    case 1:
      return [paid(body.paymentOp.asset, partyOf(body.paymentOp.destination), body.paymentOp.amount)];
    case 2: {
      const { destAsset, destination, destAmount } = body.pathPaymentStrictReceiveOp;
      return [...trades(op), paid(destAsset, partyOf(destination), destAmount)];
    }
    case 13: {
      if (tr.type !== 13 || tr.pathPaymentStrictSendResult.code !== 0) return [];
      const { destAsset, destination } = body.pathPaymentStrictSendOp;
      return [...trades(op), paid(destAsset, partyOf(destination), tr.pathPaymentStrictSendResult.success.last.amount)];
    }
    case 3:
    case 4:
    case 12:
      return trades(op);
    case 7:
    case 21:
      return revocations(op);
    case 8:
      if (tr.type !== 8 || tr.accountMergeResult.code !== 0) return [];
      return [paid(LUMENS, partyOf(body.destination), tr.accountMergeResult.sourceAccountBalance)];
    case 9: {
      if (tr.type !== 9 || tr.inflationResult.code !== 0) return [];
      return tr.inflationResult.payouts.map(({ destination, amount }) => {
        const event = make(LUMENS, source.account, accountId(destination.ed25519), amount, null);
        return { ...event, kind: 'mint', from: null };
      });
    }
    case 14: {
      if (tr.type !== 14 || tr.createClaimableBalanceResult.code !== 0) return [];
      const balance = claimableBalanceId(tr.createClaimableBalanceResult.balanceId.v0);
      return [
        make(body.createClaimableBalanceOp.asset, source.account, balance, body.createClaimableBalanceOp.amount, null),
      ];
    }
    case 15:
      return claimableBalancesRemoved(op.changes).map((balance) =>
        make(
          balance.asset,
          claimableBalanceId(balance.hash),
          source.account,
          balance.amount,
          source.muxed ?? envelope.memo,
        ),
      );
    case 19:
      return [clawback(make, body.clawbackOp.asset, partyOf(body.clawbackOp.from).account, body.clawbackOp.amount)];
    case 20:
      return claimableBalancesRemoved(op.changes).map((balance) =>
        clawback(make, balance.asset, claimableBalanceId(balance.hash), balance.amount),
      );
    case 22:
      return poolChanges(op.changes).flatMap(({ poolId, assets, moved }) =>
        assets.map((asset, side) => make(asset, source.account, liquidityPoolId(poolId), moved[side]!, null)),
      );
    case 23:
      return poolChanges(op.changes).flatMap(({ poolId, assets, moved }) =>
        assets.map((asset, side) =>
          make(asset, liquidityPoolId(poolId), source.account, moved[side]!, source.muxed ?? envelope.memo),
        ),
      );
    default:
      return [];
  }
}

/** Two per claim, in the network's own order: what the seller got, then what it gave. */
function trades({ tr, source, make }: Context): TokenEvent[] {
  return claimsOf(tr).flatMap((atom) => {
    const claim = claimOf(atom);
    return [
      make(claim.assetBought, source.account, claim.seller, claim.amountBought, null),
      make(claim.assetSold, claim.seller, source.account, claim.amountSold, null),
    ];
  });
}

function clawback(make: Make, asset: AssetWire, holder: string, amount: bigint): TokenEvent {
  return { ...make(asset, holder, holder, amount, null), kind: 'clawback', from: holder, to: null };
}

/**
 * A revoked trustline takes its pool shares with it: each pool pays out into at most two new claimable balances
 * (CAP-38). Nothing in the metadata links a balance to its pool, but its id is a hash that names both. An asset without a
 * balance went back to its issuer, the trustline's owner.
 */
function revocations(op: Context): TokenEvent[] {
  const created = new Map(claimableBalancesCreated(op.changes).map((balance) => [balance.id, balance]));
  if (created.size === 0) return [];
  return poolChanges(op.changes).flatMap((pool) => {
    const paid = pool.assets
      .map((asset) => created.get(revocationBalance(op, pool, asset)))
      .filter((balance): balance is ClaimableBalance => balance !== undefined);
    const from = liquidityPoolId(pool.poolId);
    const events = paid.map(({ asset, hash, amount }) => op.make(asset, from, claimableBalanceId(hash), amount, null));
    if (paid.length !== 1) return events;
    const burnt = assetText(paid[0]!.asset) === assetText(pool.assets[0]) ? 1 : 0;
    const burn = op.make(pool.assets[burnt], from, from, pool.moved[burnt], null);
    return [...events, { ...burn, kind: 'burn' as const, to: null }];
  });
}

/** Hex of the id of the balance that a revocation creates; the transaction's source counts, not the operation's. */
function revocationBalance({ envelope, index }: Context, pool: PoolChange, asset: AssetWire): string {
  const preimage = xdr.HashIdPreimage.schema.encode({
    type: REVOKE_ENVELOPE,
    revokeId: {
      sourceAccount: { type: 0, ed25519: Keypair.fromPublicKey(envelope.source.account).rawPublicKey() },
      seqNum: envelope.sequence,
      opNum: index,
      liquidityPoolId: pool.poolId,
      asset,
    },
  });
  return createHash('sha256').update(preimage).digest('hex');
}

const REVOKE_ENVELOPE = 7;

/** Where the entries moved otherwise than the events say, the difference was minted (first) or burnt (last). */
function reconcile(
  events: TokenEvent[],
  changes: readonly Change[],
  account: string,
  contracts: AssetContracts,
): TokenEvent[] {
  let difference = nativeDelta(changes, account);
  for (const event of events) {
    if (event.asset !== NATIVE) continue;
    if (event.from === account) difference += event.amount;
    if (event.to === account) difference -= event.amount;
  }
  if (difference === 0n) return events;
  const base = { contract: contracts.contractOf(LUMENS), asset: NATIVE, toMuxed: null };
  if (difference > 0n) return [{ ...base, kind: 'mint', from: null, to: account, amount: difference }, ...events];
  return [...events, { ...base, kind: 'burn', from: account, to: null, amount: -difference }];
}
