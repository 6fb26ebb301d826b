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
}

/** What became of one item or pair; `kinds` is empty where both sides agree. */
export interface Finding {
  readonly occurrence: number;
  readonly kinds: readonly DriftKind[];
  readonly fields: readonly DriftField[];
  readonly ledger: Item | null;
  readonly book: Item | null;
}

/**
 * Pairs the ledger's and the book's rows of one key and says of each pair, and of each row left over, what differs.
 * A row is paired once. Occurrences number the findings in an order that depends only on the rows themselves, so that a drift
 * keeps its identity from run to run.
 */
export function compareKey(ledger: readonly Item[], book: readonly Item[], rules: MatchRules): Finding[] {
  const pairs = rules.sumLegs ? pairSums(ledger, book) : pairItems(ledger, book);
  return pairs.map(({ ledger: entry, book: row, duplicate }, occurrence) => {
    if (entry && row) return { occurrence, ledger: entry, book: row, ...differences(entry, row, rules) };
    return { occurrence, ledger: entry, book: row, kinds: lonelyKinds(entry, row, duplicate, rules), fields: [] };
  });
}

/** What is at stake in a finding: the larger side where one is missing or doubled, the difference where both are there. */
export function valueAtRisk(finding: Finding): bigint {
  const { ledger, book } = finding;
  if (!ledger || !book) return absolute((ledger ?? book)!.amount);
  if (finding.kinds.includes('AMOUNT_MISMATCH') && ledger.asset === book.asset) return absolute(ledger.amount - book.amount);
  return absolute(book.amount === 0n ? ledger.amount : book.amount);
}

interface Pair {
  readonly ledger: Item | null;
  readonly book: Item | null;
  /** The row repeats one that is paired. */
  readonly duplicate: boolean;
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

function pairItems(ledgerItems: readonly Item[], bookItems: readonly Item[]): Pair[] {
  const entries = [...ledgerItems].sort(byContent);
  const rows = new Set([...bookItems].sort(byContent));
  const partner = new Map<Item, Item>();
  for (const likeness of LIKENESSES) {
    if (rows.size === 0 || partner.size === entries.length) break;
    const waiting = new Map<string, Item[]>();
    for (const row of rows) push(waiting, likeness(row), row);
    for (const entry of entries) {
      if (partner.has(entry)) continue;
      const row = waiting.get(likeness(entry))?.shift();
      if (!row) continue;
      partner.set(entry, row);
      rows.delete(row);
    }
  }
  const pairedEntries = new Set([...partner.keys()].map(duplicateKey));
  const pairedRows = new Set([...partner.values()].map(duplicateKey));
  return [
    ...entries.map((entry): Pair => {
      const book = partner.get(entry) ?? null;
      return { ledger: entry, book, duplicate: !book && pairedEntries.has(duplicateKey(entry)) };
    }),
    ...[...rows].map((row): Pair => ({ ledger: null, book: row, duplicate: pairedRows.has(duplicateKey(row)) })),
  ];
}

/**
 * Legs of one account and asset are added up. A book may hold one row for the sum, or a row for each leg; where the rows'
 * sum is off but some of the rows alone make the ledger's, the others are duplicates and are kept apart from it.
 */
function pairSums(ledgerItems: readonly Item[], bookItems: readonly Item[]): Pair[] {
  const rowsBySlot = groupBy(bookItems, slotOf);
  const legsBySlot = groupBy(ledgerItems, slotOf);
  const [sums, bookSums, doubled]: [Item[], Item[], Item[]] = [[], [], []];
  for (const legs of legsBySlot.values()) sums.push(sumOf(legs));
  for (const [slot, rows] of rowsBySlot) {
    const legs = legsBySlot.get(slot);
    const { kept, extra } = setDuplicatesApart(rows, legs);
    if (kept.length > 0) bookSums.push(sumOf(kept));
    doubled.push(...extra);
  }
  return [...pairItems(sums, bookSums), ...doubled.sort(byContent).map((book): Pair => ({ ledger: null, book, duplicate: true }))];
}

function setDuplicatesApart(rows: readonly Item[], legs: readonly Item[] | undefined): { kept: Item[]; extra: Item[] } {
  if (!legs || rows.length === 1 || total(rows) === total(legs)) return { kept: [...rows], extra: [] };
  const whole = total(legs);
  const single = rows.find((row) => row.amount === whole);
  if (single) return splitRepeats(rows, [single]);
  const left = [...legs];
  const kept = rows.filter((row) => {
    const i = left.findIndex((leg) => leg.amount === row.amount);
    if (i < 0) return false;
    left.splice(i, 1);
    return true;
  });
  return left.length === 0 ? splitRepeats(rows, kept) : { kept: [...rows], extra: [] };
}

/** Only repeats of a kept row are duplicates; a row with an amount of its own is a difference and stays in the sum. */
function splitRepeats(rows: readonly Item[], matched: readonly Item[]): { kept: Item[]; extra: Item[] } {
  const amounts = new Set(matched.map((row) => row.amount));
  const extra = rows.filter((row) => !matched.includes(row) && amounts.has(row.amount));
  return { kept: rows.filter((row) => !extra.includes(row)), extra };
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
    amount: total(items),
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

function differences(entry: Item, row: Item, rules: MatchRules): Pick<Finding, 'kinds' | 'fields'> {
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
  return { kinds: [...kinds], fields };
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
function isLedgerWord(kind: string): boolean {
  return (ENTRY_KINDS as readonly string[]).includes(kind);
}

function slotOf(item: Item): string {
  return `${item.account} ${item.asset}`;
}

function duplicateKey(item: Item): string {
  return `${item.account} ${item.asset} ${item.amount}`;
}

function signOf(item: Item): string {
  return item.amount < 0n ? '-' : '+';
}

function total(items: readonly Item[]): bigint {
  return items.reduce((sum, item) => sum + item.amount, 0n);
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

function groupBy(items: readonly Item[], key: (item: Item) => string): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) push(groups, key(item), item);
  return groups;
}

function push<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
