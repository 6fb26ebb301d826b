// A drift in a few lines: what it is, then both sides field by field.
import { contract } from '../client/index.ts';
import { type Paint, tableLines } from './table.ts';
import { amountWords, durationWords, NOTHING, protoDurationMs, timeWords, UNKNOWN } from './words.ts';

const STATE = contract.DriftState;

export function driftLines(drift: contract.Drift, paint: Paint, short: (id: string) => string): string[] {
  const kinds = drift.kinds.map((kind) => contract.DriftKind[kind]).join(' + ');
  const state = STATE[drift.state]?.toLowerCase() ?? UNKNOWN;
  const open = drift.state === STATE.OPEN || drift.state === STATE.ACKNOWLEDGED;
  const ageMs = protoDurationMs(drift.age);
  const side = drift.ledgerSide ?? drift.bookSide;
  const head = [
    paint(open ? 'red' : 'green', kinds || UNKNOWN),
    state,
    ageMs === null ? '' : `${durationWords(ageMs)} old`,
    drift.sandbox ? paint('yellow', 'SANDBOX') : '',
  ];
  const where = [
    side === undefined ? '' : short(side.account),
    side === undefined ? '' : short(side.asset),
    short(drift.matchKey),
  ];
  return [
    head.filter(Boolean).join('  '),
    `  ${where.filter(Boolean).join('  ')}`,
    ...tableLines([{ title: '' }, { title: 'LEDGER' }, { title: 'BOOK' }], fieldRows(drift, short)).map(
      (line) => `    ${line.trimEnd()}`,
    ),
    `  ${paint('dim', `id ${drift.id}, first seen ${timeWords(drift.firstSeenTime)}, policy ${drift.policy}`)}`,
    '',
  ];
}

/** The fields that differ; where one side is missing, what the other says. */
function fieldRows(drift: contract.Drift, short: (id: string) => string): string[][] {
  const { ledgerSide, bookSide, fields } = drift;
  const says = (side: contract.DriftSide | undefined, value: (side: contract.DriftSide) => string): string =>
    side === undefined ? NOTHING : value(side) || NOTHING;
  const both = (name: string, value: (side: contract.DriftSide) => string): string[] => [
    name,
    says(ledgerSide, value),
    says(bookSide, value),
  ];
  // The sides have the amount in whole units; the field has it as it was compared.
  const rows = fields.map(({ field, ledgerValue, bookValue }) =>
    isAmount(field) ? both(field, amountWords) : [field, short(ledgerValue ?? NOTHING), short(bookValue ?? NOTHING)],
  );
  if (!fields.some(({ field }) => isAmount(field))) rows.unshift(both('amount', amountWords));
  if (ledgerSide === undefined || bookSide === undefined)
    rows.push(
      both('kind', ({ kind }) => kind),
      both('time', ({ itemTime }) => timeWords(itemTime)),
    );
  return rows;
}

function isAmount(field: string): boolean {
  return field === 'amount' || field === 'balance';
}
