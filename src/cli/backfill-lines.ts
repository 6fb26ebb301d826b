// A backfill in a few lines: where it stands first, then how far it has come and what it found.
import { contract } from '../client/index.ts';
import { factLines, type Colour, type Paint } from './table.ts';
import { countWords, durationWords, ledgerWords, NOTHING, protoDurationMs, timeWords, UNKNOWN } from './words.ts';

const { SUCCEEDED, FAILED, CANCELLED, BLOCKED, PAUSED } = contract.BackfillState;
const COLOURS: Readonly<Partial<Record<contract.BackfillState, Colour>>> = {
  [SUCCEEDED]: 'green',
  [FAILED]: 'red',
  [BLOCKED]: 'red',
  [CANCELLED]: 'yellow',
  [PAUSED]: 'yellow',
};

export function isOver({ state }: contract.Backfill): boolean {
  return state === SUCCEEDED || state === FAILED || state === CANCELLED;
}

export function stateWords(backfill: contract.Backfill): string {
  return contract.BackfillState[backfill.state]?.toLowerCase() ?? UNKNOWN;
}

/** What stands beside the bar. */
export function progressWords(backfill: contract.Backfill): string {
  const { progress } = backfill;
  if (progress === undefined) return stateWords(backfill);
  const { ledgerRates, quarantinedLedgerCount: quarantined, retryCount: retries } = progress;
  const rate = ledgerRates?.perSecond10s ?? ledgerRates?.perSecondLife;
  const parts = [
    stateWords(backfill),
    `${countWords(progress.scannedLedgerCount)} ledgers`,
    ...(rate === undefined ? [] : [`${countWords(Math.round(rate))}/s`]),
    ...(progress.eta === undefined || isOver(backfill) ? [] : [`${etaWords(progress)} left`]),
    ...(progress.stallCause === contract.StallCause.UNSPECIFIED
      ? []
      : [`waits: ${contract.StallCause[progress.stallCause]!.toLowerCase().replaceAll('_', ' ')}`]),
    ...(quarantined > 0n ? [`${countWords(quarantined)} set apart`] : []),
    ...(retries > 0n ? [`${countWords(retries)} retries`] : []),
  ];
  return parts.join(', ');
}

export function backfillLines(backfill: contract.Backfill, paint: Paint): string[] {
  const { progress, error, dryRunReport: report } = backfill;
  const marks = [...(backfill.dryRun ? ['DRY RUN'] : []), ...(backfill.sandbox ? ['SANDBOX'] : [])];
  const state = paint(COLOURS[backfill.state] ?? 'bold', stateWords(backfill));
  const lines = [
    [`${state}  ${backfill.stream}  ${backfill.fromLedger} to ${backfill.toLedger}`, ...marks].join('  '),
    ...factLines([
      ['id', backfill.id],
      ['asked by', `${backfill.requester}${backfill.reason === '' ? '' : `: ${backfill.reason}`}`],
      ['created', timeWords(backfill.createTime)],
      ['ended', timeWords(backfill.completeTime)],
      ...(progress === undefined ? [] : progressFacts(progress, backfill)),
      ...(backfill.digest === '' ? [] : [['digest', backfill.digest] as const]),
      ...(report === undefined ? [] : reportFacts(report)),
    ]),
  ];
  if (error !== undefined) {
    lines.push(`  ${paint('red', contract.ErrorReason[error.reason] ?? UNKNOWN)}: ${error.message}`);
    if (error.fix !== '') lines.push(`    fix: ${error.fix}`);
  }
  return lines;
}

function progressFacts(progress: contract.BackfillProgress, { dryRun }: contract.Backfill): [string, string][] {
  const { contiguousThrough, retentionMarginLedgerCount: margin } = progress;
  const wrote = dryRun ? 'would be written' : 'written';
  return [
    [
      'done',
      `${progress.percent.toFixed(1)} %, ${countWords(progress.doneChunkCount)} of ${countWords(progress.totalChunkCount)} chunks`,
    ],
    [
      'ledgers',
      `${countWords(progress.missingLedgerCount)} were missing, ${countWords(progress.scannedLedgerCount)} read, ${countWords(progress.skippedLedgerCount)} skipped`,
    ],
    [
      'entries',
      `${countWords(progress.insertedEntryCount)} ${wrote}, ${countWords(progress.duplicateEntryCount)} there already`,
    ],
    ...(progress.quarantinedLedgerCount + progress.unavailableLedgerCount === 0n
      ? []
      : [
          [
            'set apart',
            `${countWords(progress.quarantinedLedgerCount)} undecodable, ${countWords(progress.unavailableLedgerCount)} kept by no source`,
          ] as [string, string],
        ]),
    ['complete to', contiguousThrough === undefined ? NOTHING : String(contiguousThrough)],
    ...(progress.eta === undefined ? [] : [['time left', etaWords(progress)] as [string, string]]),
    ...(margin === undefined ? [] : [['kept before', ledgerWords(margin)] as [string, string]]),
  ];
}

function reportFacts(report: contract.DryRunReport): [string, string][] {
  const listed = report.missingRanges.slice(0, 5).map((range) => `${range.fromLedger}-${range.toLedger}`);
  const more = report.missingRangeCount - BigInt(listed.length);
  return [
    ['missing', listed.length === 0 ? 'nothing' : `${listed.join(', ')}${more > 0n ? ` and ${more} more` : ''}`],
    ['would read', `${countWords(report.estimatedRequestCount)} reads, ${countWords(report.readByteCount)} bytes`],
    ['conflicts', countWords(report.conflictLedgerCount)],
    ['would take', durationWords(protoDurationMs(report.estimatedDuration) ?? 0)],
  ];
}

function etaWords({ eta, etaUncertainty }: contract.BackfillProgress): string {
  const off = protoDurationMs(etaUncertainty);
  return `${durationWords(protoDurationMs(eta) ?? 0)}${off === null || off < 1_000 ? '' : ` ± ${durationWords(off)}`}`;
}
