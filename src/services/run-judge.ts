// What a comparison makes of a key: agreed, accused, exempt, waiting or skipped; and what it adds up on the way.
import { exemptionsAt, type Exemptions } from '../core/exemption.ts';
import { agreesExactly, compareKey, type Finding, type Item, type MatchRules } from '../core/match.ts';
import type { Policy } from '../core/policy.ts';
import type { AssetTotal } from '../core/run.ts';
import { Absorbed, toleranceOf } from '../core/tolerance.ts';
import type { FindingClass } from '../core/verdict.ts';
import { agreement, type FindingSink, type OpenDrift } from './run-findings.ts';
import { slotOf, toFindingRow } from './run-items.ts';
import type { SkippedKeys } from './run-skipped.ts';

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
  readonly counts: EntryCounts = {
    ledgerRecords: 0,
    bookRecords: 0,
    matched: 0,
    pending: 0,
    skipped: 0,
    drifts: 0,
    exempt: 0,
    keysMet: 0,
  };
  readonly #options: JudgeOptions;
  readonly #rules: MatchRules;
  readonly #absorbed = new Absorbed();

  constructor(options: JudgeOptions) {
    this.#options = options;
    this.#rules = { ...options.rules, inScope: options.inScope };
  }

  /** What tolerances took for equal, by asset. */
  absorbed(): AssetTotal[] {
    return this.#absorbed.totals();
  }

  /** Counts a key on which both sides agree; false, and nothing counted, where they don't or one of them has nothing. */
  agrees(legs: readonly Item[], rows: readonly Item[]): boolean {
    if (legs.length === 0 || rows.length === 0) return false;
    const [leg, row] = [legs[0]!, rows[0]!];
    if (legs.length === 1 && rows.length === 1 && agreesExactly(leg, row, this.#rules)) {
      const { inScope, inWindow } = this.#options;
      const isAsked = inScope(leg, 'ledger') || inScope(row, 'book');
      if (isAsked && (inWindow(leg, 'ledger') || inWindow(row, 'book'))) this.counts.matched++;
      this.#countRecords(legs, rows);
      return true;
    }
    const findings = compareKey(legs, rows, this.#rules);
    if (findings.some(({ ledger, book, kinds }) => !ledger || !book || kinds.length > 0)) return false;
    this.#countRecords(legs, rows);
    for (const finding of findings) {
      if (!this.#inWindow(finding)) continue;
      this.counts.matched++;
      this.#absorb(finding);
    }
    return true;
  }

  /** What lies outside the window is another window's business. */
  async key(key: string, legs: readonly Item[], rows: readonly Item[]): Promise<void> {
    this.#countRecords(legs, rows);
    for (const finding of compareKey(legs, rows, this.#rules)) {
      if (!this.#inWindow(finding)) continue;
      const what = this.#options.classify(finding);
      if (what === 'nothing') continue;
      this.#absorb(finding);
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

  #absorb({ ledger, absorbed }: Finding): void {
    if (ledger !== null) this.#absorbed.add(ledger.asset, absorbed);
  }

  #countRecords(legs: readonly Item[], rows: readonly Item[]): void {
    const { inScope, inWindow } = this.#options;
    if (legs.length > 0 && rows.length > 0) this.counts.keysMet++;
    for (const leg of legs) if (inScope(leg, 'ledger') && inWindow(leg, 'ledger')) this.counts.ledgerRecords++;
    for (const row of rows) if (inScope(row, 'book') && inWindow(row, 'book')) this.counts.bookRecords++;
  }

  #inWindow({ ledger, book }: Finding): boolean {
    const { inWindow } = this.#options;
    return (ledger !== null && inWindow(ledger, 'ledger')) || (book !== null && inWindow(book, 'book'));
  }
}
