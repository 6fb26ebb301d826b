// What a finished run says of itself: scope, cut, window, sides, counts and what kept it from being conclusive.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import { intersect, rangeLength } from '../core/coverage.ts';
import { canonicalJson } from '../core/jcs.ts';
import type { Policy } from '../core/policy.ts';
import type { Inconclusive, LedgerSideRead, RunCounts, RunSummary, UnderivedItem } from '../core/run.ts';
import type { PolicyTotals } from '../store/drift-counts.ts';
import { findingsInOrder, type MergeResult } from '../store/findings.ts';
import type { RunStanding } from '../telemetry/reconciliation-events.ts';
import type { RunDays } from './run-days.ts';
import type { RunFrame } from './run-frame.ts';
import type { RunSeals } from './run-sealed.ts';
import { MAX_LISTED } from './run-reasons.ts';
import { kindsOf, type BookFrame, type ResolvedJoin } from './run-scope.ts';

/** What a comparison came to, before its findings are drifts. */
export interface Outcome {
  readonly frame: RunFrame | null;
  readonly bookFrame: BookFrame | null;
  readonly join: ResolvedJoin | null;
  readonly counts: Pick<RunCounts, 'ledgerRecords' | 'bookRecords' | 'matched' | 'pending' | 'underived' | 'skipped'>;
  readonly inconclusive: readonly Inconclusive[];
  readonly underivedItems: readonly UnderivedItem[];
  readonly fees: RunSummary['feeTotals'];
  /** What was left out and what can be from now on; absent: nothing. */
  readonly seals?: RunSeals | null;
  /** As `seals`, of two sides that are no stream. */
  readonly days?: RunDays | null;
  readonly toleranceAbsorbed?: RunSummary['toleranceAbsorbed'];
  readonly notes?: readonly string[];
  /** Of a run between two sides that are no stream, in place of `frame`. */
  readonly sidesFrame?: SidesFrame | null;
}

/** What two sides that are no stream were compared at. */
export interface SidesFrame {
  readonly ledgerName: string;
  /** Unix ms. */
  readonly cutAtMs: number;
  /** Unix ms, exclusive; null: everything. */
  readonly windowFromMs: number | null;
  readonly ledgerCompleteThrough: Date | null;
  readonly bookCompleteThrough: Date | null;
}

/** The run as it is kept and shown. */
export function summarize(
  policy: Policy,
  outcome: Outcome,
  merged: MergeResult,
  totals: PolicyTotals,
  digest: string,
): RunSummary {
  const { frame, bookFrame, counts, sidesFrame = null } = outcome;
  const missingLedgers = frame === null ? 0 : rangeLength(frame.missing);
  const unreadable = outcome.inconclusive.find((each) => each.side === 'book');
  const assets = [...new Set(policy.scope.assets ?? bookFrame?.pairs.map((pair) => pair.asset) ?? [])];
  const accounts = bookFrame?.accounts ?? policy.scope.accounts ?? [];
  return {
    scope: {
      accounts: accounts.slice(0, MAX_LISTED),
      assets: assets.slice(0, MAX_LISTED),
      kinds: policy.level === 'balances' ? [] : kindsOf(policy),
      accountCount: accounts.length,
      assetCount: assets.length,
    },
    join: outcome.join?.join ?? policy.join,
    layer: policy.layer,
    cut: sidesFrame
      ? sidesCut(sidesFrame)
      : frame && {
          ledger: frame.cutLedger,
          closedAt: new Date(frame.cutClosedMs),
          commitPosition: frame.commitPosition,
          cutAt: new Date(frame.cutAtMs),
        },
    window: sidesFrame
      ? sidesWindow(sidesFrame)
      : frame && {
          ledgers: frame.window,
          fromTime: new Date(frame.windowFromMs),
          toTime: new Date(frame.cutClosedMs),
        },
    sides: {
      ledger: sidesFrame
        ? sidesLedger(sidesFrame, outcome)
        : {
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
        records: bookFrame === null && sidesFrame === null ? null : counts.bookRecords,
        complete: (bookFrame !== null || sidesFrame !== null) && unreadable === undefined,
        completeThrough: bookFrame?.completeThrough ?? sidesFrame?.bookCompleteThrough ?? null,
        missingText: unreadable?.message ?? null,
        digest: null,
      },
    },
    counts: {
      ...counts,
      drifted: totals.open,
      exempt: totals.exempt,
      appeared: merged.appeared,
      resolved: merged.resolved,
    },
    inconclusive: outcome.inconclusive,
    kindCounts: totals.kinds.map((each) => ({ ...each, appeared: merged.appearedKinds.get(each.kind) ?? 0 })),
    feeTotals: outcome.fees,
    toleranceAbsorbed: outcome.toleranceAbsorbed ?? [],
    notes: (outcome.notes ?? []).slice(0, MAX_LISTED),
    underivedItems: outcome.underivedItems,
    valueAtRisk: totals.valueAtRisk,
    ages: totals.ages,
    resultDigest: digest,
  };
}

function sidesCut({ cutAtMs }: SidesFrame): RunSummary['cut'] {
  return { ledger: null, closedAt: null, commitPosition: '', cutAt: new Date(cutAtMs) };
}

function sidesWindow({ windowFromMs, cutAtMs }: SidesFrame): RunSummary['window'] {
  if (windowFromMs === null) return null;
  return { ledgers: null, fromTime: new Date(windowFromMs), toTime: new Date(cutAtMs) };
}

function sidesLedger(frame: SidesFrame, { counts, inconclusive }: Outcome): LedgerSideRead {
  const incomplete = inconclusive.find((each) => each.side === 'ledger');
  return {
    records: counts.ledgerRecords,
    complete: incomplete === undefined,
    completeThrough: frame.ledgerCompleteThrough,
    covered: [],
    missing: [],
    missingLedgers: 0,
    missingText: incomplete?.message ?? null,
    digest: null,
  };
}

/** The same sides, cut and policy give the same digest, byte for byte. */
export async function resultDigest(
  em: EntityManager,
  policy: Policy,
  runId: string,
  outcome: Outcome,
): Promise<string> {
  const hash = createHash('sha256');
  const head = {
    policy: policy.name,
    level: policy.level,
    cut: outcome.frame?.cutLedger ?? null,
    window: outcome.frame && { ...outcome.frame.window },
    counts: { ...outcome.counts },
    inconclusive: outcome.inconclusive.map((each) => each.reason),
  };
  // Canonical, for a cut that was kept as jsonb comes back with its keys in another order.
  hash.update(canonicalJson(head));
  for await (const lines of findingsInOrder(em, runId)) for (const line of lines) hash.update(`\n${line}`);
  return hash.digest('hex');
}

/** What gauges show of a run. */
export function standingOf(summary: RunSummary | null): RunStanding {
  const ledgers = summary?.window?.ledgers ?? null;
  const missing = summary?.sides?.ledger.missingLedgers ?? 0;
  return {
    drifted: summary?.counts?.drifted ?? 0,
    coverage: ledgers === null ? null : 1 - missing / (ledgers.to - ledgers.from),
    valueAtRisk: summary?.valueAtRisk ?? [],
  };
}
