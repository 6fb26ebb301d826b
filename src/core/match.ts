// Comparing what both sides say of one match key. Pure: no clock, no database; the rows of one key at a time.
import type { DriftField, DriftKind } from './drift.ts';
import { ENTRY_KINDS, type EntryStatus } from './entry.ts';
import { absolute } from './money.ts';
import { asked, inNumberOrder, pairItems, pairSums, type Meaning, type Sides } from './pairing.ts';
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
  const { inScope = () => true } = rules;
  const sides: Sides = {
    ledger: asked(ledger, (item) => ({
      inScope: inScope(item, 'ledger'),
      status: item.status as EntryStatus,
      kind: item.kind,
    })),
    book: asked(book, (item) => ({
      inScope: inScope(item, 'book'),
      status: bookStatus(item, rules),
      kind: item.kind !== null && isLedgerWord(item.kind) ? item.kind : null,
    })),
  };
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
  if (finding.kinds.includes('AMOUNT_MISMATCH') && ledger.asset === book.asset)
    return absolute(ledger.amount - book.amount);
  return absolute(book.amount === 0n ? ledger.amount : book.amount);
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
function bookStatus(row: Item, rules: MatchRules): Meaning {
  if (row.status === null) return 'success';
  return rules.statusMap[row.status.toLowerCase()] ?? 'unknown';
}

/** A business's own words for kinds ("deposit", "payout") aren't compared with the ledger's. */
export function isLedgerWord(kind: string): boolean {
  return (ENTRY_KINDS as readonly string[]).includes(kind);
}
