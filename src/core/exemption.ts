// A difference that somebody answers for, until a day: it is counted apart and never alerts.
import type { DriftKind } from './drift.ts';
import type { Finding } from './match.ts';

export interface Exemption {
  /** What it is about; all that are given must hold. */
  readonly match: {
    readonly key?: string;
    /** On either side. */
    readonly account?: string;
    readonly asset?: string;
    /** The only way in which the sides differ: an exemption for one kind hides no other. */
    readonly kind?: DriftKind;
  };
  readonly reason: string;
  readonly owner: string;
  /** From here on it has no effect. */
  readonly expiresAt: Date;
}

/** Why a finding is exempt. */
export type FindingExemption = Omit<Exemption, 'match'>;

export interface Exemptions {
  /** The exemption of a finding; null where none holds. */
  of(key: string, finding: Pick<Finding, 'kinds' | 'ledger' | 'book'>): FindingExemption | null;
  /** Those that are over. */
  readonly expired: readonly Exemption[];
}

export const NO_EXEMPTIONS: Exemptions = { of: () => null, expired: [] };

/** A policy's exemptions as they stand at a moment, Unix ms. Of several that hold the one that lasts longest counts. */
export function exemptionsAt(declared: readonly Exemption[], nowMs: number): Exemptions {
  const expired = declared.filter((each) => each.expiresAt.getTime() <= nowMs);
  const valid = declared
    .filter((each) => each.expiresAt.getTime() > nowMs)
    .sort((a, b) => b.expiresAt.getTime() - a.expiresAt.getTime());
  return {
    expired,
    of(key, finding) {
      const found = valid.find(({ match }) => holds(match, key, finding));
      return found === undefined ? null : { reason: found.reason, owner: found.owner, expiresAt: found.expiresAt };
    },
  };
}

function holds(
  match: Exemption['match'],
  key: string,
  { kinds, ledger, book }: Pick<Finding, 'kinds' | 'ledger' | 'book'>,
): boolean {
  return (
    (match.key === undefined || match.key === key) &&
    (match.account === undefined || ledger?.account === match.account || book?.account === match.account) &&
    (match.asset === undefined || ledger?.asset === match.asset || book?.asset === match.asset) &&
    (match.kind === undefined || kinds.every((kind) => kind === match.kind))
  );
}
