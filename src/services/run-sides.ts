// A run between two sides that are no stream: two tables, or a table and a file, each at one moment of its own.
import { tmpdir } from 'node:os';
import type { BookRow, BookSide } from '../core/book.ts';
import { inferJoin } from '../core/book.ts';
import { TrueUpError } from '../core/errors.ts';
import type { Item } from '../core/match.ts';
import type { Policy } from '../core/policy.ts';
import type { RowSide } from '../core/row-side.ts';
import type { Inconclusive } from '../core/run.ts';
import { isInSpans, NOTHING_SKIPPED, type TimeSpan } from '../core/seal.ts';
import { absorbedTotals } from '../core/tolerance.ts';
import { classifyBetweenSides } from '../core/verdict.ts';
import { bySubAccount } from '../sources/sorted-side.ts';
import type { Database } from '../store/database.ts';
import type { KeyedItem } from '../store/ledger-side.ts';
import { beginCheckpoint } from '../store/run-checkpoints.ts';
import type { HeldRun, StoredRun } from '../store/runs.ts';
import { joinSideOf } from './run-entries.ts';
import { createFindingSink, type FindingSink } from './run-findings.ts';
import { keyed } from './run-items.ts';
import { joinSides, recheckOpenDrifts, recheckSkipped, type Join } from './run-join.ts';
import { exemptionsOf, Judge, matchRules, nothingCounted, type EntryCounts, type SideName } from './run-judge.ts';
import { reason } from './run-reasons.ts';
import { kindsOf, SAMPLE_KEYS } from './run-scope.ts';
import { SEGMENT_KEYS, type RunDeps } from './run-compare.ts';
import { canKeep, goOnKeeping, keepSidesCut, keptSides } from './run-side-cut.ts';
import type { KeptSides, SeenSides, SidesCut } from './run-side-cut.ts';
import { readRunDays } from './run-days.ts';
import { digestedSides, rowsThatDiffer } from './run-side-digests.ts';
import { createSkippedKeys, type SkippedKeys } from './run-skipped.ts';
import type { Outcome } from './run-summary.ts';

interface SidesRun {
  readonly db: Database;
  readonly run: HeldRun;
  readonly policy: Policy;
  /** The policy's own scope, where a caller narrowed it for this run. */
  readonly policyScope: Policy['scope'];
  readonly ledger: BookSide;
  readonly book: BookSide;
  readonly cut: SidesCut;
  /** What an attempt before this one left of the same cut; null: nothing. */
  readonly kept: KeptSides | null;
  readonly sink: FindingSink;
  readonly skipped: SkippedKeys;
  readonly spillFolder: string;
  readonly segmentKeys: number;
  readonly signal: AbortSignal;
}

const HOUR_MS = 3_600_000;

type SidesOutcome = Pick<Outcome, 'counts' | 'inconclusive' | 'toleranceAbsorbed' | 'notes' | 'sidesFrame' | 'days'> & {
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
  await using ledger = await deps.ledgerOf(policy).open('entries', signal);
  await using book = await deps.bookOf(policy).open('entries', signal);
  const kept = run.attempt > 1 ? await keptSides(deps.db.em(), run, policy, { ledger, book }) : null;
  // What an attempt before this one found at a cut that can't be had again.
  if (run.attempt > 1 && kept === null) await beginCheckpoint(deps.db.em(), run, null);
  const cut = kept?.cut ?? (await cutSides(policy, { ledger, book }, Date.now(), signal));
  const { discard, ...outcome } = await compareSides({
    db: deps.db,
    run,
    policy,
    policyScope: deps.policies.get(policy.name)!.scope,
    ledger,
    book,
    cut,
    kept,
    sink: createFindingSink(deps.db, run, policy.name),
    skipped: createSkippedKeys(deps.db, run, policy.name),
    spillFolder: deps.spillFolder ?? tmpdir(),
    segmentKeys: deps.segmentKeys ?? SEGMENT_KEYS,
    signal,
  });
  if (discard) await beginCheckpoint(deps.db.em(), run, null);
  const join = { join: cut.join, form: 'hash' } as const;
  return { frame: null, bookFrame: null, join, underivedItems: [], fees: [], ...outcome };
}

