// A run at the level of entries: a merge join of two ordered sides, and no accusation before both were asked by key.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookRow, BookSide } from '../core/book.ts';
import type { DriftSide } from '../core/drift.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { compareKey, valueAtRisk, type Finding, type Item, type MatchRules } from '../core/match.ts';
import { groupsInOrder, mergeGroups } from '../core/order.ts';
import type { Policy } from '../core/policy.ts';
import { classify, type AccusationFacts } from '../core/verdict.ts';
import type { FindingRow } from '../store/drifts.ts';
import { readLedgerItems, readLedgerItemsByKeys, type KeyedItem, type LedgerScope } from '../store/ledger-side.ts';
import { agreement, type FindingSink, type OpenDrift } from './run-findings.ts';
import type { BookFrame, ResolvedJoin, RunFrame } from './run-scope.ts';

/** Keys asked for at once on the other side. */
const LOOKUP_KEYS = 1000;
/** Row ids listed with a drift's side. */
const MAX_ROW_IDS = 100;

export interface EntryRun {
  readonly em: EntityManager;
  readonly policy: Policy;
  readonly frame: RunFrame;
  readonly book: BookSide;
  readonly bookFrame: BookFrame;
  readonly join: ResolvedJoin;
  readonly scope: LedgerScope;
  readonly sink: FindingSink;
  readonly signal: AbortSignal;
}

export interface EntryCounts {
  ledgerRecords: number;
  bookRecords: number;
  matched: number;
  pending: number;
  skipped: number;
  drifts: number;
  /** Keys that both sides have. */
  keysMet: number;
}

/** Compares the window; findings go to the sink, counts come back. */
export async function compareWindow(run: EntryRun): Promise<EntryCounts> {
  const counts: EntryCounts = { ledgerRecords: 0, bookRecords: 0, matched: 0, pending: 0, skipped: 0, drifts: 0, keysMet: 0 };
  const judge = new Judge(run, counts);
  const { em, policy, frame, book, scope, signal } = run;
  const ledger = groupsInOrder(readLedgerItems(em, scope, frame.window), (entry: KeyedItem) => entry.key);
  const rows = groupsInOrder(
    book.entries(
      {
        occurredFrom: new Date(frame.windowFromMs - policy.lookaroundMs),
        occurredTo: new Date(frame.cutClosedMs + policy.lookaroundMs),
      },
      signal,
    ),
    (row: BookRow) => row.key,
  );
  const [onlyLedger, onlyBook] = [new Map<string, Item[]>(), new Map<string, Item[]>()];
  let keysDone = 0;
  for await (const group of mergeGroups(ledger, rows)) {
    signal.throwIfAborted();
    const [legs, items] = [group.left.map((entry) => entry.item), group.right.map(toItem)];
    if (legs.length > 0 && items.length > 0) await judge.key(group.key, legs, items);
    else if (legs.length > 0) onlyLedger.set(group.key, legs);
    else onlyBook.set(group.key, items);
    if (onlyLedger.size >= LOOKUP_KEYS) await judge.askBook(onlyLedger);
    if (onlyBook.size >= LOOKUP_KEYS) await judge.askLedger(onlyBook);
    if (++keysDone % LOOKUP_KEYS === 0) await run.sink.progress('comparing', keysDone);
  }
  await judge.askBook(onlyLedger);
  await judge.askLedger(onlyBook);
  await run.sink.flush();
  return counts;
}

/**
 * Reads both sides again for every unresolved drift that the window didn't show: a drift closes only when both were read and
 * agree, never by leaving the window.
 */
export async function recheckOpenDrifts(run: EntryRun): Promise<void> {
  const judge = new Judge(run, { ledgerRecords: 0, bookRecords: 0, matched: 0, pending: 0, skipped: 0, drifts: 0, keysMet: 0 });
  for (let after = ''; ; ) {
    const keys = await run.sink.openKeys(after, LOOKUP_KEYS);
    if (keys.length === 0) break;
    run.signal.throwIfAborted();
    const legs = byKey(await readLedgerItemsByKeys(run.em, run.scope, keys, run.frame.cutLedger + 1));
    const rows = groupRows(await run.book.entriesByKeys(keys, run.signal));
    const open = await run.sink.openDrifts(keys);
    for (const key of keys) {
      const findings = compareKey(legs.get(key) ?? [], rows.get(key) ?? [], judge.rules);
      for (const drift of open.filter((each) => each.matchKey === key)) {
        await judge.recheck(key, findings.find((finding) => finding.occurrence === drift.occurrence) ?? null, drift);
      }
    }
    after = keys.at(-1)!;
  }
  await run.sink.flush();
}

class Judge {
  readonly rules: MatchRules;
  readonly #run: EntryRun;
  readonly #counts: EntryCounts;
  readonly #facts: AccusationFacts;
  readonly #pairs: ReadonlySet<string> | null;

