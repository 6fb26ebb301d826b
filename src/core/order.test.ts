// Goal: the merge loses no key and invents none. Method: against a join by a map, with keys whose UTF-16 order differs from their bytes'.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cases } from '../../test/_util/cases.ts';
import { compareBytes, MAX_ITEMS_PER_KEY, mergeInOrder, type Ordered } from './order.ts';

const key = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 3 }),
  fc.constantFrom('', 'a', 'b', 'é', '\u{1f600}', '\uff5e', 'ab', '10', '9'),
);
const bytes = (text: string): string => Buffer.from(text).toString('hex');
const keyOf = (pair: readonly [string, number]): string => pair[0];

async function* batchesOf<T>(items: readonly T[], size: number): AsyncGenerator<T[]> {
  for (let from = 0; from < items.length; from += size) yield items.slice(from, from + size);
}
async function collect<T>(all: AsyncIterable<readonly T[]>): Promise<T[]> {
  const found: T[] = [];
  for await (const batch of all) found.push(...batch);
  return found;
}
type Pair = readonly [string, number];
const side = (batches: AsyncIterable<readonly Pair[]>): Ordered<Pair> => ({ batches, keyOf });
const nothing = () => side(batchesOf([], 1));
const ordered = (keys: readonly string[]) =>
  keys.map((each, i) => [each, i] as const).sort((a, b) => compareBytes(a[0], b[0]));

describe('byte order', () => {
  it('is the order of UTF-8 bytes, also where UTF-16 units order otherwise', () => {
    fc.assert(
      fc.property(
        key,
        key,
        (a, b) => Math.sign(compareBytes(a, b)) === Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b))),
      ),
      cases(1000),
    );
    expect(compareBytes('\uff5e', '\u{1f600}')).toBeLessThan(0);
    expect('\uff5e' < '\u{1f600}').toBe(false);
  });
});

describe('merging two ordered sides', () => {
  it('gives each key once with what either side has of it, as a join by a map does', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(key, { maxLength: 30 }),
        fc.array(key, { maxLength: 30 }),
        fc.integer({ min: 1, max: 7 }),
        async (left, right, size) => {
          const merged = await collect(
            mergeInOrder(side(batchesOf(ordered(left), size)), side(batchesOf(ordered(right), 8 - size))),
          );
          const keys = [...new Set([...left, ...right])].sort((a, b) => (bytes(a) < bytes(b) ? -1 : 1));
          expect(merged.map((each) => each.key)).toEqual(keys);
          const of = (side: string[], wanted: string) => side.flatMap((each, i) => (each === wanted ? [i] : []));
          for (const each of merged) {
            expect(each.left.map((pair) => pair[1]).sort((a, b) => a - b)).toEqual(of(left, each.key));
            expect(each.right.map((pair) => pair[1]).sort((a, b) => a - b)).toEqual(of(right, each.key));
          }
        },
      ),
      cases(300),
    );
  });

  it.each([1, 10])('refuses sides that are not in order, instead of missing matches (%i a batch)', async (size) => {
    await expect(
      collect(
        mergeInOrder(
          side(
            batchesOf(
              [
                ['b', 1],
                ['a', 2],
              ] as const,
              size,
            ),
          ),
          nothing(),
        ),
      ),
    ).rejects.toMatchObject({ reason: 'BOOK_UNREADABLE' });
  });

  it('refuses more rows of one key than its limit, instead of holding them all', async () => {
    const many = Array.from({ length: MAX_ITEMS_PER_KEY + 1 }, (_, i) => ['', i] as const);
    await expect(collect(mergeInOrder(nothing(), side(batchesOf(many, 1000))))).rejects.toMatchObject({
      reason: 'TOO_MANY_ROWS',
    });
    expect(await collect(mergeInOrder(nothing(), side(batchesOf(many.slice(1), 1000))))).toHaveLength(1);
  });

  it('closes both sides when its reader stops early or one of them fails', async () => {
    const closed: string[] = [];
    async function* closing(name: string, fails = false): AsyncGenerator<(readonly [string, number])[]> {
      try {
        yield [['a', 1]];
        if (fails) throw new Error('gone');
        yield [['b', 1]];
        yield [['c', 1]];
      } finally {
        closed.push(name);
      }
    }
    for await (const _ of mergeInOrder(side(closing('left')), side(closing('right')))) break;
    await expect(collect(mergeInOrder(side(closing('l')), side(closing('r', true))))).rejects.toThrow('gone');
    expect(closed.sort()).toEqual(['l', 'left', 'r', 'right']);
  });
});
