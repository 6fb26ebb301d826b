// Comparing what both sides say of one match key. Pure: no clock, no database; the rows of one key at a time.
import type { DriftField, DriftKind } from './drift.ts';
import { ENTRY_KINDS, type EntryStatus } from './entry.ts';
import { absolute } from './money.ts';
import type { LedgerStatus } from './policy.ts';

/** One side's row, or legs summed into one. */
export interface Item {
  readonly account: string;
  readonly asset: string;
  /** Signed minor units. */
  readonly amount: bigint;
  /** The ledger's kind, or the book's own word; null where it isn't said, or differs among summed legs. */
  readonly kind: string | null;
  /** The ledger's status, or the book's own word. */
  readonly status: string | null;
  readonly counterparty: string | null;
  readonly subAccount: string | null;
  /** Unix milliseconds; null where the book gives none. */
  readonly atMs: number | null;
  readonly ledger: number | null;
  readonly txHash: string | null;
  readonly rowIds: readonly string[];
}

export interface MatchRules {
  /** Legs and rows of one key, account and asset are added up before they are compared. */
  readonly sumLegs: boolean;
  readonly statusMap: Readonly<Record<string, LedgerStatus>>;
  readonly timeToleranceMs: number | null;
  /**
   * What the comparison is about. An item outside of it may be the other half of one inside, but is never accused by itself.
   * Absent: everything.
   */
  readonly inScope?: (item: Item, side: 'ledger' | 'book') => boolean;
}

/** What became of one item or pair; `kinds` is empty where both sides agree. */
export interface Finding {
  readonly occurrence: number;
  readonly kinds: readonly DriftKind[];
  readonly fields: readonly DriftField[];
  readonly ledger: Item | null;
  readonly book: Item | null;
  /** The book has the movement as pending, and nothing else differs: it may only be late in saying that it happened. */
  readonly bookPending: boolean;
}

/**
 * Pairs the ledger's and the book's rows of one key and says of each pair, and of each row left over, what differs.
 * A row is paired once. Occurrences number the pairs in an order that depends only on the rows themselves, not on what is in scope,
 * so that a drift keeps its identity from run to run; the ledger's come first, as they never change.
 */
export function compareKey(ledger: readonly Item[], book: readonly Item[], rules: MatchRules): Finding[] {
  const sides: Sides = { ledger: asked(ledger, 'ledger', rules), book: asked(book, 'book', rules) };
  const pairs = rules.sumLegs ? pairSums(sides) : pairItems(sides);
  return pairs
    .sort(inNumberOrder)
    .map((pair, occurrence) => ({ pair, occurrence }))
    .filter(({ pair }) => pair.ledger?.inScope || pair.book?.inScope)
    .map(({ pair, occurrence }) => {
      const [entry, row] = [pair.ledger?.item ?? null, pair.book?.item ?? null];
      if (entry && row) return { occurrence, ledger: entry, book: row, ...differences(entry, row, rules) };
      const kinds = lonelyKinds(entry, row, pair.duplicate, rules);
      return { occurrence, ledger: entry, book: row, kinds, fields: [], bookPending: false };
    });
}

/** What is at stake in a finding: the larger side where one is missing or doubled, the difference where both are there. */
export function valueAtRisk(finding: Finding): bigint {
  const { ledger, book } = finding;
  if (!ledger || !book) return absolute((ledger ?? book)!.amount);
  if (finding.kinds.includes('AMOUNT_MISMATCH') && ledger.asset === book.asset) return absolute(ledger.amount - book.amount);
  return absolute(book.amount === 0n ? ledger.amount : book.amount);
}

/** An item and whether the comparison is about it. */
interface Asked {
  readonly item: Item;
  readonly inScope: boolean;
}

interface Sides {
  readonly ledger: readonly Asked[];
  readonly book: readonly Asked[];
}

interface Pair {
  readonly ledger: Asked | null;
  readonly book: Asked | null;
  /** The row repeats one that is paired. */
  readonly duplicate: boolean;
}

/** In an order of their own, whatever order they came in; those that the comparison is about choose their partner first. */
function asked(items: readonly Item[], side: 'ledger' | 'book', rules: MatchRules): Asked[] {
  const inScope = rules.inScope ?? (() => true);
  return items.map((item) => ({ item, inScope: inScope(item, side) })).sort(inOrder);
}

function inOrder(a: Asked, b: Asked): number {
  return Number(b.inScope) - Number(a.inScope) || byContent(a.item, b.item);
}

