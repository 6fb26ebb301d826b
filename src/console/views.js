// What the page shows of a policy, a drift and a stream.
import { age, el } from './dom.js';
import { amount, assetName, count, durationMs, enumWords, sentence, short, span, timeMs, UNKNOWN } from './words.js';

const VERDICTS = {
  VERDICT_CLEAN: { tone: 'good', words: 'Clean' },
  VERDICT_DRIFT_DETECTED: { tone: 'bad', words: 'Drift detected' },
  VERDICT_INCONCLUSIVE: { tone: 'doubt', words: 'Inconclusive' },
};

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

/** What a run says in a word. A run without a verdict says why it has none. */
export function verdictOf(run) {
  if (run === undefined) return { tone: 'none', words: 'No verdict yet' };
  if (run.state === 'RECONCILIATION_STATE_FAILED') return { tone: 'doubt', words: 'Run failed' };
  return VERDICTS[run.verdict] ?? { tone: 'none', words: 'No verdict' };
}

/** One policy: its newest finished run first, the ones before it as a strip. */
export function policyCard({ policy, runs }) {
  const [run] = runs;
  const { tone, words } = verdictOf(run);
  const doneMs = timeMs(run?.completeTime);
  const counts = run?.counts;
  return el(
    'article',
    { class: 'panel verdict', 'data-tone': tone },
    el(
      'header',
      {},
      el('p', { class: 'eyebrow' }, `${policy.name} · ${enumWords(policy.level, 'LEVEL_')}`, policy.sandbox || run?.sandbox ? el('span', { class: 'mark small' }, 'SANDBOX') : null),
      el('h3', {}, words),
      el('p', { class: 'quiet' }, doneMs === null ? scheduleWords(policy) : age(doneMs, 'checked ', ' ago'), windowWords(run)),
    ),
    runs.length > 1 ? strip(runs) : null,
    counts === undefined
      ? null
      : facts('stats', [
          ['Drifted', count(counts.driftedCount), Number(counts.driftedCount ?? 0) > 0 ? 'strong' : null],
          ['Matched', count(counts.matchedCount)],
          ['Pending', count(counts.pendingCount)],
          ['Exempt', count(counts.exemptCount)],
          ['On the ledger', count(counts.ledgerRecordCount)],
          ['In the book', count(counts.bookRecordCount)],
        ]),
    run?.valueAtRisk === undefined ? null : el('p', {}, 'At risk: ', ...joined(run.valueAtRisk.map(({ total }) => el('b', { class: 'number' }, `${amount(total)} ${assetName(total?.asset)}`)))),
    ...(run?.inconclusiveReasons ?? []).map((why) => trouble(enumWords(why.reason, 'INCONCLUSIVE_REASON_'), why)),
    run?.error === undefined ? null : trouble(enumWords(run.error.reason, 'ERROR_REASON_'), run.error),
    policy.failure === undefined ? null : trouble(enumWords(policy.failure.reason, 'ERROR_REASON_'), policy.failure),
  );
}

/** One drift: what it is, then both sides field by field. */
export function driftCard(drift) {
  const side = drift.ledgerSide ?? drift.bookSide;
  const itemMs = timeMs(drift.itemTime) ?? timeMs(drift.firstSeenTime);
  const kinds = (drift.kinds ?? []).map((kind) => el('span', { class: 'kind', title: kind.replace('DRIFT_KIND_', '') }, kindWords(kind)));
  const meaning = drift.kinds?.length === 1 ? KINDS[drift.kinds[0]]?.[1] : undefined;
  return el(
    'article',
    { class: 'panel drift', 'data-state': drift.state },
    el(
      'header',
      {},
      el('h3', {}, ...(kinds.length > 0 ? kinds : ['Unknown difference'])),
      el('p', { class: 'quiet' }, itemMs === null ? `age ${UNKNOWN}` : age(itemMs, '', ' old'), drift.state === 'DRIFT_STATE_ACKNOWLEDGED' ? ' · acknowledged' : '', drift.assignee ? ` · ${drift.assignee}` : ''),
    ),
    meaning === undefined ? null : el('p', { class: 'meaning' }, meaning),
    el('p', { class: 'ids' }, id(side?.account ?? UNKNOWN), ' · ', el('span', { title: side?.asset ?? '' }, assetName(side?.asset) || UNKNOWN), ' · ', id(drift.matchKey ?? '')),
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
    el('span', { class: 'quiet' }, enumWords(drift.resolutionCause, 'RESOLUTION_CAUSE_'), whenMs === null ? '' : age(whenMs, ', ', ' ago')),
  );
}

