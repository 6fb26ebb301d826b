// The built-in network: a deterministic ledger history made from a seed, at a chosen rate, with faults dialled in.
import { TrueUpError } from '../core/errors.ts';
import { LAYERS } from '../core/entry.ts';
import type { LedgerHeader, LedgerRange, LedgerRecord } from '../core/ledger.ts';
import { watchPredicate } from '../core/watch.ts';
import { keepPayload } from '../core/raw-payload.ts';
import { castOf, type Cast } from './sandbox/cast.ts';
import { createChain, type Chain } from './sandbox/chain.ts';
import { NO_FAULTS, type SandboxFaults } from './sandbox/faults.ts';
import { entriesOf, underivedOf } from './sandbox/legs.ts';
import { BLOCK_LEDGERS } from './sandbox/plan.ts';
import type { OpeningBalance, ReadRequest, Source } from './source.ts';

export const SANDBOX_PASSPHRASE = 'TrueUp Sandbox Network';
export const SANDBOX_DEFAULT_SEED = 'trueup';
/**
 * When ledger 1 closed unless said otherwise: 2026-01-01T00:00:00Z. A fixed moment, so that a restart and a second
 * replica see the same history without having to store anything.
 */
export const SANDBOX_STARTED_AT_MS = 1_767_225_600_000;
export const SANDBOX_DEFAULT_OPS_PER_LEDGER = 3;
/** How much history a first start reads: more than the longest grace period, so that its first verdict has something to say. */
export const SANDBOX_HISTORY_MS = 40 * 60_000;

const MAX_LEDGER = 2_147_483_000;
const MAX_SPAN_LEDGERS = 256;
const MAX_LEDGERS_PER_SECOND = 100_000;
const MAX_OPS_PER_LEDGER = 1_000;

export interface SandboxOptions {
  /** Any text; another seed is another network with other accounts. */
  readonly seed?: string;
  /** Above 0; ledgers close at this rate by the clock. Default 1. */
  readonly ledgersPerSecond?: number;
  /** Unix milliseconds at which ledger 1 closed; with a high rate, set it, or ledger numbers run out. */
  readonly startedAtMs?: number;
  /** Operations per ledger on average, 0 to 1,000, apart from settlements. Default 3. */
  readonly opsPerLedger?: number;
  readonly faults?: Partial<SandboxFaults>;
  /** Unix milliseconds. Default Date.now. */
  readonly now?: () => number;
}

export interface SandboxSource extends Source {
  readonly kind: 'sandbox';
  /** The accounts that live on this network. */
  readonly cast: Cast;
  /** Dials faults in and out while the source runs. */
  setFaults(faults: Partial<SandboxFaults>): void;
  /** The last ledger that closed at or before a time in Unix milliseconds, without faults; 0: none yet. */
  sequenceAt(atMs: number): number;
  /** What accounts hold at the close of a ledger, without faults, by arithmetic; one without any balance has no row. */
  balancesAt(accounts: readonly string[], sequence: number): readonly OpeningBalance[];
}

/**
 * A network that needs no network: every ledger can be read at once, in constant time, without those before it.
 *
 * @throws TrueUpError INVALID_CONFIGURATION for options out of range.
 */
export function createSandboxSource(options: SandboxOptions = {}): SandboxSource {
  const { seed, ledgersPerSecond, startedAtMs, opsPerLedger, now } = checkOptions(options);
  let faults: SandboxFaults = { ...NO_FAULTS, ...options.faults };
  let chain: Chain = chainOf();
  let calls = 0;

  function chainOf(): Chain {
    const { divergeFromLedger } = faults;
    return createChain({ seed, opsPerLedger, startedAtMs, ledgersPerSecond, divergeFromLedger });
  }

  const sequenceAt = (atMs: number): number =>
    Math.max(0, Math.floor(((atMs - startedAtMs) * ledgersPerSecond) / 1000) + 1);

  const bounds = (): { oldest: number; tip: number } => {
    const tip = sequenceAt(now()) - faults.lagLedgers;
    if (tip < 1) throw new TrueUpError('SOURCE_UNAVAILABLE', 'the sandbox network has not closed its first ledger yet');
    if (tip > MAX_LEDGER) {
      throw new TrueUpError('INVALID_CONFIGURATION', `the sandbox would be at ledger ${tip}, beyond ${MAX_LEDGER}`, {
        fix: 'lower TRUEUP_SANDBOX_LEDGERS_PER_SECOND, or let its history begin later',
      });
    }
    return { tip, oldest: faults.retentionLedgers === null ? 1 : Math.max(1, tip - faults.retentionLedgers + 1) };
  };

  const call = async (signal: AbortSignal): Promise<void> => {
    signal.throwIfAborted();
    if (faults.latencyMs > 0) await pause(faults.latencyMs, signal);
    if (faults.down) throw new TrueUpError('SOURCE_UNAVAILABLE', 'the sandbox is down, as it was told to be');
    calls++;
    if (faults.rateLimitEvery > 0 && calls % faults.rateLimitEvery === 0) {
      const { retryAfterMs } = faults;
      throw new TrueUpError('SOURCE_RATE_LIMITED', 'the sandbox refuses this call, as it was told to', {
        retryAfterMs,
      });
    }
  };

  /** Refuses a range that isn't there whole, naming the part that isn't. */
  const checkRange = (range: LedgerRange): void => {
    const { oldest, tip } = bounds();
    if (range.from < oldest)
      throw unavailable({ from: range.from, to: Math.min(range.to, oldest) }, 'is no longer kept');
    if (range.to > tip + 1) {
      throw new TrueUpError('LEDGER_NOT_YET_CLOSED', `ledger ${range.to - 1} has not closed; the last one is ${tip}`, {
        range: { from: Math.max(range.from, tip + 1), to: range.to },
      });
    }
    for (const gap of faults.gaps) {
      const missing = { from: Math.max(gap.from, range.from), to: Math.min(gap.to, range.to) };
      if (missing.from < missing.to) throw unavailable(missing, 'is missing, as it was told to be');
    }
    const corrupt = faults.corruptLedgers.find((ledger) => ledger >= range.from && ledger < range.to);
    if (corrupt !== undefined) {
      const error = new TrueUpError('SOURCE_CORRUPT', `ledger ${corrupt} is corrupt, as it was told to be`, {
        range: { from: corrupt, to: corrupt + 1 },
      });
      throw keepPayload(error, { format: 'text', bytes: Buffer.from(`ledger ${corrupt} of the sandbox, corrupted`) });
    }
  };

  const header = (sequence: number): LedgerHeader => {
    checkRange({ from: sequence, to: sequence + 1 });
    return chain.header(sequence);
  };

  return {
    kind: 'sandbox',
    id: `sandbox:${seed}`,
    networkPassphrase: SANDBOX_PASSPHRASE,
    layers: LAYERS,
    proof: 'chained',
    maxSpanLedgers: MAX_SPAN_LEDGERS,
    cast: castOf(seed),
    sequenceAt,
    balancesAt: (accounts, sequence) => chain.balances(accounts, sequence),
    setFaults(change) {
      const before = faults.divergeFromLedger;
      faults = { ...faults, ...change };
      if (faults.divergeFromLedger !== before) chain = chainOf();
    },
    async tip(signal) {
      await call(signal);
      const { oldest, tip } = bounds();
      const { sequence, hash, closeTime } = chain.header(tip);
      return { sequence, hash, closeTime, oldest };
    },
    async header(sequence, signal) {
      await call(signal);
      return header(sequence);
    },
    async read(request, signal) {
      await call(signal);
      checkSpan(request.range);
      checkRange(request.range);
      const began = performance.now();
      const records = recordsOf(chain, request);
      return {
        range: request.range,
        layers: request.layers,
        proof: 'chained',
        records,
        last: chain.header(request.range.to - 1),
        // Nothing comes from outside: the ledgers are made here.
        bytesRead: 0,
        decodeMs: performance.now() - began,
      };
    },
    async openingBalances(accounts, signal) {
      await call(signal);
      return chain.balances(accounts, bounds().tip);
    },
    async close() {},
  };
}

