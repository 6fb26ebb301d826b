// From what a balance is counted: the whole history, an opening, or the account's own creation. Pure.
import { subtract, unite } from './coverage.ts';
import type { LedgerRange } from './ledger.ts';

/** `derived` may be compared; `underived` and `no_opening` are reported with their amounts and accuse nobody. */
export const BALANCE_STATES = ['derived', 'underived', 'no_opening'] as const;
export type BalanceState = (typeof BALANCE_STATES)[number];

/** A place in the order of all legs of a stream. */
export interface LegPosition {
  readonly ledger: number;
  readonly txIndex: number;
  readonly opIndex: number;
}

/**
 * `genesis`: every leg since ledger 1. `opening`: the snapshot at the close of a ledger and the legs after it. `creation`: the
 * legs from the one that created the account, before which it held nothing. `backwards`: a later snapshot less the legs up
 * to it. `none`: the legs that are there, and nothing to count them from.
 */
export type BalanceBasis =
  | { readonly from: 'genesis' }
  | { readonly from: 'opening' | 'backwards'; readonly ledger: number }
  | { readonly from: 'creation'; readonly at: LegPosition }
  | { readonly from: 'none'; readonly opening: number | null };

export interface BalanceFacts {
  /** Inclusive: the balance at the close of this ledger. */
  readonly asOfLedger: number;
  /** What is covered for the account, as `unite` orders it. */
  readonly done: readonly LedgerRange[];
  /** Ledger at whose close the snapshot holds; null: there is none. */
  readonly openingLedger: number | null;
  /** The account's newest creation up to the ledger asked for; null: none was seen, or it wasn't looked for. */
  readonly createdAt: LegPosition | null;
}

export interface ChosenBasis {
  readonly basis: BalanceBasis;
  /** What would have to be covered to derive it; empty when it is. Half-open. */
  readonly missing: readonly LedgerRange[];
}

/** The first basis from which coverage is unbroken to the ledger asked for. */
export function chooseBasis(facts: BalanceFacts): ChosenBasis {
  const { asOfLedger, done, openingLedger, createdAt } = facts;
  const holes = (from: number, to: number): LedgerRange[] => (from < to ? subtract({ from, to }, done) : []);
  const sinceGenesis = holes(1, asOfLedger + 1);
  if (sinceGenesis.length === 0) return { basis: { from: 'genesis' }, missing: [] };
  if (openingLedger !== null && openingLedger <= asOfLedger) {
    const missing = holes(openingLedger + 1, asOfLedger + 1);
    if (missing.length === 0) return { basis: { from: 'opening', ledger: openingLedger }, missing };
  }
  if (createdAt !== null && createdAt.ledger <= asOfLedger && holes(createdAt.ledger, asOfLedger + 1).length === 0) {
    return { basis: { from: 'creation', at: createdAt }, missing: [] };
  }
  if (openingLedger === null) return { basis: { from: 'none', opening: null }, missing: sinceGenesis };
  if (openingLedger <= asOfLedger) {
    return { basis: { from: 'none', opening: openingLedger }, missing: holes(openingLedger + 1, asOfLedger + 1) };
  }
  const missing = holes(asOfLedger + 1, openingLedger + 1);
  if (missing.length === 0) return { basis: { from: 'backwards', ledger: openingLedger }, missing };
  return { basis: { from: 'none', opening: null }, missing };
}

/** First ledger of the covered stretch that reaches the ledger; null where that ledger isn't covered. */
export function coveredSince(done: readonly LedgerRange[], ledger: number): number | null {
  return unite(done).find((range) => range.from <= ledger && ledger < range.to)?.from ?? null;
}
