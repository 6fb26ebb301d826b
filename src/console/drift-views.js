// What the page shows of a drift: both sides next to each other, or one line once it is over.
import { age, el } from './dom.js';
import { amount, assetName, enumWords, sentence, short, timeMs, UNKNOWN } from './words.js';

const KINDS = {
  DRIFT_KIND_MISSING_IN_DB: ['Missing in the book', 'The ledger has it, the book does not.'],
  DRIFT_KIND_MISSING_ON_LEDGER: ['Missing on the ledger', 'The book has it, the ledger does not.'],
  DRIFT_KIND_AMOUNT_MISMATCH: ['Amount differs', 'Both have it, with different amounts.'],
  DRIFT_KIND_TYPE_MISMATCH: ['Kind differs', 'Both have it, as different kinds of movement.'],
  DRIFT_KIND_ASSET_MISMATCH: ['Asset differs', 'Both have it, in different assets.'],
  DRIFT_KIND_ACCOUNT_MISMATCH: ['Account differs', 'Both have it, for different accounts.'],
  DRIFT_KIND_TIME_MISMATCH: ['Time differs', 'Both have it, too far apart in time.'],
  DRIFT_KIND_STATUS_MISMATCH: ['Status differs', 'One side has it as failed, the other does not.'],
  DRIFT_KIND_DUPLICATE_IN_DB: ['Twice in the book', 'The book has it more often than the ledger.'],
  DRIFT_KIND_DUPLICATE_ON_LEDGER: ['Twice on the ledger', 'The ledger has it more often than the book.'],
  DRIFT_KIND_BALANCE_MISMATCH: ['Balance differs', 'The two sides hold different balances.'],
};

/** One drift: what it is, then both sides field by field. */
export function driftCard(drift) {
  const side = drift.ledgerSide ?? drift.bookSide;
  const itemMs = timeMs(drift.itemTime) ?? timeMs(drift.firstSeenTime);
  const kinds = (drift.kinds ?? []).map((kind) =>
    el('span', { class: 'kind', title: kind.replace('DRIFT_KIND_', '') }, kindWords(kind)),
  );
  const meaning = drift.kinds?.length === 1 ? KINDS[drift.kinds[0]]?.[1] : undefined;
  return el(
    'article',
    { class: 'panel drift', 'data-state': drift.state },
    el(
      'header',
      {},
      el('h3', {}, ...(kinds.length > 0 ? kinds : ['Unknown difference'])),
      el(
        'p',
        { class: 'quiet' },
        itemMs === null ? `age ${UNKNOWN}` : age(itemMs, '', ' old'),
        drift.state === 'DRIFT_STATE_ACKNOWLEDGED' ? ' · acknowledged' : '',
        drift.assignee ? ` · ${drift.assignee}` : '',
      ),
    ),
    meaning === undefined ? null : el('p', { class: 'meaning' }, meaning),
    el(
      'p',
      { class: 'ids' },
      id(side?.account ?? UNKNOWN),
      ' · ',
      el('span', { title: side?.asset ?? '' }, assetName(side?.asset) || UNKNOWN),
      ' · ',
      id(drift.matchKey ?? ''),
    ),
    sides(drift),
  );
}

/** A drift that is over, in one line. */
export function resolvedLine(drift) {
  const side = drift.ledgerSide ?? drift.bookSide;
  const whenMs = timeMs(drift.transitionTime) ?? timeMs(drift.lastSeenTime);
  return el(
    'p',
    { class: 'line' },
    el('span', { class: 'tick', 'aria-hidden': 'true' }, '✓'),
    el('b', {}, (drift.kinds ?? []).map(kindWords).join(', ')),
    el('span', { class: 'number' }, `${amount(side)} ${assetName(side?.asset)}`),
    el('span', {}, id(side?.account ?? UNKNOWN)),
    el(
      'span',
      { class: 'quiet' },
      enumWords(drift.resolutionCause, 'RESOLUTION_CAUSE_'),
      whenMs === null ? '' : age(whenMs, ', ', ' ago'),
    ),
  );
}

/** Both sides: the fields that differ, or what the one side says where the other has nothing. */
function sides(drift) {
  const { ledgerSide, bookSide } = drift;
  const fields = drift.fields ?? [];
  const rows = fields.map(({ field, ledgerValue, bookValue }) => {
    const name = sentence(field.replaceAll('_', ' '));
    // The sides have the amount in whole units; the field has it as it was compared.
    if (isAmount(field)) return [name, ledgerSide && amount(ledgerSide), bookSide && amount(bookSide), true];
    return [name, ledgerValue, bookValue, true];
  });
  const both = (name, value) => [name, ledgerSide && value(ledgerSide), bookSide && value(bookSide), false];
  if (!fields.some(({ field }) => isAmount(field))) rows.unshift(both('Amount', amount));
  if (!ledgerSide || !bookSide) {
    rows.push(both('Kind', ({ kind }) => (kind ? sentence(kind.replaceAll('_', ' ')) : UNKNOWN)));
    rows.push(both('Time, UTC', ({ itemTime }) => itemTime?.replace('T', ' ').replace(/(\.\d+)?Z$/, '') ?? UNKNOWN));
  }
  const cell = (value, differs) =>
    el(
      'td',
      { class: differs || value === undefined ? 'differs' : null, title: value },
      value === undefined ? '—' : short(value),
    );
  const head = el(
    'tr',
    {},
    el('th', { scope: 'col' }, el('span', { class: 'hidden' }, 'Field')),
    el('th', { scope: 'col' }, 'Ledger'),
    el('th', { scope: 'col' }, 'Book'),
  );
  const body = rows.map(([name, ledger, book, differs]) =>
    el('tr', {}, el('th', { scope: 'row' }, name), cell(ledger, differs), cell(book, differs)),
  );
  return el('table', {}, el('thead', {}, head), el('tbody', {}, ...body));
}

function isAmount(field) {
  return field === 'amount' || field === 'balance';
}

function kindWords(kind) {
  return KINDS[kind]?.[0] ?? sentence(enumWords(kind, 'DRIFT_KIND_'));
}

function id(text) {
  return el('span', { class: 'id', title: text }, short(text));
}
