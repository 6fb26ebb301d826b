// What a run between two sides compares, fixed when it begins. Such sides keep nothing of their past: a worker that takes the run over
// goes on where both have exactly the rows that they had, told by digests of all of them, and begins anew where one has not.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Policy } from '../core/policy.ts';
import type { HashSeeds } from '../core/row-hash.ts';
import type { RowSide } from '../core/row-side.ts';
import type { Inconclusive } from '../core/run.ts';
import type { SideFacts } from '../core/verdict.ts';
import type { Database } from '../store/database.ts';
import { beginCheckpoint, readCheckpoint, type Checkpoint } from '../store/run-checkpoints.ts';
import type { HeldRun } from '../store/runs.ts';
import { hasSegment, rulesOf } from './run-cut.ts';
import { drawSeeds } from './run-digest.ts';
import type { FindingSink } from './run-findings.ts';
import type { EntryCounts } from './run-judge.ts';
import type { SidesFrame } from './run-summary.ts';

export interface TwoSides {
  readonly ledger: RowSide;
  readonly book: RowSide;
}

/** Plain values, as are the counts: they are kept with the run's checkpoint. */
export interface SidesCut {
  readonly frame: SidesFrame & { readonly facts: SideFacts };
  readonly join: 'operation' | 'tx_hash' | 'sub_account';
  readonly inconclusive: readonly Inconclusive[];
}

interface FixedCut extends SidesCut {
  readonly rules: string;
  readonly seeds: HashSeeds;
}

/** Which sides gave a row at all, in scope or not. */
export interface SeenSides {
  ledger: boolean;
  book: boolean;
}

interface SidesCounts extends EntryCounts {
  readonly seen: SeenSides;
  readonly contents: SideContents;
}

interface SideContents {
  readonly ledger: string;
  readonly book: string;
}

export type KeptSides = Checkpoint<FixedCut, SidesCounts>;

/** What an attempt before this one left; null where there is none, or where a side has other rows by now. */
export async function keptSides(
  em: EntityManager,
  run: HeldRun,
  policy: Policy,
  sides: TwoSides,
): Promise<KeptSides | null> {
  const kept = await readCheckpoint<FixedCut, SidesCounts>(em, run.id);
  if (kept === null || !hasSegment(kept) || kept.cut.rules !== rulesOf(policy)) return null;
  const now = await contentsOf(sides, kept.cut.seeds);
  const { ledger, book } = kept.counts.contents;
  return now.ledger === ledger && now.book === book ? kept : null;
}

/** Fixes the cut; the sink that comes back keeps with each segment what the next worker needs. */
export async function keepSidesCut(
  db: Database,
  run: HeldRun,
  policy: Policy,
  sides: TwoSides,
  cut: SidesCut,
  seen: SeenSides,
  sink: FindingSink,
): Promise<FindingSink> {
  const seeds = drawSeeds();
  await beginCheckpoint(db.em(), run, { ...cut, seeds, rules: rulesOf(policy) });
  let contents: Promise<SideContents> | null = null;
  // In the same snapshots, but not before the first segment is kept: a smaller run doesn't pay for it.
  return keeping(sink, seen, () => (contents ??= contentsOf(sides, seeds)));
}

/** The sink of a run that goes on. */
export function goOnKeeping(sink: FindingSink, { counts }: KeptSides, seen: SeenSides): FindingSink {
  return keeping(sink, seen, () => Promise.resolve(counts.contents));
}

/** Whether both sides can say what they have, so that a cut is worth fixing. */
export function canKeep({ ledger, book }: TwoSides): boolean {
  return ledger.content !== undefined && book.content !== undefined;
}

function keeping(sink: FindingSink, seen: SeenSides, contents: () => Promise<SideContents>): FindingSink {
  return {
    ...sink,
    checkpoint: async (progress) =>
      sink.checkpoint({ ...progress, counts: { ...progress.counts, seen, contents: await contents() } }),
  };
}

async function contentsOf({ ledger, book }: TwoSides, seeds: HashSeeds): Promise<SideContents> {
  const [ofLedger, ofBook] = await Promise.all([ledger.content!(seeds), book.content!(seeds)]);
  return { ledger: ofLedger, book: ofBook };
}
