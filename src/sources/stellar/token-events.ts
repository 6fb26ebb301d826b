// The `token_events` layer: what moved, as the network's unified events (CAP-67) say it.
//
// One event is one or two legs. Its position is (opIndex, event's place among the operation's events), so that a single
// event from RPC's getEvents gets the same leg numbers as the whole ledger does: the giver's leg is 2n, the taker's 2n + 1.
// - transfer: giver and taker. mint: taker only. burn, clawback: giver only. The counterparty of a classic asset's mint,
//   burn or clawback is its issuer, whose side of it is no balance.
// - fee: opIndex 0; what was charged is leg 0 (`fee`, negative), what was given back is leg 1 (`fee_refund`, positive).
// - A Stellar Asset Contract's id becomes its classic asset where the event names the asset and the ids agree.
// - The taker's sub-account is the event's own (`to_muxed_id`); the giver's comes from the envelope.
// Holders may be G..., C..., B... (claimable balances) and L... (pools).
import { NATIVE } from '../../core/asset.ts';
import type { Entry, EntryKind } from '../../core/entry.ts';
import { issuerOf, type AssetContracts } from './assets.ts';
import { storableText, type Envelope, type SubAccount } from './envelope.ts';
import { accountId, claimableBalanceId, contractId, liquidityPoolId } from './strkeys.ts';
import { giverOf, type Giver } from './token-giver.ts';
import { hexOf, type ContractEventWire, type ScValWire } from './wire.ts';

export type TokenEventKind = 'transfer' | 'mint' | 'burn' | 'clawback' | 'fee';

/** What an event says, before it is split into legs. */
export interface TokenEvent {
  readonly kind: TokenEventKind;
  /** C...: the contract that speaks for the asset, deployed or not. */
  readonly contract: string;
  /** `native`, CODE:ISSUER, or the contract itself. */
  readonly asset: string;
  readonly from: string | null;
  readonly to: string | null;
  /** Minor units; negative for a fee given back. */
  readonly amount: bigint;
  readonly toMuxed: SubAccount | null;
}

export interface EventPosition {
  readonly ledger: number;
  readonly txHash: string;
  /** 1-based order of application. */
  readonly txIndex: number;
  /** 1-based; 0 for an event of the whole transaction. */
  readonly opIndex: number;
  /** From 0 among all contract events of the operation, other contracts' included. Ignored for fees. */
  readonly eventIndex: number;
}

/** A contract event as RPC's getEvents carries it, topics and value decoded (decodeScVal). */
export interface RawEvent {
  /** C... */
  readonly contract: string;
  readonly topics: readonly ScValWire[];
  readonly value: ScValWire;
}

/**
 * `unified`: the shape since transaction meta V4 (CAP-67), and all that RPC serves today. `legacy`: meta V3, where mint and
 * clawback name their admin first and an issuer's payment still looks like a transfer.
 */
export type EventFormat = 'unified' | 'legacy';

/**
 * The legs of one contract event; none where it is no token event.
 *
 * @param envelope of its transaction, for the giver's sub-account and the memo's type; without it only the event speaks.
 */
export function eventEntry(
  event: RawEvent,
  at: EventPosition,
  contracts: AssetContracts,
  keep: (id: string) => boolean,
  envelope?: Envelope,
  format: EventFormat = 'unified',
): Entry[] {
  const token = readTokenEvent(event, contracts, format);
  return token === undefined ? [] : tokenEventLegs(token, at, keep, envelope);
}

/** From the XDR of a contract event; undefined for system and diagnostic events and those without a contract. */
export function rawEvent(event: ContractEventWire): RawEvent | undefined {
  if (event.type !== CONTRACT_EVENT || event.contractId === null) return undefined;
  return { contract: contractId(event.contractId), topics: event.body.v0.topics, value: event.body.v0.data };
}

/** What the event moves; undefined where it doesn't have the form of a token event. */
export function readTokenEvent(
  event: RawEvent,
  contracts: AssetContracts,
  format: EventFormat,
): TokenEvent | undefined {
  const { contract, topics } = event;
  const kind = symbolOf(topics[0]);
  if (kind !== 'transfer' && kind !== 'mint' && kind !== 'burn' && kind !== 'clawback' && kind !== 'fee')
    return undefined;
  const value = valueOf(event.value, format);
  if (value === undefined) return undefined;
  if (kind === 'fee') return readFee(event, value.amount, contracts);

  const named = kind !== 'transfer' && kind !== 'burn' && format === 'legacy' ? 2 : 1;
  const first = addressOf(topics[named]);
  const second = kind === 'transfer' ? addressOf(topics[2]) : undefined;
  if (first === undefined || (kind === 'transfer' && second === undefined)) return undefined;
  if (named === 2 && addressOf(topics[1]) === undefined) return undefined;

  const token: TokenEvent = {
    kind,
    contract,
    asset: contract,
    from: kind === 'mint' ? null : first.id,
    to: kind === 'mint' ? first.id : (second?.id ?? null),
    amount: value.amount,
    toMuxed: value.toMuxed ?? (kind === 'mint' ? first.muxed : (second?.muxed ?? null)),
  };
  const assetAt = kind === 'transfer' ? 3 : named + 1;
  if (topics.length !== assetAt + 1) return token;
  const name = textOf(topics[assetAt]);
  const asset = name === undefined ? undefined : contracts.assetOf(contract, name);
  if (asset === undefined) return token;
  const known = { ...token, asset };
  return format === 'legacy' && kind === 'transfer' ? asMintOrBurn(known) : known;
}

