// The sandbox's everyday traffic: deposits, payouts, conversions, failures, visitors who come and go.
import { claimableBalanceId, type Cast } from './cast.ts';
import type { Operation, Transaction } from './plan.ts';
import { randomFrom, type Random } from './random.ts';

const BASE_FEE_STROOPS = 100;
const LUMEN = 10_000_000;
/** An upper bound of what one operation of everyday traffic costs; the settlement's arithmetic rests on it. */
export const MAX_FEE_PER_OP_STROOPS = 400;
/** Fees of the scripted transactions of one block, at most. */
export const MAX_SCRIPT_FEES_STROOPS = 40_000;

/** Transactions of one ledger, drawn from its own generator: from none to twice the average. */
export function everydayTransactions(
  network: string,
  cast: Cast,
  opsPerLedger: number,
  sequence: number,
): Transaction[] {
  if (opsPerLedger === 0) return [];
  const random = randomFrom(`${network}\ntraffic\n${sequence}`);
  let left = random.below(2 * opsPerLedger + 1);
  const transactions: Transaction[] = [];
  while (left > 0) {
    const transaction = draw(random, cast, left);
    left -= transaction.operations.length;
    transactions.push(transaction);
  }
  return transactions;
}

function draw(random: Random, cast: Cast, left: number): Transaction {
  const dice = random.below(1000);
  const vault = random.pick(cast.vaults);
  const customer = random.pick(cast.customers);
  const asset = cast.assets[[0, 0, 1, 1, 2][random.below(5)]!]!;
  const amount = amountOf(random);
  if (dice < 500) return deposit(random, { customer, vault, asset, amount });
  if (dice < 700) return payout(random, cast, vault, Math.min(left, 1 + random.below(3)));
  if (dice < 820) {
    return paid(random, customer, [
      { type: 'payment', from: customer, to: other(random, cast.customers, customer), asset, amount },
    ]);
  }
  if (dice < 880) return conversion(random, cast, customer, vault);
  if (dice < 930) {
    const from = random.below(2) === 0 ? vault : customer;
    const to = from === vault ? customer : vault;
    const failure = random.pick(['op_underfunded', 'op_no_trust', 'op_line_full']);
    return { ...paid(random, from, [{ type: 'payment', from, to, asset, amount }]), failure };
  }
  if (dice < 950) {
    return paid(random, vault, [
      { type: 'payment', from: vault, to: other(random, cast.vaults, vault), asset, amount },
    ]);
  }
  if (dice < 960) return paid(random, vault, [{ type: 'payment', from: vault, to: vault, asset, amount }]);
  if (dice < 975) {
    const redeemed = cast.assets[1 + random.below(2)]!;
    return paid(random, customer, [{ type: 'payment', from: customer, to: cast.issuer, asset: redeemed, amount }]);
  }
  // A fee bump: the vault pays for its customer's deposit.
  return { ...deposit(random, { customer, vault, asset, amount }), payer: vault };
}

/** A customer pays a vault and says whose account it is for: by a muxed address, a memo, or not at all. */
function deposit(random: Random, of: { customer: string; vault: string; asset: string; amount: bigint }): Transaction {
  const payment = { type: 'payment', from: of.customer, to: of.vault, asset: of.asset, amount: of.amount } as const;
  const way = random.below(4);
  if (way === 0) {
    // Above 2^53 on purpose: such ids are legal, and a double would round them.
    const toMuxed = (9_007_199_254_740_993n + BigInt(random.below(500)) * 2n).toString();
    return paid(random, of.customer, [{ ...payment, toMuxed }]);
  }
  const transaction = paid(random, of.customer, [payment]);
  if (way === 1) return { ...transaction, memo: { type: 'memo_id', value: String(1000 + random.below(500)) } };
  if (way === 2)
    return { ...transaction, memo: { type: 'memo_text', value: `order ${10_000 + random.below(90_000)}` } };
  return transaction;
}

function payout(random: Random, cast: Cast, vault: string, count: number): Transaction {
  const operations: Operation[] = [];
  for (let index = 0; index < count; index++) {
    const asset = cast.assets[random.below(2)]!;
    operations.push({ type: 'payment', from: vault, to: random.pick(cast.customers), asset, amount: amountOf(random) });
  }
  return paid(random, vault, operations);
}

