// The comparison of a run: from its cut, or from where an attempt before this one stopped, to what it came to.
import { tmpdir } from 'node:os';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Book, BookSide } from '../core/book.ts';
import type { Policy } from '../core/policy.ts';
import type { RowSide } from '../core/row-side.ts';
import type { Inconclusive } from '../core/run.ts';
import { absorbedTotals } from '../core/tolerance.ts';
import type { Database } from '../store/database.ts';
import { bySubAccount } from '../sources/sorted-side.ts';
import { feeTotals } from '../store/ledger-side.ts';
import { withLedgerSnapshot } from '../store/ledger-snapshot.ts';
import { beginCheckpoint } from '../store/run-checkpoints.ts';
import { type StoredRun } from '../store/runs.ts';
import type { SealScope } from '../store/seals.ts';
import type { Events } from '../telemetry/events.ts';
import type { RunAlerts } from './run-alerts.ts';
import { compareBalances, recheckOpenBalances } from './run-balances.ts';
import { asOfCut, keepBalanceCut, keepCut, keptBalances, keptRun, openBook, type KeptRun } from './run-cut.ts';
import { compareWindow, recheckOpenDrifts, recheckSkippedKeys } from './run-entries.ts';
import { exemptionsOf } from './run-judge.ts';
import { createFindingSink, type FindingSink } from './run-findings.ts';
import { frameRun, type Following, type RunFrame } from './run-frame.ts';
import { reason } from './run-reasons.ts';
import { askOutside, prepareSeals, readRunSeals, sealsOfCut, type RunSeals } from './run-sealed.ts';
import { addBookReasons, frameBook, kindsOf, resolveJoin, type BookFrame, type ResolvedJoin } from './run-scope.ts';
import { createSkippedKeys } from './run-skipped.ts';
import { type Outcome } from './run-summary.ts';

export interface RunDeps {
  readonly db: Database;
  readonly policies: ReadonlyMap<string, Policy>;
  readonly bookOf: (policy: Policy) => Book;
  /** The side that stands for the ledger of a policy without a stream. Absent: there is none. */
  readonly ledgerOf?: (policy: Policy) => Book;
  /** Where rows are put in order that come in none and are too many to hold. Absent: the system's folder for such files. */
  readonly spillFolder?: string;
  readonly networkPassphrase: string;
  /** Absent: without an end, and unavailable after two minutes of silence. */
  readonly following?: Following;
  /** Absent: nobody is told. */
  readonly alerts?: RunAlerts;
  readonly events: Events;
  /** Keys after which a comparison keeps how far it has come; absent: 20,000. */
  readonly segmentKeys?: number;
}

export const SEGMENT_KEYS = 20_000;

export const FOLLOWING_DEFAULTS: Following = { endLedger: null, maxSilenceMs: 120_000 };

export const NOTHING_COUNTED: Outcome['counts'] = {
  ledgerRecords: 0,
  bookRecords: 0,
  matched: 0,
  pending: 0,
  underived: 0,
  skipped: 0,
};

/** Goes on at the cut of the attempt before this one where its rows can be read again, else from the beginning. */
export async function compare(deps: RunDeps, policy: Policy, run: StoredRun, signal: AbortSignal): Promise<Outcome> {
  const kept = await keptRun(deps.db.em(), run, policy);
  // Before any snapshot is taken, so that no write falls between the two.
  const sealing = kept === null ? await prepareSeals(deps.db, deps.networkPassphrase, policy, run) : null;
  await using book = await openBook(deps.bookOf(policy), policy, kept, signal);
  const work = (em: EntityManager): Promise<Outcome> => {
    if (policy.level === 'balances') return compareAllBalances(deps, policy, run, book, em, signal);
    return kept === null
      ? begin(deps, policy, run, book, em, sealing, signal)
      : resume(deps, policy, run, book, em, kept, signal);
  };
  return await withLedgerSnapshot(deps.db, work, signal);
}

async function begin(
  deps: RunDeps,
  policy: Policy,
  run: StoredRun,
  book: BookSide,
  em: EntityManager,
  sealing: SealScope | null,
  signal: AbortSignal,
): Promise<Outcome> {
  const { frame, bookFrame, inconclusive } = await cutBoth(deps, policy, run, book, em, signal);
  const nothing = { frame, bookFrame, join: null, counts: NOTHING_COUNTED, underivedItems: [], fees: [], inconclusive };
  if (frame === null) return nothing;
  const join = await resolveJoin(book, policy, inconclusive, signal);
  if (join === null) return nothing;
  const sink = createFindingSink(deps.db, run, policy.name);
  const side = { em, policy, frame, book, sink, signal };
  const seals = sealing && (await readRunSeals(em, sealing, policy, { frame, book, bookFrame, join }, inconclusive));
  await keepCut(deps.db, em, run, policy, book, { frame, bookFrame, join, seals: seals?.kept ?? null, inconclusive });
  return compareEntries(deps, run, { ...side, bookFrame, join, seals, kept: null }, inconclusive);
}

/** The cut of both sides, and what is wrong with either at it. */
async function cutBoth(
  deps: RunDeps,
  policy: Policy,
  run: StoredRun,
  book: BookSide,
  em: EntityManager,
  signal: AbortSignal,
): Promise<{ frame: RunFrame | null; bookFrame: BookFrame; inconclusive: Inconclusive[] }> {
  // What an attempt before this one found at a cut that can't be had again.
  if (run.attempt > 1) await beginCheckpoint(deps.db.em(), run, null);
  const inconclusive: Inconclusive[] = [];
  const bookFrame = await frameBook(book, policy, inconclusive, signal);
  const frame = await frameRun(
    em,
    deps.networkPassphrase,
    policy,
    run,
    bookFrame.accounts,
    deps.following ?? FOLLOWING_DEFAULTS,
    inconclusive,
  );
  if (frame !== null) addBookReasons(bookFrame, book.describe(), policy, frame.cutClosedMs, inconclusive);
  return { frame, bookFrame, inconclusive };
}

