// One run, from its cut to its verdict: read both sides, compare, then drifts + run in one transaction.
import { isTrueUpError, messageOf } from '../core/errors.ts';
import { DRIFT_KINDS } from '../core/drift.ts';
import type { Policy } from '../core/policy.ts';
import type { RunSummary, Verdict } from '../core/run.ts';
import { decideVerdict } from '../core/verdict.ts';
import { countPolicy, lockDrifts } from '../store/drift-counts.ts';
import { mergeFindings, type MergeResult } from '../store/findings.ts';
import { beginCheckpoint, discardIfOver } from '../store/run-checkpoints.ts';
import { beginRun, endRun, finishRun, lostRun, type StoredRun } from '../store/runs.ts';
import { forgetVerified } from '../store/skipped.ts';
import { keepStatistics } from '../store/statistics.ts';
import { endExemptionsOf } from './drifts.ts';
import { keepDays } from './run-days.ts';
import { whileHeld } from './run-hold.ts';
import { reason } from './run-reasons.ts';
import { keepSeals } from './run-sealed.ts';
import { narrow } from './run-scope.ts';
import { compareTwoSides } from './run-sides.ts';
import { compare, NOTHING_COUNTED, type RunDeps } from './run-compare.ts';
import { resultDigest, standingOf, summarize, type Outcome } from './run-summary.ts';

export type { RunDeps } from './run-compare.ts';

interface Attempt {
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly signal: AbortSignal;
}

/**
 * Executes a queued run. A side that can't be read ends it INCONCLUSIVE, in a transaction of its own, after the last attempt;
 * before that the error goes to the queue, which tries again.
 */
export async function runReconciliation(deps: RunDeps, runId: string, attempt: Attempt): Promise<void> {
  const run = await beginRun(deps.db.em(), runId);
  // It has ended; its worker may have died before it had cleared up.
  if (run === null) return discardIfOver(deps.db.em(), runId);
  const startedMs = performance.now();
  const policy = narrow(deps.policies.get(run.policy), run);
  if (policy === null) {
    await endRun(deps.db.em(), run, 'failed', {
      reason: 'POLICY_NOT_FOUND',
      message: `policy ${run.policy} is no longer configured`,
    });
    return;
  }
  try {
    if (run.cancelRequested) throw lostRun(run);
    await keepStatistics(deps.db.em());
    const outcome = await whileHeld(deps.db, run, attempt.signal, (signal) =>
      policy.ledger.kind === 'stream' ? compare(deps, policy, run, signal) : compareTwoSides(deps, policy, run, signal),
    );
    await conclude(deps, policy, run, outcome, startedMs);
  } catch (error) {
    await unfinished(deps, policy, run, error, attempt, startedMs);
  } finally {
    // Best effort: housekeeping deletes what this couldn't. A run that will be tried again keeps how far it has come.
    await discardIfOver(deps.db.em(), run.id).catch(() => undefined);
  }
}

/** One transaction: drifts, run, and what the counters are told afterwards. */
async function conclude(
  deps: RunDeps,
  policy: Policy,
  run: StoredRun,
  outcome: Outcome,
  startedMs: number,
): Promise<void> {
  const digest = await resultDigest(deps.db.em(), policy, run.id, outcome);
  // Beforehand, so that what it opens is counted as open and not as found by this run.
  await endExemptionsOf(deps.db, policy.name);
  const done = await deps.db.em().transactional(async (em) => {
    await lockDrifts(em, [policy.name]);
    const merged = await mergeFindings(em, {
      runId: run.id,
      cutAtMs: outcome.frame?.cutAtMs ?? outcome.sidesFrame?.cutAtMs ?? Date.now(),
      policy: policy.name,
      level: policy.level,
      stream: streamOf(policy, outcome),
      sandbox: run.sandbox,
    });
    if (outcome.seals) await keepSeals(em, outcome.seals);
    if (outcome.days) await keepDays(em, policy, outcome.days);
    const totals = await countPolicy(em, policy.name);
    const verdict = decideVerdict(outcome.inconclusive, totals.open);
    const summary = summarize(policy, outcome, merged, totals, digest);
    // Whoever cancelled it, or took it over, must find nothing of it: the transaction is undone.
    if (!(await finishRun(em, run, { verdict, stream: streamOf(policy, outcome), summary }))) throw lostRun(run);
    await forgetVerified(em, policy.name, run);
    await deps.alerts?.noteRun(em, run, policy, verdict, outcome);
    return { verdict, summary, merged };
  });
  report(deps, policy, run, done, startedMs);
}