/** An issuer has no balance of its asset: what it sends comes into being, what it gets ceases to be. */
export function asMintOrBurn(transfer: TokenEvent): TokenEvent {
  const issuer = issuerOf(transfer.asset);
  if (issuer === undefined || (transfer.from === issuer) === (transfer.to === issuer)) return transfer;
  if (transfer.from === issuer) return { ...transfer, kind: 'mint', from: null };
  return { ...transfer, kind: 'burn', to: null, toMuxed: null };
}

/** One or two entries, inside the watch. */
export function tokenEventLegs(
  event: TokenEvent,
  at: EventPosition,
  keep: (id: string) => boolean,
  envelope?: Envelope,
): Entry[] {
  const legs: Entry[] = [];
  const issuer = issuerOf(event.asset) ?? null;
  const add = (
    account: string,
    side: number,
    amount: bigint,
    kind: EntryKind,
    counterparty: string | null,
    sub: SubAccount | null,
  ): void => {
    if (!keep(account)) return;
    legs.push({
      ledger: at.ledger,
      txIndex: at.txIndex,
      opIndex: at.opIndex,
      leg: event.kind === 'fee' ? side : at.eventIndex * 2 + side,
      layer: 'token_events',
      txHash: at.txHash,
      account,
      asset: event.asset,
      amount,
      kind,
      counterparty,
      status: 'success',
      resultCode: null,
      subAccount: sub === null ? null : sub.id,
      subAccountType: sub === null ? null : sub.type,
    });
  };
  if (event.kind === 'fee') {
    if (event.from === null || event.amount === 0n) return legs;
    const isRefund = event.amount < 0n;
    add(event.from, isRefund ? 1 : 0, -event.amount, isRefund ? 'fee_refund' : 'fee', null, null);
    return legs;
  }
  const giver: Giver | null = envelope === undefined ? null : giverOf(envelope, at.opIndex, event);
  if (event.from !== null) add(event.from, 0, -event.amount, event.kind, event.to ?? issuer, giver?.subAccount ?? null);
  if (event.to !== null)
    add(event.to, 1, event.amount, event.kind, event.from ?? issuer, takerOf(event.toMuxed, envelope));
  return legs;
}

const CONTRACT_EVENT = 1;

/** Fees are paid in lumens only; any other contract's `fee` event is its own affair. */
function readFee({ contract, topics }: RawEvent, amount: bigint, contracts: AssetContracts): TokenEvent | undefined {
  const from = addressOf(topics[1]);
  if (topics.length !== 2 || from === undefined || contracts.assetOf(contract, NATIVE) === undefined) return undefined;
  return { kind: 'fee', contract, asset: NATIVE, from: from.id, to: null, amount, toMuxed: null };
}

/** An event's number can be a muxed id or a memo, its bytes a hash or a return hash: the envelope knows. */
function takerOf(stated: SubAccount | null, envelope: Envelope | undefined): SubAccount | null {
  const memo = envelope?.memo;
  return stated !== null && memo && memo.id === stated.id ? memo : stated;
}

interface EventValue {
  readonly amount: bigint;
  readonly toMuxed: SubAccount | null;
}

/** An i128, or since CAP-67 a map of `amount` and `to_muxed_id`. */
function valueOf(value: ScValWire, format: EventFormat): EventValue | undefined {
  if (value.type === 10) return { amount: i128(value.i128), toMuxed: null };
  if (format === 'legacy' || value.type !== 17 || value.map === null) return undefined;
  let amount: bigint | undefined;
  let toMuxed: SubAccount | null = null;
  for (const { key, val } of value.map) {
    const name = symbolOf(key);
    if (name === undefined) return undefined;
    if (name === 'amount') {
      if (val.type !== 10) return undefined;
      amount = i128(val.i128);
    } else if (name === 'to_muxed_id') {
      if (val.type === 5) toMuxed = { id: val.u64.toString(), type: 'muxed' };
      else if (val.type === 13) toMuxed = { id: hexOf(val.bytes), type: 'memo_hash' };
      else if (val.type === 14) toMuxed = { id: storableText(val.str.bytes), type: 'memo_text' };
      else return undefined;
    }
  }
  return amount === undefined ? undefined : { amount, toMuxed };
}

function i128({ hi, lo }: { hi: bigint; lo: bigint }): bigint {
  return (hi << 64n) | lo;
}

function addressOf(value: ScValWire | undefined): { id: string; muxed: SubAccount | null } | undefined {
  if (value?.type !== 18) return undefined;
  const { address } = value;
  switch (address.type) {
    case 0:
      return { id: accountId(address.accountId.ed25519), muxed: null };
    case 1:
      return { id: contractId(address.contractId), muxed: null };
    case 2: {
      const { id, ed25519 } = address.muxedAccount;
      return { id: accountId(ed25519), muxed: { id: id.toString(), type: 'muxed' } };
    }
    case 3:
      return { id: claimableBalanceId(address.claimableBalanceId.v0), muxed: null };
    case 4:
      return { id: liquidityPoolId(address.liquidityPoolId), muxed: null };
  }
}

function symbolOf(value: ScValWire | undefined): string | undefined {
  return value?.type === 15 ? Buffer.from(value.sym.bytes).toString('latin1') : undefined;
}

function textOf(value: ScValWire | undefined): string | undefined {
  return value?.type === 14 ? Buffer.from(value.str.bytes).toString('utf8') : undefined;
}
