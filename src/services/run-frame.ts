// What a run compares of the ledger: its cut, its window, and what of both was read.
import type { EntityManager } from '@mikro-orm/postgresql';
import { intersect, rangeLength, subtract } from '../core/coverage.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { Policy } from '../core/policy.ts';
import type { Inconclusive } from '../core/run.ts';
import { coverageOf } from '../store/coverage-read.ts';
import { closeTimeAfter, closeTimeBefore, ledgerAfterTime, snapshotMoment } from '../store/ledger-side.ts';
import type { StoredRun } from '../store/runs.ts';
import { currentStream, readFollower, type FollowerRow, type Stream } from '../store/streams.ts';
import { rangesReason, reason } from './run-reasons.ts';

/** How the source is followed, as far as a verdict depends on it. */
export interface Following {
  /** Inclusive; where following ends, so that the network's going on is no lag; null: never. */
  readonly endLedger: number | null;
  /** A source that hasn't answered for this long is unavailable, whatever it said before. */
  readonly maxSilenceMs: number;
}

export interface RunFrame {
  readonly stream: Stream;
  readonly follower: FollowerRow;
  readonly cutLedger: number;
  /** Unix ms. */
  readonly cutClosedMs: number;
  readonly cutAtMs: number;
  readonly commitPosition: string;
  readonly window: LedgerRange;
  /** Close time of the last ledger before the window, Unix ms: what happened later belongs to it. */
  readonly windowFromMs: number;
  /** The newest ledger that was looked at, and when it closed: the cut's, unless a caller asked for an older range. */
  readonly headLedger: number;
  readonly headClosedMs: number;
  readonly done: readonly LedgerRange[];
  /** Ledgers of the window that were not read. */
  readonly missing: readonly LedgerRange[];
  /** Times in which any ledgers were not read, also before history began, widened by the lookaround. */
  readonly missingTimes: readonly MissingTime[];
  readonly wholeHistory: boolean;
}

