// The rows of the network that is read while its readers are killed: a different number of them in each ledger.
import type { EntryByHand } from '../_util/ledger-rows.ts';

export function killEntries(ledger: number): EntryByHand[] {
  return ['GA', 'GB', 'GC', 'GD']
    .slice(0, (ledger * 7) % 5)
    .map((account, leg) => ({ ledger, leg, account, amount: BigInt(ledger * 10 + leg) }));
}
