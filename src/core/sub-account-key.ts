// The key of a policy that joins by sub-account: for books that know who an amount was for, and not by which transaction.
import type { BookRow } from './book.ts';

/** Account, asset, amount in minor units and sub-account, which is last because it may hold anything; '' where there is none. */
export function subAccountKey(row: Pick<BookRow, 'account' | 'asset' | 'amount' | 'subAccount'>): string {
  return `${row.account}|${row.asset}|${row.amount}|${row.subAccount ?? ''}`;
}
