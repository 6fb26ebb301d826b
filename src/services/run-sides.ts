// A run between two sides that are no stream: two tables, or a table and a file, each at one moment of its own.
import { tmpdir } from 'node:os';
import type { BookRow, BookSide } from '../core/book.ts';
import { inferJoin } from '../core/book.ts';
import { TrueUpError } from '../core/errors.ts';
import type { Item } from '../core/match.ts';
import type { Policy } from '../core/policy.ts';
import type { RowSide } from '../core/row-side.ts';
import type { Inconclusive } from '../core/run.ts';
import { absorbedTotals } from '../core/tolerance.ts';
import { classifyBetweenSides, type SideFacts } from '../core/verdict.ts';
import { bySubAccount } from '../sources/sorted-side.ts';
import type { KeyedItem } from '../store/ledger-side.ts';
import { beginCheckpoint } from '../store/run-checkpoints.ts';
import type { StoredRun } from '../store/runs.ts';
import { joinSideOf } from './run-entries.ts';
import { createFindingSink, type FindingSink } from './run-findings.ts';
import { keyed } from './run-items.ts';
import { joinSides, recheckOpenDrifts, recheckSkipped, type Join } from './run-join.ts';
import { exemptionsOf, Judge, matchRules, nothingCounted, type EntryCounts, type SideName } from './run-judge.ts';
import { reason } from './run-reasons.ts';
import { kindsOf, SAMPLE_KEYS } from './run-scope.ts';
import type { RunDeps } from './run-reconciliation.ts';
import { rowsThatDiffer } from './run-side-digests.ts';
import { createSkippedKeys, type SkippedKeys } from './run-skipped.ts';
import type { Outcome, SidesFrame } from './run-summary.ts';

interface SidesRun {
  readonly policy: Policy;
  /** The policy's own scope, where a caller narrowed it for this run. */
  readonly policyScope: Policy['scope'];
  readonly ledger: BookSide;
  readonly book: BookSide;
  /** When both snapshots were open, Unix ms. */
  readonly cutAtMs: number;
  readonly sink: FindingSink;
  readonly skipped: SkippedKeys;
  readonly spillFolder: string;
  readonly signal: AbortSignal;
}

const HOUR_MS = 3_600_000;

type SidesOutcome = Pick<Outcome, 'counts' | 'inconclusive' | 'toleranceAbsorbed' | 'notes' | 'sidesFrame'> & {
  readonly join: 'operation' | 'tx_hash' | 'sub_account';
  /** What was found is no proof: nothing of it may be kept. */
  readonly discard: boolean;
};

/** Two sides that are no stream; what proves nothing is taken back. */
export async function compareTwoSides(
  deps: RunDeps,
  policy: Policy,
  run: StoredRun,
  signal: AbortSignal,
): Promise<Outcome> {
  if (deps.ledgerOf === undefined) throw new TrueUpError('INTERNAL', `nothing opens the ledger of ${policy.name}`);
  // Neither side can be read again as it was for an attempt before this one.
  if (run.attempt > 1) await beginCheckpoint(deps.db.em(), run, null);
  await using ledger = await deps.ledgerOf(policy).open('entries', signal);
  await using book = await deps.bookOf(policy).open('entries', signal);
  const { discard, join, ...outcome } = await compareSides({
    policy,
    policyScope: deps.policies.get(policy.name)!.scope,
    ledger,
    book,
    cutAtMs: Date.now(),
    sink: createFindingSink(deps.db, run, policy.name),
    skipped: createSkippedKeys(deps.db, run, policy.name),
    spillFolder: deps.spillFolder ?? tmpdir(),
    signal,
  });
  if (discard) await beginCheckpoint(deps.db.em(), run, null);
  return { frame: null, bookFrame: null, join: { join, form: 'hash' }, underivedItems: [], fees: [], ...outcome };
}

/** Compares both sides; findings go to the sink. */
async function compareSides(run: SidesRun): Promise<SidesOutcome> {
  const { policy, ledger, book, signal } = run;
  const inconclusive: Inconclusive[] = [];
  const notes: string[] = [];
  const frame = await frameSides(run, inconclusive);
  const join = await joinOf(policy, book, signal);
  const bySub = join === 'sub_account';
  await using sorted = {
    ledger: bySub ? await bySubAccount(ledger, run.spillFolder, signal) : ledger,
    book: bySub ? await bySubAccount(book, run.spillFolder, signal) : book,
    async [Symbol.asyncDispose]() {
      if (bySub) await Promise.all([this.ledger.close(), this.book.close()]);
    },
  };
  const read = { ledger: 0, book: 0 };
  const exemptions = exemptionsOf(policy, run.cutAtMs, notes);
  const judgeFor = (scope: Policy['scope']): Judge =>
    new Judge({
      rules: matchRules(policy, join),
      inScope: scopeOf(policy, scope),
      inWindow: (item) =>
        item.atMs === null ||
        frame.windowFromMs === null ||
        (frame.windowFromMs < item.atMs && item.atMs <= run.cutAtMs),
      classify: (finding) => classifyBetweenSides(finding, frame.facts),
      exemptions,
      sink: run.sink,
      skipped: run.skipped,
      counts: nothingCounted(),
    });
  const whole = frame.windowFromMs === null;
  // Rows of a key that are summed, or that a scope leaves out, agree by more than their own columns.
  const isPlain = whole && join === 'operation' && Object.keys(policy.scope).length === 0;
  const differing = isPlain ? await rowsThatDiffer(policy, ledger, book, signal) : null;
  const times = whole
    ? {}
    : {
        occurredFrom: new Date(Math.max(0, frame.windowFromMs - policy.lookaroundMs)),
        occurredTo: new Date(run.cutAtMs + policy.lookaroundMs),
      };
  const side = (of: RowSide, name: SideName): Join['ledger'] => {
    const plain = joinSideOf(of, times, whole, signal);
    return {
      ...plain,
      async *rows(afterKey) {
        for await (const rows of differing === null ? plain.rows(afterKey) : keyedBatches(differing[name](signal))) {
          read[name] += rows.length;
          yield rows;
        }
      },
    };
  };
  const judge = judgeFor(policy.scope);
  const join_: Join = {
    ledger: side(sorted.ledger, 'ledger'),
    book: side(sorted.book, 'book'),
    judge,
    sink: run.sink,
    skipped: run.skipped,
    signal,
    resume: null,
    segmentKeys: Infinity,
  };
  await joinSides(join_);
  if (differing !== null) countEqual(differing.equalRows(read), read, judge.counts);
  const proves = addReasons(run, read, judge.counts, inconclusive);
  if (proves) {
    const again = { ...join_, judge: judgeFor(run.policyScope) };
    await recheckOpenDrifts(again, judge.counts);
    await recheckSkipped(again);
  }
  const { ledgerRecords, bookRecords, matched, pending, skipped } = judge.counts;
  return {
    join,
    discard: !proves,
    counts: proves
      ? { ledgerRecords, bookRecords, matched, pending, skipped, underived: 0 }
      : { ledgerRecords, bookRecords, matched: 0, pending: 0, skipped: 0, underived: 0 },
    toleranceAbsorbed: proves ? absorbedTotals(judge.counts.absorbed) : [],
    inconclusive,
    notes,
    sidesFrame: frame,
  };
}