  constructor(run: EntryRun, counts: EntryCounts) {
    const { policy, frame, bookFrame } = run;
    this.#run = run;
    this.#counts = counts;
    this.rules = { sumLegs: run.join.join === 'tx_hash', statusMap: policy.statusMap, timeToleranceMs: policy.timeToleranceMs };
    this.#facts = {
      grace: policy.grace,
      cutAtMs: frame.cutAtMs,
      cutClosedMs: frame.cutClosedMs,
      bookCompleteThroughMs: bookFrame.completeThrough?.getTime() ?? null,
      missingTimes: frame.missingTimes,
      missingLedgers: frame.missing,
      wholeHistory: frame.wholeHistory,
    };
    this.#pairs = policy.scope.accounts ? null : new Set(bookFrame.pairs.map((pair) => `${pair.account} ${pair.asset}`));
  }

  async key(key: string, legs: readonly Item[], rows: readonly Item[]): Promise<void> {
    if (legs.length > 0 && rows.length > 0) this.#counts.keysMet++;
    this.#counts.ledgerRecords += legs.filter((leg) => this.#inScope(leg) && this.#ledgerInWindow(leg)).length;
    this.#counts.bookRecords += rows.filter((row) => this.#bookInWindow(row)).length;
    for (const finding of compareKey(legs, rows, this.rules)) await this.#judge(key, finding);
  }

  /** Ledger legs without a row nearby: the book is asked for their keys, whatever time its rows bear. */
  async askBook(waiting: Map<string, Item[]>): Promise<void> {
    if (waiting.size === 0) return;
    const rows = groupRows(await this.#run.book.entriesByKeys([...waiting.keys()], this.#run.signal));
    for (const [key, legs] of waiting) await this.key(key, legs, rows.get(key) ?? []);
    waiting.clear();
  }

  /** Book rows without a leg in the window: the ledger is asked for their keys, whatever ledger and account they are of. */
  async askLedger(waiting: Map<string, Item[]>): Promise<void> {
    if (waiting.size === 0) return;
    const { em, scope, frame } = this.#run;
    const legs = byKey(await readLedgerItemsByKeys(em, scope, [...waiting.keys()], frame.cutLedger + 1));
    for (const [key, rows] of waiting) await this.key(key, legs.get(key) ?? [], rows);
    waiting.clear();
  }

  /** What a re-read says of an open drift: still there, agreed, or not to be told now. */
  async recheck(key: string, finding: Finding | null, drift: OpenDrift): Promise<void> {
    const kind = finding === null ? 'nothing' : classify(finding, this.#facts);
    if (finding !== null && kind === 'drift') {
      await this.#run.sink.add(toFindingRow(key, finding));
    } else if (kind === 'matched' || kind === 'nothing') {
      await this.#run.sink.add(agreement(key, drift));
    }
  }

  async #judge(key: string, finding: Finding): Promise<void> {
    const { ledger, book } = finding;
    // What lies outside the window on the only side that has it is another window's business.
    if (!book && ledger && !(this.#inScope(ledger) && this.#ledgerInWindow(ledger))) return;
    if (!ledger && book && !this.#bookInWindow(book)) return;
    if (ledger && book && !this.#ledgerInWindow(ledger) && !this.#bookInWindow(book)) return;
    switch (classify(finding, this.#facts)) {
      case 'matched':
        this.#counts.matched++;
        return;
      case 'pending':
        this.#counts.pending++;
        return;
      case 'skipped':
        this.#counts.skipped++;
        return;
      case 'nothing':
        return;
      case 'drift':
        this.#counts.drifts++;
        await this.#run.sink.add(toFindingRow(key, finding));
    }
  }

  #inScope(leg: Item): boolean {
    const { assets } = this.#run.policy.scope;
    if (assets && !assets.includes(leg.asset)) return false;
    return this.#pairs === null || this.#pairs.has(`${leg.account} ${leg.asset}`);
  }

  #ledgerInWindow(leg: Item): boolean {
    return inRange(leg.ledger!, this.#run.frame.window);
  }

  #bookInWindow(row: Item): boolean {
    const { frame, policy } = this.#run;
    if (policy.scope.assets && !policy.scope.assets.includes(row.asset)) return false;
    if (row.ledger !== null) return inRange(row.ledger, frame.window);
    if (row.atMs === null) return true;
    return frame.windowFromMs < row.atMs && row.atMs <= frame.cutClosedMs;
  }
}

function toFindingRow(key: string, finding: Finding): FindingRow {
  const item = (finding.ledger ?? finding.book)!;
  const atMs = finding.ledger?.atMs ?? finding.book?.atMs ?? null;
  return {
    matchKey: key,
    occurrence: finding.occurrence,
    kinds: finding.kinds,
    fields: finding.fields,
    ledgerSide: finding.ledger && toSide(finding.ledger),
    bookSide: finding.book && toSide(finding.book),
    account: item.account,
    asset: item.asset,
    valueAtRisk: valueAtRisk(finding),
    itemAt: atMs === null ? null : new Date(atMs),
  };
}

function toSide(item: Item): DriftSide {
  return {
    account: item.account,
    asset: item.asset,
    amount: item.amount,
    kind: item.kind,
    status: item.status,
    counterparty: item.counterparty,
    subAccount: item.subAccount,
    at: item.atMs === null ? null : new Date(item.atMs),
    ledger: item.ledger,
    txHash: item.txHash,
    rowIds: item.rowIds.slice(0, MAX_ROW_IDS),
    rowCount: item.rowIds.length,
  };
}

function toItem(row: BookRow): Item {
  return {
    account: row.account,
    asset: row.asset,
    amount: row.amount,
    kind: row.kind,
    status: row.status,
    counterparty: row.counterparty,
    subAccount: row.subAccount,
    atMs: row.occurredAt?.getTime() ?? null,
    ledger: row.ledger,
    txHash: null,
    rowIds: [row.rowId],
  };
}

function byKey(entries: readonly KeyedItem[]): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const { key, item } of entries) {
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}

function groupRows(rows: readonly BookRow[]): Map<string, Item[]> {
  return byKey(rows.map((row) => ({ key: row.key, item: toItem(row) })));
}

function inRange(ledger: number, range: LedgerRange): boolean {
  return range.from <= ledger && ledger < range.to;
}
