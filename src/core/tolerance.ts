// How far two amounts of one movement may lie apart and still count as equal. Integers only.
import { absolute } from './money.ts';

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
