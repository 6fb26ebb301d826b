// A run at the level of entries: a merge join of two ordered sides, and no accusation before both were asked by key.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { BookRow, BookSide } from '../core/book.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { compareKey, isLedgerWord, type Finding, type Item, type MatchRules } from '../core/match.ts';
import { groupsInOrder, mergeGroups } from '../core/order.ts';
import { keysAfter } from '../core/row-side.ts';
import type { Policy } from '../core/policy.ts';
import { isSkippedLedger, isSkippedTime, NOTHING_SKIPPED, type ChunkTallies } from '../core/seal.ts';
import { classify, type AccusationFacts } from '../core/verdict.ts';
import { readLedgerItems, readLedgerItemsByKeys, type KeyedItem, type LedgerScope } from '../store/ledger-side.ts';
import type { Progress } from '../store/run-checkpoints.ts';
import { agreement, type FindingSink, type OpenDrift } from './run-findings.ts';
import { byKey, groupRows, slotOf, toFindingRow, toItem } from './run-items.ts';
import type { RunFrame } from './run-frame.ts';
import type { RunSeals } from './run-sealed.ts';
import type { BookFrame, ResolvedJoin } from './run-scope.ts';

/** Keys asked for at once on the other side. */
const LOOKUP_KEYS = 1000;
/** Items held while they wait for a lookup. */
const LOOKUP_ITEMS = 10_000;

export interface EntryRun {
  readonly em: EntityManager;
  readonly policy: Policy;
  /** The policy's own scope, where a caller narrowed it for this run. */
  readonly policyScope: Policy['scope'];
  readonly frame: RunFrame;
  readonly book: BookSide;
  readonly bookFrame: BookFrame;
  readonly join: ResolvedJoin;
  readonly scope: LedgerScope;
  readonly sink: FindingSink;
  /** Null: nothing is left out, and nothing will be sealed. */
  readonly seals: RunSeals | null;
  readonly signal: AbortSignal;
  /** How far an attempt before this one came at the same cut; null: not at all. */
  readonly resume: Progress<EntryCounts> | null;
  /** Keys after which what was found and counted is kept: the most that is done again after a crash. */
  readonly segmentKeys: number;
}

/** Plain values: they are kept with each checkpoint. */
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
  const { em, policy, frame, book, scope, signal, resume } = run;
  const { ledgers, times, tally } = run.seals?.skipped ?? NOTHING_SKIPPED;
  const counts = { ...NOTHING, ...(resume?.counts ?? { ...tally, keysMet: tally.matched }) };
  if (resume?.phase === 'recheck') return counts;
  const afterKey = resume?.afterKey ?? null;
  const judge = new Judge(run, policy.scope, frame.cutClosedMs, counts, run.seals?.tallies);
  const ledger = groupsInOrder(
    readLedgerItems(em, { ...scope, except: ledgers }, frame.window, afterKey),
    (entry: KeyedItem) => entry.key,
  );
  const rows = groupsInOrder(
    book.entries(
      {
        occurredFrom: new Date(Math.max(0, frame.windowFromMs - policy.lookaroundMs)),
        occurredTo: new Date(frame.cutClosedMs + policy.lookaroundMs),
        except: times,
        ...(afterKey !== null && { keys: keysAfter(afterKey) }),
      },
      signal,
    ),
    (row: BookRow) => row.key,
  );
  const forBook = new Waiting();
  const forLedger = new Waiting();
  let keysDone = 0;
  for await (const group of mergeGroups(ledger, rows)) {
    signal.throwIfAborted();
    const [legs, items] = [group.left.map((entry) => entry.item), group.right.map(toItem)];
    if (items.length === 0) forBook.add(group.key, legs);
    else if (!judge.agrees(legs, items)) {
      // Where a part of the book is left out, other rows of the key may lie in it.
      if (times.length > 0) forBook.add(group.key, legs);
      else forLedger.add(group.key, items);
    }
    if (forBook.isFull) await askBook(run, judge, forBook, forLedger);
    if (forLedger.isFull) await askLedger(run, judge, forLedger);
    if (++keysDone % LOOKUP_KEYS === 0) await run.sink.progress('comparing', keysDone);
    if (keysDone % run.segmentKeys !== 0) continue;
    // What waits is asked for first, so that everything up to this key is done.
    await askBook(run, judge, forBook, forLedger);
    await askLedger(run, judge, forLedger);
    await run.sink.checkpoint({ phase: 'window', afterKey: group.key, counts });
  }
  await askBook(run, judge, forBook, forLedger);
  await askLedger(run, judge, forLedger);
  // Less than a segment is as soon done again as it is kept.
  if (keysDone < run.segmentKeys) await run.sink.flush();
  else await run.sink.checkpoint({ phase: 'recheck', afterKey: null, counts });
  return counts;
}

