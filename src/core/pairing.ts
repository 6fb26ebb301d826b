// Which row of one side belongs to which of the other, within one match key. Pure.
import { alignInTime } from './align.ts';
import type { Item } from './match.ts';

/** An item and whether the comparison is about it. */
export interface Asked {
  readonly item: Item;
  readonly inScope: boolean;
}

export interface Sides {
  readonly ledger: readonly Asked[];
  readonly book: readonly Asked[];
}

export interface Pair {
  readonly ledger: Asked | null;
  readonly book: Asked | null;
  /** The row repeats one that is paired. */
  readonly duplicate: boolean;
  /** Its number, where that isn't its place among the pairs. */
  readonly occurrence?: number;
}

/** In an order of their own, whatever order they came in; those that the comparison is about choose their partner first. */
export function asked(items: readonly Item[], inScope: (item: Item) => boolean): Asked[] {
  return items.map((item) => ({ item, inScope: inScope(item) })).sort(inOrder);
}

function inOrder(a: Asked, b: Asked): number {
  return Number(b.inScope) - Number(a.inScope) || byContent(a.item, b.item);
}

/** The ledger's first, then by content: what a pair's number is made of. */
export function inNumberOrder(a: Pair, b: Pair): number {
  return (
    Number(b.ledger !== null) - Number(a.ledger !== null) ||
    byContent((a.ledger ?? a.book)!.item, (b.ledger ?? b.book)!.item)
  );
}

/** From the strictest likeness to the loosest. Rows that share a key and nothing else aren't called the same movement. */
const LIKENESSES: readonly ((item: Item) => string)[] = [
  (item) => `${item.account} ${item.asset} ${item.amount} ${item.subAccount ?? ''}`,
  (item) => `${item.account} ${item.asset} ${item.amount}`,
  (item) => `${item.account} ${item.asset} ${signOf(item)}`,
  (item) => `${item.account} ${item.asset}`,
  (item) => `${item.account} ${item.amount}`,
  (item) => `${item.asset} ${item.amount}`,
  (item) => item.account,
];

/** Each row at most once, from the strictest likeness to the loosest. */
export function pairItems({ ledger: entries, book }: Sides): Pair[] {
  const rows = new Set(book);
  const partner = new Map<Asked, Asked>();
  for (const likeness of LIKENESSES) {
    if (rows.size === 0 || partner.size === entries.length) break;
    const waiting = groupBy(rows, (row) => likeness(row.item));
    for (const list of waiting.values()) list.reverse();
    for (const entry of entries) {
      if (partner.has(entry)) continue;
      const row = waiting.get(likeness(entry.item))?.pop();
      if (!row) continue;
      partner.set(entry, row);
      rows.delete(row);
    }
  }
  const pairedEntries = new Set([...partner.keys()].map(duplicateKey));
  const pairedRows = new Set([...partner.values()].map(duplicateKey));
  return [
    ...entries.map((entry): Pair => {
      const row = partner.get(entry) ?? null;
      return { ledger: entry, book: row, duplicate: !row && pairedEntries.has(duplicateKey(entry)) };
    }),
    ...[...rows].map((row): Pair => ({ ledger: null, book: row, duplicate: pairedRows.has(duplicateKey(row)) })),
  ];
}

/** Numbers of rows that only the book has begin here, so that what the ledger gets later doesn't renumber them. */
const BOOK_ONLY_FROM = 1_000_000;

/**
 * For keys that many movements share, such as an account and amount: rows are alike but for their time, and the nearest belong together.
 * A pair has the number of its entry among the ledger's, in the order of time, so that later movements renumber none.
 */
export function pairByTime({ ledger, book }: Sides): Pair[] {
  const [entries, rows] = [[...ledger].sort(inTime), [...book].sort(inTime)];
  const times = (side: readonly Asked[]): (number | null)[] => side.map(({ item }) => item.atMs);
  const partner = new Map(alignInTime(times(entries), times(rows)));
  const paired = new Set(partner.values());
  return [
    ...entries.map((entry, i): Pair => {
      const at = partner.get(i);
      return { ledger: entry, book: at === undefined ? null : rows[at]!, duplicate: false, occurrence: i };
    }),
    ...rows.flatMap((row, i): Pair[] =>
      paired.has(i) ? [] : [{ ledger: null, book: row, duplicate: false, occurrence: BOOK_ONLY_FROM + i }],
    ),
  ];
}

