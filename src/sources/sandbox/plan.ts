// What happens on the sandbox network in one block of 64 ledgers, before it is told as legs.
import { hash } from 'node:crypto';
import { CHUNK_LEDGERS } from '../../core/ledger.ts';
import { castOf, GENESIS_STROOPS, ISSUED_STROOPS, targetsOf, type Cast } from './cast.ts';
import { settlement } from './settle.ts';
import { everydayTransactions, scriptedTransactions } from './traffic.ts';

/** Two ledgers of a block can't be read apart, so the block is also the unit of work: about a millisecond. */
export const BLOCK_LEDGERS = CHUNK_LEDGERS;

export type Operation =
  | { readonly type: 'genesis'; readonly to: string; readonly amount: bigint }
  | {
      readonly type: 'payment';
      readonly from: string;
      readonly to: string;
      readonly asset: string;
      readonly amount: bigint;
      /** The receiver's sub-account, where it was paid by a muxed address. */
      readonly toMuxed?: string;
      readonly fromMuxed?: string;
    }
  | { readonly type: 'create_account'; readonly from: string; readonly to: string; readonly amount: bigint }
  | { readonly type: 'account_merge'; readonly from: string; readonly to: string; readonly amount: bigint }
  | {
      readonly type: 'path_payment';
      readonly from: string;
      readonly to: string;
      readonly sendAsset: string;
      readonly sendAmount: bigint;
      readonly asset: string;
      readonly amount: bigint;
      readonly maker: string;
    }
  | {
      readonly type: 'create_claimable_balance' | 'claim_claimable_balance';
      readonly account: string;
      readonly balance: string;
      readonly asset: string;
      readonly amount: bigint;
    }
  | {
      /** An asset contract's transfer: the operations layer sees only that a contract was called. */
      readonly type: 'contract_transfer';
      readonly caller: string;
      readonly from: string;
      readonly to: string;
      readonly asset: string;
      readonly amount: bigint;
    };

export interface Transaction {
  /** Who pays the fee; another than the source for a fee bump. */
  readonly payer: string;
  readonly fee: bigint;
  /** Given back after a contract call; 0 otherwise. */
  readonly refund: bigint;
  /** Null for a successful transaction. */
  readonly failure: string | null;
  readonly memo: { readonly type: 'memo_id' | 'memo_text'; readonly value: string } | null;
  readonly operations: readonly Operation[];
}

export interface SandboxRules {
  readonly seed: string;
  /** Operations per ledger on average, apart from settlements; 0 gives empty ledgers. */
  readonly opsPerLedger: number;
  /** Unix milliseconds at which ledger 1 closed. */
  readonly startedAtMs: number;
  readonly ledgersPerSecond: number;
  /** From this ledger on, history is another one; null: it isn't. */
  readonly divergeFromLedger: number | null;
}

export interface PlannedLedger {
  readonly sequence: number;
  readonly closeTime: number;
  readonly transactions: readonly Transaction[];
  /** Lower-case hex, one per transaction. Null for the genesis, which no transaction carries. */
  readonly hashes: readonly (string | null)[];
  /** SHA-256 over the sequence, the close time and the transactions. */
  readonly digest: string;
}

/**
 * The ledgers of block `block`: sequences [64 block, 64 block + 64), without 0 in block 0. It depends on nothing but
 * the rules and the block's number, which is what makes any ledger readable without replaying those before it: the last
 * ledger of each block settles every account to a balance that is known in advance.
 */
