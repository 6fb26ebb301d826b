// A run in a few lines: the verdict first, then what was compared and what was found.
import { contract } from '../client/index.ts';
import { factLines, type Colour, type Paint } from './table.ts';
import { countWords, NOTHING, shortener, timeWords, UNKNOWN } from './words.ts';

const COLOURS: Readonly<Record<number, Colour>> = { 1: 'yellow', 2: 'red', 3: 'green' };

export function isFinished(run: contract.Reconciliation): boolean {
  const { SUCCEEDED, FAILED, CANCELLED } = contract.ReconciliationState;
  return [SUCCEEDED, FAILED, CANCELLED].includes(run.state);
}

export function runLines(run: contract.Reconciliation, paint: Paint): string[] {
  const { counts, window } = run;
  const state = contract.ReconciliationState[run.state]?.toLowerCase() ?? UNKNOWN;
  const hasVerdict = run.state === contract.ReconciliationState.SUCCEEDED;
  const verdict = hasVerdict
    ? paint(COLOURS[run.verdict] ?? 'dim', contract.Verdict[run.verdict]!)
    : paint('yellow', `no verdict: ${state}`);
  const mark = run.sandbox ? `  ${paint('yellow', 'SANDBOX')}` : '';
  const lines = [
    `${verdict}  ${run.policy}${mark}`,
    ...factLines([
      ['run', run.id],
      [
        'ledgers',
        window?.toLedger === undefined
          ? UNKNOWN
          : `${window.fromLedger ?? UNKNOWN} to ${window.toLedger}, up to ${timeWords(window.toTime)}`,
      ],
      ['ledger rows', counts === undefined ? UNKNOWN : countWords(counts.ledgerRecordCount)],
      ['book rows', counts === undefined ? UNKNOWN : `${countWords(counts.bookRecordCount)} in ${run.book}`],
      ['matched', counts === undefined ? UNKNOWN : countWords(counts.matchedCount)],
      ['drifted', counts === undefined ? UNKNOWN : driftWords(run, counts)],
      ['pending', counts === undefined ? UNKNOWN : countWords(counts.pendingCount)],
      ['at risk', riskWords(run)],
    ]),
  ];
  for (const { reason, message, fix } of run.inconclusiveReasons) {
    lines.push(`  ${paint('yellow', contract.InconclusiveReason[reason] ?? UNKNOWN)}: ${message}`);
    if (fix !== '') lines.push(`    fix: ${fix}`);
  }
  for (const note of run.notes) lines.push(`  ${note}`);
  if (run.error !== undefined) {
    lines.push(`  ${paint('red', contract.ErrorReason[run.error.reason] ?? UNKNOWN)}: ${run.error.message}`);
    if (run.error.fix !== '') lines.push(`    fix: ${run.error.fix}`);
  }
  return lines;
}

function driftWords(run: contract.Reconciliation, counts: contract.ReconciliationCounts): string {
  const kinds = run.driftKindCounts.map(({ kind, count }) => `${contract.DriftKind[kind]} ${count}`);
  const changes = `${countWords(counts.appearedCount)} new, ${countWords(counts.resolvedCount)} resolved`;
  return `${countWords(counts.driftedCount)} (${changes})${kinds.length === 0 ? '' : `: ${kinds.join(', ')}`}`;
}

function riskWords(run: contract.Reconciliation): string {
  const short = shortener(true);
  const sums = run.valueAtRisk.map(({ total }) =>
    total === undefined ? UNKNOWN : `${total.amount ?? `${total.amountMinor} minor`} ${short(total.asset)}`,
  );
  return sums.length === 0 ? NOTHING : sums.join(', ');
}
