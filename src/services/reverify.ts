// The full re-verify: distrusts every seal, reads again what lies under it, marks those that are broken, and opens those of outside
// books that have other rows by now.
import { entriesUnder, noteVerified, openSeal, sealsToVerify, type SealToVerify } from '../store/seals.ts';

import { reverifyDays, type ReverifyDaysDeps } from './reverify-days.ts';

/** Seals whose book rows are read in one statement. */
const PAGE_SEALS = 50;

export interface Reverified {
  readonly verified: number;
  readonly broken: number;
  /** Of outside books: to be read by the next run. */
  readonly opened: number;
}

type ReverifyDeps = Pick<ReverifyDaysDeps, 'db' | 'policies' | 'bookOf'>;

/** Both kinds of seals, each looked at whatever becomes of the other. */
export async function reverify(deps: ReverifyDaysDeps, signal: AbortSignal): Promise<void> {
  const outcomes = await Promise.allSettled([reverifySeals(deps, signal), reverifyDays(deps, signal)]);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

/**
 * Each chunk is read in a snapshot of its own; a seal that a write takes away meanwhile is left alone.
 *
 * @throws TrueUpError what kept an outside book from being read, once all other seals were looked at.
 */
export async function reverifySeals(deps: ReverifyDeps, signal: AbortSignal): Promise<Reverified> {
  const em = deps.db.em();
  const unreadable: unknown[] = [];
  let [verified, broken, opened] = [0, 0, 0];
  for (let after = { policy: '', streamId: 0, from: 0 }; ;) {
    const seals = await sealsToVerify(em, after, PAGE_SEALS);
    const outside = await askOutside(deps, seals, unreadable, signal);
    for (const seal of seals) {
      signal.throwIfAborted();
      const bookNow = seal.bookNow ?? outside.get(seal);
      if (bookNow === undefined) continue;
      verified++;
      const isSame = seal.bookThen === bookNow;
      if (!isSame && seal.outside !== null) {
        // Rows may have been added there, which is no breach: the next run says what they mean.
        await openSeal(em, seal);
        opened++;
        continue;
      }
      const words = isSame
        ? await entriesUnder(em, seal)
        : `the book's rows of ledgers ${seal.from}-${seal.to - 1} give ${bookNow} and gave ${seal.bookThen}`;
      await noteVerified(em, seal, words);
      if (words !== null) broken++;
    }
    if (seals.length < PAGE_SEALS) break;
    after = seals.at(-1)!;
  }
  if (unreadable.length > 0) throw unreadable[0];
  return { verified, broken, opened };
}

/** What outside books have under their seals now; null: the policy has no such book any more, and nobody can say. */
async function askOutside(
  { policies, bookOf }: ReverifyDeps,
  seals: readonly SealToVerify[],
  unreadable: unknown[],
  signal: AbortSignal,
): Promise<Map<SealToVerify, string | null>> {
  const digests = new Map<SealToVerify, string | null>();
  const groups = Map.groupBy(
    seals.filter(({ outside }) => outside !== null),
    ({ policy, outside }) => `${policy} ${outside!.seeds.key}`,
  );
  for (const group of groups.values()) {
    const policy = policies.get(group[0]!.policy);
    const { seeds } = group[0]!.outside!;
    try {
      const isOutside = policy?.book.kind === 'external' && policy.book.immutable;
      await using book = isOutside ? await bookOf(policy).open('entries', signal) : null;
      const spans = group.map(({ outside }) => outside!);
      const now = await book?.contentOfSpans?.(seeds, spans);
      for (const [i, seal] of group.entries()) digests.set(seal, now?.[i] ?? null);
    } catch (error) {
      signal.throwIfAborted();
      unreadable.push(error);
    }
  }
  return digests;
}