/** A path payment against the maker, at a price between 0.9 and 1.1. */
function conversion(random: Random, cast: Cast, customer: string, vault: string): Transaction {
  const inbound = random.below(3) > 0;
  const from = inbound ? customer : vault;
  const sold = random.below(3);
  const sendAmount = amountOf(random);
  return paid(random, from, [
    {
      type: 'path_payment',
      from,
      to: inbound ? vault : customer,
      sendAsset: cast.assets[sold]!,
      sendAmount,
      asset: cast.assets[(sold + 1 + random.below(2)) % 3]!,
      amount: (sendAmount * BigInt(900 + random.below(201))) / 1000n + 1n,
      maker: cast.maker,
    },
  ]);
}

/**
 * What happens once a block at fixed places: a visitor is created, paid, pays and merges; a claimable balance is
 * created and claimed; money goes into the contract and comes back. `network` is the block's, so that the parts agree.
 */
export function scriptedTransactions(network: string, cast: Cast, sequence: number): Transaction[] {
  const offset = sequence % 64;
  if (![5, 8, 12, 20, 30, 40, 44, 50].includes(offset)) return [];
  const block = Math.floor(sequence / 64);
  const random = randomFrom(`${network}\nscript\n${block}`);
  const visitor = cast.visitors[block % cast.visitors.length]!;
  const vault = random.pick(cast.vaults);
  const [customer, second] = [random.pick(cast.customers), random.pick(cast.customers)];
  const opening = BigInt(100 * LUMEN) + amountOf(random);
  const [gift, spent] = [amountOf(random), BigInt(20 * LUMEN + random.below(LUMEN))];
  const asset = random.pick(cast.assets);
  const amount = amountOf(random);
  const one = (payer: string, operation: Operation): Transaction[] => [
    { payer, fee: BigInt(BASE_FEE_STROOPS), refund: 0n, failure: null, memo: null, operations: [operation] },
  ];
  const called = (from: string, to: string): Transaction[] => [
    {
      ...one(customer, { type: 'contract_transfer', caller: customer, from, to, asset, amount })[0]!,
      fee: 9_000n,
      refund: 2_500n,
    },
  ];
  const balance = (): string => claimableBalanceId(network, block * 64 + 8);
  switch (offset) {
    case 5:
      return one(cast.treasury, { type: 'create_account', from: cast.treasury, to: visitor, amount: opening });
    case 8:
      return one(customer, { type: 'create_claimable_balance', account: customer, balance: balance(), asset, amount });
    case 12:
      return called(customer, cast.contract);
    case 20:
      return one(customer, { type: 'payment', from: customer, to: visitor, asset: cast.assets[0], amount: gift });
    case 30:
      return one(visitor, { type: 'payment', from: visitor, to: vault, asset: cast.assets[0], amount: spent });
    case 40:
      return one(second, { type: 'claim_claimable_balance', account: second, balance: balance(), asset, amount });
    case 44:
      return called(cast.contract, customer);
    default: {
      // Everything that is left after the visitor's two fees goes with it.
      const rest = opening + gift - spent - 2n * BigInt(BASE_FEE_STROOPS);
      return one(visitor, { type: 'account_merge', from: visitor, to: vault, amount: rest });
    }
  }
}

function paid(random: Random, payer: string, operations: readonly Operation[]): Transaction {
  // Some bid more than the base fee, as in a busy hour.
  const bid =
    random.below(8) === 0
      ? BASE_FEE_STROOPS + random.below(MAX_FEE_PER_OP_STROOPS - BASE_FEE_STROOPS)
      : BASE_FEE_STROOPS;
  return { payer, fee: BigInt(bid * operations.length), refund: 0n, failure: null, memo: null, operations };
}

/** Mostly small, sometimes up to 500 whole units, always with odd decimals. */
function amountOf(random: Random): bigint {
  const whole = random.below(10) === 0 ? random.below(500) : random.below(60);
  return BigInt(whole * LUMEN + 1 + random.below(LUMEN - 1));
}

function other(random: Random, accounts: readonly string[], than: string): string {
  const picked = random.pick(accounts);
  return picked === than ? accounts[(accounts.indexOf(than) + 1) % accounts.length]! : picked;
}
