// Ledgers by number: planned blocks kept in a small cache, hashed and linked, and balances without replay.
import { hash } from 'node:crypto';
import { NATIVE } from '../../core/asset.ts';
import type { LedgerHeader } from '../../core/ledger.ts';
import type { OpeningBalance } from '../source.ts';
import { castOf, GENESIS_STROOPS, ISSUED_STROOPS, targetsOf } from './cast.ts';
import { BLOCK_LEDGERS, closeTimeOf, networkOf, planBlock, type PlannedLedger, type SandboxRules } from './plan.ts';
import { applyTransaction, blockFees, netOf, type Nets } from './settle.ts';

/** Planned blocks kept; a block of busy ledgers takes a few hundred kilobytes. */
const CACHED_BLOCKS = 4;
const NO_HASH = '0'.repeat(64);

export interface Chain {
  readonly rules: SandboxRules;
  planned(sequence: number): PlannedLedger;
  /**
   * Its hash covers its own content and its predecessor's, so a chain of links proves both; constant time. A reader in
   * order passes on the hash it just made.
   */
  header(sequence: number, prevHash?: string): LedgerHeader;
  /** Of the accounts given, what each holds at the close of a ledger; one without any balance has no row. */
  balances(accounts: readonly string[], sequence: number): OpeningBalance[];
}

export function createChain(rules: SandboxRules): Chain {
  const blocks = new Map<number, readonly PlannedLedger[]>();

  const blockOf = (block: number): readonly PlannedLedger[] => {
    let ledgers = blocks.get(block);
    // Taken out and put back: the map's order is then the order of use.
    if (ledgers) blocks.delete(block);
    else ledgers = planBlock(rules, block);
    blocks.set(block, ledgers);
    if (blocks.size > CACHED_BLOCKS) blocks.delete(blocks.keys().next().value!);
    return ledgers;
  };

  const planned = (sequence: number): PlannedLedger => {
    const block = Math.floor(sequence / BLOCK_LEDGERS);
    return blockOf(block)[sequence - Math.max(1, block * BLOCK_LEDGERS)]!;
  };

  const hashOf = (sequence: number): string => {
    if (sequence === 0) return NO_HASH;
    const before = sequence === 1 ? NO_HASH : planned(sequence - 1).digest;
    return hash('sha256', `${networkOf(rules, sequence)}\nheader\n${sequence}\n${before}\n${planned(sequence).digest}`);
  };

  return {
    rules,
    planned,
    header: (sequence, prevHash = hashOf(sequence - 1)) => ({
      sequence,
      hash: hashOf(sequence),
      prevHash,
      closeTime: closeTimeOf(rules, sequence),
    }),
    balances(accounts, sequence) {
      const block = Math.floor(sequence / BLOCK_LEDGERS);
      const nets: Nets = new Map();
      for (const ledger of blockOf(block)) {
        if (ledger.sequence > sequence) break;
        for (const transaction of ledger.transactions) applyTransaction(nets, transaction);
      }
      const settled = settledBalances(rules, block - 1);
      return accounts.flatMap((account) =>
        castOf(rules.seed).assets.flatMap((asset) => {
          const amount = (settled.get(`${account} ${asset}`) ?? 0n) + netOf(nets, account, asset);
          return amount === 0n ? [] : [{ account, asset, amount, ledger: sequence }];
        }),
      );
    },
  };
}

/** Balances at the end of a block, by arithmetic: targets for the settled accounts, the remainder for the treasury. */
function settledBalances(rules: SandboxRules, block: number): Map<string, bigint> {
  const balances = new Map<string, bigint>();
  if (block < 0) return balances;
  const cast = castOf(rules.seed);
  const targets = targetsOf(networkOf(rules, 0), cast, block);
  const issuerOpening = 1_000_000_000n;
  const fees = blockFees(cast, 0, rules.opsPerLedger) + blockFees(cast, 1, rules.opsPerLedger) * BigInt(block);
  cast.assets.forEach((asset, position) => {
    let held = 0n;
    cast.settled.forEach((account, index) => {
      const amount = BigInt(targets[index]![position]!);
      held += amount;
      balances.set(`${account} ${asset}`, amount);
    });
    balances.set(`${cast.issuer} ${asset}`, asset === NATIVE ? issuerOpening : -ISSUED_STROOPS);
    balances.set(
      `${cast.treasury} ${asset}`,
      asset === NATIVE ? GENESIS_STROOPS - fees - issuerOpening - held : ISSUED_STROOPS - held,
    );
  });
  return balances;
}
