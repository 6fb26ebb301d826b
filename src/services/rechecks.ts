// Looking again at open drifts that newly read ledgers may explain, at once and not only when the next run comes.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Layer } from '../core/entry.ts';
import { NO_EXEMPTIONS } from '../core/exemption.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { Policy } from '../core/policy.ts';
import type { Inconclusive } from '../core/run.ts';
import { lockDrifts } from '../store/drift-counts.ts';
import { resolveAgreed } from '../store/drift-transitions.ts';
import { explainedKeys, openOccurrences, type FindingRow } from '../store/findings.ts';
import { withLedgerSnapshot } from '../store/ledger-snapshot.ts';
import type { Queue } from '../store/queue.ts';
import { recheckOpenBalances } from './run-balances.ts';
import { recheckOpenDrifts } from './run-entries.ts';
import type { FindingSink } from './run-findings.ts';
import { frameRun } from './run-frame.ts';
import { FOLLOWING_DEFAULTS, rekeyedBook, SEGMENT_KEYS, type RunDeps } from './run-compare.ts';
import { frameBook, kindsOf, resolveJoin } from './run-scope.ts';
import { NO_SKIPPED_KEYS } from './run-skipped.ts';

export const RECHECK_JOB = 'recheck';

/** Drifts resolved in one transaction. */
const FLUSH_ROWS = 1000;

export interface Recheck {
  readonly streamId: number;
  readonly layer: Layer;
  /** Half-open; ledgers that are covered now and weren't before. */
  readonly range: LedgerRange;
  /** Why it should be looked at again. */
  readonly cause: 'backfilled';
}

/**
 * Has the drifts that a range may explain looked at again once the caller's transaction has committed. Those whose sides agree
 * then are resolved; whatever else they are is the next run's to say.
 */
export async function recheckRange(em: EntityManager, queue: Pick<Queue, 'send'>, asked: Recheck): Promise<void> {
  const { streamId, layer, range, cause } = asked;
  await queue.send(
    em,
    RECHECK_JOB,
    { stream_id: streamId, layer, from: range.from, to: range.to, cause },
    { singletonKey: `${streamId} ${layer} ${range.from}-${range.to}` },
  );
}

/** What the recheck job does. */
export function createRecheckJob(deps: RunDeps) {
  return async (payload: Readonly<Record<string, unknown>>, { signal }: { readonly signal: AbortSignal }) => {
    const asked = fromPayload(payload);
    for (const policy of deps.policies.values()) {
      if (policy.ledger.kind === 'stream' && policy.layer === asked.layer)
        await recheckPolicy(deps, policy, asked, signal);
    }
  };
}

async function recheckPolicy(deps: RunDeps, policy: Policy, asked: Recheck, signal: AbortSignal): Promise<void> {
  const first = await explainedKeys(deps.db.em(), target(policy, asked), null, 1);
  if (first.length === 0) return;
  await using book = await deps.bookOf(policy).open(policy.level, signal);
  const work = async (em: EntityManager): Promise<void> => {
    // What keeps a run from concluding doesn't keep two rows from agreeing.
    const ignored: Inconclusive[] = [];
    const bookFrame = await frameBook(book, policy, ignored, signal);
    const following = deps.following ?? FOLLOWING_DEFAULTS;
    const whole = { request: { range: null, windowMs: null, scope: null } };
    const frame = await frameRun(em, deps.networkPassphrase, policy, whole, bookFrame.accounts, following, ignored);
    if (frame === null || frame.stream.id !== asked.streamId) return;
    const sink = createAgreementSink(deps, policy, asked, frame.cutAtMs);
    const side = { em, policy, frame, book, sink, signal };
    if (policy.level === 'balances') return recheckOpenBalances(side);
    const join = await resolveJoin(book, policy, ignored, signal);
    if (join === null) return;
    const scope = {
      streamId: asked.streamId,
      layer: asked.layer,
      form: join.form,
      kinds: kindsOf(policy),
      accounts: bookFrame.accounts,
    };
    await using rekeyed = await rekeyedBook(deps, book, join, signal);
    return await recheckOpenDrifts({
      ...side,
      book: rekeyed ?? book,
      policyScope: policy.scope,
      bookFrame,
      join,
      scope,
      seals: null,
      resume: null,
      segmentKeys: SEGMENT_KEYS,
      exemptions: NO_EXEMPTIONS,
      skipped: NO_SKIPPED_KEYS,
    });
  };
  await withLedgerSnapshot(deps.db, work, signal);
}

/** Takes what a re-read says, and acts on agreements alone. */
function createAgreementSink(deps: RunDeps, policy: Policy, asked: Recheck, cutAtMs: number): FindingSink {
  const { db, events } = deps;
  let agreed: FindingRow[] = [];
  const flush = async (): Promise<void> => {
    if (agreed.length === 0) return;
    const rows = agreed;
    agreed = [];
    const reason = `ledgers ${asked.range.from} to ${asked.range.to - 1} were read, and both sides agree`;
    const count = await db.em().transactional(async (em) => {
      await lockDrifts(em, [policy.name]);
      return resolveAgreed(em, policy.name, rows, { reason, cause: 'coverage_completed', seenBeforeMs: cutAtMs });
    });
    events.driftsResolved({ policy: policy.name, count, cause: asked.cause });
  };
  return {
    async add(finding) {
      if (finding.kinds.length > 0) return;
      agreed.push(finding);
      if (agreed.length >= FLUSH_ROWS) await flush();
    },
    flush,
    checkpoint: flush,
    progress: () => Promise.resolve(),
    openKeys: (after, limit) => explainedKeys(db.em(), target(policy, asked), after, limit),
    openDrifts: (keys) => openOccurrences(db.em(), policy.name, keys),
  };
}

function target(policy: Policy, { streamId, range }: Recheck): Parameters<typeof explainedKeys>[1] {
  return {
    policy: policy.name,
    streamId,
    layer: policy.layer,
    level: policy.level,
    range,
    lookaroundMs: policy.lookaroundMs,
  };
}

function fromPayload(payload: Readonly<Record<string, unknown>>): Recheck {
  const range = { from: Number(payload.from), to: Number(payload.to) };
  return { streamId: Number(payload.stream_id), layer: payload.layer as Layer, range, cause: 'backfilled' };
}
