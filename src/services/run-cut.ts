// What a run compares, fixed when it begins: a worker that takes the run over reads the same rows, or begins anew and says so.
import { createHash } from 'node:crypto';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Book, BookSide } from '../core/book.ts';
import type { Policy } from '../core/policy.ts';
import type { Inconclusive } from '../core/run.ts';
import type { Database } from '../store/database.ts';
import { coveredBySets, ledgerAsOf, type CoveredBySet, type LedgerAsOf } from '../store/ledger-as-of.ts';
import { beginCheckpoint, readCheckpoint, type Checkpoint, type Progress } from '../store/run-checkpoints.ts';
import { toJson } from '../store/json.ts';
import { openingsTaken, type OpeningsTaken } from '../store/openings.ts';
import type { HeldRun } from '../store/runs.ts';
import type { BalanceProgress } from './run-balances.ts';
import type { EntryCounts } from './run-judge.ts';
import type { RunFrame } from './run-frame.ts';
import type { KeptSeals } from './run-sealed.ts';
import type { BookFrame, ResolvedJoin } from './run-scope.ts';

/** Plain values: they are kept with the run's checkpoint. */
interface RunCut {
  /** Of the policy's rules: under others the same rows would be judged differently. */
  readonly rules: string;
  readonly bookPosition: string;
  readonly frame: RunFrame;
  readonly bookFrame: BookFrame;
  readonly join: ResolvedJoin;
  /** What is left out: at the cut it was under seals, whatever was written since. */
  readonly seals: KeptSeals | null;
  /** What was covered of the ledger side at the cut. */
  readonly covered: readonly CoveredBySet[];
  readonly inconclusive: readonly Inconclusive[];
}

export type KeptRun = Checkpoint<RunCut, EntryCounts>;

/** What an attempt before this one left; null where there is none that can be gone on with. */
export async function keptRun(em: EntityManager, run: HeldRun, policy: Policy): Promise<KeptRun | null> {
  if (policy.level !== 'entries') return null;
  const kept = await readCheckpoint<RunCut, EntryCounts>(em, run.id);
  return kept !== null && kept.cut.rules === rulesOf(policy) ? kept : null;
}

/** The book as it was at the kept cut; as it is where there is none. */
export function openBook(book: Book, policy: Policy, kept: KeptRun | null, signal: AbortSignal): Promise<BookSide> {
  return book.open(policy.level, signal, kept?.cut.bookPosition);
}

/** What has to be left out of the ledger side for it to read as it did at the kept cut. */
export async function asOfCut(em: EntityManager, kept: KeptRun, policy: Policy): Promise<LedgerAsOf | null> {
  const { frame, covered } = kept.cut;
  return ledgerAsOf(covered, await coveredBySets(em, frame.stream.id, policy.layer), frame.headLedger + 1);
}

/** Fixes the cut of a comparison of entries, unless its book can't be read again as it is now. */
export async function keepCut(
  db: Database,
  em: EntityManager,
  run: HeldRun,
  policy: Policy,
  book: BookSide,
  cut: Pick<RunCut, 'frame' | 'bookFrame' | 'join' | 'seals' | 'inconclusive'>,
): Promise<void> {
  if (book.position === undefined) return;
  const covered = await coveredBySets(em, cut.frame.stream.id, policy.layer);
  await beginCheckpoint(db.em(), run, { ...cut, covered, rules: rulesOf(policy), bookPosition: book.position });
}

/** A balance is the sum of all that was known of its account, and so it can only be had again while no more is known. */
interface BalanceCut extends Pick<RunCut, 'rules' | 'bookPosition' | 'bookFrame' | 'covered' | 'inconclusive'> {
  readonly frame: RunFrame;
  readonly openings: OpeningsTaken;
}

export type KeptBalances = Checkpoint<BalanceCut, BalanceProgress>;

/** What an attempt before this one left; null where the book was written, or older ledgers or openings were read, since. */
export async function keptBalances(
  db: Database,
  em: EntityManager,
  run: HeldRun,
  policy: Policy,
  book: BookSide,
): Promise<KeptBalances | null> {
  const kept = await readCheckpoint<BalanceCut, BalanceProgress>(db.em(), run.id);
  if (kept === null || !hasSegment(kept)) return null;
  const { rules, bookPosition, frame, covered, openings } = kept.cut;
  if (rules !== rulesOf(policy) || bookPosition !== book.position) return null;
  const { id } = frame.stream;
  const now = await openingsTaken(em, id);
  if (now.count !== openings.count) return null;
  // From a later opening legs are taken away, so that what lies before it counts as well.
  const counted = Math.max(frame.headLedger, openings.newestLedger);
  return ledgerAsOf(covered, await coveredBySets(em, id, policy.layer), counted + 1) === null ? kept : null;
}

/** Fixes the cut of a comparison of balances, unless its book can't say whether it is still the same. */
export async function keepBalanceCut(
  db: Database,
  em: EntityManager,
  run: HeldRun,
  policy: Policy,
  book: BookSide,
  cut: Pick<BalanceCut, 'frame' | 'bookFrame' | 'inconclusive'>,
): Promise<void> {
  if (book.position === undefined) return;
  const { id } = cut.frame.stream;
  const covered = await coveredBySets(em, id, policy.layer);
  const openings = await openingsTaken(em, id);
  const fixed: BalanceCut = { ...cut, covered, openings, rules: rulesOf(policy), bookPosition: book.position };
  await beginCheckpoint(db.em(), run, fixed);
}

/** False: it ended before its first segment, and kept nothing but a cut. */
export function hasSegment({ phase, afterKey }: Pick<Progress<object>, 'phase' | 'afterKey'>): boolean {
  return phase === 'recheck' || afterKey !== null;
}

/** Of the policy's rules, as they are kept with a cut. */
export function rulesOf(policy: Policy): string {
  return createHash('sha256').update(toJson(policy)).digest('hex');
}
