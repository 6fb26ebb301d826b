// A statement: what finance signs. Per account, asset and day: opening, what came in, what went out, fees, closing, and the book's.
// Pure: the rows of one account and asset, worked out from its closing backwards.
import { assetScale } from './asset.ts';
import type { BalanceState } from './balance.ts';
import type { Cell } from './csv.ts';
import { formatAmount } from './money.ts';

export interface StatementPair {
  readonly account: string;
  readonly asset: string;
  readonly state: BalanceState;
  readonly reasons: readonly string[];
  /** Minor units at the end of the range; of an account that isn't derived it is no balance. */
  readonly closing: bigint;
  /** In order; all amounts are minor units. */
  readonly days: readonly {
    readonly day: string;
    readonly in: bigint;
    readonly out: bigint;
    readonly fees: bigint;
    readonly firstLedger: number;
  }[];
  /** Null: there is no book to compare with. */
  readonly book: {
    /** In order of ledger; 0: as of the end. */
    readonly stated: readonly { readonly asOfLedger: number; readonly amount: bigint }[];
    /** In order; a null day belongs to the last one. */
    readonly days: readonly { readonly day: string | null; readonly amount: bigint }[];
  } | null;
  /** Drifts that stand, by the day of their item. */
  readonly unmatched: readonly { readonly day: string; readonly count: number }[];
}

/** Oldest age of each bucket but the last, days inclusive. */
const AGE_BUCKETS_DAYS = [1, 7, 30] as const;
const DAY_MS = 86_400_000;

/** A line a day with movements; one for the last day where there were none but something is held or said. */
export function statementLines(pair: StatementPair, lastDay: string): Cell[][] {
  const days = pair.days.length > 0 ? pair.days : [{ day: lastDay, in: 0n, out: 0n, fees: 0n, firstLedger: Infinity }];
  if (pair.days.length === 0 && isNothing(pair)) return [];
  const nets = days.map((day) => day.in - day.out - day.fees);
  let opening = pair.closing - nets.reduce((sum, net) => sum + net, 0n);
  const isDerived = pair.state === 'derived';
  const first = opening;
  return days.map((day, i) => {
    const closing = opening + nets[i]!;
    const book = bookClosing(pair, isDerived ? first : null, days, i);
    const amounts = [isDerived ? opening : null, day.in, day.out, day.fees, isDerived ? closing : null];
    opening = closing;
    return [
      pair.account,
      pair.asset,
      day.day,
      pair.state,
      pair.reasons.length === 0 ? null : pair.reasons.join('; '),
      ...amounts.map((amount) => decimal(pair.asset, amount)),
      ...amounts.map((amount) => amount?.toString() ?? null),
      decimal(pair.asset, book),
      book?.toString() ?? null,
      ...ages(pair.unmatched, day.day),
    ];
  });
}

function isNothing({ state, closing, book, unmatched }: StatementPair): boolean {
  return state === 'derived' && closing === 0n && !book?.stated.length && !book?.days.length && unmatched.length === 0;
}

/**
 * What the book says at the end of a day: its stated balance where it states them, else the opening and its own movements. A balance
 * stated as of a ledger holds until the pair's next movement.
 */
function bookClosing(
  { book }: StatementPair,
  opening: bigint | null,
  days: readonly { day: string; firstLedger: number }[],
  i: number,
): bigint | null {
  if (book === null) return null;
  const isLast = i === days.length - 1;
  if (book.stated.length > 0) {
    const before = days[i + 1]?.firstLedger ?? Infinity;
    const at = book.stated.findLast(({ asOfLedger }) => (asOfLedger === 0 ? isLast : asOfLedger < before));
    const whole = isLast ? book.stated.find(({ asOfLedger }) => asOfLedger === 0) : undefined;
    return (whole ?? at)?.amount ?? null;
  }
  if (opening === null || book.days.length === 0) return null;
  return book.days
    .filter(({ day }) => isLast || (day !== null && day <= days[i]!.day))
    .reduce((sum, { amount }) => sum + amount, opening);
}

/** How many items stand at the end of a day, by their age then. */
function ages(unmatched: StatementPair['unmatched'], day: string): number[] {
  const counts = [0, 0, 0, 0];
  for (const item of unmatched) {
    const ageDays = (Date.parse(day) - Date.parse(item.day)) / DAY_MS;
    if (ageDays < 0) continue;
    const bucket = AGE_BUCKETS_DAYS.findIndex((oldest) => ageDays <= oldest);
    counts[bucket < 0 ? AGE_BUCKETS_DAYS.length : bucket]! += item.count;
  }
  return counts;
}

function decimal(asset: string, amount: bigint | null): string | null {
  const scale = assetScale(asset);
  return amount === null || scale === undefined ? null : formatAmount(amount, scale);
}
