// What a comparison makes of a key: agreed, accused, exempt, waiting or skipped; and what it adds up on the way.
import { exemptionsAt, type Exemptions } from '../core/exemption.ts';
import { agreesExactly, compareKey, type Finding, type Item, type MatchRules } from '../core/match.ts';
import type { Policy } from '../core/policy.ts';
import type { ChunkTallies } from '../core/seal.ts';
import { absorb, toleranceOf, type AbsorbedByAsset } from '../core/tolerance.ts';
import type { FindingClass } from '../core/verdict.ts';
import { agreement, type FindingSink, type OpenDrift } from './run-findings.ts';
import { slotOf, toFindingRow } from './run-items.ts';
import type { SkippedKeys } from './run-skipped.ts';

/** Plain values: they are kept with each checkpoint. */
export interface EntryCounts {
  ledgerRecords: number;
  bookRecords: number;
  matched: number;
  pending: number;
  skipped: number;
  drifts: number;
  /** Drifts that the policy exempts. */
  exempt: number;
  /** Keys that both sides have. */
  keysMet: number;
  /** What tolerances took for equal. */
  absorbed: AbsorbedByAsset;
}

export function nothingCounted(): EntryCounts {
  return {
    ledgerRecords: 0,
    bookRecords: 0,
    matched: 0,
    pending: 0,
    skipped: 0,
    drifts: 0,
    exempt: 0,
    keysMet: 0,
    absorbed: {},
  };
}

export type SideName = 'ledger' | 'book';

export interface JudgeOptions {
  readonly rules: Omit<MatchRules, 'inScope'>;
  readonly inScope: (item: Item, side: SideName) => boolean;
  readonly inWindow: (item: Item, side: SideName) => boolean;
  readonly classify: (finding: Finding) => FindingClass;
  readonly exemptions: Exemptions;
  readonly sink: FindingSink;
  readonly skipped: SkippedKeys;
  readonly counts: EntryCounts;
  /** What was found equal before, and is counted for what was left out; absent: nothing. */
  readonly leftOut?: (item: Item, side: SideName) => boolean;
  /** What is seen of chunks that may be sealed. */
  readonly tallies?: ChunkTallies;
}

/** What a policy asks of two rows of one movement. */
export function matchRules(policy: Policy, join: 'operation' | 'tx_hash' | 'sub_account'): JudgeOptions['rules'] {
  return {
    sumLegs: join === 'tx_hash',
    keyRepeats: join === 'sub_account',
    statusMap: policy.statusMap,
    timeToleranceMs: policy.timeToleranceMs,
    exact: new Set(policy.exact),
    ...(policy.amountTolerances.length > 0 && { toleranceOf: toleranceOf(policy.amountTolerances) }),
    ownWords: policy.ledger.kind !== 'stream',
  };
}

/** The policy's exemptions at the cut, and a sentence for each that is over. */
export function exemptionsOf(policy: Policy, cutAtMs: number, notes: string[]): Exemptions {
  const exemptions = exemptionsAt(policy.exemptions, cutAtMs);
  for (const { expiresAt, owner, reason } of exemptions.expired)
    notes.push(`an exemption ended on ${expiresAt.toISOString()} and has no effect: ${reason} (${owner})`);
  return exemptions;
}

export class Judge {
  readonly counts: EntryCounts;
  readonly #options: JudgeOptions;
  readonly #rules: MatchRules;
  readonly #leftOut: NonNullable<JudgeOptions['leftOut']>;
  readonly #tallies: ChunkTallies | undefined;

  constructor(options: JudgeOptions) {
    this.counts = options.counts;
    this.#options = options;
    this.#rules = { ...options.rules, inScope: options.inScope };
    this.#leftOut = options.leftOut ?? (() => false);
    this.#tallies = options.tallies;
  }

