// A run at the level of entries against the stream: which of its ledgers and of the book's rows are compared, and when one may accuse.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Exemptions } from '../core/exemption.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { isLedgerWord, type Item } from '../core/match.ts';
import type { Policy } from '../core/policy.ts';
import { keysAfter, type RowQuery, type RowSide } from '../core/row-side.ts';
import { isSkippedLedger, isSkippedTime, NOTHING_SKIPPED, type ChunkTallies } from '../core/seal.ts';
import { classify, type AccusationFacts } from '../core/verdict.ts';
import { readLedgerItems, readLedgerItemsByKeys, type LedgerScope } from '../store/ledger-side.ts';
import type { Progress } from '../store/run-checkpoints.ts';
import type { FindingSink } from './run-findings.ts';
import type { RunFrame } from './run-frame.ts';
import { keyed, slotOf } from './run-items.ts';
import { joinSides, recheckOpenDrifts as recheckOpen, recheckSkipped, type Join, type JoinSide } from './run-join.ts';
import { Judge, matchRules, nothingCounted, type EntryCounts, type SideName } from './run-judge.ts';
import type { RunSeals } from './run-sealed.ts';
import type { BookFrame, ResolvedJoin } from './run-scope.ts';
import type { SkippedKeys } from './run-skipped.ts';

export interface EntryRun {
  readonly em: EntityManager;
  readonly policy: Policy;
  /** The policy's own scope, where a caller narrowed it for this run. */
  readonly policyScope: Policy['scope'];
  readonly frame: RunFrame;
  readonly book: RowSide;
  readonly bookFrame: BookFrame;
  readonly join: ResolvedJoin;
  readonly scope: LedgerScope;
  readonly exemptions: Exemptions;
  readonly sink: FindingSink;
  readonly skipped: SkippedKeys;
  /** Null: nothing is left out, and nothing will be sealed. */
  readonly seals: RunSeals | null;
  readonly signal: AbortSignal;
  /** How far an attempt before this one came at the same cut; null: not at all. */
  readonly resume: Progress<EntryCounts> | null;
  readonly segmentKeys: number;
}

/** Compares the window; findings go to the sink, counts come back. */
export async function compareWindow(run: EntryRun): Promise<EntryCounts> {
  const { policy, frame, resume, seals } = run;
  const { tally } = seals?.skipped ?? NOTHING_SKIPPED;
  // What a worker before this one counted has the seals' in it, once it has kept a segment; before that it has nothing.
  const counts = { ...nothingCounted(), ...tally, keysMet: tally.matched, ...resume?.counts };
  await joinSides({ ...sidesOf(run), judge: judgeOf(run, policy.scope, frame.cutClosedMs, counts, seals?.tallies) });
  return counts;
}

/** Reads the keys of open drifts again that the window didn't show. */
export async function recheckOpenDrifts(run: EntryRun, counts = nothingCounted()): Promise<void> {
  await recheckOpen(recheckOf(run), counts);
}

/** Reads again what runs had to skip; returns how many keys still wait. */
export async function recheckSkippedKeys(run: EntryRun): Promise<number> {
  return recheckSkipped(recheckOf(run));
}

/** With the policy's whole scope, up to the newest ledger that was looked at. */
function recheckOf(run: EntryRun): Join {
  return { ...sidesOf(run), judge: judgeOf(run, run.policyScope, run.frame.headClosedMs, nothingCounted()) };
}

function sidesOf(run: EntryRun): Omit<Join, 'judge'> {
  const { em, policy, frame, book, scope, sink, skipped, signal, resume, segmentKeys } = run;
  const { ledgers, times } = run.seals?.skipped ?? NOTHING_SKIPPED;
  const ledger: JoinSide = {
    rows: (afterKey) => readLedgerItems(em, { ...scope, except: ledgers }, frame.window, afterKey),
    rowsByKeys: (keys) => readLedgerItemsByKeys(em, scope, keys, frame.headLedger + 1),
    whole: false,
  };
  const query = {
    occurredFrom: new Date(Math.max(0, frame.windowFromMs - policy.lookaroundMs)),
    occurredTo: new Date(frame.cutClosedMs + policy.lookaroundMs),
    except: times,
  };
  const bookSide = { ...joinSideOf(book, query, false, signal), leavesOut: times.length > 0 };
  return { ledger, book: bookSide, sink, skipped, signal, resume, segmentKeys };
}

/** A side of rows as a side of a join. */
export function joinSideOf(side: RowSide, query: RowQuery, whole: boolean, signal: AbortSignal): JoinSide {
  return {
    async *rows(afterKey) {
      const after = afterKey === null ? {} : { keys: keysAfter(afterKey) };
      for await (const rows of side.entries({ ...query, ...after }, signal)) yield keyed(rows);
    },
    rowsByKeys: async (keys) => keyed(await side.entriesByKeys(keys, signal)),
    whole,
  };
}

function judgeOf(
  run: EntryRun,
  scope: Policy['scope'],
  cutClosedMs: number,
  counts: EntryCounts,
  tallies?: ChunkTallies,
): Judge {
  const { policy, frame, bookFrame, exemptions, sink, skipped } = run;
  const sealed = run.seals?.skipped ?? NOTHING_SKIPPED;
  const facts: AccusationFacts = {
    grace: policy.grace,
    cutAtMs: frame.cutAtMs,
    cutClosedMs,
    bookCompleteThroughMs: bookFrame.completeThrough?.getTime() ?? null,
    covered: frame.done,
    headLedger: frame.headLedger,
    missingTimes: frame.missingTimes,
    wholeHistory: frame.wholeHistory,
  };
  return new Judge({
    rules: matchRules(policy, run.join.join),
    inScope: scopeOf(run, scope),
    inWindow: (item, side) => (side === 'ledger' ? inRange(item.ledger!, frame.window) : bookInWindow(item, frame)),
    classify: (finding) => classify(finding, facts),
    exemptions,
    sink,
    skipped,
    counts,
    leftOut: (item, side) =>
      side === 'ledger' ? isSkippedLedger(sealed, item.ledger) : isSkippedTime(sealed, item.atMs),
    ...(tallies && { tallies }),
  });
}

function scopeOf(run: EntryRun, scope: Policy['scope']): (item: Item, side: SideName) => boolean {
  const accounts = scope.accounts ? new Set(scope.accounts) : null;
  const assets = scope.assets ? new Set(scope.assets) : null;
  const pairs = run.policyScope.accounts ? null : new Set(run.bookFrame.pairs.map(slotOf));
  const kinds: ReadonlySet<string> = new Set(run.scope.kinds);
  return (item, side) => {
    if (accounts && !accounts.has(item.account)) return false;
    if (assets && !assets.has(item.asset)) return false;
    if (side === 'ledger') return pairs === null || pairs.has(slotOf(item));
    // A fee in the book is none of the movements compared, unless the policy says so.
    return item.kind === null || !isLedgerWord(item.kind) || kinds.has(item.kind);
  };
}

function bookInWindow(row: Item, frame: RunFrame): boolean {
  // A ledger that hasn't closed yet is none to go by.
  if (row.ledger !== null && row.ledger <= frame.headLedger) return inRange(row.ledger, frame.window);
  if (row.atMs === null) return row.ledger === null;
  return frame.windowFromMs < row.atMs && row.atMs <= frame.cutClosedMs;
}

function inRange(ledger: number, range: LedgerRange): boolean {
  return range.from <= ledger && ledger < range.to;
}