interface MissingTime {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Holes whose times are looked up one by one; older ones count as one hole from the first to the last of them. */
const MAX_HOLES = 100;
const HOUR_MS = 3_600_000;
/** As far as dates go; unlike Infinity it survives being kept as JSON. */
const END_OF_TIME_MS = 8.64e15;

/** Fixes the cut and the window; null (with the reason added) where there is nothing to cut yet. */
export async function frameRun(
  em: EntityManager,
  networkPassphrase: string,
  policy: Policy,
  run: Pick<StoredRun, 'request'>,
  accounts: readonly string[],
  following: Following,
  inconclusive: Inconclusive[],
): Promise<RunFrame | null> {
  const stream = await currentStream(em, networkPassphrase);
  const follower = stream && (await readFollower(em, stream.id));
  if (!stream || !follower || (follower.nextLedger === follower.startLedger && run.request.range === null)) {
    inconclusive.push(
      reason(
        'SOURCE_UNAVAILABLE',
        'ledger',
        'nothing was read from the source yet',
        'see `trueup status` for the source and its last error',
      ),
    );
    return null;
  }
  const moment = await snapshotMoment(em);
  const { range } = run.request;
  const closedMs = async (ledger: number) => (await closeTimeBefore(em, stream.id, policy.layer, ledger)) ?? 0;
  const cutLedger = (range?.to ?? follower.nextLedger) - 1;
  const headLedger = Math.max(cutLedger, follower.nextLedger - 1);
  const [cutClosedMs, headClosedMs] = [await closedMs(cutLedger), await closedMs(headLedger)];
  const from = range?.from ?? (await windowStart(em, policy, stream, follower, cutClosedMs));
  const window = { from: Math.min(from, cutLedger), to: cutLedger + 1 };
  const coverage = await coverageOf(em, stream.id, policy.layer, accounts);
  const missing = subtract(window, coverage.done);
  addCoverageReasons(missing, coverage, inconclusive);
  if (range === null) addSourceReasons(stream, follower, policy, cutClosedMs, moment.nowMs, following, inconclusive);
  const holes = subtract({ from: 1, to: headLedger + 1 }, coverage.done);
  return {
    stream,
    follower,
    cutLedger,
    cutClosedMs,
    cutAtMs: moment.nowMs,
    commitPosition: moment.position,
    window,
    windowFromMs: await windowFromTime(em, stream, policy, window, coverage.done, range === null ? cutClosedMs : null),
    headLedger,
    headClosedMs,
    done: coverage.done,
    missing,
    missingTimes: await timesOf(em, stream, policy, holes),
    wholeHistory: holes.length === 0,
  };
}

async function windowStart(
  em: EntityManager,
  policy: Policy,
  stream: Stream,
  follower: FollowerRow,
  cutClosedMs: number,
): Promise<number> {
  if (policy.windowHours === null) return follower.startLedger;
  const first = await ledgerAfterTime(em, stream.id, policy.layer, cutClosedMs - policy.windowHours * HOUR_MS);
  // Nothing before the stream's start is claimed.
  return Math.max(follower.startLedger, first ?? follower.startLedger);
}

/**
 * From when on the book's rows belong to the window. Where the ledger before it was never read, that is the first close that is
 * known inside it: what the book has from before can't be told apart from what lies before the window.
 */
async function windowFromTime(
  em: EntityManager,
  stream: Stream,
  policy: Policy,
  window: LedgerRange,
  done: readonly LedgerRange[],
  cutClosedMs: number | null,
): Promise<number> {
  const before = { from: window.from - 1, to: window.from };
  if (intersect([before], done).length > 0)
    return (await closeTimeBefore(em, stream.id, policy.layer, before.from)) ?? 0;
  if (window.from > 1) return (await closeTimeAfter(em, stream.id, policy.layer, window.from)) ?? 0;
  return cutClosedMs === null || policy.windowHours === null
    ? 0
    : Math.max(0, cutClosedMs - policy.windowHours * HOUR_MS);
}

/** A movement of a hole may be in the book with any time between the closes around it, and the lookaround on either side. */
async function timesOf(
  em: EntityManager,
  stream: Stream,
  policy: Policy,
  holes: readonly LedgerRange[],
): Promise<MissingTime[]> {
  const older = holes.slice(0, -MAX_HOLES);
  const merged =
    older.length === 0 ? holes : [{ from: older[0]!.from, to: older.at(-1)!.to }, ...holes.slice(-MAX_HOLES)];
  const times: MissingTime[] = [];
  for (const hole of merged) {
    const before = await closeTimeBefore(em, stream.id, policy.layer, hole.from - 1);
    const after = await closeTimeAfter(em, stream.id, policy.layer, hole.to);
    times.push({
      fromMs: (before ?? -END_OF_TIME_MS) - policy.lookaroundMs,
      toMs: (after ?? END_OF_TIME_MS) + policy.lookaroundMs,
    });
  }
  return times;
}

function addCoverageReasons(
  missing: readonly LedgerRange[],
  coverage: { readonly quarantined: readonly LedgerRange[]; readonly unavailable: readonly LedgerRange[] },
  inconclusive: Inconclusive[],
): void {
  const setApart = [
    [
      'LEDGER_QUARANTINED',
      coverage.quarantined,
      'could not be read as they should be',
      'see `trueup status`, then read them from another source',
    ],
    [
      'LEDGER_UNAVAILABLE',
      coverage.unavailable,
      'are no longer kept by the source',
      'read them from a source with older history',
    ],
  ] as const;
  let unexplained = missing;
  for (const [name, ranges, what, fix] of setApart) {
    const hit = missing.flatMap((gap) => subtract(gap, subtract(gap, ranges)));
    if (hit.length > 0)
      inconclusive.push(rangesReason(name, hit, `${rangeLength(hit)} ledgers of the window ${what}`, fix));
    unexplained = unexplained.flatMap((gap) => subtract(gap, ranges));
  }
  if (unexplained.length > 0) {
    inconclusive.push(
      rangesReason(
        'COVERAGE_GAP',
        unexplained,
        `${rangeLength(unexplained)} ledgers of the window were not read for every account in scope`,
        'see `trueup gaps`; newly watched accounts need a backfill',
      ),
    );
  }
}

function addSourceReasons(
  stream: Stream,
  follower: FollowerRow,
  policy: Policy,
  cutClosedMs: number,
  nowMs: number,
  following: Following,
  inconclusive: Inconclusive[],
): void {
  const { lastErrorAt, lastSuccessAt, tipClosedAt } = follower;
  if (stream.state === 'diverged') {
    inconclusive.push(
      reason(
        'SOURCE_DIVERGED',
        'ledger',
        follower.lastErrorMessage ?? 'the source serves another history',
        'open a new epoch after a reset, or point TrueUp at the right network',
      ),
    );
    return;
  }
  const silentMs = lastSuccessAt === null ? Infinity : nowMs - lastSuccessAt.getTime();
  const failing = lastErrorAt !== null && (lastSuccessAt === null || lastErrorAt > lastSuccessAt);
  if (failing || silentMs > following.maxSilenceMs) {
    const words = failing
      ? `the source fails: ${follower.lastErrorMessage ?? 'no message'}`
      : `the source has not answered for ${Math.round(silentMs / 1000)} s`;
    inconclusive.push(
      reason('SOURCE_UNAVAILABLE', 'ledger', words, 'see `trueup status`; ledgers after the cut are unknown'),
    );
    return;
  }
  // Where following ends is no lag.
  const isDone = following.endLedger !== null && follower.nextLedger > following.endLedger;
  if (!isDone && tipClosedAt !== null && tipClosedAt.getTime() - cutClosedMs > policy.grace.missingInDbMs) {
    const behind = (follower.tipLedger ?? follower.nextLedger) - (follower.nextLedger - 1);
    inconclusive.push(
      reason(
        'COVERAGE_GAP',
        'ledger',
        `still catching up: ${behind} ledgers behind the tip`,
        'wait until `trueup status` says synced',
      ),
    );
  }
}