/**
 * The ledger at which a first start begins to read: SANDBOX_HISTORY_MS back, on a chunk's edge.
 */
export function sandboxStartLedger(source: Pick<SandboxSource, 'sequenceAt'>, nowMs: number): number {
  const sequence = source.sequenceAt(nowMs - SANDBOX_HISTORY_MS);
  return Math.max(1, sequence - (sequence % BLOCK_LEDGERS));
}

function recordsOf(chain: Chain, request: ReadRequest): LedgerRecord[] {
  const watched = watchPredicate(request.watch);
  const layers = LAYERS.filter((layer) => request.layers.includes(layer));
  const records: LedgerRecord[] = [];
  let prevHash = chain.header(request.range.from).prevHash;
  for (let sequence = request.range.from; sequence < request.range.to; sequence++) {
    const ledger = chain.planned(sequence);
    const header = chain.header(sequence, prevHash);
    records.push({
      ...header,
      txCount: ledger.hashes.filter((hash) => hash !== null).length,
      entries: entriesOf(ledger, layers, watched),
      underived: underivedOf(ledger, watched),
    });
    prevHash = header.hash;
  }
  return records;
}

function checkSpan(range: LedgerRange): void {
  const { from, to } = range;
  if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 1 && from < to && to - from <= MAX_SPAN_LEDGERS)
    return;
  throw new TrueUpError('INVALID_REQUEST', `[${from}, ${to}) is no range of 1 to ${MAX_SPAN_LEDGERS} ledgers`);
}

function checkOptions(options: SandboxOptions): Required<Omit<SandboxOptions, 'faults'>> {
  const { seed = SANDBOX_DEFAULT_SEED, ledgersPerSecond = 1, startedAtMs = SANDBOX_STARTED_AT_MS } = options;
  const { opsPerLedger = SANDBOX_DEFAULT_OPS_PER_LEDGER, now = Date.now } = options;
  if (!(ledgersPerSecond > 0 && ledgersPerSecond <= MAX_LEDGERS_PER_SECOND)) {
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      `TRUEUP_SANDBOX_LEDGERS_PER_SECOND must be above 0 and at most ${MAX_LEDGERS_PER_SECOND}`,
    );
  }
  if (!Number.isInteger(opsPerLedger) || opsPerLedger < 0 || opsPerLedger > MAX_OPS_PER_LEDGER) {
    throw new TrueUpError(
      'INVALID_CONFIGURATION',
      `the sandbox's operations per ledger must be 0 to ${MAX_OPS_PER_LEDGER}`,
    );
  }
  if (!Number.isSafeInteger(startedAtMs)) {
    throw new TrueUpError('INVALID_CONFIGURATION', "the sandbox's start must be Unix milliseconds");
  }
  return { seed, ledgersPerSecond, startedAtMs, opsPerLedger, now };
}

function unavailable(range: LedgerRange, why: string): TrueUpError {
  const words = range.to - range.from === 1 ? `ledger ${range.from}` : `ledgers ${range.from} to ${range.to - 1}`;
  return new TrueUpError('LEDGER_UNAVAILABLE', `${words} ${why}`, { range });
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, ms);
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener('abort', abort, { once: true });
  });
}