/** Keys that a side has to be asked for by name, because the window alone doesn't settle them; with what the other side has. */
class Waiting {
  readonly items = new Map<string, readonly Item[]>();
  #count = 0;

  add(key: string, items: readonly Item[]): void {
    this.items.set(key, items);
    this.#count += items.length;
  }

  get isFull(): boolean {
    return this.items.size >= LOOKUP_KEYS || this.#count >= LOOKUP_ITEMS;
  }

  clear(): void {
    this.items.clear();
    this.#count = 0;
  }
}

/** Legs without a row nearby: the book is asked for their keys, whatever time its rows bear. */
async function askBook(run: EntryRun, judge: Judge, forBook: Waiting, forLedger: Waiting): Promise<void> {
  if (forBook.items.size === 0) return;
  const rows = groupRows(await run.book.entriesByKeys([...forBook.items.keys()], run.signal));
  for (const [key, legs] of forBook.items) {
    const found = rows.get(key) ?? [];
    if (!judge.agrees(legs, found)) forLedger.add(key, found);
    if (forLedger.isFull) await askLedger(run, judge, forLedger);
  }
  forBook.clear();
}

/** Nobody is accused before the ledger was asked for all legs of the key, of whatever ledger and account they are. */
async function askLedger(run: EntryRun, judge: Judge, forLedger: Waiting): Promise<void> {
  if (forLedger.items.size === 0) return;
  const legs = byKey(
    await readLedgerItemsByKeys(run.em, run.scope, [...forLedger.items.keys()], run.frame.headLedger + 1),
  );
  for (const [key, rows] of forLedger.items) await judge.key(key, legs.get(key) ?? [], rows);
  forLedger.clear();
}

/**
 * Reads both sides again for every unresolved drift that the window didn't show: a drift closes only when both were read and
 * agree, never by leaving the window, nor because this run looks at less than the policy does.
 */
export async function recheckOpenDrifts(run: EntryRun, counts: EntryCounts = NOTHING): Promise<void> {
  const judge = new Judge(run, run.policyScope, run.frame.headClosedMs, { ...NOTHING });
  for (let after = run.resume?.phase === 'recheck' ? run.resume.afterKey : null, keysDone = 0; ;) {
    const keys: string[] = await run.sink.openKeys(after, LOOKUP_KEYS);
    if (keys.length === 0) break;
    run.signal.throwIfAborted();
    const legs = byKey(await readLedgerItemsByKeys(run.em, run.scope, keys, run.frame.headLedger + 1));
    const rows = groupRows(await run.book.entriesByKeys(keys, run.signal));
    const open = Map.groupBy(await run.sink.openDrifts(keys), (drift) => drift.matchKey);
    for (const key of keys) await judge.recheck(key, legs.get(key) ?? [], rows.get(key) ?? [], open.get(key) ?? []);
    await run.sink.progress('comparing', (keysDone += keys.length));
    after = keys.at(-1)!;
    if (keysDone % run.segmentKeys < keys.length)
      await run.sink.checkpoint({ phase: 'recheck', afterKey: after, counts });
  }
  await run.sink.flush();
}

const NOTHING: EntryCounts = {
  ledgerRecords: 0,
  bookRecords: 0,
  matched: 0,
  pending: 0,
  skipped: 0,
  drifts: 0,
  keysMet: 0,
};

class Judge {
  readonly #run: EntryRun;
  readonly #counts: EntryCounts;
  readonly #rules: MatchRules;
  readonly #facts: AccusationFacts;
  readonly #accounts: ReadonlySet<string> | null;
  readonly #assets: ReadonlySet<string> | null;
  readonly #pairs: ReadonlySet<string> | null;
  readonly #kinds: ReadonlySet<string>;
  readonly #tallies: ChunkTallies | undefined;

