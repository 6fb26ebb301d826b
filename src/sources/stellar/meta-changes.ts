// What a transaction's metadata says it changed: ledger entries before and after, in pairs.
import type { xdr } from '@stellar/stellar-sdk/base';

import { accountId } from './strkeys.ts';
import type { AssetWire } from './wire.ts';

export type ChangeWire = xdr.LedgerEntryChangeWire;
type EntryData = xdr.LedgerEntryWire['data'];

/** One entry before and after; null where it didn't exist. */
export interface Change {
  readonly before: EntryData | null;
  readonly after: EntryData | null;
}

/** The metadata writes an entry's old state directly before its update or removal. */
export function changesOf(wire: readonly ChangeWire[]): Change[] {
  const changes: Change[] = [];
  let state: EntryData | null = null;
  for (const change of wire) {
    switch (change.type) {
      case CREATED:
        changes.push({ before: null, after: change.created.data });
        break;
      case UPDATED:
        changes.push({ before: state, after: change.updated.data });
        break;
      case REMOVED:
        changes.push({ before: state, after: null });
        break;
      case STATE:
        state = change.state.data;
        break;
      case RESTORED:
        changes.push({ before: null, after: change.restored.data });
        break;
    }
  }
  return changes;
}

/** By how much an account's lumens grew, created and merged accounts included. */
export function nativeDelta(changes: readonly Change[], account: string): bigint {
  let delta = 0n;
  for (const { before, after } of changes) {
    delta += balanceOf(after, account) - balanceOf(before, account);
  }
  return delta;
}

export interface ClaimableBalance {
  /** Hex of its id's hash. */
  readonly id: string;
  readonly hash: Uint8Array;
  readonly asset: AssetWire;
  readonly amount: bigint;
}

export function claimableBalancesRemoved(changes: readonly Change[]): ClaimableBalance[] {
  return changes.flatMap(({ before, after }) =>
    before?.type === CLAIMABLE_BALANCE && after === null ? [claimable(before)] : [],
  );
}

export function claimableBalancesCreated(changes: readonly Change[]): ClaimableBalance[] {
  return changes.flatMap(({ before, after }) =>
    before === null && after?.type === CLAIMABLE_BALANCE ? [claimable(after)] : [],
  );
}

export interface PoolChange {
  readonly poolId: Uint8Array;
  readonly assets: readonly [AssetWire, AssetWire];
  /** What each reserve moved by, without its sign. */
  readonly moved: readonly [bigint, bigint];
}

export function poolChanges(changes: readonly Change[]): PoolChange[] {
  return changes.flatMap(({ before, after }) => {
    const was = before?.type === LIQUIDITY_POOL ? before.liquidityPool : undefined;
    const is = after?.type === LIQUIDITY_POOL ? after.liquidityPool : undefined;
    const pool = is ?? was;
    if (pool === undefined) return [];
    const { params } = pool.body.constantProduct;
    const reserves = (entry: typeof pool | undefined): [bigint, bigint] =>
      entry === undefined ? [0n, 0n] : [entry.body.constantProduct.reserveA, entry.body.constantProduct.reserveB];
    const [wasA, wasB] = reserves(was);
    const [isA, isB] = reserves(is);
    return [
      {
        poolId: pool.liquidityPoolId,
        assets: [params.assetA, params.assetB] as const,
        moved: [magnitude(isA - wasA), magnitude(isB - wasB)] as const,
      },
    ];
  });
}

const CREATED = 0;
const UPDATED = 1;
const REMOVED = 2;
const STATE = 3;
const RESTORED = 4;
const ACCOUNT = 0;
const CLAIMABLE_BALANCE = 4;
const LIQUIDITY_POOL = 5;

function balanceOf(entry: EntryData | null, account: string): bigint {
  if (entry?.type !== ACCOUNT || accountId(entry.account.accountId.ed25519) !== account) return 0n;
  return entry.account.balance;
}

function claimable(entry: Extract<EntryData, { type: 4 }>): ClaimableBalance {
  const { balanceId, asset, amount } = entry.claimableBalance;
  return { id: Buffer.from(balanceId.v0).toString('hex'), hash: balanceId.v0, asset, amount };
}

function magnitude(value: bigint): bigint {
  return value < 0n ? -value : value;
}
