// A run at the level of balances: each pair of the book against opening plus legs, fees included, up to the cut.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookBalance, BookSide } from '../core/book.ts';
import type { DriftSide } from '../core/drift.ts';
import { absolute } from '../core/money.ts';
import type { Policy } from '../core/policy.ts';
import type { AssetTotal, Inconclusive, UnderivedItem } from '../core/run.ts';
import { absorb, absorbedTotals, toleranceOf, type AbsorbedByAsset, type ToleranceOf } from '../core/tolerance.ts';
import { balancesOfPairs, MAX_BALANCE_PAIRS, type PairBalance } from '../store/balances.ts';
import type { Progress } from '../store/run-checkpoints.ts';
import { agreement, type FindingSink } from './run-findings.ts';
import type { RunFrame } from './run-frame.ts';
import { MAX_LISTED } from './run-reasons.ts';

/** Underived balances listed on a run; all are counted. */
const MAX_UNDERIVED_ITEMS = 1000;

export interface BalanceSides {
  readonly em: EntityManager;
  readonly policy: Policy;
  readonly frame: RunFrame;
  readonly book: BookSide;
  readonly sink: FindingSink;
  readonly signal: AbortSignal;
}

export interface BalanceRun extends BalanceSides {
  /** How far an attempt before this one came at the same cut; null: not at all. */
  readonly resume: Progress<BalanceProgress> | null;
  readonly segmentKeys: number;
}

export interface BalanceCounts {
  ledgerRecords: number;
  bookRecords: number;
  matched: number;
  drifts: number;
  underived: number;
  skipped: number;
}

/** Plain values: they are kept with each checkpoint. */
export interface BalanceProgress {
  readonly counts: BalanceCounts;
  /** Balances taken from the book, in scope or not: the next worker leaves out as many. */
  taken: number;
  readonly underivedItems: UnderivedItem[];
  /** Some of the accounts whose balances have no opening. */
  readonly noOpening: string[];
  readonly absorbed: AbsorbedByAsset;
}

export interface BalanceOutcome {
  readonly counts: BalanceCounts;
  readonly toleranceAbsorbed: readonly AssetTotal[];
  readonly underivedItems: readonly UnderivedItem[];
}

function nothingTaken(): BalanceProgress {
  const counts = { ledgerRecords: 0, bookRecords: 0, matched: 0, drifts: 0, underived: 0, skipped: 0 };
  return { counts, taken: 0, underivedItems: [], noOpening: [], absorbed: {} };
}

/** Compares every balance that the book states; what can't be derived is reported and never accused. */
export async function compareBalances(run: BalanceRun, inconclusive: Inconclusive[]): Promise<BalanceOutcome> {
  const progress = run.resume?.counts ?? nothingTaken();
  if (run.resume?.phase !== 'recheck') await compareStated(run, progress);
  const { counts, noOpening, underivedItems, absorbed } = progress;
  if (counts.skipped > 0) {
    inconclusive.push({
      reason: 'NO_OPENING',
      side: 'ledger',
      message: `${counts.skipped} balances have no opening: their history before the first ledger read is unknown`,
      fix: 'follow from ledger 1, or from a source that states balances (Horizon, RPC), so that an opening can be taken',
      ranges: [],
      accounts: noOpening,
      itemCount: counts.skipped,
    });
  }
  return { counts, underivedItems, toleranceAbsorbed: absorbedTotals(absorbed) };
}

async function compareStated(run: BalanceRun, progress: BalanceProgress): Promise<void> {
  const tolerance = toleranceOf(run.policy.amountTolerances);
  const { counts } = progress;
  const partSize = Math.min(MAX_BALANCE_PAIRS, run.segmentKeys);
  let toSkip = progress.taken;
  let kept = progress.taken;
  for await (const whole of run.book.balances({ cutLedger: run.frame.cutLedger }, run.signal)) {
    const batch = whole.slice(toSkip);
    toSkip -= whole.length - batch.length;
    for (let from = 0; from < batch.length; from += partSize) {
      run.signal.throwIfAborted();
      const part = batch.slice(from, from + partSize);
      const stated = part.filter((balance) => inScope(balance, run.policy));
      const derived = await deriveFor(run, stated);
      for (const [i, balance] of stated.entries()) {
        counts.bookRecords++;
        counts.ledgerRecords++;
        await judge(run, balance, derived[i]!, progress, tolerance);
      }
      progress.taken += part.length;
      await run.sink.progress('comparing', counts.bookRecords);
      if (progress.taken - kept < run.segmentKeys) continue;
      await run.sink.checkpoint({ phase: 'window', afterKey: keyOf(part.at(-1)!), counts: progress });
      kept = progress.taken;
    }
  }
  // Less than a segment is as soon done again as it is kept.
  if (progress.taken < run.segmentKeys) await run.sink.flush();
  else await run.sink.checkpoint({ phase: 'recheck', afterKey: null, counts: progress });
}