/** The stream's name, or that of the side which stands for it. */
function streamOf({ ledger }: Policy, { frame }: Outcome): string | null {
  return ledger.kind === 'stream' ? (frame?.stream.name ?? null) : ledger.name;
}

async function unfinished(
  deps: RunDeps,
  policy: Policy,
  run: StoredRun,
  error: unknown,
  attempt: Attempt,
  startedMs: number,
): Promise<void> {
  if (isTrueUpError(error, 'RUN_ALREADY_FINISHED')) {
    // Only while it is still this worker's; its successor goes on undisturbed.
    await endRun(deps.db.em(), run, 'cancelled', null);
    return;
  }
  if (attempt.signal.aborted) throw error;
  // The timetable tries again before it gives a verdict; a person who waits is told at once.
  const last = attempt.attempt >= attempt.maxAttempts || run.trigger === 'manual';
  if (!last) throw error;
  if (!isTrueUpError(error, 'BOOK_UNREADABLE', 'KEY_CONFLICT', 'TOO_MANY_ROWS')) {
    const known = isTrueUpError(error);
    await endRun(deps.db.em(), run, 'failed', {
      reason: known ? error.reason : 'INTERNAL',
      message: known ? messageOf(error) : 'internal error',
    });
    deps.events.runFailed({ runId: run.id, policy: policy.name, error });
    throw error;
  }
  // What was found before the book broke off may be half of a comparison.
  await beginCheckpoint(deps.db.em(), run, null);
  // What is too much for a run is no fault of the book's, and is mended otherwise.
  const unreadable =
    error.reason === 'TOO_MANY_ROWS'
      ? reason('LIMIT_REACHED', null, messageOf(error), error.details.fix ?? 'narrow the scope or the window')
      : reason('BOOK_UNREADABLE', 'book', messageOf(error), error.details.fix ?? 'see `trueup doctor book`');
  await conclude(
    deps,
    policy,
    run,
    {
      frame: null,
      bookFrame: null,
      join: null,
      counts: NOTHING_COUNTED,
      inconclusive: [unreadable],
      underivedItems: [],
      fees: [],
    },
    startedMs,
  );
  if (run.trigger === 'scheduled') throw error;
}

function report(
  deps: RunDeps,
  policy: Policy,
  run: StoredRun,
  done: { verdict: Verdict; summary: RunSummary; merged: MergeResult },
  startedMs: number,
): void {
  const { events } = deps;
  const kinds = Object.fromEntries(DRIFT_KINDS.map((kind) => [kind, done.merged.appearedKinds.get(kind) ?? 0]));
  events.driftsAppearedCounted({ policy: policy.name, count: done.merged.changed, kinds });
  events.driftsResolved({ policy: policy.name, count: done.merged.resolved, cause: 'sides_agree' });
  events.runFinished({
    runId: run.id,
    policy: policy.name,
    trigger: run.trigger,
    verdict: done.verdict,
    counts: done.summary.counts!,
    durationMs: performance.now() - startedMs,
    finishedAt: new Date(),
    inconclusive: done.summary.inconclusive.map((each) => each.reason),
    standing: standingOf(done.summary),
    // Only the timetable's runs speak for the policy.
    partial: run.trigger === 'manual',
  });
}