  /** Counts a key on which both sides agree; false, and nothing counted, where they don't or one of them has nothing. */
  agrees(legs: readonly Item[], rows: readonly Item[]): boolean {
    if (legs.length === 0 || rows.length === 0) return false;
    const [leg, row] = [legs[0]!, rows[0]!];
    if (legs.length === 1 && rows.length === 1 && agreesExactly(leg, row, this.#rules)) {
      const { inScope, inWindow } = this.#options;
      const isAsked = inScope(leg, 'ledger') || inScope(row, 'book');
      this.#countRecords(legs, rows);
      if (isAsked && (inWindow(leg, 'ledger') || inWindow(row, 'book'))) this.#countMatched(leg, 0n);
      return true;
    }
    const findings = compareKey(legs, rows, this.#rules);
    if (findings.some(({ ledger, book, kinds }) => !ledger || !book || kinds.length > 0)) return false;
    this.#countRecords(legs, rows);
    for (const finding of findings) if (this.#inWindow(finding)) this.#countMatched(finding.ledger!, finding.absorbed);
    return true;
  }

  /** What lies outside the window is another window's business. */
  async key(key: string, legs: readonly Item[], rows: readonly Item[]): Promise<void> {
    this.#countRecords(legs, rows);
    for (const finding of compareKey(legs, rows, this.#rules)) {
      if (!this.#inWindow(finding)) continue;
      const what = this.#options.classify(finding);
      if (what === 'nothing') continue;
      if (what === 'matched') {
        this.#countMatched(finding.ledger!, finding.absorbed);
        continue;
      }
      this.#tallies?.spoil(finding);
      if (what === 'drift') await this.#accuse(key, finding);
      else this.counts[what]++;
      if (what === 'skipped') await this.#options.skipped.add(key);
    }
  }

  /** What a re-read says of a key's open drifts: still there, agreed, or not to be told now. */
  async recheck(key: string, legs: readonly Item[], rows: readonly Item[], open: readonly OpenDrift[]): Promise<void> {
    const accused = new Set(open.map(slotOf));
    const inScope: MatchRules['inScope'] = (item, side) =>
      accused.has(slotOf(item)) || this.#options.inScope(item, side);
    const findings = new Map(
      compareKey(legs, rows, { ...this.#rules, inScope }).map((finding) => [finding.occurrence, finding]),
    );
    for (const drift of open) {
      const finding = findings.get(drift.occurrence);
      const what = finding === undefined ? 'nothing' : this.#options.classify(finding);
      if (finding !== undefined && what === 'drift') await this.#accuse(key, finding);
      else if (what === 'matched' || what === 'nothing') await this.#options.sink.add(agreement(key, drift));
    }
  }

  /** What an earlier run had to skip, read again: true once all of it could be judged. */
  async settles(key: string, legs: readonly Item[], rows: readonly Item[]): Promise<boolean> {
    let settled = true;
    for (const finding of compareKey(legs, rows, this.#rules)) {
      const what = this.#options.classify(finding);
      if (what === 'drift') await this.#accuse(key, finding);
      else if (what === 'skipped' || what === 'pending') settled = false;
    }
    return settled;
  }

  async #accuse(key: string, finding: Finding): Promise<void> {
    const exemption = this.#options.exemptions.of(key, finding);
    this.counts[exemption === null ? 'drifts' : 'exempt']++;
    await this.#options.sink.add(toFindingRow(key, finding, exemption));
  }

  #countRecords(legs: readonly Item[], rows: readonly Item[]): void {
    const { inScope, inWindow } = this.#options;
    if (legs.length > 0 && rows.length > 0) this.counts.keysMet++;
    for (const leg of legs) {
      if (!inScope(leg, 'ledger') || !inWindow(leg, 'ledger') || this.#leftOut(leg, 'ledger')) continue;
      this.counts.ledgerRecords++;
      this.#tallies?.ledgerRecord(leg);
    }
    for (const row of rows) {
      if (!inScope(row, 'book') || !inWindow(row, 'book') || this.#leftOut(row, 'book')) continue;
      this.counts.bookRecords++;
      this.#tallies?.bookRecord(row);
    }
  }

  /** A pair counts where its entry lies; that of a sealed chunk was counted with it. */
  #countMatched(ledger: Item, absorbed: bigint): void {
    if (this.#leftOut(ledger, 'ledger')) return;
    this.counts.matched++;
    this.#tallies?.matched({ ledger });
    absorb(this.counts.absorbed, ledger.asset, absorbed);
  }

  #inWindow({ ledger, book }: Finding): boolean {
    const { inWindow } = this.#options;
    return (ledger !== null && inWindow(ledger, 'ledger')) || (book !== null && inWindow(book, 'book'));
  }
}