export function planBlock(rules: SandboxRules, block: number): readonly PlannedLedger[] {
  const cast = castOf(rules.seed);
  const root = networkOf(rules, 0);
  const ledgers: PlannedLedger[] = [];
  const all: Transaction[] = [];
  const first = block * BLOCK_LEDGERS;
  for (let sequence = Math.max(1, first); sequence < first + BLOCK_LEDGERS; sequence++) {
    const network = networkOf(rules, sequence);
    const transactions =
      sequence <= 3
        ? beginning(root, cast, sequence)
        : sequence === first + BLOCK_LEDGERS - 1
          ? settlement({ network: root, cast, block, opsPerLedger: rules.opsPerLedger, before: all })
          : [
              ...everydayTransactions(network, cast, rules.opsPerLedger, sequence),
              ...(rules.opsPerLedger === 0 ? [] : scriptedTransactions(networkOf(rules, first), cast, sequence)),
            ];
    all.push(...transactions);
    ledgers.push(seal(rules, network, sequence, transactions));
  }
  return ledgers;
}

/** What every hash of a ledger begins with: another seed, rate, start or fork is another history. */
export function networkOf(rules: SandboxRules, sequence: number): string {
  const fork = rules.divergeFromLedger !== null && sequence >= rules.divergeFromLedger ? rules.divergeFromLedger : 0;
  return `trueup sandbox\n${rules.seed}\n${rules.opsPerLedger}\n${fork}`;
}

/** Unix seconds; 0 for ledger 1, as on every Stellar network. */
export function closeTimeOf(rules: SandboxRules, sequence: number): number {
  if (sequence <= 1) return 0;
  return Math.floor((rules.startedAtMs + ((sequence - 1) * 1000) / rules.ledgersPerSecond) / 1000);
}

/** Genesis, the accounts, and the issuer's assets: the first three ledgers. */
function beginning(network: string, cast: Cast, sequence: number): Transaction[] {
  if (sequence === 1) {
    const genesis: Operation = { type: 'genesis', to: cast.treasury, amount: GENESIS_STROOPS };
    return [{ payer: cast.treasury, fee: 0n, refund: 0n, failure: null, memo: null, operations: [genesis] }];
  }
  const targets = targetsOf(network, cast, 0);
  const from = cast.treasury;
  const operations: Operation[] =
    sequence === 2
      ? [
          { type: 'create_account', from, to: cast.issuer, amount: 1_000_000_000n },
          ...cast.settled.map((to, index) => ({
            type: 'create_account' as const,
            from,
            to,
            amount: BigInt(targets[index]![0]),
          })),
        ]
      : [cast.assets[1], cast.assets[2]].flatMap((asset, position): Operation[] => [
          { type: 'payment', from: cast.issuer, to: cast.treasury, asset, amount: ISSUED_STROOPS },
          ...cast.settled.map((to, index) => ({
            type: 'payment' as const,
            from,
            to,
            asset,
            amount: BigInt(targets[index]![position + 1]!),
          })),
        ]);
  return [{ payer: from, fee: BigInt(operations.length) * 100n, refund: 0n, failure: null, memo: null, operations }];
}

function seal(
  rules: SandboxRules,
  network: string,
  sequence: number,
  transactions: readonly Transaction[],
): PlannedLedger {
  const closeTime = closeTimeOf(rules, sequence);
  const hashes = transactions.map((transaction, index) =>
    transaction.operations[0]?.type === 'genesis'
      ? null
      : hash('sha256', canonical(network, sequence, index, transaction)),
  );
  const digest = hash('sha256', `${network}\nledger\n${sequence}\n${closeTime}\n${hashes.join('\n')}`);
  return { sequence, closeTime, transactions, hashes, digest };
}

/** The bytes that a transaction's hash covers: everything that is told of it, in a fixed order. */
function canonical(network: string, sequence: number, index: number, transaction: Transaction): string {
  const { payer, fee, refund, failure, memo, operations } = transaction;
  let text = `${network}\ntransaction\n${sequence}\n${index}\n${payer}\n${fee}\n${refund}\n${failure ?? ''}`;
  if (memo) text += `\n${memo.type}\n${memo.value}`;
  for (const operation of operations) {
    text += '\n\n';
    for (const [name, value] of Object.entries(operation)) text += `${name}=${String(value)}\n`;
  }
  return text;
}
