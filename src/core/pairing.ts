// Which row of one side belongs to which of the other, within one match key. Pure.
import { alignInTime } from './align.ts';
import type { Item } from './match.ts';

/** What a status means on the ledger; a word that means nothing there is `unknown`. */
export type Meaning = 'success' | 'failed' | 'pending' | 'unknown';

/** An item, whether the comparison is about it, and what is compared of its words. */
export interface Asked {
  readonly item: Item;
  readonly inScope: boolean;
  readonly status: Meaning;
  /** Null where it isn't one of the ledger's words. */
  readonly kind: string | null;
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
export function asked(items: readonly Item[], read: (item: Item) => Omit<Asked, 'item'>): Asked[] {
  return items.map((item) => ({ item, ...read(item) })).sort(inOrder);
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

/** Names may hold spaces and any other separator but this. */
const likeness = (...parts: readonly unknown[]): string => parts.join('\0');
const slot = ({ item }: Asked): string => likeness(item.account, item.asset);
const amountOf = (each: Asked): string => likeness(slot(each), each.item.amount);

/** Equal amounts of one account are told apart by everything else that both sides say, so that each finds its own. */
const CLOSE_LIKENESSES: readonly ((each: Asked) => string)[] = [
  (each) => likeness(amountOf(each), each.item.subAccount, each.status, each.item.counterparty, each.kind),
  (each) => likeness(amountOf(each), each.item.subAccount, each.status, each.item.counterparty),
  (each) => likeness(amountOf(each), each.item.subAccount, each.status),
  (each) => likeness(amountOf(each), each.status, each.item.counterparty),
  (each) => likeness(amountOf(each), each.status),
];

/** From the strictest likeness to the loosest. Rows that share a key and nothing else aren't called the same movement. */
const LIKENESSES: readonly ((each: Asked) => string)[] = [
  (each) => likeness(amountOf(each), each.item.subAccount),
  amountOf,
  (each) => likeness(slot(each), each.item.amount < 0n),
  slot,
  ({ item }) => likeness(item.account, item.amount),
  ({ item }) => likeness(item.asset, item.amount),
  ({ item }) => item.account,
];
const ALL_LIKENESSES = [...CLOSE_LIKENESSES, ...LIKENESSES];

/** Each row at most once, from the strictest likeness to the loosest. */
export function pairItems({ ledger: entries, book }: Sides): Pair[] {
  const rows = new Set(book);
  const partner = new Map<Asked, Asked>();
  // Where there is no choice, it need not be made with care.
  for (const likenessOf of entries.length > 1 || book.length > 1 ? ALL_LIKENESSES : LIKENESSES) {
    if (rows.size === 0 || partner.size === entries.length) break;
    const waiting = groupBy(rows, likenessOf);
    for (const list of waiting.values()) list.reverse();
    for (const entry of entries) {
      if (partner.has(entry)) continue;
      const row = waiting.get(likenessOf(entry))?.pop();
      if (!row) continue;
      partner.set(entry, row);
      rows.delete(row);
    }
  }
  const pairedEntries = new Set([...partner.keys()].map(amountOf));
  const pairedRows = new Set([...partner.values()].map(amountOf));
  return [
    ...entries.map((entry): Pair => {
      const row = partner.get(entry) ?? null;
      return { ledger: entry, book: row, duplicate: !row && pairedEntries.has(amountOf(entry)) };
    }),
    ...[...rows].map((row): Pair => ({ ledger: null, book: row, duplicate: pairedRows.has(amountOf(row)) })),
  ];
}

/** Numbers of rows that only the book has begin here, so that what the ledger gets later doesn't renumber them. */
const BOOK_ONLY_FROM = 1_000_000;

/**
 * For keys that many movements share, such as an account and amount: rows are alike but for their time and status, and the nearest of
 * one status belong together; those that the comparison is about before any other. A pair has the number of its entry among the ledger's, in the order of time, so that later movements
 * renumber none.
 */
export function pairByTime({ ledger, book }: Sides): Pair[] {
  const [entries, rows] = [[...ledger].sort(inTime), [...book].sort(inTime)];
  const partner = new Map<Asked, Asked>();
  const taken = new Set<Asked>();
  const align = (mayPair: (each: Asked) => boolean): void => {
    const free = entries.filter((entry) => mayPair(entry) && !partner.has(entry));
    const waiting = rows.filter((row) => mayPair(row) && !taken.has(row));
    for (const [i, j] of alignInTime(free.map(timeOf), waiting.map(timeOf))) {
      partner.set(free[i]!, waiting[j]!);
      taken.add(waiting[j]!);
    }
  };
  const statuses = new Set(entries.map((entry) => entry.status));
  for (const isAsked of [(each: Asked) => each.inScope, () => true]) {
    for (const status of statuses) align((each) => isAsked(each) && each.status === status);
    align(isAsked);
  }
  return [
    ...entries.map((entry, occurrence): Pair => {
      return { ledger: entry, book: partner.get(entry) ?? null, duplicate: false, occurrence };
    }),
    ...rows.flatMap((row, i): Pair[] =>
      taken.has(row) ? [] : [{ ledger: null, book: row, duplicate: false, occurrence: BOOK_ONLY_FROM + i }],
    ),
  ];
}

function timeOf({ item }: Asked): number | null {
  return item.atMs;
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
  for (const [where, all] of groupBy(book, slotOf)) {
    const extra = duplicatesAmong(movedOf(all), legsBySlot.get(where));
    bookSums.push(sumAsked(extra.size === 0 ? all : all.filter((row) => !extra.has(row))));
    doubled.push(...extra);
  }
  const pairs = pairItems({ ledger: sums.sort(inOrder), book: bookSums.sort(inOrder) });
  return [...pairs, ...doubled.map((row): Pair => ({ ledger: null, book: row, duplicate: true }))];
}

/** Only repeats of a row that is part of the sum are duplicates; a row with an amount of its own is a difference and stays in it. */
function duplicatesAmong(rows: readonly Asked[], legs: readonly Asked[] | undefined): Set<Asked> {
  const whole = total(legs ?? []);
  if (!legs || rows.length === 1 || total(rows) === whole) return new Set();
  const single = rows.some((row) => row.item.amount === whole);
  const wanted = new Map<bigint, number>();
  for (const amount of single ? [whole] : legs.map((leg) => leg.item.amount))
    wanted.set(amount, (wanted.get(amount) ?? 0) + 1);
  const extra = new Set<Asked>();
  // Of two that are alike, the one that went through is kept.
  for (const row of rows.toSorted((a, b) => Number(b.status === 'success') - Number(a.status === 'success'))) {
    const left = wanted.get(row.item.amount);
    if (left !== undefined && left > 0) wanted.set(row.item.amount, left - 1);
    else if (left === 0) extra.add(row);
  }
  return [...wanted.values()].every((left) => left === 0) ? extra : new Set();
}

/** The worst first: a sum went through when every part that moved did. */
const PART_STATUSES: readonly Meaning[] = ['unknown', 'pending', 'success', 'failed'];

function sumAsked(all: readonly Asked[]): Asked {
  if (all.length === 1) return all[0]!;
  const group = movedOf(all);
  const [first] = group;
  const worst = PART_STATUSES.map((status) => group.find((each) => each.status === status)).find(Boolean)!;
  const common = <T>(read: (each: Asked) => T): T | null => {
    const value = read(first!);
    return group.every((each) => read(each) === value) ? value : null;
  };
  const item: Item = {
    account: first!.item.account,
    asset: first!.item.asset,
    amount: total(group),
    kind: common((each) => each.item.kind),
    status: worst.item.status,
    counterparty: common((each) => each.item.counterparty),
    subAccount: common((each) => each.item.subAccount),
    atMs: first!.item.atMs,
    ledger: first!.item.ledger,
    txHash: first!.item.txHash,
    rowIds: all.flatMap((each) => each.item.rowIds),
  };
  return { item, inScope: first!.inScope, status: worst.status, kind: common((each) => each.kind) };
}

/** Nothing moved by a try that failed beside one that didn't, so that its amount is no part of the sum. */
function movedOf(group: readonly Asked[]): readonly Asked[] {
  const moved = group.filter((each) => each.status !== 'failed');
  return moved.length > 0 ? moved : group;
}

function slotOf(each: Asked): string {
  return likeness(slot(each), each.inScope);
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
