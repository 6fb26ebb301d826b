// How fast two ordered sides are joined and found equal, in this process alone: no database, no network. Goal: a run waits for its
// databases, never for the comparison. Method: two sides of 200,000 rows each, equal, made before the clock starts and handed over in
// batches as cursors do, five times a round; the best of rounds, as whatever else the machine does only takes away.
import { hash } from 'node:crypto';
import { agreesExactly, type Item, type MatchRules } from '../src/core/match.ts';
import { mergeInOrder } from '../src/core/order.ts';
import { EXACT_FIELDS, POLICY_DEFAULTS } from '../src/core/policy.ts';
import { atLeast, type Figure } from './figure.ts';

const PAIRS = 200_000;
const JOINS_PER_ROUND = 5;
const BATCH_ROWS = 5_000;
const ROUNDS = 7;
const TARGET_PAIRS_PER_SECOND = 3_000_000;

interface KeyedItem {
  readonly key: string;
  readonly item: Item;
}

const RULES: MatchRules = {
  sumLegs: false,
  statusMap: POLICY_DEFAULTS.statusMap,
  timeToleranceMs: null,
  exact: new Set(EXACT_FIELDS),
};

/** `reconcile.join_pairs_per_second`: keys met and compared in every field. */
export async function joinBench(pairs = PAIRS): Promise<Figure[]> {
  const [ledger, book] = [sideOf(pairs, 'success'), sideOf(pairs, 'completed')];
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now();
    let matched = 0;
    for (let i = 0; i < JOINS_PER_ROUND; i++) matched += await join(ledger, book);
    const seconds = (performance.now() - started) / 1000;
    if (matched !== pairs * JOINS_PER_ROUND) throw new Error(`only ${matched} pairs were found equal`);
    rates.push(matched / seconds);
  }
  return [atLeast('reconcile.join_pairs_per_second', Math.max(...rates), 'pairs/s', TARGET_PAIRS_PER_SECOND)];
}

async function join(ledger: readonly KeyedItem[][], book: readonly KeyedItem[][]): Promise<number> {
  let matched = 0;
  const keyOf = (row: KeyedItem): string => row.key;
  const sides = [ledger, book].map((batches) => ({ batches: asCursor(batches), keyOf })) as [never, never];
  for await (const meetings of mergeInOrder<KeyedItem, KeyedItem>(...sides)) {
    for (const { left, right } of meetings) {
      if (left.length === 1 && right.length === 1 && agreesExactly(left[0]!.item, right[0]!.item, RULES)) matched++;
    }
  }
  return matched;
}

async function* asCursor(batches: readonly KeyedItem[][]): AsyncGenerator<readonly KeyedItem[]> {
  yield* batches;
}

/** Keys as hashes are, texts of their own on either side: equal, but not the same object. */
function sideOf(pairs: number, status: string): KeyedItem[][] {
  const batches: KeyedItem[][] = [];
  const keys = Array.from({ length: pairs }, (_, i) => hash('sha256', String(i))).sort();
  for (let from = 0; from < pairs; from += BATCH_ROWS) {
    batches.push(
      keys.slice(from, from + BATCH_ROWS).map((key, i) => rowOf(Buffer.from(key).toString(), from + i, status)),
    );
  }
  return batches;
}

function rowOf(key: string, index: number, status: string): KeyedItem {
  return {
    key,
    item: {
      account: Buffer.from(`G${String(index % 50).padStart(55, 'A')}`).toString(),
      asset: 'native',
      amount: BigInt(index) * 10_000_000n + 1n,
      kind: 'payment',
      status: Buffer.from(status).toString(),
      counterparty: null,
      subAccount: null,
      atMs: 1_700_000_000_000 + index * 1000,
      ledger: null,
      txHash: null,
      rowIds: [String(index)],
    },
  };
}

if (import.meta.main) console.log(await joinBench());
