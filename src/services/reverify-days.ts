// The full re-verify of days: takes the digests of all sealed ones anew and opens those that both sides don't have alike any more.
import { agreedDays, spanOfDay, type AgreedDay } from '../core/day-seal.ts';
import type { Book } from '../core/book.ts';
import type { Policy } from '../core/policy.ts';
import type { Database } from '../store/database.ts';
import { openDays, policiesWithDays, readDays } from '../store/day-seals.ts';
import { digestsOfDays } from './run-days.ts';
import { digestedSides } from './run-side-digests.ts';

export interface ReverifyDaysDeps {
  readonly db: Database;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly bookOf: (policy: Policy) => Book;
  readonly ledgerOf?: (policy: Policy) => Book;
}

/** @throws TrueUpError what kept a side from being read, once the days of all other policies were looked at. */
export async function reverifyDays(
  deps: ReverifyDaysDeps,
  signal: AbortSignal,
): Promise<{ readonly verified: number; readonly opened: number }> {
  const em = deps.db.em();
  const unreadable: unknown[] = [];
  let [verified, opened] = [0, 0];
  for (const name of await policiesWithDays(em)) {
    try {
      const sealed = await readDays(em, name, null);
      const agreed = new Map((await agreeingNow(deps, name, sealed, signal)).map(({ day, rows }) => [day, rows]));
      const changed = sealed.filter(({ day, rows }) => agreed.get(day) !== rows).map(({ day }) => day);
      await openDays(em, name, changed);
      verified += sealed.length;
      opened += changed.length;
    } catch (error) {
      signal.throwIfAborted();
      unreadable.push(error);
    }
  }
  if (unreadable.length > 0) throw unreadable[0];
  return { verified, opened };
}

/** None where the policy has no such sides any more. */
async function agreeingNow(
  { policies, bookOf, ledgerOf }: ReverifyDaysDeps,
  name: string,
  sealed: readonly AgreedDay[],
  signal: AbortSignal,
): Promise<AgreedDay[]> {
  const policy = policies.get(name);
  if (policy?.ledger.kind !== 'external' || ledgerOf === undefined || sealed.length === 0) return [];
  await using ledger = await ledgerOf(policy).open('entries', signal);
  await using book = await bookOf(policy).open('entries', signal);
  const sides = digestedSides(policy, ledger, book);
  const [first, last] = [spanOfDay(sealed[0]!.day), spanOfDay(sealed.at(-1)!.day)];
  const times = { occurredFrom: new Date(first.fromMs + 1), occurredTo: new Date(last.toMs + 1) };
  const digests = sides && (await digestsOfDays(sides, times));
  return digests ? agreedDays(digests.ledger, digests.book, policy, Date.now()) : [];
}
