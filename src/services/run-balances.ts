// A run at the level of balances: each pair of the book against opening plus legs, fees included, up to the cut.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookBalance, BookSide } from '../core/book.ts';
import type { DriftSide } from '../core/drift.ts';
import { absolute } from '../core/money.ts';
import type { Policy } from '../core/policy.ts';
import type { AssetTotal, Inconclusive, UnderivedItem } from '../core/run.ts';
import { absorb, absorbedTotals, toleranceOf, type AbsorbedByAsset, type ToleranceOf } from '../core/tolerance.ts';
import { balancesOfPairs, MAX_BALANCE_PAIRS, type PairBalance } from '../store/balances.ts';
import { agreement, type FindingSink } from './run-findings.ts';
import type { RunFrame } from './run-frame.ts';
import { MAX_LISTED } from './run-reasons.ts';

/** Underived balances listed on a run; all are counted. */
const MAX_UNDERIVED_ITEMS = 1000;

export interface BalanceRun {
  readonly em: EntityManager;
  readonly policy: Policy;
  readonly frame: RunFrame;
  readonly book: BookSide;
  readonly sink: FindingSink;
  readonly signal: AbortSignal;
}

export interface BalanceCounts {
  ledgerRecords: number;
  bookRecords: number;
  matched: number;
  drifts: number;
  underived: number;
  skipped: number;
}

export interface BalanceOutcome {
  readonly counts: BalanceCounts;
  readonly toleranceAbsorbed: readonly AssetTotal[];
  readonly underivedItems: readonly UnderivedItem[];
}

/** Compares every balance that the book states; what can't be derived is reported and never accused. */
export async function compareBalances(run: BalanceRun, inconclusive: Inconclusive[]): Promise<BalanceOutcome> {
  const counts: BalanceCounts = { ledgerRecords: 0, bookRecords: 0, matched: 0, drifts: 0, underived: 0, skipped: 0 };
  const underivedItems: UnderivedItem[] = [];
  const noOpening: string[] = [];
  const absorbed: AbsorbedByAsset = {};
  const tolerance = toleranceOf(run.policy.amountTolerances);
  for await (const batch of run.book.balances({ cutLedger: run.frame.cutLedger }, run.signal)) {
    for (let from = 0; from < batch.length; from += MAX_BALANCE_PAIRS) {
      run.signal.throwIfAborted();
      const stated = batch.slice(from, from + MAX_BALANCE_PAIRS).filter((balance) => inScope(balance, run.policy));
      const derived = await deriveFor(run, stated);
      for (const [i, balance] of stated.entries()) {
        counts.bookRecords++;
        counts.ledgerRecords++;
        await judge(run, balance, derived[i]!, counts, underivedItems, noOpening, absorbed, tolerance);
      }
      await run.sink.progress('comparing', counts.bookRecords);
    }
  }
  await run.sink.flush();
  if (noOpening.length > 0) {
    counts.skipped += noOpening.length;
    inconclusive.push({
      reason: 'NO_OPENING',
      side: 'ledger',
      message: `${noOpening.length} balances have no opening: their history before the first ledger read is unknown`,
      fix: 'follow from ledger 1, or from a source that states balances (Horizon, RPC), so that an opening can be taken',
      ranges: [],
      accounts: [...new Set(noOpening)].slice(0, MAX_LISTED),
      itemCount: noOpening.length,
    });
  }
  return { counts, underivedItems, toleranceAbsorbed: absorbedTotals(absorbed) };
}

/**
 * Open drifts that the comparison didn't show again: their balances agree now, or the book states them no longer, which equals
 * zero. Both sides are read again before one is closed.
 */
export async function recheckOpenBalances(run: BalanceRun): Promise<void> {
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
  run: BalanceRun,
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

async function deriveFor(run: BalanceRun, stated: readonly BookBalance[]): Promise<PairBalance[]> {
  const pairs = stated.map((balance) => ({
    account: balance.account,
    asset: balance.asset,
    asOfLedger: balance.asOfLedger === 0 ? run.frame.cutLedger : balance.asOfLedger,
  }));
  return balancesOfPairs(run.em, run.frame.stream.id, run.policy.layer, pairs);
}

async function judge(
  run: BalanceRun,
  balance: BookBalance,
  ledger: PairBalance,
  counts: BalanceCounts,
  underivedItems: UnderivedItem[],
  noOpening: string[],
  absorbed: AbsorbedByAsset,
  tolerance: ToleranceOf,
): Promise<void> {
  if (ledger.state === 'underived') {
    counts.underived++;
    if (underivedItems.length < MAX_UNDERIVED_ITEMS) {
      underivedItems.push({
        account: balance.account,
        asset: balance.asset,
        ledgerAmount: ledger.amount,
        bookAmount: balance.amount,
        reasons: ledger.reasons,
      });
    }
  } else if (ledger.state === 'no_opening') {
    noOpening.push(balance.account);
  } else if (agrees(balance, ledger.amount, tolerance)) {
    counts.matched++;
    absorb(absorbed, balance.asset, absolute(ledger.amount - balance.amount));
  } else {
    counts.drifts++;
    await run.sink.add(finding(run, balance, ledger));
  }
}

function agrees(balance: BookBalance, ledgerAmount: bigint, tolerance: ToleranceOf): boolean {
  return absolute(ledgerAmount - balance.amount) <= tolerance(balance.asset, ledgerAmount);
}

function finding(run: BalanceRun, balance: BookBalance, ledger: PairBalance): Parameters<FindingSink['add']>[0] {
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