/** Compares both sides; findings go to the sink. */
async function compareSides(run: SidesRun): Promise<SidesOutcome> {
  const { policy, ledger, book, cut, kept, signal } = run;
  const { frame, join } = cut;
  const inconclusive = [...cut.inconclusive];
  const notes: string[] = [];
  const bySub = join === 'sub_account';
  await using sorted = {
    ledger: bySub ? await bySubAccount(ledger, run.spillFolder, signal) : ledger,
    book: bySub ? await bySubAccount(book, run.spillFolder, signal) : book,
    async [Symbol.asyncDispose]() {
      if (bySub) await Promise.all([this.ledger.close(), this.book.close()]);
    },
  };
  const exemptions = exemptionsOf(policy, frame.cutAtMs, notes);
  const judgeFor = (scope: Policy['scope'], counts: EntryCounts, leftOut: readonly TimeSpan[] = []): Judge =>
    new Judge({
      rules: matchRules(policy, join),
      inScope: scopeOf(policy, scope),
      inWindow: (item) =>
        item.atMs === null ||
        frame.windowFromMs === null ||
        (frame.windowFromMs < item.atMs && item.atMs <= frame.cutAtMs),
      classify: (finding) => classifyBetweenSides(finding, frame.facts),
      exemptions,
      sink: run.sink,
      skipped: run.skipped,
      counts,
      leftOut: (item) => isInSpans(leftOut, item.atMs),
    });
  const whole = frame.windowFromMs === null;
  // Rows of a key that are summed, or that a scope leaves out, agree by more than their own columns.
  const isPlain = whole && join === 'operation' && Object.keys(policy.scope).length === 0;
  // One that is gone on with was reading both sides in order.
  const digested = isPlain && kept === null ? digestedSides(policy, ledger, book) : null;
  const days = digested && (await readRunDays(run.db, policy, digested, frame.cutAtMs));
  const { times: except, tally } = days?.skipped ?? NOTHING_SKIPPED;
  const differing = digested && (await rowsThatDiffer(digested, except, signal));
  const seen: SeenSides = { ...(kept?.counts.seen ?? { ledger: tally.matched > 0, book: tally.matched > 0 }) };
  const times = whole
    ? { except }
    : {
        occurredFrom: new Date(Math.max(0, frame.windowFromMs - policy.lookaroundMs)),
        occurredTo: new Date(frame.cutAtMs + policy.lookaroundMs),
      };
  // Other rows of a key may lie in what is left out.
  const isAll = whole && except.length === 0;
  const read = { ledger: 0, book: 0 };
  const side = (of: RowSide, name: SideName): Join['ledger'] => {
    const plain = joinSideOf(of, times, isAll, signal);
    return {
      ...plain,
      leavesOut: except.length > 0,
      async *rows(afterKey) {
        for await (const rows of differing === null ? plain.rows(afterKey) : keyedBatches(differing[name](signal))) {
          read[name] += rows.length;
          seen[name] ||= rows.length > 0;
          yield rows;
        }
      },
    };
  };
  const counted = kept?.counts ?? { ...tally, keysMet: tally.matched };
  const judge = judgeFor(policy.scope, { ...nothingCounted(), ...counted }, except);
  const keepsOn = differing === null && except.length === 0 && canKeep(run);
  const join_: Join = {
    ledger: side(sorted.ledger, 'ledger'),
    book: side(sorted.book, 'book'),
    judge,
    sink: keepsOn ? await keepingSink(run, seen) : run.sink,
    skipped: run.skipped,
    signal,
    resume: kept,
    segmentKeys: keepsOn ? run.segmentKeys : Infinity,
  };
  await joinSides(join_);
  if (differing !== null) countEqual(differing.equalRows(read), seen, judge.counts);
  const proves = addReasons(run, seen, judge.counts, inconclusive);
  if (proves) {
    const again = { ...join_, judge: judgeFor(run.policyScope, nothingCounted()) };
    await recheckOpenDrifts(again, judge.counts);
    await recheckSkipped(again);
  }
  const { ledgerRecords, bookRecords, matched, pending, skipped } = judge.counts;
  return {
    discard: !proves,
    counts: proves
      ? { ledgerRecords, bookRecords, matched, pending, skipped, underived: 0 }
      : { ledgerRecords, bookRecords, matched: 0, pending: 0, skipped: 0, underived: 0 },
    toleranceAbsorbed: proves ? absorbedTotals(judge.counts.absorbed) : [],
    inconclusive,
    notes,
    sidesFrame: frame,
    days: proves ? days : null,
  };
}

async function* keyedBatches(batches: AsyncIterable<readonly BookRow[]>): AsyncGenerator<readonly KeyedItem[]> {
  for await (const rows of batches) yield keyed(rows);
}

/** Rows that nobody had to read: each agrees with one of the other side. */
function countEqual(rows: number, seen: SeenSides, counts: EntryCounts): void {
  seen.ledger ||= rows > 0;
  seen.book ||= rows > 0;
  counts.ledgerRecords += rows;
  counts.bookRecords += rows;
  counts.matched += rows;
  counts.keysMet += rows;
}

/** What is compared, and when: both snapshots are open. */
async function cutSides(
  policy: Policy,
  { ledger, book }: { readonly ledger: BookSide; readonly book: BookSide },
  cutAtMs: number,
  signal: AbortSignal,
): Promise<SidesCut> {
  const inconclusive: Inconclusive[] = [];
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
  const frame = {
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
  return { frame, join: await joinOf(policy, book, signal), inconclusive };
}

function keepingSink(
  { db, run, policy, ledger, book, cut, kept, sink }: SidesRun,
  seen: SeenSides,
): Promise<FindingSink> {
  if (kept !== null) return Promise.resolve(goOnKeeping(sink, kept, seen));
  return keepSidesCut(db, run, policy, { ledger, book }, cut, seen, sink);
}

/** Both sides give the keys, so their form only says whether the rows of one are summed. */
async function joinOf(policy: Policy, book: BookSide, signal: AbortSignal): Promise<SidesCut['join']> {
  if (policy.join !== 'infer') return policy.join;
  return inferJoin(await book.sampleKeys(SAMPLE_KEYS, signal)).join ?? 'operation';
}

/** An empty side, or two that never meet, prove nothing: false. */
function addReasons(
  { ledger, book }: SidesRun,
  seen: SeenSides,
  counts: EntryCounts,
  inconclusive: Inconclusive[],
): boolean {
  const before = inconclusive.length;
  if (!seen.ledger)
    inconclusive.push(
      reason('LEDGER_EMPTY', 'ledger', `${ledger.describe()} gave no row`, 'check its query or file, and the window'),
    );
  if (!seen.book)
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
