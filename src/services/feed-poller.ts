// Telling what changed from one look at the database to the next, once for all watchers of this process.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Drift } from '../core/drift.ts';
import { isFinished, type Run, type RunState } from '../core/run.ts';
import type { Activity, ActivityKind, DeploymentStatus, RuntimeInfo, Schedule, StreamStatus } from '../core/status.ts';
import type { Database } from '../store/database.ts';
import { getAlert } from '../store/alerts.ts';
import { getDrift } from '../store/drifts.ts';
import {
  auditSince,
  driftIdsChangedSince,
  lastChange,
  newestRunIds,
  presentAlerts,
  runIdsChangedSince,
  type AuditLine,
} from '../store/feed.ts';
import { getRun } from '../store/runs.ts';
import type { FeedEvent } from './feed-hub.ts';

export interface FeedSources {
  readonly db: Database;
  readonly status: () => Promise<DeploymentStatus>;
  readonly schedules: (em: EntityManager) => Promise<readonly Schedule[]>;
  readonly runtime: () => RuntimeInfo;
  /** Whether anybody is told of schedules: they cost a look at the queue. */
  readonly wantsSchedules: () => boolean;
  /** Whether anybody is told of alerts. */
  readonly wantsAlerts: () => boolean;
  /** What this process uses is told, and unchanged streams are told again, this often. */
  readonly refreshIntervalMs: number;
}

export interface FeedPoller {
  /**
   * Looks, and emits what changed since the last look. The first look only emits the lines of activity that the database still
   * knows. Where a look fails, what it found before is emitted already, and the next one goes on from there.
   */
  poll(emit: (event: FeedEvent) => void): Promise<void>;
}

/** Changes of one kind that one look tells of; the next look goes on. */
const MAX_CHANGES_PER_POLL = 100;
/**
 * Numbers are given before their transactions commit, so a lower one may show up after a higher one: this many numbers back
 * are looked at again, for this long after the last new one.
 */
const LOOK_BACK_NUMBERS = 100n;
const LOOK_BACK_MS = 10_000;
/** Alerts looked at, beside as many that wait to be sent; one that has left them is looked at once more. */
const MAX_ALERTS_WATCHED = 200;
/** Changes by people that the feed begins with. */
const MAX_FIRST_AUDIT_LINES = 20;

