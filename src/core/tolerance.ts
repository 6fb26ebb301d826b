// How far two amounts of one movement may lie apart and still count as equal. Integers only.
import { absolute } from './money.ts';
import type { AssetTotal } from './run.ts';

/** One asset's tolerance: so many minor units, or a share of the ledger's amount. */
export interface AmountTolerance {
  /** `*`: every asset without a tolerance of its own. */
  readonly asset: string;
  /** Largest absolute difference, inclusive; null: it is a share. */
  readonly minor: bigint | null;
  /** Hundredths of a percent of the ledger's absolute amount, rounded down to a whole minor unit; null: it isn't a share. */
  readonly basisPoints: number | null;
}

const BASIS_POINTS_OF_ONE = 10_000n;

/** Largest difference that counts as equal for an asset whose amount on the ledger is given, in minor units. */
export type ToleranceOf = (asset: string, ledgerAmount: bigint) => bigint;

export function toleranceOf(tolerances: readonly AmountTolerance[]): ToleranceOf {
  const byAsset = new Map(tolerances.map((each) => [each.asset, each]));
  return (asset, ledgerAmount) => {
    const found = byAsset.get(asset) ?? byAsset.get('*');
    if (found === undefined) return 0n;
    return found.minor ?? (absolute(ledgerAmount) * BigInt(found.basisPoints ?? 0)) / BASIS_POINTS_OF_ONE;
  };
}

/** What tolerances took for equal, by asset; plain values, as they are kept with a run's checkpoint. */
export type AbsorbedByAsset = Record<string, { readonly amount: bigint; readonly count: number }>;

/** Differences of zero are none. */
export function absorb(absorbed: AbsorbedByAsset, asset: string, difference: bigint): void {
  if (difference === 0n) return;
  const total = absorbed[asset] ?? { amount: 0n, count: 0 };
  absorbed[asset] = { amount: total.amount + difference, count: total.count + 1 };
}

export function absorbedTotals(absorbed: AbsorbedByAsset): AssetTotal[] {
  return Object.entries(absorbed)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([asset, total]) => ({ asset, ...total }));
}