  constructor(run: EntryRun, scope: Policy['scope'], cutClosedMs: number, counts: EntryCounts, tallies?: ChunkTallies) {
    const { policy, frame, bookFrame } = run;
    this.#run = run;
    this.#counts = counts;
    this.#tallies = tallies;
    this.#accounts = scope.accounts ? new Set(scope.accounts) : null;
    this.#assets = scope.assets ? new Set(scope.assets) : null;
    this.#pairs = run.policyScope.accounts ? null : new Set(bookFrame.pairs.map(slotOf));
    this.#kinds = new Set(run.scope.kinds);
    this.#rules = {
      sumLegs: run.join.join === 'tx_hash',
      statusMap: policy.statusMap,
      timeToleranceMs: policy.timeToleranceMs,
      inScope: (item, side) => this.#inScope(item, side),
    };
    this.#facts = {
      grace: policy.grace,
      cutAtMs: frame.cutAtMs,
      cutClosedMs,
      bookCompleteThroughMs: bookFrame.completeThrough?.getTime() ?? null,
      covered: frame.done,
      headLedger: frame.headLedger,
      missingTimes: frame.missingTimes,
      wholeHistory: frame.wholeHistory,
    };
  }

  /** Counts a key on which both sides agree; false, and nothing counted, where they don't or one of them has nothing. */
  agrees(legs: readonly Item[], rows: readonly Item[]): boolean {
    if (legs.length === 0 || rows.length === 0) return false;
    const findings = compareKey(legs, rows, this.#rules);
    if (findings.some(({ ledger, book, kinds }) => !ledger || !book || kinds.length > 0)) return false;
    this.#countRecords(legs, rows);
    for (const finding of findings) if (this.#inWindow(finding)) this.#countMatched(finding);
    return true;
  }

  async key(key: string, legs: readonly Item[], rows: readonly Item[]): Promise<void> {
    this.#countRecords(legs, rows);
    for (const finding of compareKey(legs, rows, this.#rules)) {
      // What lies outside the window is another window's business.
      if (!this.#inWindow(finding)) continue;
      const what = classify(finding, this.#facts);
      if (what === 'nothing') continue;
      if (what === 'matched') {
        this.#countMatched(finding);
        continue;
      }
      this.#tallies?.spoil(finding);
      if (what === 'drift') await this.#run.sink.add(toFindingRow(key, finding));
      this.#counts[what === 'drift' ? 'drifts' : what]++;
    }
  }

  /** What a re-read says of a key's open drifts: still there, agreed, or not to be told now. */
  async recheck(key: string, legs: readonly Item[], rows: readonly Item[], open: readonly OpenDrift[]): Promise<void> {
    const accused = new Set(open.map(slotOf));
    const inScope: MatchRules['inScope'] = (item, side) => accused.has(slotOf(item)) || this.#inScope(item, side);
    const findings = new Map(
      compareKey(legs, rows, { ...this.#rules, inScope }).map((finding) => [finding.occurrence, finding]),
    );
    for (const drift of open) {
      const finding = findings.get(drift.occurrence);
      const what = finding === undefined ? 'nothing' : classify(finding, this.#facts);
      if (finding !== undefined && what === 'drift') await this.#run.sink.add(toFindingRow(key, finding));
      else if (what === 'matched' || what === 'nothing') await this.#run.sink.add(agreement(key, drift));
    }
  }

  #countRecords(legs: readonly Item[], rows: readonly Item[]): void {
    if (legs.length > 0 && rows.length > 0) this.#counts.keysMet++;
    const skipped = this.#run.seals?.skipped ?? NOTHING_SKIPPED;
    for (const leg of legs) {
      if (!this.#inScope(leg, 'ledger') || !this.#ledgerInWindow(leg) || isSkippedLedger(skipped, leg.ledger)) continue;
      this.#counts.ledgerRecords++;
      this.#tallies?.ledgerRecord(leg);
    }
    for (const row of rows) {
      if (!this.#inScope(row, 'book') || !this.#bookInWindow(row) || isSkippedTime(skipped, row.atMs)) continue;
      this.#counts.bookRecords++;
      this.#tallies?.bookRecord(row);
    }
  }

  /** A pair counts where its entry lies; that of a sealed chunk was counted with it. */
  #countMatched(finding: Finding): void {
    if (isSkippedLedger(this.#run.seals?.skipped ?? NOTHING_SKIPPED, finding.ledger?.ledger ?? null)) return;
    this.#counts.matched++;
    this.#tallies?.matched(finding);
  }

  #inScope(item: Item, side: 'ledger' | 'book'): boolean {
    if (this.#accounts && !this.#accounts.has(item.account)) return false;
    if (this.#assets && !this.#assets.has(item.asset)) return false;
    if (side === 'ledger') return this.#pairs === null || this.#pairs.has(slotOf(item));
    // A fee in the book is none of the movements compared, unless the policy says so.
    return item.kind === null || !isLedgerWord(item.kind) || this.#kinds.has(item.kind);
  }

  #inWindow({ ledger, book }: Finding): boolean {
    return (ledger !== null && this.#ledgerInWindow(ledger)) || (book !== null && this.#bookInWindow(book));
  }

  #ledgerInWindow(leg: Item): boolean {
    return inRange(leg.ledger!, this.#run.frame.window);
  }

  #bookInWindow(row: Item): boolean {
    const { frame } = this.#run;
    // A ledger that hasn't closed yet is none to go by.
    if (row.ledger !== null && row.ledger <= frame.headLedger) return inRange(row.ledger, frame.window);
    if (row.atMs === null) return row.ledger === null;
    return frame.windowFromMs < row.atMs && row.atMs <= frame.cutClosedMs;
  }
}

function inRange(ledger: number, range: LedgerRange): boolean {
  return range.from <= ledger && ledger < range.to;
}