export function createFeedPoller(sources: FeedSources): FeedPoller {
  const { db } = sources;
  let looked = false;
  let change = 0n;
  let changedMs = -Infinity;
  let firstChange = 0n;
  const seenRuns = new Map<string, bigint>();
  let audit: bigint | null = null;
  let firstAudit = 0n;
  const seenAudit = new Set<bigint>();
  let refreshedMs = -Infinity;
  const streams = new Map<string, { status: StreamStatus; key: string }>();
  const runStates = new Map<string, RunState>();
  const schedules = new Map<string, string>();
  /** By id, how each looked; null: nobody asked yet. */
  let alerts: ReadonlyMap<string, string> | null = null;

  return {
    async poll(emit) {
      const em = db.em();
      const nowMs = performance.now();
      const refresh = nowMs - refreshedMs >= sources.refreshIntervalMs;
      const tell = (event: FeedEvent): void => {
        if (looked || event.topic === 'activity') emit(event);
      };
      await lookAtStreams(refresh, tell);
      await lookAtRuns(em, tell);
      if (sources.wantsSchedules()) await lookAtSchedules(em, tell);
      if (sources.wantsAlerts()) await lookAtAlerts(em, tell);
      else alerts = null;
      await lookAtAudit(em, tell);
      if (refresh) {
        refreshedMs = nowMs;
        tell({ at: new Date(), topic: 'usage', runtime: sources.runtime() });
      }
      looked = true;
    },
  };

  async function lookAtStreams(refresh: boolean, emit: (event: FeedEvent) => void): Promise<void> {
    for (const status of (await sources.status()).streams) {
      const before = streams.get(status.stream);
      const key = fingerprint(status);
      streams.set(status.stream, { status, key });
      if (before?.key !== key || refresh) emit({ at: status.updatedAt, topic: 'streams', stream: status });
      if (before) for (const event of streamActivity(before.status, status)) emit(event);
    }
  }

  async function lookAtRuns(em: EntityManager, emit: (event: FeedEvent) => void): Promise<void> {
    // Only runs take numbers from this sequence, so most looks end here.
    const newest = await lastChange(em);
    if (!looked) return beginWithRuns(em, newest);
    if (newest > change) changedMs = performance.now();
    if (performance.now() - changedMs > LOOK_BACK_MS) return;
    const since = change - LOOK_BACK_NUMBERS;
    for (const { id, sequence } of await runIdsChangedSince(
      em,
      since,
      Number(LOOK_BACK_NUMBERS) + MAX_CHANGES_PER_POLL,
    )) {
      if (sequence <= (seenRuns.get(id) ?? firstChange)) continue;
      const run = await getRun(em, id);
      if (run !== null) await tellRun(em, run, emit);
      seenRuns.set(id, sequence);
      if (sequence > change) change = sequence;
    }
    for (const [id, sequence] of seenRuns) if (sequence <= change - LOOK_BACK_NUMBERS) seenRuns.delete(id);
  }

  async function beginWithRuns(em: EntityManager, newest: bigint): Promise<void> {
    [change, firstChange] = [newest, newest];
    for (const id of await newestRunIds(em, 'any', MAX_CHANGES_PER_POLL)) {
      const run = await getRun(em, id);
      if (run !== null && !isFinished(run)) runStates.set(id, run.state);
    }
  }

  async function tellRun(em: EntityManager, run: Run, emit: (event: FeedEvent) => void): Promise<void> {
    const changedState = runStates.get(run.id) !== run.state;
    emit({ at: new Date(), topic: 'reconciliations', run });
    if (changedState) emit(activityOf(runActivity(run)));
    if (!isFinished(run)) {
      runStates.set(run.id, run.state);
      return;
    }
    runStates.delete(run.id);
    for (const id of await driftIdsChangedSince(em, run.policy, run.startedAt ?? run.createdAt, MAX_CHANGES_PER_POLL)) {
      const drift = await getDrift(em, id);
      if (drift === null) continue;
      emit({ at: new Date(), topic: 'drifts', drift });
      emit(activityOf(driftActivity(drift, run)));
    }
  }

  async function lookAtSchedules(em: EntityManager, emit: (event: FeedEvent) => void): Promise<void> {
    for (const schedule of await sources.schedules(em)) {
      const key = `${schedule.enabled} ${schedule.intervalMs} ${schedule.lastSuccessAt?.getTime()} ${schedule.lastFailureAt?.getTime()}`;
      if (schedules.get(schedule.name) !== key) emit({ at: new Date(), topic: 'schedules', schedule });
      schedules.set(schedule.name, key);
    }
  }

  async function lookAtAlerts(em: EntityManager, emit: (event: FeedEvent) => void): Promise<void> {
    const before = alerts;
    const now = await presentAlerts(em, MAX_ALERTS_WATCHED);
    // Who comes first is told of the present state elsewhere.
    if (before !== null) {
      const left = [...before.keys()].filter((id) => !now.has(id));
      const changed = [...now].filter(([id, look]) => before.get(id) !== look).map(([id]) => id);
      for (const id of [...left, ...changed]) {
        const alert = await getAlert(em, id);
        if (alert !== null) emit({ at: new Date(), topic: 'alerts', alert });
      }
    }
    alerts = now;
  }

  async function lookAtAudit(em: EntityManager, emit: (event: FeedEvent) => void): Promise<void> {
    const begin = audit === null;
    const since = audit === null ? null : audit - LOOK_BACK_NUMBERS;
    const lines = await auditSince(
      em,
      since,
      begin ? MAX_FIRST_AUDIT_LINES : Number(LOOK_BACK_NUMBERS) + MAX_CHANGES_PER_POLL,
    );
    for (const line of lines) {
      if (!begin && (line.id <= firstAudit || seenAudit.has(line.id))) continue;
      emit(activityOf(auditActivity(line)));
      seenAudit.add(line.id);
    }
    const newest = lines.at(-1)?.id ?? audit ?? 0n;
    audit = newest;
    if (begin) firstAudit = newest;
    for (const id of seenAudit) if (id <= newest - LOOK_BACK_NUMBERS) seenAudit.delete(id);
  }
}

