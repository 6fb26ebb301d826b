// The full re-verify: distrusts every seal, reads again what lies under it, and marks those that are broken.
import type { Database } from '../store/database.ts';
import { entriesUnder, noteVerified, sealsToVerify } from '../store/seals.ts';

/** Seals whose book rows are read in one statement. */
const PAGE_SEALS = 50;

export interface Reverified {
  readonly verified: number;
  readonly broken: number;
}

/** Each chunk is read in a snapshot of its own; a seal that a write takes away meanwhile is left alone. */
export async function reverifySeals({ db }: { readonly db: Database }, signal: AbortSignal): Promise<Reverified> {
  let [verified, broken] = [0, 0];
  for (let after = { policy: '', streamId: 0, from: 0 }; ;) {
    const seals = await sealsToVerify(db.em(), after, PAGE_SEALS);
    for (const seal of seals) {
      signal.throwIfAborted();
      const words =
        seal.bookNow === seal.bookThen
          ? await entriesUnder(db.em(), seal)
          : `the book's rows of ledgers ${seal.from}-${seal.to - 1} give ${seal.bookNow} and gave ${seal.bookThen}`;
      await noteVerified(db.em(), seal, words);
      verified++;
      if (words !== null) broken++;
    }
    if (seals.length < PAGE_SEALS) return { verified, broken };
    after = seals.at(-1)!;
  }
}
