// What an alert says: one message however many drifts there are, with what to look at first.
import type { AlertSeverity } from './alert.ts';
import type { DueAlert, Standing } from './alerting.ts';
import { assetScale } from './asset.ts';
import type { DriftKind } from './drift.ts';
import { formatAmount } from './money.ts';
import type { Inconclusive } from './run.ts';

/** The drifts of a standing, grouped. */
export interface StandingDetails extends Standing {
  readonly kinds: readonly { readonly kind: DriftKind; readonly count: number }[];
  /** The oldest ones, at most OLDEST_SHOWN. */
  readonly oldest: readonly OldestDrift[];
}

export interface OldestDrift {
  readonly id: string;
  readonly matchKey: string;
  readonly kinds: readonly DriftKind[];
  readonly account: string;
  readonly asset: string;
  readonly valueAtRisk: bigint | null;
  /** The item's own date, else when the drift was first seen. */
  readonly at: Date;
}

export interface AlertFacts {
  readonly policy: string;
  readonly standing: StandingDetails;
  readonly inconclusive: readonly Inconclusive[];
  readonly now: Date;
}

export const OLDEST_SHOWN = 5;
const ASSETS_SHOWN = 10;
const REASONS_SHOWN = 5;
/** Keys and messages come from the sides; a long one must not crowd out the rest. */
const MAX_TEXT_CHARS = 200;

export interface AlertWords {
  readonly title: string;
  readonly severity: AlertSeverity;
  readonly details: Readonly<Record<string, string>>;
}

export function wordsOf(due: DueAlert, facts: AlertFacts): AlertWords {
  if (due.kind === 'RESOLVED') return resolvedWords(due, facts);
  return due.kind === 'INCONCLUSIVE' ? outageWords(due, facts) : driftWords(due, facts);
}

function driftWords(due: DueAlert, { policy, standing, now }: AlertFacts): AlertWords {
  const { count, unacknowledged } = standing;
  const what = count === 1 ? '1 drift' : `${count} drifts`;
  const verb = due.kind === 'DRIFT_RISING' ? 'drift is growing' : 'drift detected';
  const acknowledged = count - unacknowledged;
  return {
    title: `${policy}: ${verb}, ${what} open`,
    severity: 'page',
    details: {
      drifts: acknowledged === 0 ? `${count}` : `${count}, of which ${acknowledged} acknowledged`,
      kinds: standing.kinds.map((each) => `${each.kind} ${each.count}`).join(', '),
      'value at risk': valueWords(standing.valueAtRisk),
      ...Object.fromEntries(standing.oldest.map((drift, i) => [`oldest ${i + 1}`, oldestWords(drift, now)])),
      look: `trueup drifts --policy ${policy}`,
    },
  };
}

function outageWords(due: DueAlert, { policy, inconclusive, now }: AlertFacts): AlertWords {
  const shown = inconclusive.slice(0, REASONS_SHOWN);
  const more = inconclusive.length - shown.length;
  return {
    title: `${policy}: inconclusive${due.since === null ? '' : ` for ${ageWords(now.getTime() - due.since.getTime())}`}`,
    severity: 'ticket',
    details: {
      ...(due.since !== null && { since: due.since.toISOString() }),
      ...Object.fromEntries(shown.map((each, i) => [`reason ${i + 1}`, cut(`${each.reason}: ${each.message}`)])),
      ...(more > 0 && { 'more reasons': `${more}` }),
      ...(shown[0] !== undefined && { fix: cut(shown[0].fix) }),
      look: 'trueup status',
    },
  };
}

function resolvedWords(due: DueAlert, { policy }: AlertFacts): AlertWords {
  const details = {
    ...(due.since !== null && { [due.about === 'drift' ? 'last told' : 'since']: due.since.toISOString() }),
    look: due.about === 'drift' ? `trueup drifts --policy ${policy} --state resolved` : 'trueup status',
  };
  return due.about === 'drift'
    ? { title: `${policy}: resolved, two runs in a row were clean`, severity: 'info', details }
    : { title: `${policy}: resolved, two runs in a row were conclusive`, severity: 'info', details };
}

function valueWords(values: Standing['valueAtRisk']): string {
  const assets = Object.keys(values).filter((asset) => values[asset]! > 0n);
  if (assets.length === 0) return 'not known';
  const shown = assets.slice(0, ASSETS_SHOWN).map((asset) => amountWords(asset, values[asset]!));
  const more = assets.length - shown.length;
  return [...shown, ...(more > 0 ? [`${more} more assets`] : [])].join(', ');
}

function oldestWords(drift: OldestDrift, now: Date): string {
  const { valueAtRisk: value } = drift;
  const worth = value === null ? '' : `, ${amountWords(drift.asset, value)}`;
  const age = ageWords(now.getTime() - drift.at.getTime());
  return `${drift.kinds.join('+')} ${cut(drift.matchKey)}${worth}, account ${drift.account}, ${age} old (${drift.id})`;
}

function amountWords(asset: string, minor: bigint): string {
  const scale = assetScale(asset);
  return scale === undefined ? `${minor} minor units of ${asset}` : `${formatAmount(minor, scale)} ${asset}`;
}

function ageWords(ms: number): string {
  const minutes = Math.max(0, Math.floor(ms / 60_000));
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

function cut(text: string): string {
  return text.length <= MAX_TEXT_CHARS ? text : `${text.slice(0, MAX_TEXT_CHARS - 1)}…`;
}
