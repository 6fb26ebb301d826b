// Telling what changed from one look at the database to the next, once for all watchers of this process.
import type { EntityManager } from '@mikro-orm/postgresql';
import { isFinished, type Run, type RunState } from '../core/run.ts';
import type { Activity, ActivityKind, DeploymentStatus, RuntimeInfo, Schedule, StreamStatus } from '../core/status.ts';
import type { Database } from '../store/database.ts';
import { getDrift } from '../store/drifts.ts';
import { auditSince, driftIdsChangedSince, lastChange, runIdsChangedSince, type AuditLine } from '../store/feed.ts';
import { getRun } from '../store/runs.ts';
import type { FeedEvent } from './feed-hub.ts';

export interface FeedSources {
  readonly db: Database;
  readonly status: () => Promise<DeploymentStatus>;
  readonly schedules: (em: EntityManager) => Promise<readonly Schedule[]>;
  readonly runtime: () => RuntimeInfo;
  /** What this process uses is told, and unchanged streams are told again, this often. */
  readonly refreshIntervalMs: number;
}

export interface FeedPoller {
  /** Looks, and gives what changed since the last look. The first look only gives the lines of activity that the database still knows. */
  poll(): Promise<FeedEvent[]>;
}

/** Changes of one kind that one look tells of; the next look goes on. */
const MAX_CHANGES_PER_POLL = 100;
/** Changes by people that the feed begins with. */
const MAX_FIRST_AUDIT_LINES = 20;

export function createFeedPoller(sources: FeedSources): FeedPoller {
  const { db } = sources;
  let looked = false;
  let change = 0n;
  let audit: bigint | null = null;
  let refreshedMs = -Infinity;
  const streams = new Map<string, { status: StreamStatus; key: string }>();
  const runStates = new Map<string, RunState>();
  const schedules = new Map<string, string>();

  return {
    async poll() {
      const em = db.em();
      const nowMs = performance.now();
      const refresh = nowMs - refreshedMs >= sources.refreshIntervalMs;
      const events = [...(await streamEvents(refresh)), ...(await runEvents(em)), ...(await scheduleEvents(em)), ...(await auditEvents(em))];
      if (refresh) {
        refreshedMs = nowMs;
        events.push({ at: new Date(), topic: 'usage', runtime: sources.runtime() });
      }
      const first = !looked;
      looked = true;
      return first ? events.filter((event) => event.topic === 'activity') : events;
    },
  };

  async function streamEvents(refresh: boolean): Promise<FeedEvent[]> {
    const events: FeedEvent[] = [];
    for (const status of (await sources.status()).streams) {
      const before = streams.get(status.stream);
      const key = fingerprint(status);
      streams.set(status.stream, { status, key });
      if (before === undefined || before.key !== key || refresh) events.push({ at: status.updatedAt, topic: 'streams', stream: status });
      if (before) events.push(...streamActivity(before.status, status));
    }
    return events;
  }

  async function runEvents(em: EntityManager): Promise<FeedEvent[]> {
    // Only runs take numbers from this sequence, so most looks end here.
    const newest = await lastChange(em);
    if (!looked) change = newest;
    if (newest === change) return [];
    const changed = await runIdsChangedSince(em, change, MAX_CHANGES_PER_POLL);
    // A number may have been taken by a transaction that is still open: it is looked for again until something is there.
    if (changed.length > 0) change = changed.at(-1)!.sequence;
    const events: FeedEvent[] = [];
    for (const { id } of changed) {
      const run = await getRun(em, id);
      if (run === null) continue;
      const before = runStates.get(id);
      if (isFinished(run)) runStates.delete(id);
      else runStates.set(id, run.state);
      events.push({ at: new Date(), topic: 'reconciliations', run });
      if (before !== run.state) events.push(activityOf(runActivity(run)));
      if (isFinished(run)) events.push(...(await driftEvents(em, run)));
    }
    return events;
  }

  async function driftEvents(em: EntityManager, run: Run): Promise<FeedEvent[]> {
    const events: FeedEvent[] = [];
    for (const id of await driftIdsChangedSince(em, run.policy, run.startedAt ?? run.createdAt, MAX_CHANGES_PER_POLL)) {
      const drift = await getDrift(em, id);
      if (drift === null) continue;
      events.push({ at: new Date(), topic: 'drifts', drift });
      const resolved = drift.state === 'resolved';
      const event = resolved ? 'drift_resolved' : drift.reopenedCount > 0 && drift.firstRunId !== run.id ? 'drift_reopened' : 'drift_opened';
      const message = `${drift.kinds.join(', ')} at ${drift.account} in ${drift.asset} ${resolved ? 'is resolved' : 'stands'} (policy ${drift.policy})`;
      events.push(activityOf({ kind: 'drift', event, stream: drift.stream, ledger: drift.ledgerSide?.ledger ?? null, message, resourceId: drift.id, at: drift.lastSeenAt }));
    }
    return events;
  }

  async function scheduleEvents(em: EntityManager): Promise<FeedEvent[]> {
    const events: FeedEvent[] = [];
    for (const schedule of await sources.schedules(em)) {
      const key = `${schedule.enabled} ${schedule.intervalMs} ${schedule.lastSuccessAt?.getTime()} ${schedule.lastFailureAt?.getTime()}`;
      if (schedules.get(schedule.name) !== key) events.push({ at: new Date(), topic: 'schedules', schedule });
      schedules.set(schedule.name, key);
    }
    return events;
  }

  async function auditEvents(em: EntityManager): Promise<FeedEvent[]> {
    const lines = await auditSince(em, audit, audit === null ? MAX_FIRST_AUDIT_LINES : MAX_CHANGES_PER_POLL);
    audit = lines.at(-1)?.id ?? audit ?? 0n;
    return lines.map((line) => activityOf(auditActivity(line)));
  }
}

/** Everything of a stream but what changes by time passing. */
function fingerprint(status: StreamStatus): string {
  const { updatedAt: _updated, rates: _rates, lastSuccessAt: _success, followerUptimeMs: _uptime, sources, ...rest } = status;
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
  return { kind: 'reconciliation', event: `run_${run.state}`, stream: run.stream, ledger: run.summary?.cut?.ledger ?? null, message, resourceId: run.id, at };
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