async function compareAllBalances(
  deps: RunDeps,
  policy: Policy,
  run: StoredRun,
  book: BookSide,
  em: EntityManager,
  signal: AbortSignal,
): Promise<Outcome> {
  const kept = run.attempt > 1 ? await keptBalances(deps.db, em, run, policy, book) : null;
  const { frame, bookFrame, ...cut } = kept?.cut ?? (await cutBoth(deps, policy, run, book, em, signal));
  const inconclusive = [...cut.inconclusive];
  const nothing = { frame, bookFrame, join: null, counts: NOTHING_COUNTED, underivedItems: [], fees: [], inconclusive };
  if (frame === null) return nothing;
  if (kept === null) await keepBalanceCut(deps.db, em, run, policy, book, { frame, bookFrame, inconclusive });
  const sink = createFindingSink(deps.db, run, policy.name);
  const segmentKeys = book.position === undefined ? Infinity : (deps.segmentKeys ?? SEGMENT_KEYS);
  const side = { em, policy, frame, book, sink, signal, resume: kept, segmentKeys };
  const { counts, ...more } = await compareBalances(side, inconclusive);
  await recheckOpenBalances(side);
  return { ...nothing, ...more, counts: { ...NOTHING_COUNTED, ...counts } };
}

async function resume(
  deps: RunDeps,
  policy: Policy,
  run: StoredRun,
  book: BookSide,
  em: EntityManager,
  kept: KeptRun,
  signal: AbortSignal,
): Promise<Outcome> {
  const { frame, bookFrame, join, inconclusive } = kept.cut;
  const sink = createFindingSink(deps.db, run, policy.name);
  const seals = sealsOfCut(kept.cut.seals);
  const side = { em, policy, frame, book, sink, signal, bookFrame, join, seals, kept };
  return compareEntries(deps, run, side, [...inconclusive]);
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
    join: ResolvedJoin;
    seals: RunSeals | null;
    kept: KeptRun | null;
    sink: FindingSink;
    signal: AbortSignal;
  },
  inconclusive: Inconclusive[],
): Promise<Outcome> {
  const { em, policy, frame, bookFrame, join, seals, kept } = side;
  const outcome = { frame, bookFrame, join, underivedItems: [], inconclusive };
  const scope = {
    streamId: frame.stream.id,
    layer: policy.layer,
    form: join.form,
    kinds: kindsOf(policy),
    accounts: bookFrame.accounts,
    asOf: kept && (await asOfCut(em, kept, policy)),
  };
  const notes: string[] = [];
  await using rekeyed = await rekeyedBook(deps, side.book, join, side.signal);
  const entryRun = {
    ...side,
    book: rekeyed ?? side.book,
    policyScope: deps.policies.get(policy.name)!.scope,
    scope,
    exemptions: exemptionsOf(policy, frame.cutAtMs, notes),
    skipped: createSkippedKeys(deps.db, run, policy.name),
    resume: kept,
    segmentKeys: deps.segmentKeys ?? SEGMENT_KEYS,
  };
  const counts = await compareWindow(entryRun);
  if (counts.keysMet === 0 && counts.ledgerRecords > 0 && counts.bookRecords > 0) {
    // Not thousands of drifts: two sides that never meet were joined on the wrong thing.
    await beginCheckpoint(deps.db.em(), run, null);
    inconclusive.push(
      reason(
        'KEYS_DISJOINT',
        null,
        `none of the book's keys is a key of the ledger, joined as ${join.form}`,
        'see `trueup doctor book` for the keys of both sides',
      ),
    );
    const read = { ledgerRecords: counts.ledgerRecords, bookRecords: counts.bookRecords };
    return { ...outcome, counts: { ...NOTHING_COUNTED, ...read }, fees: [] };
  }
  await recheckOpenDrifts(entryRun, counts);
  const waiting = await recheckSkippedKeys(entryRun);
  if (waiting > counts.skipped)
    notes.push(`${waiting} keys that runs had to skip still wait to be verified; each run reads them again`);
  if (counts.skipped > 0 && !inconclusive.some((each) => each.side === 'ledger')) {
    const words = `${counts.skipped} rows of the book may lie in ledgers that were never read: before history begins, or without a time`;
    inconclusive.push(
      reason(
        'COVERAGE_GAP',
        'ledger',
        words,
        'backfill the ledgers before the first one, or give the rows `ledger` and occurred_at',
      ),
    );
  }
  const { drifts: _, keysMet: __, exempt: ___, absorbed, ...recorded } = counts;
  const fees = await feeTotals(em, scope, frame.window);
  return {
    ...outcome,
    toleranceAbsorbed: absorbedTotals(absorbed),
    notes,
    counts: { ...NOTHING_COUNTED, ...recorded },
    seals: seals && (await askOutside(seals, side.book)),
    fees,
  };
}

/** A book in the order of a join by sub-account; null where it is in order as it comes. */
export async function rekeyedBook(
  { spillFolder = tmpdir() }: Pick<RunDeps, 'spillFolder'>,
  book: BookSide,
  { join }: ResolvedJoin,
  signal: AbortSignal,
): Promise<RowSide | null> {
  return join === 'sub_account' ? bySubAccount(book, spillFolder, signal) : null;
}