/** Everything of a stream but what changes by time passing. */
function fingerprint(status: StreamStatus): string {
  const {
    updatedAt: _updated,
    rates: _rates,
    lastSuccessAt: _success,
    followerUptimeMs: _uptime,
    sources,
    ...rest
  } = status;
  const plain = { ...rest, sources: sources.map(({ lastSuccessAt: _last, ...source }) => source) };
  return JSON.stringify(plain, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

function streamActivity(before: StreamStatus, now: StreamStatus): FeedEvent[] {
  const events: FeedEvent[] = [];
  const line = (kind: ActivityKind, event: string, message: string, ledger: number | null): void => {
    events.push(activityOf({ kind, event, stream: now.stream, ledger, message, resourceId: null, at: now.updatedAt }));
  };
  const processed = now.processedLedgers - before.processedLedgers;
  if (processed > 0n) {
    const through = now.layers[0]?.contiguousThrough ?? null;
    const upTo = through === null ? '' : `, up to ledger ${through}`;
    line('ledgers', 'ledgers_processed', `${processed} ledger${processed === 1n ? '' : 's'} processed${upTo}`, through);
  }
  if (now.syncStatus !== before.syncStatus) {
    const why = now.degraded[0] === undefined ? '' : `: ${now.degraded[0].message}`;
    line('stream', `stream_${now.syncStatus}`, `${now.stream} is ${now.syncStatus.replace('_', ' ')}${why}`, null);
  }
  if (now.lastError !== null && now.lastError.at?.getTime() !== before.lastError?.at?.getTime()) {
    line('error', 'source_failed', `${now.lastError.reason}: ${now.lastError.message}`, null);
  }
  return events;
}

function driftActivity(drift: Drift, run: Run): Activity {
  const resolved = drift.state === 'resolved';
  const reopened = drift.reopenedCount > 0 && drift.firstRunId !== run.id;
  return {
    kind: 'drift',
    event: resolved ? 'drift_resolved' : reopened ? 'drift_reopened' : 'drift_opened',
    stream: drift.stream,
    ledger: drift.ledgerSide?.ledger ?? null,
    message: `${drift.kinds.join(', ')} at ${drift.account} in ${drift.asset} ${resolved ? 'is resolved' : 'stands'} (policy ${drift.policy})`,
    resourceId: drift.id,
    at: resolved ? (drift.transitionAt ?? drift.lastSeenAt) : drift.lastSeenAt,
  };
}

function runActivity(run: Run): Activity {
  const subject = `run of policy ${run.policy}`;
  const message = {
    queued: `a ${subject} was asked for by ${run.actor}`,
    running: `a ${subject} has begun`,
    succeeded: `a ${subject} ended ${run.verdict ?? ''}`,
    failed: `a ${subject} failed: ${run.error?.message ?? 'without a word'}`,
    cancelled: `a ${subject} was cancelled`,
  }[run.state];
  const at = run.completedAt ?? run.startedAt ?? run.createdAt;
  return {
    kind: 'reconciliation',
    event: `run_${run.state}`,
    stream: run.stream,
    ledger: run.summary?.cut?.ledger ?? null,
    message,
    resourceId: run.id,
    at,
  };
}

function auditActivity(line: AuditLine): Activity {
  const method = line.method.slice(line.method.lastIndexOf('/') + 1);
  const book = line.resourceType === 'book' || line.resourceType === 'import';
  return {
    kind: book ? 'book' : 'operator',
    event: method.replace(/(?<=[a-z])(?=[A-Z])/g, '_').toLowerCase(),
    stream: null,
    ledger: null,
    message: `${line.actor} called ${method} on ${line.resourceType} ${line.resourceId}`,
    resourceId: line.resourceId,
    at: line.at,
  };
}

function activityOf(activity: Activity): FeedEvent {
  return { at: activity.at, topic: 'activity', activity };
}
