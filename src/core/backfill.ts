// A backfill: a job that fills a range of ledgers, as it is kept and shown, and the one table of what may follow what.
import type { Layer } from './entry.ts';
import { TrueUpError } from './errors.ts';
import type { LedgerRange } from './ledger.ts';
import type { Failure } from './status.ts';

export const BACKFILL_STATES = [
  'planned',
  'queued',
  'running',
  'throttled',
  'pausing',
  'paused',
  'cancelling',
  'cancelled',
  'blocked',
  'verifying',
  'succeeded',
  'failed',
] as const;
export type BackfillState = (typeof BACKFILL_STATES)[number];

/** What may follow each state; a state without followers is the end. */
export const BACKFILL_TRANSITIONS: Readonly<Record<BackfillState, readonly BackfillState[]>> = {
  // Nobody has a chunk yet, so a wish to pause or to stop is granted at once.
  planned: ['queued', 'paused', 'cancelled', 'failed'],
  queued: ['running', 'throttled', 'blocked', 'paused', 'cancelled', 'failed'],
  running: ['throttled', 'pausing', 'cancelling', 'blocked', 'verifying', 'failed'],
  throttled: ['running', 'pausing', 'cancelling', 'blocked', 'verifying', 'failed'],
  blocked: ['running', 'throttled', 'pausing', 'cancelling', 'failed'],
  // Back to running where the check found a hole that somebody has made meanwhile.
  verifying: ['running', 'pausing', 'cancelling', 'succeeded', 'failed'],
  // Resumed before the last chunk in hand was given back.
  pausing: ['paused', 'queued', 'cancelling', 'failed'],
  paused: ['queued', 'cancelled'],
  cancelling: ['cancelled'],
  cancelled: [],
  succeeded: [],
  failed: [],
};

/** States in which chunks are handed out. */
export const WORKING_STATES = [
  'queued',
  'running',
  'throttled',
  'blocked',
  'verifying',
] as const satisfies readonly BackfillState[];

export function isFinalState(state: BackfillState): boolean {
  return BACKFILL_TRANSITIONS[state].length === 0;
}

/** States that are no end: their jobs hold their range. */
export const ACTIVE_STATES: readonly BackfillState[] = BACKFILL_STATES.filter((state) => !isFinalState(state));

/** The states from which `to` may be reached, for a statement that changes the state only from one of them. */
export function statesBefore(to: BackfillState): BackfillState[] {
  return BACKFILL_STATES.filter((state) => BACKFILL_TRANSITIONS[state].includes(to));
}

/** What a caller's wish does to a job in a state. */
export type BackfillWish = 'pause' | 'resume' | 'cancel';

const WISHES: Readonly<
  Record<BackfillWish, { readonly granted: BackfillState; readonly asked: BackfillState | null }>
> = {
  pause: { granted: 'paused', asked: 'pausing' },
  resume: { granted: 'queued', asked: null },
  cancel: { granted: 'cancelled', asked: 'cancelling' },
};

/**
 * The state that a wish leads to; null where the job is there already, so that a wish may be repeated.
 *
 * @throws TrueUpError INVALID_TRANSITION, RUN_ALREADY_FINISHED: the message names what would work.
 */
export function stateAfterWish(state: BackfillState, wish: BackfillWish): BackfillState | null {
  const { granted, asked } = WISHES[wish];
  if (state === granted || state === asked) return null;
  // It goes on already.
  if (wish === 'resume' && (WORKING_STATES as readonly BackfillState[]).concat('planned').includes(state)) return null;
  if (isFinalState(state)) {
    throw new TrueUpError('RUN_ALREADY_FINISHED', `the backfill has ${state} already, so there is nothing to ${wish}`, {
      fix: state === 'succeeded' ? 'see its digest with GetBackfill' : 'start another one over the same range',
    });
  }
  const next = [granted, asked].find((each) => each !== null && BACKFILL_TRANSITIONS[state].includes(each));
  if (next) return next;
  const possible = (Object.keys(WISHES) as BackfillWish[]).filter(
    (other) =>
      other !== wish &&
      [WISHES[other].granted, WISHES[other].asked].some((to) => to && BACKFILL_TRANSITIONS[state].includes(to)),
  );
  throw new TrueUpError('INVALID_TRANSITION', `a backfill that is ${state} can't be ${WORDS[wish]}`, {
    fix: possible.length > 0 ? `it can be ${possible.map((other) => WORDS[other]).join(' or ')}` : 'wait for its end',
  });
}