/**
 * Open drifts that the comparison didn't show again: their balances agree now, or the book states them no longer, which equals
 * zero. Both sides are read again before one is closed.
 */
export async function recheckOpenBalances(run: BalanceSides): Promise<void> {
  const tolerance = toleranceOf(run.policy.amountTolerances);
  for (let after: string | null = null; ;) {
    const keys = await run.sink.openKeys(after, MAX_BALANCE_PAIRS);
    if (keys.length === 0) break;
    const drifts = await run.sink.openDrifts(keys);
    const stated = await statedNow(run, new Map(drifts.map((drift) => [drift.matchKey, drift])));
    const derived = await deriveFor(run, stated);
    for (const [i, drift] of drifts.entries()) {
      const ledger = derived[i]!;
      if (ledger.state !== 'derived') continue;
      if (agrees(stated[i]!, ledger.amount, tolerance)) await run.sink.add(agreement(drift.matchKey, drift));
      else await run.sink.add(finding(run, stated[i]!, ledger));
    }
    after = keys.at(-1)!;
  }
  await run.sink.flush();
}

async function statedNow(
  run: BalanceSides,
  wanted: ReadonlyMap<string, { account: string; asset: string }>,
): Promise<BookBalance[]> {
  const found = new Map<string, BookBalance>();
  for await (const batch of run.book.balances({ cutLedger: run.frame.cutLedger }, run.signal)) {
    for (const balance of batch) if (wanted.has(keyOf(balance))) found.set(keyOf(balance), balance);
  }
  return [...wanted].map(
    ([key, { account, asset }]) => found.get(key) ?? { account, asset, amount: 0n, asOfLedger: 0 },
  );
}

async function deriveFor(run: BalanceSides, stated: readonly BookBalance[]): Promise<PairBalance[]> {
  const pairs = stated.map((balance) => ({
    account: balance.account,
    asset: balance.asset,
    asOfLedger: balance.asOfLedger === 0 ? run.frame.cutLedger : balance.asOfLedger,
  }));
  return balancesOfPairs(run.em, run.frame.stream.id, run.policy.layer, pairs);
}

async function judge(
  run: BalanceSides,
  balance: BookBalance,
  ledger: PairBalance,
  { counts, underivedItems, noOpening, absorbed }: BalanceProgress,
  tolerance: ToleranceOf,
): Promise<void> {
  const { account, asset } = balance;
  if (ledger.state === 'underived') {
    counts.underived++;
    if (underivedItems.length < MAX_UNDERIVED_ITEMS) {
      const { amount: ledgerAmount, reasons } = ledger;
      underivedItems.push({ account, asset, ledgerAmount, bookAmount: balance.amount, reasons });
    }
  } else if (ledger.state === 'no_opening') {
    counts.skipped++;
    if (noOpening.length < MAX_LISTED && !noOpening.includes(account)) noOpening.push(account);
  } else if (agrees(balance, ledger.amount, tolerance)) {
    counts.matched++;
    absorb(absorbed, asset, absolute(ledger.amount - balance.amount));
  } else {
    counts.drifts++;
    await run.sink.add(finding(run, balance, ledger));
  }
}

function agrees(balance: BookBalance, ledgerAmount: bigint, tolerance: ToleranceOf): boolean {
  return absolute(ledgerAmount - balance.amount) <= tolerance(balance.asset, ledgerAmount);
}

function finding(run: BalanceSides, balance: BookBalance, ledger: PairBalance): Parameters<FindingSink['add']>[0] {
  const { account, asset } = balance;
  return {
    matchKey: keyOf(balance),
    occurrence: 0,
    kinds: ['BALANCE_MISMATCH'],
    fields: [{ field: 'balance', ledger: String(ledger.amount), book: String(balance.amount) }],
    ledgerSide: side(account, asset, ledger.amount, ledger.asOfLedger),
    bookSide: side(account, asset, balance.amount, balance.asOfLedger === 0 ? null : balance.asOfLedger),
    account,
    asset,
    valueAtRisk: absolute(ledger.amount - balance.amount),
    itemAt: new Date(run.frame.cutClosedMs),
  };
}

function side(account: string, asset: string, amount: bigint, ledger: number | null): DriftSide {
  return {
    account,
    asset,
    amount,
    kind: null,
    status: null,
    counterparty: null,
    subAccount: null,
    at: null,
    ledger,
    txHash: null,
    rowIds: [],
    rowCount: 0,
  };
}

function keyOf(balance: { readonly account: string; readonly asset: string }): string {
  return `${balance.account}|${balance.asset}`;
}

function inScope(balance: BookBalance, policy: Policy): boolean {
  const { accounts, assets } = policy.scope;
  return (!accounts || accounts.includes(balance.account)) && (!assets || assets.includes(balance.asset));
}
