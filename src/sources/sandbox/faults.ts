// Faults of a far system, dialled in.
import type { LedgerRange } from '../../core/ledger.ts';

export interface SandboxFaults {
  /** Ledgers that answer LEDGER_UNAVAILABLE, half-open. */
  readonly gaps: readonly LedgerRange[];
  /** Ledgers that answer SOURCE_CORRUPT. */
  readonly corruptLedgers: readonly number[];
  /** How many ledgers the tip is behind what has closed. */
  readonly lagLedgers: number;
  /** Every n-th call is refused with SOURCE_RATE_LIMITED; 0: none is. */
  readonly rateLimitEvery: number;
  readonly retryAfterMs: number;
  /** From this ledger on, history is another one; null: it isn't. */
  readonly divergeFromLedger: number | null;
  /** How many ledgers are kept; null: all. */
  readonly retentionLedgers: number | null;
  /** Every call answers SOURCE_UNAVAILABLE. */
  readonly down: boolean;
  /** How long every call takes at least, milliseconds. */
  readonly latencyMs: number;
}

export const NO_FAULTS: SandboxFaults = {
  gaps: [],
  corruptLedgers: [],
  lagLedgers: 0,
  rateLimitEvery: 0,
  retryAfterMs: 1000,
  divergeFromLedger: null,
  retentionLedgers: null,
  down: false,
  latencyMs: 0,
};

/**
 * Faults by the names that TRUEUP_SANDBOX_FAULTS takes, dialled to sizes that show within minutes: `gap` (ten ledgers),
 * `poison` (one corrupt ledger), `lag` (20 ledgers), `rate-limit` (every fifth call, half a second), `retention` (5,000
 * ledgers), `divergence` (all of history but its first ledger is another one, as after a network reset).
 *
 * @param firstLedger where reading begins: gap and poison lie 300 and 500 ledgers after it.
 */
export function faultsNamed(names: readonly string[], firstLedger: number): Partial<SandboxFaults> {
  const has = (name: string): boolean => names.includes(name);
  return {
    ...(has('gap') && { gaps: [{ from: firstLedger + 300, to: firstLedger + 310 }] }),
    ...(has('poison') && { corruptLedgers: [firstLedger + 500] }),
    ...(has('lag') && { lagLedgers: 20 }),
    ...(has('rate-limit') && { rateLimitEvery: 5, retryAfterMs: 500 }),
    ...(has('retention') && { retentionLedgers: 5_000 }),
    ...(has('divergence') && { divergeFromLedger: 2 }),
  };
}
