// One run, from its cut to its verdict: read both sides, compare, then drifts + run in one transaction.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Book, BookSide } from '../core/book.ts';
import { intersect, rangeLength } from '../core/coverage.ts';
import { isTrueUpError, messageOf } from '../core/errors.ts';
import { DRIFT_KINDS } from '../core/drift.ts';
import type { Policy } from '../core/policy.ts';
import type { Inconclusive, RunCounts, RunSummary, UnderivedItem, Verdict } from '../core/run.ts';
import { decideVerdict } from '../core/verdict.ts';
import type { Database } from '../store/database.ts';
import { deleteFindings, findingsInOrder, mergeFindings, policyTotals, type MergeResult } from '../store/drifts.ts';
import { feeTotals, withLedgerSnapshot } from '../store/ledger-side.ts';
import { beginRun, endRun, finishRun, type StoredRun } from '../store/runs.ts';
import type { Events } from '../telemetry/events.ts';
import { compareBalances, recheckOpenBalances } from './run-balances.ts';
import { compareWindow, recheckOpenDrifts } from './run-entries.ts';
import { createFindingSink, type FindingSink } from './run-findings.ts';
import {
  addBookReasons,
  frameBook,
  frameRun,
  kindsOf,
  MAX_LISTED,
  reason,
  resolveJoin,
  type BookFrame,
  type ResolvedJoin,
  type RunFrame,
} from './run-scope.ts';

export interface RunDeps {
  readonly db: Database;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly bookOf: (policy: Policy) => Book;
  readonly networkPassphrase: string;
  readonly events: Events;
}

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
  if (run === null) return;
  const startedMs = performance.now();
  const policy = narrow(deps.policies.get(run.policy), run);
  if (policy === null) {
    await endRun(deps.db.em(), run.id, 'failed', { reason: 'POLICY_NOT_FOUND', message: `policy ${run.policy} is no longer configured` });
    return;
  }
  try {
    await deleteFindings(deps.db.em(), run.id);
    const outcome = await compare(deps, policy, run, attempt.signal);
    await conclude(deps, policy, run, outcome, startedMs);
  } catch (error) {
    await unfinished(deps, policy, run, error, attempt, startedMs);
  }
}

interface Outcome {
  readonly frame: RunFrame | null;
  readonly bookFrame: BookFrame | null;
  readonly join: ResolvedJoin | null;
  readonly counts: Pick<RunCounts, 'ledgerRecords' | 'bookRecords' | 'matched' | 'pending' | 'underived' | 'skipped'>;
  readonly inconclusive: readonly Inconclusive[];
  readonly underivedItems: readonly UnderivedItem[];
  readonly fees: RunSummary['feeTotals'];
}

const NOTHING_COUNTED: Outcome['counts'] = { ledgerRecords: 0, bookRecords: 0, matched: 0, pending: 0, underived: 0, skipped: 0 };

async function compare(deps: RunDeps, policy: Policy, run: StoredRun, signal: AbortSignal): Promise<Outcome> {
  await using book = await deps.bookOf(policy).open(policy.level, signal);
  return await withLedgerSnapshot(deps.db, async (em) => {
    const inconclusive: Inconclusive[] = [];
    const bookFrame = await frameBook(book, policy, inconclusive, signal);
    const frame = await frameRun(em, deps.networkPassphrase, policy, run, bookFrame.accounts, inconclusive);
    const nothing = { frame, bookFrame, join: null, counts: NOTHING_COUNTED, underivedItems: [], fees: [] };
    if (frame === null) return { ...nothing, inconclusive };
    addBookReasons(bookFrame, book.describe(), policy, frame.cutClosedMs, inconclusive);
    const sink = createFindingSink(deps.db, run.id, policy.name);
    const side = { em, policy, frame, book, sink, signal };
    if (policy.level === 'balances') {
      const { counts, underivedItems } = await compareBalances(side, inconclusive);
      await recheckOpenBalances(side);
      return { ...nothing, counts: { ...NOTHING_COUNTED, ...counts }, underivedItems, inconclusive };
    }
    return compareEntries(deps, run, { ...side, bookFrame }, nothing, inconclusive);
  });
}

