// The last ledger of a block brings every account to a balance known in advance, so that balances need no replay.
import { NATIVE } from '../../core/asset.ts';
import { ISSUED_STROOPS, targetsOf, type Cast } from './cast.ts';
import { legsOfOperation } from './legs.ts';
import type { Operation, Transaction } from './plan.ts';
import { MAX_FEE_PER_OP_STROOPS, MAX_SCRIPT_FEES_STROOPS } from './traffic.ts';

const SETTLEMENT_BATCH_OPS = 25;
const FEE_PER_OP = 100n;

/** Balance changes per account and asset. */
export type Nets = Map<string, Map<string, bigint>>;

/** Fees that all transactions of a block pay together; the settlement's last transaction pays the rest of it. */
export function blockFees(cast: Cast, block: number, opsPerLedger: number): bigint {
  const everyday = 64 * 2 * opsPerLedger * MAX_FEE_PER_OP_STROOPS;
  const settling = 100 * (3 * (cast.settled.length + 1) + 10);
  const beginning = block === 0 ? 100 * (4 * cast.settled.length + 10) : 0;
  return BigInt(everyday + settling + beginning + MAX_SCRIPT_FEES_STROOPS);
}

/** The settlement of a block, given the network's text without a fork (targets survive it) and every transaction of the block before it. */
export function settlement(of: {
  readonly network: string;
  readonly cast: Cast;
  readonly block: number;
  readonly opsPerLedger: number;
  readonly before: readonly Transaction[];
}): Transaction[] {
  const { cast, block } = of;
  const nets: Nets = new Map();
  for (const transaction of of.before) applyTransaction(nets, transaction);
  const [was, becomes] = [targetsOf(of.network, cast, block - 1), targetsOf(of.network, cast, block)];
  const operations: Operation[] = [];
  const settle = (account: string, asset: string, owed: bigint): void => {
    if (owed > 0n) operations.push({ type: 'payment', from: cast.treasury, to: account, asset, amount: owed });
    if (owed < 0n) operations.push({ type: 'payment', from: account, to: cast.treasury, asset, amount: -owed });
  };
  cast.settled.forEach((account, index) => {
    cast.assets.forEach((asset, position) => {
      const change = BigInt(becomes[index]![position]! - was[index]![position]!);
      settle(account, asset, change - netOf(nets, account, asset));
    });
  });
  // What customers redeemed is issued again; only the first block's issue stays out.
  const issued = block === 0 ? -ISSUED_STROOPS : 0n;
  for (const asset of cast.assets.slice(1)) settle(cast.issuer, asset, issued - netOf(nets, cast.issuer, asset));
  return batches(of.before, operations, cast, blockFees(cast, block, of.opsPerLedger));
}

/** Adds what a transaction does to balances, fees and refunds included; a failed one only pays its fee. */
export function applyTransaction(nets: Nets, transaction: Transaction): void {
  add(nets, transaction.payer, NATIVE, transaction.refund - transaction.fee);
  if (transaction.failure !== null) return;
  for (const operation of transaction.operations) {
    for (const leg of legsOfOperation(operation)) add(nets, leg.account, leg.asset, leg.amount);
  }
}

export function netOf(nets: Nets, account: string, asset: string): bigint {
  return nets.get(account)?.get(asset) ?? 0n;
}

function batches(
  before: readonly Transaction[],
  operations: readonly Operation[],
  cast: Cast,
  budget: bigint,
): Transaction[] {
  const payer = cast.treasury;
  const out: Transaction[] = [];
  const memo = { type: 'memo_text', value: 'settlement' } as const;
  let spent = before.reduce((sum, transaction) => sum + transaction.fee - transaction.refund, 0n);
  for (let at = 0; at < operations.length; at += SETTLEMENT_BATCH_OPS) {
    const some = operations.slice(at, at + SETTLEMENT_BATCH_OPS);
    const fee = FEE_PER_OP * BigInt(some.length);
    spent += fee;
    out.push({ payer, fee, refund: 0n, failure: null, memo, operations: some });
  }
  const rest: Operation = { type: 'payment', from: payer, to: payer, asset: NATIVE, amount: 1n };
  out.push({ payer, fee: budget - spent, refund: 0n, failure: null, memo, operations: [rest] });
  return out;
}

function add(nets: Nets, account: string, asset: string, amount: bigint): void {
  let assets = nets.get(account);
  if (!assets) nets.set(account, (assets = new Map()));
  assets.set(asset, (assets.get(asset) ?? 0n) + amount);
}
