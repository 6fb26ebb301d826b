// The feed of everything that changes: one look a second for all watchers of this process, and none while nobody watches.
import { setTimeout as sleep } from 'node:timers/promises';
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import type { DeploymentStatus, RuntimeInfo, Schedule, StatusEvent, StatusWatch, WatchTopic } from '../core/status.ts';
import type { Database } from '../store/database.ts';
import { listAlerts } from '../store/alerts.ts';
import { listDrifts } from '../store/drifts.ts';
import { newestRunIds } from '../store/feed.ts';
import { getRun } from '../store/runs.ts';
import { FeedHub, type FeedEvent, type FeedLimits } from './feed-hub.ts';
import { createFeedPoller } from './feed-poller.ts';

export interface StatusFeedOptions extends Partial<FeedLimits> {
  readonly db: Database;
  readonly status: () => Promise<DeploymentStatus>;
  readonly schedules: (em: EntityManager) => Promise<readonly Schedule[]>;
  readonly runtime: () => RuntimeInfo;
  readonly pollIntervalMs?: number;
  readonly refreshIntervalMs?: number;
  readonly maxWatchers?: number;
  /** A look that failed; the next one goes on from the same place. */
  readonly onPollFailed?: (error: unknown) => void;
}

export interface StatusFeed {
  /** Until aborted; throws `signal.reason` then. Errors: SEQUENCE_EXPIRED, TOO_MANY_STREAMS. */
  watch(watch: StatusWatch, signal: AbortSignal): AsyncIterable<StatusEvent>;
  /** Ends every watcher with SHUTTING_DOWN. */
  close(): void;
}

const DEFAULTS = {
  pollIntervalMs: 1_000,
  refreshIntervalMs: 5_000,
  maxKeptEvents: 2_000,
  maxQueuedEvents: 256,
  maxWatchers: 500,
} as const;
const DEFAULT_TOPICS: readonly WatchTopic[] = ['streams', 'activity'];
/** What a watcher begins with, of what there can be many of. */
const MAX_FIRST_RUNS = 200;
const MAX_FIRST_DRIFTS = 100;
const MAX_FIRST_ALERTS = 100;

export function createStatusFeed(given: StatusFeedOptions): StatusFeed {
  const options = { ...DEFAULTS, ...given };
  // Microseconds since 1970: above every number that an earlier process has given, and as many digits for years.
  const hub = new FeedHub(options, BigInt(Date.now()) * 1000n);
  const wanted = new Map<WatchTopic, number>();
  const isWanted = (topic: WatchTopic): boolean => (wanted.get(topic) ?? 0) > 0;
  const poller = createFeedPoller({
    ...options,
    wantsSchedules: () => isWanted('schedules'),
    wantsAlerts: () => isWanted('alerts'),
  });
  const closing = new AbortController();
  let polling: Promise<void> | null = null;
  let looping: AbortController | null = null;
  let open = 0;

  /** One look at a time; who comes during one waits for it. */
  function poll(): Promise<void> {
    polling ??= poller.poll((event) => hub.publish(event)).finally(() => (polling = null));
    return polling;
  }

  async function loop(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(options.pollIntervalMs, undefined, { signal }).catch(() => undefined);
      if (!signal.aborted) await poll().catch((error: unknown) => options.onPollFailed?.(error));
    }
  }

  function arrive(topics: ReadonlySet<WatchTopic>): void {
    if (open >= options.maxWatchers) {
      throw new TrueUpError('TOO_MANY_STREAMS', `this process has ${options.maxWatchers} watchers already`, {
        fix: 'share one stream, or ask another replica',
      });
    }
    open++;
    for (const topic of topics) wanted.set(topic, (wanted.get(topic) ?? 0) + 1);
    if (looping === null) {
      looping = new AbortController();
      void loop(looping.signal);
    }
  }

  function leave(topics: ReadonlySet<WatchTopic>): void {
    for (const topic of topics) wanted.set(topic, (wanted.get(topic) ?? 0) - 1);
    if (--open > 0) return;
    looping?.abort();
    looping = null;
  }

  return {
    async *watch(watch, given) {
      const signal = AbortSignal.any([given, closing.signal]);
      signal.throwIfAborted();
      const topics = new Set(watch.topics.length > 0 ? watch.topics : DEFAULT_TOPICS);
      const matches = (event: StatusEvent): boolean => topics.has(event.topic) && isOf(event, watch.stream);
      arrive(topics);
      try {
        // What happened while nobody watched gets its numbers now, so that a watcher who comes back misses nothing.
        await poll();
        const backlog =
          watch.since === null
            ? hub.newest((event) => event.topic === 'activity' && matches(event), watch.activityBacklog)
            : [];
        const position = hub.sequence;
        const subscription = hub.subscribe(matches, watch.since);
        try {
          if (watch.since === null)
            yield* inOrder([...(await presentState(topics, watch.stream)), ...backlog], position);
          for (;;) yield await subscription.next(signal);
        } finally {
          subscription.close();
        }
      } finally {
        leave(topics);
      }
    },
    close() {
      closing.abort(new TrueUpError('SHUTTING_DOWN', 'this process is shutting down; watch again from another one'));
    },
  };

  async function presentState(topics: ReadonlySet<WatchTopic>, stream: string | null): Promise<FeedEvent[]> {
    const em = options.db.em();
    const at = new Date();
    const events: FeedEvent[] = [];
    if (topics.has('streams')) {
      for (const status of (await options.status()).streams) events.push({ at, topic: 'streams', stream: status });
    }
    if (topics.has('reconciliations')) {
      for (const id of await newestRunIds(em, 'any', MAX_FIRST_RUNS)) {
        const run = await getRun(em, id);
        if (run !== null) events.push({ at, topic: 'reconciliations', run });
      }
    }
    if (topics.has('drifts')) {
      const { items } = await listDrifts(
        em,
        { states: ['open', 'acknowledged'] },
        { size: MAX_FIRST_DRIFTS, after: null },
      );
      for (const drift of [...items].reverse()) events.push({ at, topic: 'drifts', drift });
    }
    if (topics.has('alerts')) {
      const { items } = await listAlerts(em, {}, { size: MAX_FIRST_ALERTS, after: null });
      for (const alert of [...items].reverse()) events.push({ at, topic: 'alerts', alert });
    }
    if (topics.has('schedules')) {
      for (const schedule of await options.schedules(em)) events.push({ at, topic: 'schedules', schedule });
    }
    if (topics.has('usage')) events.push({ at, topic: 'usage', runtime: options.runtime() });
    return events.filter((event) => isOf(event as StatusEvent, stream));
  }
}

/**
 * The present state as events. Only its last one bears a number that can be resumed from: who lost the stream before it has not
 * seen the whole state, and begins again.
 */
function* inOrder(events: readonly FeedEvent[], position: bigint): Generator<StatusEvent> {
  for (const [i, event] of events.entries())
    yield { ...event, sequence: i === events.length - 1 ? position : 0n } as StatusEvent;
}

function isOf(event: StatusEvent, stream: string | null): boolean {
  if (stream === null || stream === '') return true;
  switch (event.topic) {
    case 'streams':
      return event.stream.stream === stream;
    case 'activity':
      return event.activity.stream === null || event.activity.stream === stream;
    case 'reconciliations':
      return event.run.stream === null || event.run.stream === stream;
    case 'drifts':
      return event.drift.stream === null || event.drift.stream === stream;
    case 'alerts':
      return event.alert.stream === null || event.alert.stream === stream;
    case 'usage':
    case 'schedules':
      return true;
  }
}