async function compareEntries(
  deps: RunDeps,
  run: StoredRun,
  side: {
    em: EntityManager;
    policy: Policy;
    frame: RunFrame;
    book: BookSide;
    bookFrame: BookFrame;
    sink: FindingSink;
    signal: AbortSignal;
  },
  nothing: Omit<Outcome, 'inconclusive'>,
  inconclusive: Inconclusive[],
): Promise<Outcome> {
  const { em, policy, frame, book, bookFrame, signal } = side;
  const join = await resolveJoin(book, policy, inconclusive, signal);
  if (join === null) return { ...nothing, inconclusive };
  const scope = {
    streamId: frame.stream.id,
    layer: policy.layer,
    form: join.form,
    kinds: kindsOf(policy),
    accounts: bookFrame.accounts,
  };
  const entryRun = { ...side, join, scope };
  const counts = await compareWindow(entryRun);
  if (counts.keysMet === 0 && counts.ledgerRecords > 0 && counts.bookRecords > 0) {
    // Not thousands of drifts: two sides that never meet were joined on the wrong thing.
    await deleteFindings(deps.db.em(), run.id);
    inconclusive.push(
      reason('KEYS_DISJOINT', null, `none of the book's keys is a key of the ledger, joined as ${join.form}`, 'see `trueup doctor book` for the keys of both sides'),
    );
    return { ...nothing, join, counts: { ...NOTHING_COUNTED, ledgerRecords: counts.ledgerRecords, bookRecords: counts.bookRecords }, inconclusive };
  }
  await recheckOpenDrifts(entryRun);
  if (counts.skipped > 0 && inconclusive.length === 0) {
    inconclusive.push(
      reason('COVERAGE_GAP', 'ledger', `${counts.skipped} book rows without a time can't be looked for in a history that isn't whole`, 'give the rows occurred_at or ledger'),
    );
  }
  const { drifts: _, keysMet: __, ...recorded } = counts;
  return { ...nothing, join, counts: { ...NOTHING_COUNTED, ...recorded }, inconclusive, fees: await feeTotals(em, scope, frame.window) };
}

/** One transaction: drifts, run, and what the counters are told afterwards. */
async function conclude(deps: RunDeps, policy: Policy, run: StoredRun, outcome: Outcome, startedMs: number): Promise<void> {
  const digest = await resultDigest(deps.db.em(), policy, run, outcome);
  const done = await deps.db.em().transactional(async (em) => {
    const merged = await mergeFindings(em, {
      runId: run.id,
      policy: policy.name,
      level: policy.level,
      stream: outcome.frame?.stream.name ?? null,
      sandbox: run.sandbox,
    });
    const totals = await policyTotals(em, policy.name);
    const verdict = decideVerdict(outcome.inconclusive, totals.open);
    const summary = summarize(policy, outcome, merged, totals, digest);
    const finished = await finishRun(em, run.id, { verdict, stream: outcome.frame?.stream.name ?? null, summary });
    await deleteFindings(em, run.id);
    return finished ? { verdict, summary, merged } : null;
  });
  if (done !== null) report(deps, policy, run, done, startedMs);
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
    await endRun(deps.db.em(), run.id, 'cancelled', null);
    return;
  }
  if (attempt.signal.aborted) throw error;
  // The timetable tries again before it gives a verdict; a person who waits is told at once.
  const last = attempt.attempt >= attempt.maxAttempts || run.trigger === 'manual';
  if (!last) throw error;
  if (!isTrueUpError(error, 'BOOK_UNREADABLE', 'KEY_CONFLICT', 'TOO_MANY_ROWS')) {
    const known = isTrueUpError(error);
    await endRun(deps.db.em(), run.id, 'failed', { reason: known ? error.reason : 'INTERNAL', message: known ? messageOf(error) : 'internal error' });
    deps.events.runFailed({ runId: run.id, policy: policy.name, error });
    throw error;
  }
  const unreadable = reason('BOOK_UNREADABLE', 'book', messageOf(error), error.details.fix ?? 'see `trueup doctor book`');
  await conclude(
    deps,
    policy,
    run,
    { frame: null, bookFrame: null, join: null, counts: NOTHING_COUNTED, inconclusive: [unreadable], underivedItems: [], fees: [] },
    startedMs,
  );
  if (run.trigger === 'scheduled') throw error;
}