const WORDS: Readonly<Record<BackfillWish, string>> = { pause: 'paused', resume: 'resumed', cancel: 'cancelled' };

export interface BackfillLimits {
  /** Null: no limit but the source's. */
  readonly ledgersPerSecond: number | null;
  /** Reads of the source; null: no limit but the source's. */
  readonly requestsPerSecond: number | null;
  /** Chunks in hand at once over all replicas; 0: as many as there are workers. */
  readonly concurrency: number;
  /** Ledgers of one read; 0: what the source takes at once. */
  readonly batchSize: number;
}

export const NO_LIMITS: BackfillLimits = {
  ledgersPerSecond: null,
  requestsPerSecond: null,
  concurrency: 0,
  batchSize: 0,
};

export const STALL_CAUSES = ['fetch', 'rate_limit', 'decode', 'write', 'throttled', 'paused', 'no_worker'] as const;
export type StallCause = (typeof STALL_CAUSES)[number];

/** Per second over three spans; null where nothing was measured. */
export interface SpanRates {
  readonly last10s: number | null;
  readonly last1m: number | null;
  readonly life: number | null;
}

export interface BackfillProgress {
  /** Rises with every change, over restarts too. */
  readonly sequence: bigint;
  readonly totalLedgers: number;
  readonly missingLedgers: number;
  readonly scannedLedgers: number;
  readonly skippedLedgers: number;
  readonly quarantinedLedgers: number;
  readonly unavailableLedgers: number;
  readonly insertedEntries: bigint;
  readonly duplicateEntries: bigint;
  /** Inclusive; null: nothing yet. */
  readonly contiguousThrough: number | null;
  readonly lastLedger: number | null;
  /** In chunks of 64 ledgers, the unit of coverage: how much a worker takes at once changes, this doesn't. */
  readonly totalChunks: number;
  readonly doneChunks: number;
  readonly percent: number;
  readonly ledgerRates: SpanRates;
  readonly entryRates: SpanRates;
  readonly retries: bigint;
  readonly stall: { readonly cause: StallCause; readonly since: Date } | null;
  readonly etaMs: number | null;
  readonly etaUncertaintyMs: number | null;
  readonly workers: number;
  /** Ledgers between the oldest that the source keeps and the next one to read; null: not known, or nothing left. */
  readonly retentionMarginLedgers: number | null;
  readonly updatedAt: Date;
}

/** What a dry run found; of the ranges at most 1,000 each are listed. */
export interface DryRunReport {
  readonly missingRanges: readonly LedgerRange[];
  readonly missingRangeCount: number;
  readonly unavailableRanges: readonly LedgerRange[];
  readonly conflictRanges: readonly LedgerRange[];
  readonly chunks: number;
  readonly readLedgers: number;
  readonly insertEntries: bigint;
  readonly duplicateEntries: bigint;
  readonly conflictLedgers: number;
  readonly requests: number;
  readonly bytes: bigint;
  readonly estimatedDurationMs: number | null;
}

export interface Backfill {
  /** UUID. */
  readonly id: string;
  /** Name of the stream. */
  readonly stream: string;
  /** Null: more than one. */
  readonly layer: Layer | null;
  readonly range: LedgerRange;
  /** As asked for; null: whichever serves the range. */
  readonly source: string | null;
  /** Null: everything that is watched. */
  readonly watch: readonly string[] | null;
  readonly dryRun: boolean;
  readonly reread: boolean;
  readonly limits: BackfillLimits;
  readonly state: BackfillState;
  readonly progress: BackfillProgress;
  readonly report: DryRunReport | null;
  readonly error: Failure | null;
  /** Of everything covered; null until it has succeeded. */
  readonly digest: string | null;
  readonly reason: string | null;
  readonly requester: string;
  readonly requestId: string | null;
  readonly sandbox: boolean;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly updatedAt: Date;
  readonly completedAt: Date | null;
}

/** Absent fields, and empty lists, select everything. */
export interface BackfillFilter {
  readonly states?: readonly BackfillState[];
  readonly stream?: string;
  readonly dryRun?: boolean;
  /** Inclusive. */
  readonly createdFrom?: Date;
  /** Exclusive. */
  readonly createdTo?: Date;
}

/** One state of a watched backfill; the sequence is where a lost watcher resumes. */
export interface BackfillEvent {
  readonly sequence: bigint;
  readonly backfill: Backfill;
}
