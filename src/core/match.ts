// Comparing what both sides say of one match key. Pure: no clock, no database; the rows of one key at a time.
import type { DriftField, DriftKind } from './drift.ts';
import { ENTRY_KINDS, type EntryStatus } from './entry.ts';
import { absolute } from './money.ts';
import { asked, inNumberOrder, pairByTime, pairItems, pairSums, type Meaning, type Sides } from './pairing.ts';
import type { ExactField, LedgerStatus } from './policy.ts';
import type { ToleranceOf } from './tolerance.ts';

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
  /** Fields that must be equal. Absent: all of them; time is asked for by its tolerance. */
  readonly exact?: ReadonlySet<ExactField>;
  /** Absent: amounts must be equal. */
  readonly toleranceOf?: ToleranceOf;
  /** Several movements may have one key: a row too many is missing on the other side, not a repetition. */
  readonly keyRepeats?: boolean;
  /** Both sides speak words of their own: kinds are compared whatever the words. Else only the ledger's words are. */
  readonly ownWords?: boolean;
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
  /** By how much the amounts differ inside the tolerance, minor units; 0 where they don't, or it is no pair. */
  readonly absorbed: bigint;
}

/** Whether one row of each side is the same movement and agrees in every field: what nearly all keys of a run are. */
export function agreesExactly(entry: Item, row: Item, rules: MatchRules): boolean {
  if (entry.amount !== row.amount || entry.account !== row.account || entry.asset !== row.asset) return false;
  // By name, as a loop over the checks would cost more than all of them.
  const agrees =
    !statusDiffers(entry, row, rules) &&
    !kindDiffers(entry, row, rules) &&
    !counterpartyDiffers(entry, row) &&
    !subAccountDiffers(entry, row) &&
    !timeDiffers(entry, row, rules);
  return agrees || OTHER_CHECKS.every((check) => !isAsked(check, rules) || !check.differs(entry, row, rules));
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
      status: ledgerStatus(item, rules),
      kind: item.kind,
    })),
    book: asked(book, (item) => ({
      inScope: inScope(item, 'book'),
      status: statusOf(item, rules),
      kind: item.kind !== null && (rules.ownWords === true || isLedgerWord(item.kind)) ? item.kind : null,
    })),
  };
  const pairs = rules.sumLegs ? pairSums(sides) : rules.keyRepeats ? pairByTime(sides) : pairItems(sides);
  return pairs
    .sort(inNumberOrder)
    .map((pair, place) => ({ pair, occurrence: pair.occurrence ?? place }))
    .filter(({ pair }) => pair.ledger?.inScope || pair.book?.inScope)
    .map(({ pair, occurrence }) => {
      const [entry, row] = [pair.ledger?.item ?? null, pair.book?.item ?? null];
      if (entry && row) return { occurrence, ledger: entry, book: row, ...differences(entry, row, rules) };
      const kinds = lonelyKinds(entry, row, pair.duplicate, rules);
      return { occurrence, ledger: entry, book: row, kinds, fields: [], bookPending: false, absorbed: 0n };
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

/** One field's comparison: when it differs, what it is called, and what each side shows of it. */
interface Check {
  readonly kind: DriftKind;
  readonly field: DriftField['field'];
  differs(entry: Item, row: Item, rules: MatchRules): boolean;
  shown(item: Item): string | null;
}

/** In the order in which differences are listed. */
const CHECKS: readonly Check[] = [
  {
    kind: 'ACCOUNT_MISMATCH',
    field: 'account',
    differs: (entry, row) => entry.account !== row.account,
    shown: (item) => item.account,
  },
  {
    kind: 'ASSET_MISMATCH',
    field: 'asset',
    differs: (entry, row) => entry.asset !== row.asset,
    shown: (item) => item.asset,
  },
  {
    kind: 'AMOUNT_MISMATCH',
    field: 'amount',
    // A failed entry moved nothing, so its zero is no amount to compare with what the book had intended.
    differs: (entry, row, rules) =>
      entry.amount !== row.amount &&
      ledgerStatus(entry, rules) !== 'failed' &&
      amountGap(entry, row) > tolerated(entry, rules),
    shown: (item) => String(item.amount),
  },
  {
    kind: 'TYPE_MISMATCH',
    field: 'kind',
    differs: kindDiffers,
    shown: (item) => item.kind,
  },
  {
    kind: 'STATUS_MISMATCH',
    field: 'status',
    differs: statusDiffers,
    shown: (item) => item.status,
  },
  {
    kind: 'ACCOUNT_MISMATCH',
    field: 'counterparty',
    differs: counterpartyDiffers,
    shown: (item) => item.counterparty,
  },
  {
    kind: 'ACCOUNT_MISMATCH',
    field: 'sub_account',
    differs: subAccountDiffers,
    shown: (item) => item.subAccount,
  },
  {
    kind: 'TIME_MISMATCH',
    field: 'time',
    differs: timeDiffers,
    shown: (item) => (item.atMs === null ? null : new Date(item.atMs).toISOString()),
  },
];

/** Those beside what `agreesExactly` has compared by itself. */
const OTHER_CHECKS = CHECKS.filter(({ field }) => field !== 'amount' && field !== 'account' && field !== 'asset');

function differences(
  entry: Item,
  row: Item,
  rules: MatchRules,
): Pick<Finding, 'kinds' | 'fields' | 'bookPending' | 'absorbed'> {
  const found = CHECKS.filter((check) => isAsked(check, rules) && check.differs(entry, row, rules));
  const kinds = [...new Set(found.map((check) => check.kind))];
  const fields = found.map((check) => ({ field: check.field, ledger: check.shown(entry), book: check.shown(row) }));
  const bookPending = kinds.length === 1 && kinds[0] === 'STATUS_MISMATCH' && statusOf(row, rules) === 'pending';
  const gap = entry.asset === row.asset && ledgerStatus(entry, rules) !== 'failed' ? amountGap(entry, row) : 0n;
  return { kinds, fields, bookPending, absorbed: gap <= tolerated(entry, rules) ? gap : 0n };
}

function isAsked({ field }: Check, { exact }: MatchRules): boolean {
  return exact === undefined || field === 'time' || exact.has(field as ExactField);
}

function amountGap(entry: Item, row: Item): bigint {
  return absolute(entry.amount - row.amount);
}

function tolerated(entry: Item, { toleranceOf }: MatchRules): bigint {
  return toleranceOf === undefined ? 0n : toleranceOf(entry.asset, entry.amount);
}

function lonelyKinds(entry: Item | null, row: Item | null, duplicate: boolean, rules: MatchRules): DriftKind[] {
  if (entry) {
    // Nothing moved, so a book without the row is right.
    if (ledgerStatus(entry, rules) === 'failed') return [];
    return [duplicate ? 'DUPLICATE_ON_LEDGER' : 'MISSING_IN_DB'];
  }
  if (statusOf(row!, rules) === 'failed') return [];
  return [duplicate ? 'DUPLICATE_IN_DB' : 'MISSING_ON_LEDGER'];
}

function kindDiffers(entry: Item, row: Item, rules: MatchRules): boolean {
  if (row.kind === null || entry.kind === null || row.kind === entry.kind) return false;
  return rules.ownWords === true || isLedgerWord(row.kind);
}

function counterpartyDiffers(entry: Item, row: Item): boolean {
  return row.counterparty !== null && entry.counterparty !== null && row.counterparty !== entry.counterparty;
}

function subAccountDiffers(entry: Item, row: Item): boolean {
  return row.subAccount !== null && row.subAccount !== entry.subAccount;
}

function timeDiffers(entry: Item, row: Item, { timeToleranceMs }: MatchRules): boolean {
  if (timeToleranceMs === null || entry.atMs === null || row.atMs === null) return false;
  return Math.abs(entry.atMs - row.atMs) > timeToleranceMs;
}

function statusDiffers(entry: Item, row: Item, rules: MatchRules): boolean {
  const book = statusOf(row, rules);
  // Two words that mean nothing to the policy agree where they are the same word.
  return ledgerStatus(entry, rules) !== book || (book === 'unknown' && row.status !== entry.status);
}

/** The stream's statuses are the ledger's words already; another side's are words of its own. */
function ledgerStatus(entry: Item, rules: MatchRules): Meaning {
  return rules.ownWords === true ? statusOf(entry, rules) : (entry.status as EntryStatus);
}

/** What a side's word means on the ledger: no word is a claim that it happened, a word outside the map is none of ours. */
function statusOf({ status }: Item, { statusMap }: MatchRules): Meaning {
  if (status === null) return 'success';
  return statusMap[status] ?? statusMap[status.toLowerCase()] ?? 'unknown';
}

/** A business's own words for kinds ("deposit", "payout") aren't compared with the ledger's. */
export function isLedgerWord(kind: string): boolean {
  return LEDGER_WORDS.has(kind);
}

const LEDGER_WORDS: ReadonlySet<string> = new Set(ENTRY_KINDS);
