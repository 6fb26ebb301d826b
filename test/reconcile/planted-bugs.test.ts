// Goal: the proofs can fail. Method: each mistake that reconciliations are known to make is planted in the engine's place, and the
// same proof that the engine passes must refuse it, by what it says of a row and not by falling over.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { assetScale } from '../../src/core/asset.ts';
import { canonicalEntry, type Digest } from '../../src/core/digest.ts';
import type { DriftKind } from '../../src/core/drift.ts';
import type { Entry } from '../../src/core/entry.ts';
import type { Finding, Item } from '../../src/core/match.ts';
import { formatAmount } from '../../src/core/money.ts';
import { proveDigest } from './oracle/digest-proof.ts';
import { ENGINE, type Engine } from './oracle/engine.ts';
import { proveEngine } from './oracle/proof.ts';

const CASES = 3_000;
const WORD_BITS = 64;

describe('the oracle refuses', () => {
  const refuses = (wrong: Partial<Engine>, words: RegExp) =>
    expect(proveEngine(CASES, { ...ENGINE, ...wrong })).rejects.toThrow(words);

  it('amounts that are compared as strings', () => {
    const written = new WeakMap<Item, string>();
    const keep = <T extends Item>(item: T, text: string): T => {
      written.set(item, text);
      return item;
    };
    return refuses(
      {
        readBook: (row) => keep(ENGINE.readBook(row), row['amount'] ?? row['amount_minor']!),
        readLedger: (leg) => keep({ ...leg }, formatAmount(leg.amount, assetScale(leg.asset) ?? 0)),
        compareKey: differing(
          ({ ledger, book }) => written.has(book!) && written.get(book!) !== written.get(ledger!),
          (kinds) => [...kinds, 'AMOUNT_MISMATCH'],
        ),
      },
      /the engine says \[.*drift AMOUNT_MISMATCH/,
    );
  });

  it('amounts that are floating-point numbers', () =>
    refuses(
      {
        compareKey: differing(
          ({ ledger, book }) => Number(ledger!.amount) === Number(book!.amount),
          (kinds) => kinds.filter((kind) => kind !== 'AMOUNT_MISMATCH'),
        ),
      },
      /must say \[.*AMOUNT_MISMATCH/,
    ));

  it('a ledger side without rows that is taken for clean', () =>
    refuses(
      { compareKey: (legs, rows, rules) => (legs.length === 0 ? [] : ENGINE.compareKey(legs, rows, rules)) },
      /the engine says \[\], and must say \[.*MISSING_ON_LEDGER/,
    ));

  it('a side that was not read and is taken for clean', () =>
    refuses(
      { decideVerdict: (_, open) => ENGINE.decideVerdict([], open) },
      /the verdict is (CLEAN|DRIFT_DETECTED), and must be INCONCLUSIVE/,
    ));

  it('a tolerance that gives a minor unit away', () =>
    refuses(
      {
        compareKey: (legs, rows, rules) => {
          const { toleranceOf } = rules;
          const wider = toleranceOf && {
            toleranceOf: (asset: string, amount: bigint) => toleranceOf(asset, amount) + 1n,
          };
          return ENGINE.compareKey(legs, rows, { ...rules, ...wider });
        },
      },
      /the engine says \[((?!AMOUNT_)[^\]])*\], and must say \[.*AMOUNT_MISMATCH/,
    ));

  it('a side that is late and is taken for complete', () =>
    refuses(
      {
        classifyBetweenSides: (finding, facts) =>
          ENGINE.classifyBetweenSides(finding, { ...facts, bookCompleteThroughMs: facts.cutAtMs }),
      },
      /the engine says \[drift MISSING_IN_DB.*must say \[pending MISSING_IN_DB/,
    ));

  it('a window that ends at the wall clock', () =>
    refuses(
      { classify: (finding, facts) => ENGINE.classify(finding, { ...facts, cutClosedMs: facts.cutAtMs }) },
      /the engine says \[drift MISSING_ON_LEDGER.*must say \[pending MISSING_ON_LEDGER/,
    ));

  it('ranges whose upper bound is closed', () =>
    refuses(
      {
        classify: (finding, facts) =>
          ENGINE.classify(finding, { ...facts, covered: facts.covered.map(({ from, to }) => ({ from, to: to + 1 })) }),
      },
      /the engine says \[drift MISSING_ON_LEDGER.*must say \[skipped MISSING_ON_LEDGER/,
    ));

  it('pages whose upper bound is closed', () =>
    refuses(
      {
        pages: (rows, size) =>
          ENGINE.pages(rows, size).map((page, at, all) => (all[at + 1] ? [...page, all[at + 1]![0]!] : page)),
      },
      /the engine says .*, and must say/,
    ));

  it('a last page that is dropped', () =>
    refuses({ pages: (rows, size) => ENGINE.pages(rows, size).slice(0, -1) }, /the engine says .*, and must say/));

  it('only the first difference of a record', () =>
    refuses(
      {
        compareKey: (legs, rows, rules) =>
          ENGINE.compareKey(legs, rows, rules).map((finding) => ({ ...finding, kinds: finding.kinds.slice(0, 1) })),
      },
      /must say .*\w\+\w/,
    ));
});

describe('the proof of digests refuses', () => {
  it('none of the mistakes in the digest that there is', () => proveDigest(CASES));

  it('row hashes that are folded by XOR', () => {
    const fold = (sum: bigint, hash: bigint): bigint => sum ^ hash;
    expect(() => proveDigest(CASES, digestBy(sha256Words, fold))).toThrow(
      /order or parts|doesn't see this: a (doubled )?row/,
    );
  });

  it('a row hash that is linear in the columns', () =>
    expect(() =>
      proveDigest(
        CASES,
        digestBy(linearWords, (sum, hash) => sum + hash),
      ),
    ).toThrow(/doesn't see this: (two amounts swapped|a pair that cancels|two keys swapped)/));

  it('a row hash without the key', () =>
    expect(() =>
      proveDigest(
        CASES,
        digestBy(
          (entry) => sha256Words({ ...entry, ledger: 0, txIndex: 0, opIndex: 0, txHash: null }),
          (sum, hash) => sum + hash,
        ),
      ),
    ).toThrow(/doesn't see this: two keys swapped/));
});

/** The engine's comparison, but for the kinds of some pairs. */
function differing(
  which: (finding: Finding) => boolean,
  change: (kinds: readonly DriftKind[]) => DriftKind[],
): Engine['compareKey'] {
  return (legs, rows, rules) =>
    ENGINE.compareKey(legs, rows, rules).map((finding) =>
      finding.ledger && finding.book && which(finding) ? { ...finding, kinds: change(finding.kinds) } : finding,
    );
}

function digestBy(
  wordsOf: (entry: Entry) => readonly [bigint, bigint],
  fold: (sum: bigint, hash: bigint) => bigint,
): (entries: Iterable<Entry>) => Digest {
  return (entries) => {
    let [count, sum1, sum2] = [0, 0n, 0n];
    for (const entry of entries) {
      const [word1, word2] = wordsOf(entry);
      count++;
      sum1 = BigInt.asUintN(WORD_BITS, fold(sum1, word1));
      sum2 = BigInt.asUintN(WORD_BITS, fold(sum2, word2));
    }
    return { count, sum1, sum2 };
  };
}

function sha256Words(entry: Entry): [bigint, bigint] {
  const bytes = createHash('sha256').update(canonicalEntry(entry)).digest();
  return [bytes.readBigUInt64BE(0), bytes.readBigUInt64BE(8)];
}

/** Every column times a prime of its own, added up: what was found to miss two swaps of three. */
function linearWords(entry: Entry): [bigint, bigint] {
  const text = (value: string | null): bigint =>
    createHash('sha256')
      .update(value ?? '~')
      .digest()
      .readBigUInt64BE(0);
  const sum = (prime: bigint): bigint =>
    BigInt(entry.ledger) * prime +
    entry.amount * (prime + 2n) +
    text(entry.txHash) * (prime + 6n) +
    text(entry.account) * (prime + 12n) +
    text(entry.counterparty) * (prime + 18n);
  return [sum(1_000_003n), sum(998_244_353n)];
}
