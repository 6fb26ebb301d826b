// What can be said of a source, also before it has ever answered.
import type { Layer } from '../core/entry.ts';
import type { Failure, SourceStatus, StreamStatus } from '../core/status.ts';
import type { FollowerRow } from '../store/streams.ts';

/** A source as it is configured; nothing in it is a secret. */
export interface SourceInfo extends SourcePlace {
  readonly networkPassphrase: string;
  /** The layers it shows: those that the follower covers. */
  readonly layers: readonly Layer[];
  /** All that may be read, the preferred one first; fewer than two: there is only this one. */
  readonly members: () => readonly MemberInfo[];
}

interface SourcePlace {
  readonly name: string;
  readonly kind: string;
  /** Without credentials, path or query; empty when there is none. */
  readonly host: string;
  readonly breaker: () => 'CLOSED' | 'OPEN' | 'HALF_OPEN' | null;
}

/** One of several, as this process has met it. */
export interface MemberInfo extends SourcePlace {
  /** Whether it gave the last answer. */
  readonly active: boolean;
  readonly failure: Failure | null;
}

export interface InProcess {
  /** The source's last failure as this process met it. */
  readonly failure: Failure | null;
  /** Since when this process's follower runs; null: it doesn't. */
  readonly followerSince: Date | null;
}

/** What can be said before the source has ever answered: that it hasn't, and with what it failed. */
export function statusBeforeStream(
  source: SourceInfo,
  options: { readonly sandbox: boolean; readonly endLedger: number | null },
  { failure, followerSince }: InProcess,
  now: Date,
): StreamStatus {
  return {
    // A stream is named after its network and anchor, which only the source can tell.
    stream: source.name,
    networkPassphrase: source.networkPassphrase,
    epoch: '',
    sandbox: options.sandbox,
    state: 'active',
    syncStatus: failure === null ? 'starting' : 'degraded',
    degraded: failure === null ? [] : [failure],
    startLedger: null,
    endLedger: options.endLedger,
    layers: [],
    tip: null,
    tipClosedAt: null,
    lag: null,
    oldest: null,
    retentionMargin: null,
    retentionMarginMs: null,
    processedLedgers: 0n,
    rates: { over10s: null, over1m: null, overLife: null },
    lastSuccessAt: null,
    lastError: failure,
    followerUptimeMs: followerSince === null ? null : Math.max(0, now.getTime() - followerSince.getTime()),
    sources: sourcesStatus(source, null, failure),
    watchCount: null,
    updatedAt: now,
  };
}

/** Each of those that may be read. What rows tell of the stream's source is said of the one that answers. */
export function sourcesStatus(source: SourceInfo, row: FollowerRow | null, lastError: Failure | null): SourceStatus[] {
  const members = source.members();
  if (members.length <= 1) return [sourceStatus(source, true, row, lastError)];
  return members.map((each) => sourceStatus(each, each.active, each.active ? row : null, each.failure));
}

function sourceStatus(
  source: SourcePlace,
  active: boolean,
  row: FollowerRow | null,
  lastError: Failure | null,
): SourceStatus {
  const breaker = source.breaker();
  return {
    name: source.name,
    kind: source.kind,
    host: source.host,
    active,
    breaker: breaker === null ? null : (breaker.toLowerCase() as 'closed' | 'open' | 'half_open'),
    tip: row?.tipLedger ?? null,
    oldest: row?.oldestLedger ?? null,
    lastSuccessAt: row?.lastSuccessAt ?? null,
    lastError,
  };
}