/** The same sides, cut and policy give the same digest, byte for byte. */
async function resultDigest(em: EntityManager, policy: Policy, run: StoredRun, outcome: Outcome): Promise<string> {
  const hash = createHash('sha256');
  const head = {
    policy: policy.name,
    level: policy.level,
    cut: outcome.frame?.cutLedger ?? null,
    window: outcome.frame?.window ?? null,
    counts: outcome.counts,
    inconclusive: outcome.inconclusive.map((each) => each.reason),
  };
  hash.update(JSON.stringify(head));
  for await (const lines of findingsInOrder(em, run.id)) for (const line of lines) hash.update(`\n${line}`);
  return hash.digest('hex');
}

function summarize(
  policy: Policy,
  outcome: Outcome,
  merged: MergeResult,
  totals: Awaited<ReturnType<typeof policyTotals>>,
  digest: string,
): RunSummary {
  const { frame, bookFrame, counts } = outcome;
  const missingLedgers = frame === null ? 0 : rangeLength(frame.missing);
  const unreadable = outcome.inconclusive.find((each) => each.side === 'book');
  const assets = [...new Set(policy.scope.assets ?? bookFrame?.pairs.map((pair) => pair.asset) ?? [])];
  return {
    scope: {
      accounts: (bookFrame?.accounts ?? []).slice(0, MAX_LISTED),
      assets: assets.slice(0, MAX_LISTED),
      kinds: policy.level === 'balances' ? [] : kindsOf(policy),
      accountCount: bookFrame?.accounts.length ?? 0,
      assetCount: assets.length,
    },
    join: outcome.join?.join ?? policy.join,
    layer: policy.layer,
    cut: frame && {
      ledger: frame.cutLedger,
      closedAt: new Date(frame.cutClosedMs),
      commitPosition: frame.commitPosition,
      cutAt: new Date(frame.cutAtMs),
    },
    window: frame && { ledgers: frame.window, fromTime: new Date(frame.windowFromMs), toTime: new Date(frame.cutClosedMs) },
    sides: {
      ledger: {
        records: frame === null ? null : counts.ledgerRecords,
        complete: frame !== null && missingLedgers === 0,
        completeThrough: frame && new Date(frame.cutClosedMs),
        covered: frame === null ? [] : intersect([frame.window], frame.done).slice(0, MAX_LISTED),
        missing: (frame?.missing ?? []).slice(0, MAX_LISTED),
        missingLedgers,
        missingText: missingLedgers === 0 ? null : `${missingLedgers} ledgers of the window`,
        digest: null,
      },
      book: {
        records: bookFrame === null ? null : counts.bookRecords,
        complete: bookFrame !== null && unreadable === undefined,
        completeThrough: bookFrame?.completeThrough ?? null,
        missingText: unreadable?.message ?? null,
        digest: null,
      },
    },
    counts: { ...counts, drifted: totals.open, exempt: totals.exempt, appeared: merged.appeared, resolved: merged.resolved },
    inconclusive: outcome.inconclusive,
    kindCounts: totals.kinds.map((each) => ({ ...each, appeared: merged.appearedKinds.get(each.kind) ?? 0 })),
    feeTotals: outcome.fees,
    toleranceAbsorbed: [],
    underivedItems: outcome.underivedItems,
    valueAtRisk: totals.valueAtRisk,
    resultDigest: digest,
  };
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
  events.driftsAppearedCounted({ policy: policy.name, count: done.merged.appeared, kinds });
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
    // Only the timetable's runs speak for the policy.
    partial: run.trigger === 'manual',
  });
}

/** The policy as the caller narrowed it for this run; null where it is no longer configured. */
function narrow(policy: Policy | undefined, run: StoredRun): Policy | null {
  if (policy === undefined) return null;
  const { windowMs, scope } = run.request;
  return {
    ...policy,
    windowHours: windowMs === null ? policy.windowHours : windowMs / 3_600_000,
    scope: scope === null ? policy.scope : { ...policy.scope, ...scope },
  };
}
