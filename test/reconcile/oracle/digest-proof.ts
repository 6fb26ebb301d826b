// Holds a digest of entries to what it is for: equal for the same rows however they come, and another after every fault.
import { addDigests, digestEntries, equalDigests, type Digest } from '../../../src/core/digest.ts';
import type { Entry } from '../../../src/core/entry.ts';
import { entryByHand } from '../../_util/ledger-rows.ts';
import { cases } from '../../_util/cases.ts';
import { below, hexDigits, pick, randomFrom, shuffled, type Random } from '../../_util/random.ts';
import { ACCOUNTS, ASSETS, newAmount } from './world.ts';

type Digester = (entries: Iterable<Entry>) => Digest;

const FAULTS: Readonly<Record<string, (entries: readonly Entry[], random: Random) => readonly Entry[]>> = {
  'two amounts swapped': (entries) => {
    const [a, b, ...rest] = entries as [Entry, Entry];
    return [{ ...a, amount: b.amount }, { ...b, amount: a.amount }, ...rest];
  },
  'a pair that cancels': (entries) => {
    const [a, b, ...rest] = entries as [Entry, Entry];
    return [{ ...a, amount: a.amount + 7n }, { ...b, amount: b.amount - 7n }, ...rest];
  },
  'an amount off by one': ([first, ...rest]) => [{ ...first!, amount: first!.amount + 1n }, ...rest],
  'a row twice': (entries) => [entries[0]!, ...entries],
  'a row thrice in place of once': (entries) => [entries[0]!, entries[0]!, ...entries],
  'a row missing': ([, ...rest]) => rest,
  'a doubled row in place of another doubled one': (entries, random) => {
    const [twice, ...rest] = entries as [Entry];
    const other = entry(random);
    return entries.filter((each) => each === twice).length === 2
      ? [other, other, ...rest.filter((each) => each !== twice)]
      : [other, ...entries];
  },
  'two keys swapped': (entries) => {
    const [a, b, ...rest] = entries as [Entry, Entry];
    return [{ ...a, txHash: b.txHash }, { ...b, txHash: a.txHash }, ...rest];
  },
  'null in place of an empty text': ([first, ...rest]) => [
    { ...first!, counterparty: first!.counterparty === null ? '' : null },
    ...rest,
  ],
};

/** @throws Error with the seed and the fault, for the first set of entries that the digest mistakes for another. */
export function proveDigest(few: number, digest: Digester = digestEntries): void {
  const { numRuns, seed = 1 } = cases(few);
  for (let run = 0; run < numRuns; run++) {
    const random = randomFrom(seed + run);
    // The first two differ in amount and key; the first may be there twice.
    const distinct = Array.from({ length: 2 + below(random, 8) }, () => entry(random));
    const entries = below(random, 2) === 0 ? distinct : [distinct[0]!, ...distinct.slice(2), distinct[0]!];
    const whole = digest(entries);
    const again = shuffled(random, entries);
    const at = below(random, again.length + 1);
    const inParts = addDigests(digest(again.slice(0, at)), digest(again.slice(at)));
    if (!equalDigests(inParts, whole)) throw new Error(`order or parts change the digest (seed ${seed + run})`);
    const name = pick(random, Object.keys(FAULTS));
    const faulty = FAULTS[name]!(entries, random);
    if (equalDigests(digest(faulty), whole) && !sameRows(faulty, entries))
      throw new Error(`the digest doesn't see this: ${name} (seed ${seed + run})`);
  }
}

function entry(random: Random): Entry {
  return entryByHand({
    ledger: 1 + below(random, 2 ** 31 - 2),
    opIndex: below(random, 100),
    txHash: hexDigits(random, 64),
    account: pick(random, ACCOUNTS),
    asset: pick(random, ASSETS),
    amount: newAmount(random),
    counterparty: pick(random, [null, '', ...ACCOUNTS]),
  });
}

function sameRows(a: readonly Entry[], b: readonly Entry[]): boolean {
  const texts = (entries: readonly Entry[]): string =>
    entries
      .map((each) => JSON.stringify({ ...each, amount: String(each.amount) }))
      .sort()
      .join('\n');
  return texts(a) === texts(b);
}