function inNumberOrder(a: Pair, b: Pair): number {
  return Number(b.ledger !== null) - Number(a.ledger !== null) || byContent((a.ledger ?? a.book)!.item, (b.ledger ?? b.book)!.item);
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

function pairItems({ ledger: entries, book }: Sides): Pair[] {
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

/**
 * Legs of one account and asset are added up. A book may hold one row for the sum, or a row for each leg; where the rows'
 * sum is off but some of the rows alone make the ledger's, the others are duplicates and are kept apart from it.
 */
function pairSums({ ledger, book }: Sides): Pair[] {
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
function setDuplicatesApart(rows: readonly Asked[], legs: readonly Asked[] | undefined): { kept: readonly Asked[]; extra: Asked[] } {
  const whole = total(legs ?? []);
  if (!legs || rows.length === 1 || total(rows) === whole) return { kept: rows, extra: [] };
  const single = rows.some((row) => row.item.amount === whole);
  const wanted = new Map<bigint, number>();
  for (const amount of single ? [whole] : legs.map((leg) => leg.item.amount)) wanted.set(amount, (wanted.get(amount) ?? 0) + 1);
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

function differences(entry: Item, row: Item, rules: MatchRules): Pick<Finding, 'kinds' | 'fields' | 'bookPending'> {
  const kinds = new Set<DriftKind>();
  const fields: DriftField[] = [];
  const differ = (kind: DriftKind, field: DriftField['field'], ledger: string | null, book: string | null): void => {
    kinds.add(kind);
    fields.push({ field, ledger, book });
  };
  if (entry.account !== row.account) differ('ACCOUNT_MISMATCH', 'account', entry.account, row.account);
  if (entry.asset !== row.asset) differ('ASSET_MISMATCH', 'asset', entry.asset, row.asset);
  // A failed entry moved nothing, so its zero is no amount to compare with what the book had intended.
  if (entry.status !== 'failed' && entry.amount !== row.amount) {
    differ('AMOUNT_MISMATCH', 'amount', String(entry.amount), String(row.amount));
  }
  if (row.kind !== null && entry.kind !== null && isLedgerWord(row.kind) && row.kind !== entry.kind) {
    differ('TYPE_MISMATCH', 'kind', entry.kind, row.kind);
  }
  if (bookStatus(row, rules) !== entry.status) differ('STATUS_MISMATCH', 'status', entry.status, row.status);
  if (row.counterparty !== null && entry.counterparty !== null && row.counterparty !== entry.counterparty) {
    differ('ACCOUNT_MISMATCH', 'counterparty', entry.counterparty, row.counterparty);
  }
  if (row.subAccount !== null && row.subAccount !== entry.subAccount) {
    differ('ACCOUNT_MISMATCH', 'sub_account', entry.subAccount, row.subAccount);
  }
  if (rules.timeToleranceMs !== null && entry.atMs !== null && row.atMs !== null) {
    if (Math.abs(entry.atMs - row.atMs) > rules.timeToleranceMs) {
      differ('TIME_MISMATCH', 'time', new Date(entry.atMs).toISOString(), new Date(row.atMs).toISOString());
    }
  }
  const bookPending = kinds.size === 1 && kinds.has('STATUS_MISMATCH') && bookStatus(row, rules) === 'pending';
  return { kinds: [...kinds], fields, bookPending };
}

function lonelyKinds(entry: Item | null, row: Item | null, duplicate: boolean, rules: MatchRules): DriftKind[] {
  if (entry) {
    // Nothing moved, so a book without the row is right.
    if (entry.status === 'failed') return [];
    return [duplicate ? 'DUPLICATE_ON_LEDGER' : 'MISSING_IN_DB'];
  }
  if (bookStatus(row!, rules) === 'failed') return [];
  return [duplicate ? 'DUPLICATE_IN_DB' : 'MISSING_ON_LEDGER'];
}

/** What the book's word means on the ledger: no word is a claim that it happened, a word outside the map is none of ours. */
function bookStatus(row: Item, rules: MatchRules): EntryStatus | 'pending' | 'unknown' {
  if (row.status === null) return 'success';
  return rules.statusMap[row.status.toLowerCase()] ?? 'unknown';
}

/** A business's own words for kinds ("deposit", "payout") aren't compared with the ledger's. */
export function isLedgerWord(kind: string): boolean {
  return (ENTRY_KINDS as readonly string[]).includes(kind);
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
