// Two ordered sides joined by key: no accusation before both were asked for the key by name, and flat memory however much differs.
import type { Item } from '../core/match.ts';
import { mergeInOrder } from '../core/order.ts';
import type { KeyedItem } from '../store/ledger-side.ts';
import type { Progress } from '../store/run-checkpoints.ts';
import type { FindingSink } from './run-findings.ts';
import type { EntryCounts, Judge } from './run-judge.ts';
import { byKey } from './run-items.ts';
import type { SkippedKeys } from './run-skipped.ts';

/** Keys asked for at once on the other side. */
const LOOKUP_KEYS = 1000;
/** Items held while they wait for a lookup. */
const LOOKUP_ITEMS = 10_000;

/** A side of a join. */
export interface JoinSide {
  /** What the run looks at after a key (null: from the first), in byte order of key, in batches. */
  readonly rows: (afterKey: string | null) => AsyncIterable<readonly KeyedItem[]>;
  /** All rows with one of the keys, of whatever time. */
  readonly rowsByKeys: (keys: readonly string[]) => Promise<readonly KeyedItem[]>;
  /** `rows` is all that the side has: a key that it doesn't show is none of its, and needs no asking. */
  readonly whole: boolean;
  /** A part of what the run looks at is left out of `rows`: other rows of a key may lie in it. */
  readonly leavesOut?: boolean;
}

export interface Join {
  readonly ledger: JoinSide;
  readonly book: JoinSide;
  readonly judge: Judge;
  readonly sink: FindingSink;
  readonly skipped: SkippedKeys;
  readonly signal: AbortSignal;
  /** How far an attempt before this one came at the same cut; null: not at all. */
  readonly resume: Pick<Progress<EntryCounts>, 'phase' | 'afterKey'> | null;
  /** Keys after which what was found and counted is kept: the most that is done again after a crash. */
  readonly segmentKeys: number;
}

/** Compares what both sides show; findings go to the sink. */
export async function joinSides(join: Join): Promise<void> {
  if (join.resume?.phase === 'recheck') return;
  const { judge, ledger, book, signal } = join;
  const keyOf = ({ key }: KeyedItem): string => key;
  const afterKey = join.resume?.afterKey ?? null;
  const forBook = new Waiting();
  const forLedger = new Waiting();
  let keysDone = 0;
  const meetings = mergeInOrder({ batches: ledger.rows(afterKey), keyOf }, { batches: book.rows(afterKey), keyOf });
  for await (const batch of meetings) {
    signal.throwIfAborted();
    for (const { key, left, right } of batch) {
      keysDone++;
      const [legs, rows] = [left.map(itemOf), right.map(itemOf)];
      if (!judge.agrees(legs, rows)) {
        if (rows.length === 0 || book.leavesOut === true) forBook.add(key, legs, rows);
        else forLedger.add(key, rows, legs);
        if (forBook.isFull) await askBook(join, forBook, forLedger);
        if (forLedger.isFull) await askLedger(join, forLedger);
      }
      if (keysDone % join.segmentKeys !== 0) continue;
      // What waits is asked for first, so that everything up to this key is done.
      await askBook(join, forBook, forLedger);
      await askLedger(join, forLedger);
      await join.skipped.flush();
      await join.sink.checkpoint({ phase: 'window', afterKey: key, counts: judge.counts });
    }
    await join.sink.progress('comparing', keysDone);
  }
  await askBook(join, forBook, forLedger);
  await askLedger(join, forLedger);
  await join.skipped.flush();
  // Less than a segment is as soon done again as it is kept.
  if (keysDone < join.segmentKeys) await join.sink.flush();
  else await join.sink.checkpoint({ phase: 'recheck', afterKey: null, counts: judge.counts });
}

/** Keys that a side has to be asked for by name, because the window alone doesn't settle them; with what the other side has. */
class Waiting {
  readonly items = new Map<string, { readonly asked: readonly Item[]; readonly shown: readonly Item[] }>();
  #count = 0;