/** One stream: how far it is read, where the network is, and what stands between. */
export function streamCard(stream) {
  const status = enumWords(stream.syncStatus, 'SYNC_STATUS_');
  const tones = { synced: 'good', degraded: 'bad', 'catching up': 'doubt' };
  const tipMs = timeMs(stream.tipCloseTime);
  const successMs = timeMs(stream.lastSuccessTime);
  return el(
    'article',
    { class: 'panel stream', 'data-tone': tones[status] ?? 'none' },
    el(
      'header',
      {},
      el('p', { class: 'eyebrow' }, stream.stream, stream.sandbox ? el('span', { class: 'mark small' }, 'SANDBOX') : null),
      el('h3', {}, sentence(status)),
      el('p', { class: 'quiet' }, `${stream.source ?? UNKNOWN}, ${stream.sourceKind ?? UNKNOWN}`),
    ),
    ...(stream.layers ?? []).map((layer) => layerRows(layer, stream)),
    facts('stats', [
      ['Tip', stream.tipLedger === undefined ? UNKNOWN : count(stream.tipLedger)],
      ['Lag', stream.lagLedgers === undefined ? UNKNOWN : `${count(stream.lagLedgers)} ledgers`, Number(stream.lagLedgers ?? 0) > 30 ? 'strong' : null],
      ['Tip closed', tipMs === null ? UNKNOWN : age(tipMs, '', ' ago')],
      ['Last success', successMs === null ? 'never' : age(successMs, '', ' ago')],
    ]),
    ...(stream.degradedReasons ?? []).map((failure) => trouble(enumWords(failure.reason, 'ERROR_REASON_'), failure)),
    stream.lastError === undefined || (stream.degradedReasons ?? []).length > 0 ? null : trouble('last error', stream.lastError, true),
  );
}

function layerRows(layer, stream) {
  const { contiguousFrom, contiguousThrough } = layer;
  const known = contiguousThrough !== undefined && stream.tipLedger !== undefined;
  const from = contiguousFrom ?? contiguousThrough ?? 0;
  const name = enumWords(layer.layer, 'LAYER_');
  const words = contiguousThrough === undefined ? 'nothing read yet' : `${count(from)} to ${count(contiguousThrough)} without a gap`;
  const missing = layer.missingLedgerCount;
  return el(
    'div',
    { class: 'layer' },
    el('p', {}, el('b', {}, sentence(name)), el('span', { class: 'number' }, words)),
    el('progress', known ? { max: Math.max(1, stream.tipLedger - from), value: Math.max(0, contiguousThrough - from), 'aria-label': `${name}: read up to the tip` } : { 'aria-label': `${name}: not known`, max: 1, value: 0 }),
    el('p', { class: 'quiet number' }, `${count(layer.entryCount)} entries`, missing === undefined ? '' : ` · ${count(missing)} ledgers missing`),
  );
}

/** Both sides: the fields that differ, or what the one side says where the other has nothing. */
function sides(drift) {
  const { ledgerSide, bookSide } = drift;
  const fields = drift.fields ?? [];
  const rows = fields.map(({ field, ledgerValue, bookValue }) => [sentence(field.replaceAll('_', ' ')), ledgerValue, bookValue, true]);
  const both = (name, value) => [name, ledgerSide && value(ledgerSide), bookSide && value(bookSide), false];
  if (!fields.some(({ field }) => field === 'amount' || field === 'balance')) rows.unshift(both('Amount', amount));
  if (!ledgerSide || !bookSide) {
    rows.push(both('Kind', ({ kind }) => (kind ? sentence(kind.replaceAll('_', ' ')) : UNKNOWN)));
    rows.push(both('Time, UTC', ({ itemTime }) => itemTime?.replace('T', ' ').replace(/(\.\d+)?Z$/, '') ?? UNKNOWN));
  }
  const cell = (value, differs) => el('td', { class: differs || value === undefined ? 'differs' : null, title: value }, value === undefined ? '—' : short(value));
  const head = el('tr', {}, el('th', { scope: 'col' }, el('span', { class: 'hidden' }, 'Field')), el('th', { scope: 'col' }, 'Ledger'), el('th', { scope: 'col' }, 'Book'));
  const body = rows.map(([name, ledger, book, differs]) => el('tr', {}, el('th', { scope: 'row' }, name), cell(ledger, differs), cell(book, differs)));
  return el('table', {}, el('thead', {}, head), el('tbody', {}, ...body));
}

function kindWords(kind) {
  return KINDS[kind]?.[0] ?? sentence(enumWords(kind, 'DRIFT_KIND_'));
}

function strip(runs) {
  const marks = [...runs].reverse().map((run) => {
    const { tone, words } = verdictOf(run);
    return el('li', { 'data-tone': tone, title: `${words}, ${run.completeTime ?? UNKNOWN}` }, el('span', { class: 'hidden' }, words));
  });
  return el('ol', { class: 'strip', 'aria-label': `The last ${runs.length} verdicts, oldest first` }, ...marks);
}

function facts(name, rows) {
  return el('dl', { class: name }, ...rows.map(([label, value, tone]) => el('div', { 'data-tone': tone ?? null }, el('dt', {}, label), el('dd', { class: 'number' }, value))));
}

function trouble(name, { message, fix }, isPast = false) {
  return el('p', { class: isPast ? 'trouble past' : 'trouble' }, el('b', {}, `${sentence(name)}: `), message ?? '', fix ? el('span', { class: 'fix' }, ` ${sentence(fix)}`) : null);
}

function id(text) {
  return el('span', { class: 'id', title: text }, short(text));
}

function scheduleWords(policy) {
  const every = durationMs(policy.scheduleInterval);
  return policy.scheduleEnabled && every !== null ? `runs every ${span(every)}` : 'not scheduled';
}

function windowWords(run) {
  const { fromLedger, toLedger } = run?.window ?? {};
  return fromLedger === undefined || toLedger === undefined ? '' : ` · ledgers ${count(fromLedger)} to ${count(toLedger)}`;
}

function joined(elements) {
  return elements.flatMap((element, index) => (index === 0 ? [element] : [', ', element]));
}
