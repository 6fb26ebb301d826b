// The watch: whose legs become entries.
import { createHash } from 'node:crypto';

export interface Watch {
  /** True when every account and contract is watched; the lists are then empty. */
  readonly everything: boolean;
  /** G... ids, sorted, unique. */
  readonly accounts: readonly string[];
  /** C... ids, sorted, unique. */
  readonly contracts: readonly string[];
}

export const WATCH_EVERYTHING: Watch = { everything: true, accounts: [], contracts: [] };

export function makeWatch(accounts: Iterable<string>, contracts: Iterable<string> = []): Watch {
  return { everything: false, accounts: sortUnique(accounts), contracts: sortUnique(contracts) };
}

/** A predicate over account ids (G... or C...), made once per read and called once per leg. */
export function watchPredicate(watch: Watch): (id: string) => boolean {
  if (watch.everything) return () => true;
  const ids = new Set([...watch.accounts, ...watch.contracts]);
  return (id) => ids.has(id);
}

/** Identifies a watch whatever the order in which its ids were written: hex SHA-256. */
export function watchFingerprint(watch: Watch): string {
  const text = watch.everything ? 'all' : [...watch.accounts, ...watch.contracts].join('\n');
  return createHash('sha256').update(text).digest('hex');
}

function sortUnique(ids: Iterable<string>): string[] {
  return [...new Set(ids)].sort();
}