function inTime(a: Asked, b: Asked): number {
  return (a.item.atMs ?? Infinity) - (b.item.atMs ?? Infinity) || byContent(a.item, b.item);
}

/**
 * Legs of one account and asset are added up. A book may hold one row for the sum, or a row for each leg; where the rows'
 * sum is off but some of the rows alone make the ledger's, the others are duplicates and are kept apart from it.
 */
export function pairSums({ ledger, book }: Sides): Pair[] {
  const legsBySlot = groupBy(ledger, slotOf);
  const sums = [...legsBySlot.values()].map(sumAsked);
  const bookSums: Asked[] = [];
  const doubled: Asked[] = [];
  for (const [slot, rows] of groupBy(book, slotOf)) {
    const { kept, extra } = setDuplicatesApart(rows, legsBySlot.get(slot));
    bookSums.push(sumAsked(kept));
    doubled.push(...extra);
  }
  const pairs = pairItems({ ledger: sums.sort(inOrder), book: bookSums.sort(inOrder) });
  return [...pairs, ...doubled.map((row): Pair => ({ ledger: null, book: row, duplicate: true }))];
}

/** Only repeats of a row that is part of the sum are duplicates; a row with an amount of its own is a difference and stays in it. */
function setDuplicatesApart(
  rows: readonly Asked[],
  legs: readonly Asked[] | undefined,
): { kept: readonly Asked[]; extra: Asked[] } {
  const whole = total(legs ?? []);
  if (!legs || rows.length === 1 || total(rows) === whole) return { kept: rows, extra: [] };
  const single = rows.some((row) => row.item.amount === whole);
  const wanted = new Map<bigint, number>();
  for (const amount of single ? [whole] : legs.map((leg) => leg.item.amount))
    wanted.set(amount, (wanted.get(amount) ?? 0) + 1);
  const [kept, extra]: [Asked[], Asked[]] = [[], []];
  for (const row of rows) {
    const left = wanted.get(row.item.amount);
    if (left !== undefined && left > 0) wanted.set(row.item.amount, left - 1);
    (left === 0 ? extra : kept).push(row);
  }
  return [...wanted.values()].every((left) => left === 0) ? { kept, extra } : { kept: rows, extra: [] };
}

function sumAsked(group: readonly Asked[]): Asked {
  return { item: sumOf(group.map((each) => each.item)), inScope: group[0]!.inScope };
}

function sumOf(items: readonly Item[]): Item {
  const [first] = items;
  if (items.length === 1) return first!;
  const common = <T>(read: (item: Item) => T): T | null => {
    const value = read(first!);
    return items.every((item) => read(item) === value) ? value : null;
  };
  const moved = items.filter((item) => item.status !== 'failed');
  return {
    account: first!.account,
    asset: first!.asset,
    amount: items.reduce((sum, item) => sum + item.amount, 0n),
    kind: common((item) => item.kind),
    // One operation that moved makes the sum a movement: a failed transaction has none.
    status: moved.length === 0 ? first!.status : (moved[0]?.status ?? null),
    counterparty: common((item) => item.counterparty),
    subAccount: common((item) => item.subAccount),
    atMs: first!.atMs,
    ledger: first!.ledger,
    txHash: first!.txHash,
    rowIds: items.flatMap((item) => item.rowIds),
  };
}

function slotOf({ item, inScope }: Asked): string {
  return `${item.account} ${item.asset} ${inScope}`;
}

function duplicateKey({ item }: Asked): string {
  return `${item.account} ${item.asset} ${item.amount}`;
}

function signOf(item: Item): string {
  return item.amount < 0n ? '-' : '+';
}

function total(group: readonly Asked[]): bigint {
  return group.reduce((sum, { item }) => sum + item.amount, 0n);
}

function byContent(a: Item, b: Item): number {
  return (
    compareText(a.account, b.account) ||
    compareText(a.asset, b.asset) ||
    (a.amount < b.amount ? -1 : a.amount > b.amount ? 1 : 0) ||
    compareText(a.rowIds[0] ?? '', b.rowIds[0] ?? '')
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function groupBy(items: Iterable<Asked>, key: (item: Asked) => string): Map<string, Asked[]> {
  const groups = new Map<string, Asked[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}
