// Faults of a far system, dialled in.
import type { LedgerRange } from '../../core/ledger.ts';
import { TrueUpError } from '../../core/errors.ts';

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
 * Faults from one line of text, separated by commas, ledgers inclusive: `gap=100-120`, `corrupt=77`, `lag=5`,
 * `rate-limit-every=10`, `retry-after-ms=500`, `diverge-from=5000`, `retention=1000`, `latency-ms=50`, `down`.
 *
 * @throws TrueUpError INVALID_CONFIGURATION for a word it doesn't know.
 */
export function parseSandboxFaults(text: string): SandboxFaults {
  let faults = NO_FAULTS;
  for (const word of text.split(',').map((part) => part.trim()).filter(Boolean)) {
    const match = /^([a-z-]+)(?:=(\d{1,10})(?:-(\d{1,10}))?)?$/.exec(word);
    if (!match) throw unknown(word);
    const from = Number(match[2] ?? Number.NaN);
    const to = match[3] === undefined ? from : Number(match[3]);
    if (match[1] === 'down' ? match[2] !== undefined : match[2] === undefined || from > to) throw unknown(word);
    if (match[3] !== undefined && match[1] !== 'gap') throw unknown(word);
    faults = { ...faults, ...fault(match[1]!, from, to, faults, word) };
  }
  return faults;
}

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

function fault(name: string, from: number, to: number, so: SandboxFaults, word: string): Partial<SandboxFaults> {
  switch (name) {
    case 'gap':
      return { gaps: [...so.gaps, { from, to: to + 1 }] };
    case 'corrupt':
      return { corruptLedgers: [...so.corruptLedgers, from] };
    case 'lag':
      return { lagLedgers: from };
    case 'rate-limit-every':
      return { rateLimitEvery: from };
    case 'retry-after-ms':
      return { retryAfterMs: from };
    case 'diverge-from':
      return { divergeFromLedger: from };
    case 'retention':
      return { retentionLedgers: Math.max(1, from) };
    case 'latency-ms':
      return { latencyMs: from };
    case 'down':
      return { down: true };
    default:
      throw unknown(word);
  }
}

function unknown(word: string): TrueUpError {
  return new TrueUpError('INVALID_CONFIGURATION', `${JSON.stringify(word.slice(0, 60))} is no sandbox fault`, {
    fix: 'write for example: gap=100-120,corrupt=77,lag=5,rate-limit-every=10,retry-after-ms=500,diverge-from=5000,retention=1000,latency-ms=50,down',
  });
}
