// An entry is one leg of a movement: one account, one asset, one signed amount.

/** How the movement was seen. A policy reads one layer, so nothing is counted twice. */
export const LAYERS = ['operations', 'token_events'] as const;
export type Layer = (typeof LAYERS)[number];

export const ENTRY_KINDS = [
  'genesis',
  'create_account',
  'payment',
  'path_payment',
  'account_merge',
  'fee',
  'fee_refund',
  'trade',
  'create_claimable_balance',
  'claim_claimable_balance',
  'liquidity_pool_deposit',
  'liquidity_pool_withdraw',
  'clawback',
  'inflation',
  'transfer',
  'mint',
  'burn',
] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

export type EntryStatus = 'success' | 'failed';

export const SUB_ACCOUNT_TYPES = ['muxed', 'memo_id', 'memo_text', 'memo_hash', 'memo_return'] as const;
export type SubAccountType = (typeof SUB_ACCOUNT_TYPES)[number];

/**
 * One leg. Its position (ledger, txIndex, opIndex, leg) is unique within a stream and layer; its
 * match key (transaction hash, with or without the operation) need not be, or duplicates could not exist.
 */
export interface Entry {
  readonly ledger: number;
  /** 1-based application order in the ledger; 0 for what belongs to no transaction (genesis). */
  readonly txIndex: number;
  /** 1-based as Horizon counts; 0 for what belongs to the whole transaction (fees). */
  readonly opIndex: number;
  /** Position among the legs of one operation, from 0. */
  readonly leg: number;
  readonly layer: Layer;
  /** Lower-case hex, 64 characters; null where no transaction carries the leg (genesis). */
  readonly txHash: string | null;
  /** G..., C..., or a claimable balance or pool id (B..., L...); never M..., which becomes G... and a sub-account. */
  readonly account: string;
  /** `native`, CODE:ISSUER or C.... */
  readonly asset: string;
  /** Minor units, signed from the account's point of view; within i128. */
  readonly amount: bigint;
  readonly kind: EntryKind;
  readonly counterparty: string | null;
  readonly status: EntryStatus;
  /** The operation's or transaction's result code for a failed entry, as Horizon spells it; null otherwise. */
  readonly resultCode: string | null;
  readonly subAccount: string | null;
  readonly subAccountType: SubAccountType | null;
}

/** Why an account's balance can't be derived from what a source shows. */
export const UNDERIVED_REASONS = ['contract_call', 'offer', 'liquidity_pool', 'claimable_balance', 'clawback'] as const;
export type UnderivedReason = (typeof UNDERIVED_REASONS)[number];

/** An account touched by an operation whose movements the source can't show. */
export interface UnderivedTouch {
  readonly account: string;
  readonly reason: UnderivedReason;
}