async function* keyedBatches(batches: AsyncIterable<readonly BookRow[]>): AsyncGenerator<readonly KeyedItem[]> {
  for await (const rows of batches) yield keyed(rows);
}

/** Rows that nobody had to read: each agrees with one of the other side. */
function countEqual(rows: number, read: { ledger: number; book: number }, counts: EntryCounts): void {
  read.ledger += rows;
  read.book += rows;
  counts.ledgerRecords += rows;
  counts.bookRecords += rows;
  counts.matched += rows;
  counts.keysMet += rows;
}

async function frameSides(
  { policy, ledger, book, cutAtMs, signal }: SidesRun,
  inconclusive: Inconclusive[],
): Promise<SidesFrame & { readonly facts: SideFacts }> {
  const [ledgerThrough, bookThrough] = [await ledger.completeThrough(signal), await book.completeThrough(signal)];
  for (const [name, side, through] of [
    ['ledger', ledger, ledgerThrough],
    ['book', book, bookThrough],
  ] as const) {
    const lateMs = through === null ? Infinity : cutAtMs - through.getTime();
    if (lateMs <= policy.bookMaxLatenessMs) continue;
    const words =
      through === null
        ? 'never said up to when it is complete'
        : `is complete through ${through.toISOString()}, ${Math.round(lateMs / 1000)} s before the cut`;
    inconclusive.push(
      reason('BOOK_STALE', name, `${side.describe()} ${words}`, 'renew that side, or raise book_max_lateness'),
    );
  }
  return {
    ledgerName: ledger.describe(),
    cutAtMs,
    windowFromMs: policy.windowHours === null ? null : cutAtMs - policy.windowHours * HOUR_MS,
    ledgerCompleteThrough: ledgerThrough,
    bookCompleteThrough: bookThrough,
    facts: {
      grace: policy.grace,
      cutAtMs,
      ledgerCompleteThroughMs: ledgerThrough?.getTime() ?? null,
      bookCompleteThroughMs: bookThrough?.getTime() ?? null,
    },
  };
}

/** Both sides give the keys, so their form only says whether the rows of one are summed. */
async function joinOf(policy: Policy, book: BookSide, signal: AbortSignal): Promise<SidesOutcome['join']> {
  if (policy.join !== 'infer') return policy.join;
  return inferJoin(await book.sampleKeys(SAMPLE_KEYS, signal)).join ?? 'operation';
}

/** An empty side, or two that never meet, prove nothing: false. */
function addReasons(
  { ledger, book }: SidesRun,
  read: { readonly ledger: number; readonly book: number },
  counts: EntryCounts,
  inconclusive: Inconclusive[],
): boolean {
  const before = inconclusive.length;
  if (read.ledger === 0)
    inconclusive.push(
      reason('LEDGER_EMPTY', 'ledger', `${ledger.describe()} gave no row`, 'check its query or file, and the window'),
    );
  if (read.book === 0)
    inconclusive.push(
      reason('BOOK_EMPTY', 'book', `${book.describe()} gave no row`, 'check its query or file, and the window'),
    );
  if (inconclusive.length > before) return false;
  if (counts.ledgerRecords === 0 && counts.bookRecords === 0) {
    inconclusive.push(
      reason('SCOPE_EMPTY', null, 'no row of either side is in scope and window', "correct the policy's scope"),
    );
  } else if (counts.keysMet === 0 && counts.ledgerRecords > 0 && counts.bookRecords > 0) {
    inconclusive.push(
      reason('KEYS_DISJOINT', null, 'no key of one side is a key of the other', 'give both sides the same `key`'),
    );
  }
  return inconclusive.length === before;
}

function scopeOf(policy: Policy, scope: Policy['scope']): (item: Item) => boolean {
  const accounts = scope.accounts ? new Set(scope.accounts) : null;
  const assets = scope.assets ? new Set(scope.assets) : null;
  const kinds: ReadonlySet<string> | null = scope.kinds ? new Set(kindsOf({ ...policy, scope })) : null;
  return (item) =>
    (!accounts || accounts.has(item.account)) &&
    (!assets || assets.has(item.asset)) &&
    (!kinds || item.kind === null || kinds.has(item.kind));
}
