// What the page shows of a policy and of a stream.
import { age, el } from './dom.js';
import {
  amount,
  assetName,
  count,
  durationMs,
  enumWords,
  ledgers,
  sentence,
  short,
  span,
  timeMs,
  UNKNOWN,
} from './words.js';

const VERDICTS = {
  VERDICT_CLEAN: { tone: 'good', words: 'Clean' },
  VERDICT_DRIFT_DETECTED: { tone: 'bad', words: 'Drift detected' },
  VERDICT_INCONCLUSIVE: { tone: 'doubt', words: 'Inconclusive' },
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
      el(
        'p',
        { class: 'eyebrow' },
        `${policy.name} · ${enumWords(policy.level, 'LEVEL_')}`,
        policy.sandbox || run?.sandbox ? el('span', { class: 'mark small' }, 'SANDBOX') : null,
      ),
      el('h3', {}, words),
      el(
        'p',
        { class: 'quiet' },
        doneMs === null ? scheduleWords(policy) : age(doneMs, 'checked ', ' ago'),
        windowWords(run),
      ),
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
    (run?.valueAtRisk ?? []).length === 0
      ? null
      : el(
          'p',
          {},
          'At risk: ',
          ...joined(
            run.valueAtRisk.map(({ total }) =>
              el('b', { class: 'number' }, `${amount(total)} ${assetName(total?.asset)}`),
            ),
          ),
        ),
    ...(run?.inconclusiveReasons ?? []).map((why) => trouble(enumWords(why.reason, 'INCONCLUSIVE_REASON_'), why)),
    run?.error === undefined ? null : trouble(enumWords(run.error.reason, 'ERROR_REASON_'), run.error),
    policy.failure === undefined ? null : trouble(enumWords(policy.failure.reason, 'ERROR_REASON_'), policy.failure),
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
      el(
        'p',
        { class: 'eyebrow' },
        stream.stream,
        stream.sandbox ? el('span', { class: 'mark small' }, 'SANDBOX') : null,
      ),
      el('h3', {}, sentence(status)),
      el('p', { class: 'quiet' }, `${stream.source ?? UNKNOWN}, ${stream.sourceKind ?? UNKNOWN}`),
    ),
    ...(stream.layers ?? []).map((layer) => layerRows(layer, stream)),
    facts('stats', [
      ['Tip', stream.tipLedger === undefined ? UNKNOWN : count(stream.tipLedger)],
      [
        'Lag',
        stream.lagLedgers === undefined ? UNKNOWN : ledgers(stream.lagLedgers),
        Number(stream.lagLedgers ?? 0) > 30 ? 'strong' : null,
      ],
      ['Tip closed', tipMs === null ? UNKNOWN : age(tipMs, '', ' ago')],
      ['Last success', successMs === null ? 'never' : age(successMs, '', ' ago')],
    ]),
    ...(stream.degradedReasons ?? []).map((failure) => trouble(enumWords(failure.reason, 'ERROR_REASON_'), failure)),
    stream.lastError === undefined || (stream.degradedReasons ?? []).length > 0
      ? null
      : trouble('last error', stream.lastError, true),
  );
}

function layerRows(layer, stream) {
  const { contiguousFrom, contiguousThrough } = layer;
  const known = contiguousThrough !== undefined && stream.tipLedger !== undefined;
  const from = contiguousFrom ?? contiguousThrough ?? 0;
  const name = enumWords(layer.layer, 'LAYER_');
  const words =
    contiguousThrough === undefined
      ? 'nothing read yet'
      : `${count(from)} to ${count(contiguousThrough)} without a gap`;
  const missing = layer.missingLedgerCount;
  return el(
    'div',
    { class: 'layer' },
    el('p', {}, el('b', {}, sentence(name)), el('span', { class: 'number' }, words)),
    el(
      'progress',
      known
        ? {
            max: Math.max(1, stream.tipLedger - from),
            value: Math.max(0, contiguousThrough - from),
            'aria-label': `${name}: read up to the tip`,
          }
        : { 'aria-label': `${name}: not known`, max: 1, value: 0 },
    ),
    el(
      'p',
      { class: 'quiet number' },
      `${count(layer.entryCount)} entries`,
      missing === undefined ? '' : ` · ${ledgers(missing)} missing`,
    ),
  );
}

function strip(runs) {
  const marks = [...runs].reverse().map((run) => {
    const { tone, words } = verdictOf(run);
    return el(
      'li',
      { 'data-tone': tone, title: `${words}, ${run.completeTime ?? UNKNOWN}` },
      el('span', { class: 'hidden' }, words),
    );
  });
  return el('ol', { class: 'strip', 'aria-label': `The last ${runs.length} verdicts, oldest first` }, ...marks);
}

function facts(name, rows) {
  return el(
    'dl',
    { class: name },
    ...rows.map(([label, value, tone]) =>
      el('div', { 'data-tone': tone ?? null }, el('dt', {}, label), el('dd', { class: 'number' }, value)),
    ),
  );
}

function trouble(name, { message, fix }, isPast = false) {
  return el(
    'p',
    { class: isPast ? 'trouble past' : 'trouble' },
    el('b', {}, `${sentence(name)}: `),
    message ?? '',
    fix ? el('span', { class: 'fix' }, ` ${sentence(fix)}`) : null,
  );
}

function scheduleWords(policy) {
  const every = durationMs(policy.scheduleInterval);
  return policy.scheduleEnabled && every !== null ? `runs every ${span(every)}` : 'not scheduled';
}

function windowWords(run) {
  const { fromLedger, toLedger } = run?.window ?? {};
  return fromLedger === undefined || toLedger === undefined
    ? ''
    : ` · ledgers ${count(fromLedger)} to ${count(toLedger)}`;
}

function joined(elements) {
  return elements.flatMap((element, index) => (index === 0 ? [element] : [', ', element]));
}
