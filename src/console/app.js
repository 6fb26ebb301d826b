// The page's loop: ask, show, wait; one request at a time. It reads and never changes anything.
import { call, CallError, hasToken, keepToken } from './calls.js';
import { refreshAges, setText, showList } from './dom.js';
import { driftCard, resolvedLine } from './drift-views.js';
import { policyCard, streamCard, verdictOf } from './views.js';
import { count, durationMs, span, timeMs } from './words.js';

const POLL_MS = 2_000;
const MAX_BACKOFF_MS = 8_000;
const POLICIES_EVERY_MS = 30_000;
const RUNS_SHOWN = 24;
const DRIFTS_SHOWN = 50;
const RESOLVED_SHOWN = 5;
const POLICIES_SHOWN = 20;

const at = (id) => document.getElementById(id);
const state = {
  policies: [],
  policiesAtMs: -Infinity,
  runs: new Map(),
  failures: 0,
  lastGoodMs: null,
  clockOffsetMs: 0,
  said: '',
  waiting: null,
};

at('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  keepToken(at('token').value);
  at('token').value = '';
  at('token-form').hidden = true;
  wake();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) wake();
});
window.addEventListener('online', wake);
setInterval(showAges, 1_000);
void loop();

async function loop() {
  for (;;) {
    const delayMs = await tick();
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      state.waiting = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    state.waiting = null;
    // A page that nobody looks at asks nothing.
    if (document.hidden)
      await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }));
  }
}

function wake() {
  state.waiting?.();
}

/** One round; returns how long to wait before the next. */
async function tick() {
  try {
    await readAll();
    state.failures = 0;
    state.lastGoodMs = Date.now();
    connection('live', 'Live');
    at('notice').hidden = true;
    document.body.classList.remove('stale');
    return POLL_MS;
  } catch (error) {
    state.failures++;
    document.body.classList.add('stale');
    if (!(error instanceof CallError)) {
      connection('refused', 'Page error');
      setText(
        at('notice'),
        `This page could not show the answer: ${error.message}. Reload it; if that does not help, the page and the server are of different releases.`,
      );
      at('notice').hidden = false;
    } else if (error.code === 'unauthenticated') return askForToken();
    else if (error.code === 'unreachable') connection('lost', lostWords());
    else {
      connection('refused', 'Refused');
      setText(at('notice'), `The server refused: ${error.message}${error.fix ? `. ${error.fix}` : ''}`);
      at('notice').hidden = false;
    }
    return Math.min(MAX_BACKOFF_MS, 1_000 * 2 ** (state.failures - 1));
  } finally {
    showAges();
  }
}

async function readAll() {
  const status = await call('HealthService/GetStatus');
  at('token-form').hidden = true;
  showStatus(status);
  if (Date.now() - state.policiesAtMs > POLICIES_EVERY_MS) {
    state.policies = (await call('ReconciliationService/ListPolicies', { pageSize: POLICIES_SHOWN })).policies ?? [];
    state.policiesAtMs = Date.now();
  }
  for (const { name } of state.policies) await readRuns(name);
  showPolicies();
  const states = ['DRIFT_STATE_OPEN', 'DRIFT_STATE_ACKNOWLEDGED'];
  showDrifts(await call('ReconciliationService/ListDrifts', { filter: { states }, pageSize: DRIFTS_SHOWN }));
  const resolved = await call('ReconciliationService/ListDrifts', {
    filter: { states: ['DRIFT_STATE_RESOLVED'] },
    pageSize: RESOLVED_SHOWN,
  });
  showList(at('resolved'), resolved.drifts ?? [], (drift) => drift.id, resolvedLine, 'Nothing was resolved yet.');
}

/** The newest finished run of a policy; the ones before it only where it is another than before. */
async function readRuns(policy) {
  const filter = { policy, states: ['RECONCILIATION_STATE_SUCCEEDED', 'RECONCILIATION_STATE_FAILED'] };
  const known = state.runs.get(policy) ?? [];
  const [newest] =
    (await call('ReconciliationService/ListReconciliations', { ...filter, pageSize: 1 })).reconciliations ?? [];
  if (newest === undefined) return void state.runs.set(policy, []);
  if (newest.id === known[0]?.id) return;
  const { reconciliations } = await call('ReconciliationService/ListReconciliations', {
    ...filter,
    pageSize: RUNS_SHOWN,
  });
  state.runs.set(policy, reconciliations ?? []);
}

function showStatus(status) {
  const [startedMs, uptimeMs] = [timeMs(status.startTime), durationMs(status.uptime)];
  // The server's own clock: ages must not depend on how this machine's is set.
  if (startedMs !== null && uptimeMs !== null) state.clockOffsetMs = startedMs + uptimeMs - Date.now();
  at('sandbox').hidden = status.sandbox !== true;
  showList(
    at('streams'),
    status.streams ?? [],
    (stream) => stream.stream,
    streamCard,
    'No stream yet: nothing was read from a source.',
  );
  showAges();
  setText(
    at('about'),
    `TrueUp ${status.version ?? ''} · up ${span(uptimeMs)} · read-only: to act, use the trueup command`,
  );
}

function showPolicies() {
  const items = state.policies.map((policy) => ({ policy, runs: state.runs.get(policy.name) ?? [] }));
  showList(at('policies'), items, ({ policy }) => policy.name, policyCard, 'No policy is configured.');
  showAges();
  const words = items.map(({ policy, runs }) => `${policy.name}: ${verdictOf(runs[0]).words}`).join('. ');
  // Said aloud only when it changes, and in the title for whoever has the page in another tab.
  if (words !== state.said) setText(at('announce'), words);
  state.said = words;
  const worst = ['doubt', 'bad', 'good'].find((tone) => items.some(({ runs }) => verdictOf(runs[0]).tone === tone));
  document.title =
    worst === undefined ? 'TrueUp' : `${{ doubt: 'Inconclusive', bad: 'Drift', good: 'Clean' }[worst]} · TrueUp`;
}

function showDrifts({ drifts = [], totalSize = '0' }) {
  showList(at('drifts'), drifts, (drift) => drift.id, driftCard, 'No open drifts.');
  showAges();
  const shown =
    drifts.length < Number(totalSize)
      ? `${drifts.length} of ${count(totalSize)}; trueup drifts --all lists them all`
      : `${count(totalSize)} open`;
  setText(at('drift-count'), drifts.length === 0 ? '' : shown);
}

function askForToken() {
  const form = at('token-form');
  connection('refused', 'A token is needed');
  if (hasToken()) setText(at('token-words'), 'The server does not know this token. Try another one.');
  if (form.hidden) {
    form.hidden = false;
    at('token').focus();
  }
  return MAX_BACKOFF_MS;
}

function lostWords() {
  return state.lastGoodMs === null
    ? 'No connection, trying again'
    : `Connection lost ${span(Date.now() - state.lastGoodMs)} ago, trying again`;
}

function connection(name, words) {
  const element = at('connection');
  if (element.dataset.state !== name && name === 'lost') setText(at('announce'), 'Connection lost');
  if (element.dataset.state === 'lost' && name === 'live') setText(at('announce'), 'Connected again');
  element.dataset.state = name;
  setText(element, words);
}

function showAges() {
  if (at('connection').dataset.state === 'lost') setText(at('connection'), lostWords());
  refreshAges(Date.now() + state.clockOffsetMs, span);
}