  /** `shown`: what the side to be asked has shown of the key already. */
  add(key: string, items: readonly Item[], shown: readonly Item[] = []): void {
    this.items.set(key, { asked: items, shown });
    this.#count += items.length + shown.length;
  }

  get isFull(): boolean {
    return this.items.size >= LOOKUP_KEYS || this.#count >= LOOKUP_ITEMS;
  }

  clear(): void {
    this.items.clear();
    this.#count = 0;
  }
}

/** Legs without a row nearby: the book is asked for their keys, whatever time its rows bear. */
async function askBook(join: Join, forBook: Waiting, forLedger: Waiting): Promise<void> {
  if (forBook.items.size === 0) return;
  const keys = [...forBook.items.keys()];
  const rows = join.book.whole ? new Map<string, Item[]>() : byKey(await join.book.rowsByKeys(keys));
  for (const [key, { asked: legs }] of forBook.items) {
    const found = rows.get(key) ?? [];
    if (!join.judge.agrees(legs, found)) forLedger.add(key, found, legs);
    if (forLedger.isFull) await askLedger(join, forLedger);
  }
  forBook.clear();
}

/** Nobody is accused before the ledger was asked for all legs of the key, of whatever ledger and account they are. */
async function askLedger(join: Join, forLedger: Waiting): Promise<void> {
  if (forLedger.items.size === 0) return;
  const { ledger, judge } = join;
  const legs = ledger.whole ? null : byKey(await ledger.rowsByKeys([...forLedger.items.keys()]));
  for (const [key, { asked: rows, shown }] of forLedger.items)
    await judge.key(key, legs === null ? shown : (legs.get(key) ?? []), rows);
  forLedger.clear();
}

/**
 * Reads both sides again for every unresolved drift that the comparison didn't show: a drift closes only when both were read and
 * agree, never by leaving the window, nor because this run looks at less than the policy does. `counts` are those of the comparison, kept with each checkpoint.
 */
export async function recheckOpenDrifts(join: Join, counts: EntryCounts): Promise<void> {
  for (let after = join.resume?.phase === 'recheck' ? join.resume.afterKey : null, keysDone = 0; ;) {
    const keys: string[] = await join.sink.openKeys(after, LOOKUP_KEYS);
    if (keys.length === 0) break;
    const { legs, rows } = await readKeys(join, keys);
    const open = Map.groupBy(await join.sink.openDrifts(keys), (drift) => drift.matchKey);
    for (const key of keys)
      await join.judge.recheck(key, legs.get(key) ?? [], rows.get(key) ?? [], open.get(key) ?? []);
    await join.sink.progress('comparing', (keysDone += keys.length));
    after = keys.at(-1)!;
    if (keysDone % join.segmentKeys < keys.length)
      await join.sink.checkpoint({ phase: 'recheck', afterKey: after, counts });
  }
  await join.sink.flush();
}

/** Reads again what runs had to skip; returns how many keys still can't be verified. */
export async function recheckSkipped(join: Join): Promise<number> {
  let waiting = 0;
  for (let after: string | null = null; ;) {
    const keys: string[] = await join.skipped.waiting(after, LOOKUP_KEYS);
    if (keys.length === 0) break;
    const { legs, rows } = await readKeys(join, keys);
    const verified: string[] = [];
    for (const key of keys) {
      if (await join.judge.settles(key, legs.get(key) ?? [], rows.get(key) ?? [])) verified.push(key);
      else waiting++;
    }
    await join.skipped.verified(verified);
    after = keys.at(-1)!;
  }
  await join.sink.flush();
  return waiting;
}

async function readKeys(
  { ledger, book, signal }: Join,
  keys: readonly string[],
): Promise<{ legs: Map<string, Item[]>; rows: Map<string, Item[]> }> {
  signal.throwIfAborted();
  return { legs: byKey(await ledger.rowsByKeys(keys)), rows: byKey(await book.rowsByKeys(keys)) };
}

function itemOf({ item }: KeyedItem): Item {
  return item;
}
