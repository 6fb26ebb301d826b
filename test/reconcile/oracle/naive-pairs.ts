// Which leg belongs to which row, as the oracle has it: by trying, from the most alike to the least, or every choice there is.
import type { Row } from './world.ts';

export interface Side {
  readonly row: Row;
  readonly inScope: boolean;
  /** 'success', 'failed', 'pending' or 'unknown'. */
  readonly means: string;
  /** Its words are a business's own, as the other side's are. */
  readonly isOwn: boolean;
}

/** Each at most once, from the most alike to the least. */
export function pairAlike(legs: readonly Side[], rows: readonly Side[]): [Side, Side][] {
  const [freeLegs, freeRows] = [inOrder(legs), inOrder(rows)];
  const pairs: [Side, Side][] = [];
  for (const isAlike of LIKENESSES) {
    for (const leg of [...freeLegs]) {
      const row = freeRows.find((each) => isAlike(leg, each));
      if (row === undefined) continue;
      pairs.push([leg, row]);
      freeLegs.splice(freeLegs.indexOf(leg), 1);
      freeRows.splice(freeRows.indexOf(row), 1);
    }
  }
  return pairs;
}

/** As many as can be; those that are asked about before others, and of these those of one status before others. */
export function pairInTime(legs: readonly Side[], rows: readonly Side[]): [Side, Side][] {
  const pairs: [Side, Side][] = [];
  const isFree = (side: Side): boolean => !pairs.some((pair) => pair.includes(side));
  const statuses = ['success', 'failed', 'pending', 'unknown'];
  for (const isAsked of [(side: Side) => side.inScope, () => true]) {
    for (const among of [...statuses.map((word) => [word]), statuses]) {
      const some = (sides: readonly Side[]): Side[] =>
        inTime(sides.filter((side) => isFree(side) && isAsked(side) && among.includes(side.means)));
      const [few, many] = [some(legs), some(rows)];
      if (few.length <= many.length) pairs.push(...nearest(few, many));
      else pairs.push(...nearest(many, few).map(([row, leg]): [Side, Side] => [leg, row]));
    }
  }
  return pairs;
}

/** Of all ways to give each of a few one of many, in the order of time, the one of the smallest gaps; of equal ones the earliest. */
function nearest(few: readonly Side[], many: readonly Side[]): [Side, Side][] {
  let best: { sum: number; pairs: [Side, Side][] } = { sum: Infinity, pairs: [] };
  const choose = (from: number, sum: number, pairs: [Side, Side][]): void => {
    if (sum >= best.sum) return;
    const one = few[pairs.length];
    if (one === undefined) best = { sum, pairs };
    else
      for (let at = from; at < many.length; at++)
        choose(at + 1, sum + apart(one.row.atMs, many[at]!.row.atMs), [...pairs, [one, many[at]!]]);
  };
  choose(0, 0, []);
  return best.pairs;
}

/** A time that nobody knows is as near to one as to another. */
const apart = (a: number | null, b: number | null): number => (a === null || b === null ? 0 : Math.abs(a - b));

const LEDGER_KINDS = new Set(['payment', 'path_payment', 'transfer', 'trade', 'mint', 'burn', 'clawback', 'inflation']);
for (const kind of ['genesis', 'create_account', 'account_merge', 'fee', 'fee_refund']) LEDGER_KINDS.add(kind);
for (const kind of ['create_claimable_balance', 'claim_claimable_balance']) LEDGER_KINDS.add(kind);
for (const kind of ['liquidity_pool_deposit', 'liquidity_pool_withdraw']) LEDGER_KINDS.add(kind);

const LIKENESSES: readonly ((leg: Side, row: Side) => boolean)[] = [
  (l, b) => isRepeat(l, b) && subOf(l) === subOf(b) && means(l, b) && kind(l) === kind(b) && party(l) === party(b),
  (l, b) => isRepeat(l, b) && subOf(l) === subOf(b) && means(l, b) && party(l) === party(b),
  (l, b) => isRepeat(l, b) && subOf(l) === subOf(b) && means(l, b),
  (l, b) => isRepeat(l, b) && means(l, b) && party(l) === party(b),
  (l, b) => isRepeat(l, b) && means(l, b),
  (l, b) => isRepeat(l, b) && subOf(l) === subOf(b),
  (l, b) => isRepeat(l, b),
  (l, b) => isSlot(l, b) && l.row.amount < 0n === b.row.amount < 0n,
  (l, b) => isSlot(l, b),
  (l, b) => l.row.account === b.row.account && l.row.amount === b.row.amount,
  (l, b) => l.row.asset === b.row.asset && l.row.amount === b.row.amount,
  (l, b) => l.row.account === b.row.account,
];

export const isSlot = (a: Side, b: Side): boolean => a.row.account === b.row.account && a.row.asset === b.row.asset;
export const isRepeat = (a: Side, b: Side): boolean => isSlot(a, b) && a.row.amount === b.row.amount;
const means = (a: Side, b: Side): boolean => a.means === b.means;
const subOf = ({ row }: Side): string => row.subAccount ?? '';
const party = ({ row }: Side): string => row.counterparty ?? '';
/** A business's own word says nothing of the ledger's kind; between two businesses each word is one. */
export const kind = ({ row, isOwn }: Side): string =>
  row.kind !== null && (isOwn || LEDGER_KINDS.has(row.kind)) ? row.kind : '';

/** Those that are asked about first, then by account, asset, amount and row id. */
export function inOrder(sides: readonly Side[]): Side[] {
  const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return [...sides].sort(
    (a, b) =>
      Number(b.inScope) - Number(a.inScope) ||
      text(a.row.account, b.row.account) ||
      text(a.row.asset, b.row.asset) ||
      Number(a.row.amount > b.row.amount) - Number(a.row.amount < b.row.amount) ||
      text(a.row.rowIds[0]!, b.row.rowIds[0]!),
  );
}

/** From the oldest, those of unknown time last; then by row id. */
function inTime(sides: readonly Side[]): Side[] {
  const when = ({ row }: Side): number => row.atMs ?? Number.MAX_SAFE_INTEGER;
  return [...sides].sort((a, b) => when(a) - when(b) || (a.row.rowIds[0]! < b.row.rowIds[0]! ? -1 : 1));
}
