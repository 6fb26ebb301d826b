// How the deployment is: put together from rows, so that every replica answers the same.
import { messageOf, TrueUpError } from '../core/errors.ts';
import { failureOf } from '../core/status.ts';
import type {
  ConfigEntry,
  DeploymentStatus,
  Failure,
  StatusEvent,
  StatusWatch,
  StreamStatus,
  SyncStatus,
} from '../core/status.ts';
import type { SourceMember } from '../sources/source-set.ts';
import type { Source } from '../sources/source.ts';
import type { Database } from '../store/database.ts';
import { listJobHealth } from '../store/job-health.ts';
import { requireCurrentSchema } from '../store/migrate.ts';
import type { Queue } from '../store/queue.ts';
import { databaseNow } from '../store/status.ts';
import { currentStream, listStreams } from '../store/streams.ts';
import { createDiagnostics, schedulesOf, type DiagnosticsService } from './diagnostics.ts';
import { keptFailure } from './kept-failure.ts';
import { createRuntimeSampler } from './runtime.ts';
import { createStatusFeed, type StatusFeedOptions } from './status-feed.ts';
import { statusBeforeStream, type SourceInfo } from './source-status.ts';
import { createStreamStatusReader } from './stream-status.ts';

export interface HealthOptions {
  readonly db: Database;
  readonly source: Pick<Source, 'kind' | 'id' | 'networkPassphrase' | 'layers'>;
  /** All that may be read, the followed one first, as this process has met them; absent: there is only the one. */
  readonly members?: () => readonly SourceMember[];
  /** Of a host that is read from; null: there is no circuit. */
  readonly circuitState: (host: string) => ReturnType<SourceInfo['breaker']>;
  /** Inclusive; null: no end. */
  readonly endLedger: number | null;
  readonly version: string;
  readonly startedAt: Date;
  /** Names this process among replicas. */
  readonly replica: string;
  /** As config/describe-config.ts allows them. */
  readonly configEntries: readonly ConfigEntry[];
  /** Parts that are switched off, each with the variable that would switch it on. */
  readonly disabledFeatures?: readonly string[];
  readonly embedded: boolean;
  /** Null: nobody can tell how many runs are under way. */
  readonly queue: Pick<Queue, 'inFlight'> | null;
  readonly clock?: { now(): Date };
  /** A follower that has got no answer for this long is degraded, whoever runs it. */
  readonly staleAfterMs?: number;
  readonly pingTimeoutMs?: number;
  /** Of the feed; see services/status-feed.ts. */
  readonly feed?: Partial<Omit<StatusFeedOptions, 'db' | 'status' | 'schedules' | 'runtime'>>;
}

/** The shapes that the metrics port's probes ask for. */
export interface Readiness {
  readonly ready: boolean;
  readonly problems: readonly string[];
}
export interface Wellness {
  readonly healthy: boolean;
  readonly degraded: readonly { readonly name: string; readonly reason: string; readonly message: string }[];
}

export interface HealthService {
  /** @throws TrueUpError STREAM_NOT_FOUND for a name that there isn't; null asks for all. */
  status(stream: string | null): Promise<DeploymentStatus>;
  /** The stream that this deployment follows; before it is open, what is known of its source. */
  followed(): Promise<StreamStatus>;
  /** What the source last failed with, where no row can keep it yet. */
  noteSourceFailure(error: unknown): void;
  /** The source answered: what was noted is over. */
  noteSourceAnswer(): void;
  /** This process's follower began to run, or (null) runs no more. */
  noteFollowerRunning(since: Date | null): void;
  /** Whether this process can serve: the database answers in time and its schema is ours. Never throws. */
  readiness(): Promise<Readiness>;
  /** Whether everything is well. Never throws: what can't be asked isn't well. */
  wellness(): Promise<Wellness>;
  /** One line for each stream, for the names of gRPC health. */
  streamHealth(): Promise<{ readonly stream: string; readonly healthy: boolean }[]>;
  /** Of the followed stream; null before it is open. */
  syncStatus(): Promise<{ readonly stream: string; readonly status: SyncStatus } | null>;
  /** What the doors call. */
  readonly port: HealthMethods;
  /** Ends the feed's watchers and stops measuring. */
  close(): void;
}

/** As rpc/ports.ts asks for them. */
export interface HealthMethods extends DiagnosticsService {
  status(stream: string | null): Promise<DeploymentStatus>;
  watch(watch: StatusWatch, signal: AbortSignal): AsyncIterable<StatusEvent>;
}

const DEFAULT_STALE_AFTER_MS = 120_000;
const DEFAULT_PING_TIMEOUT_MS = 2_000;

export function createHealthService(options: HealthOptions): HealthService {
  const { db } = options;
  const source = describeSource(options);
  const sandbox = source.kind === 'sandbox';
  const beforeStream = { sandbox, endLedger: options.endLedger };
  const now = () => options.clock?.now() ?? new Date();
  let noted: Failure | null = null;
  let followerSince: Date | null = null;
  const read = createStreamStatusReader({
    source,
    endLedger: options.endLedger,
    staleAfterMs: options.staleAfterMs ?? DEFAULT_STALE_AFTER_MS,
  });

  async function streams(): Promise<StreamStatus[]> {
    const em = db.em();
    const known = await listStreams(em);
    const current = await currentStream(em, source.networkPassphrase);
    const at = await databaseNow(em);
    const inProcess = { failure: noted, followerSince };
    const statuses: StreamStatus[] = [];
    for (const stream of known) statuses.push(await read(em, stream, stream.id === current?.id ? inProcess : null, at));
    if (current === null) statuses.push(statusBeforeStream(source, beforeStream, inProcess, at));
    return statuses.sort((a, b) => (a.stream < b.stream ? -1 : 1));
  }

  const runtime = createRuntimeSampler(options);
  const diagnostics = createDiagnostics({
    db,
    status: () => status(null),
    runtime: () => runtime.info(),
    configEntries: options.configEntries,
    disabledFeatures: options.disabledFeatures ?? [],
    embedded: options.embedded,
    queue: options.queue,
  });
  const feed = createStatusFeed({
    ...options.feed,
    db,
    status: () => status(null),
    schedules: (em) => schedulesOf(em, options.queue),
    runtime: () => runtime.info(),
  });

  async function status(name: string | null): Promise<DeploymentStatus> {
    const all = await streams();
    const shown = name === null || name === '' ? all : all.filter((each) => each.stream === name);
    if (shown.length === 0) {
      throw new TrueUpError('STREAM_NOT_FOUND', `there is no stream ${JSON.stringify(name)}`, {
        fix: 'GetStatus without a name lists them',
      });
    }
    const unhealthy = [...all.flatMap((each) => each.degraded), ...(await degradedJobs())];
    return {
      streams: shown,
      healthy: unhealthy.length === 0,
      unhealthy,
      version: options.version,
      startedAt: options.startedAt,
      uptimeMs: Math.max(0, now().getTime() - options.startedAt.getTime()),
      sandbox,
    };
  }

  return {
    status,
    async followed() {
      const em = db.em();
      const [stream, at] = [await currentStream(em, source.networkPassphrase), await databaseNow(em)];
      const inProcess = { failure: noted, followerSince };
      return stream === null
        ? statusBeforeStream(source, beforeStream, inProcess, at)
        : read(em, stream, inProcess, at);
    },
    noteSourceFailure(error) {
      noted = failureOf(error, now());
    },
    noteSourceAnswer() {
      noted = null;
    },
    noteFollowerRunning(since) {
      followerSince = since;
    },
    async readiness() {
      const limitMs = options.pingTimeoutMs ?? DEFAULT_PING_TIMEOUT_MS;
      try {
        await within(
          limitMs,
          db.ping().then(() => requireCurrentSchema(db)),
        );
        return { ready: true, problems: [] };
      } catch (error) {
        return { ready: false, problems: [safeMessage(error)] };
      }
    },
    async wellness() {
      try {
        const { healthy, unhealthy } = await status(null);
        return {
          healthy,
          degraded: unhealthy.map((each) => ({ name: nameOf(each), reason: each.reason, message: each.message })),
        };
      } catch (error) {
        return {
          healthy: false,
          degraded: [{ name: 'database', reason: failureOf(error, null).reason, message: safeMessage(error) }],
        };
      }
    },
    async streamHealth() {
      return (await streams()).map((each) => ({ stream: each.stream, healthy: each.syncStatus !== 'degraded' }));
    },
    async syncStatus() {
      const stream = await currentStream(db.em(), source.networkPassphrase);
      if (stream === null) return null;
      const { syncStatus } = await read(db.em(), stream, { failure: noted, followerSince }, await databaseNow(db.em()));
      return { stream: stream.name, status: syncStatus };
    },
    port: { ...diagnostics, status, watch: (watch, signal) => feed.watch(watch, signal) },
    close() {
      feed.close();
      runtime.close();
    },
  };

  async function degradedJobs(): Promise<Failure[]> {
    const jobs = await listJobHealth(db.em());
    return jobs
      .filter((job) => job.health === 'degraded')
      .map((job) => {
        const last = job.lastError === null ? '' : `: ${job.lastError.message}`;
        const fix = `see GetDiagnostics for ${job.name}, mend the cause; its next success makes it healthy`;
        return keptFailure(
          'JOB_DEAD_LETTERED',
          `job ${job.name} was given up ${job.deadLettered} times, the last ones in a row${last}`,
          job.lastFailureAt,
          fix,
        );
      });
  }
}

/** Kind and place of a source stand in its id, which holds no credentials: `stellar-horizon:horizon.example:8000`, `...:8000#2`. */
function placeOf({ id, kind }: Pick<Source, 'id' | 'kind'>, circuitState: HealthOptions['circuitState']) {
  const place = id.slice(id.indexOf(':') + 1).replace(/#\d+$/, '');
  const host = kind !== 'sandbox' && HOST.test(place) ? place : '';
  return { name: id, kind, host, breaker: () => (host === '' ? null : circuitState(host)) };
}

function describeSource({ source, members, circuitState }: HealthOptions): SourceInfo {
  return {
    ...placeOf(source, circuitState),
    networkPassphrase: source.networkPassphrase,
    layers: source.layers,
    members: () =>
      (members?.() ?? []).map(({ source: member, active, failure }) => ({
        ...placeOf(member, circuitState),
        active,
        failure: failure === null ? null : failureOf(failure.error, failure.at),
      })),
  };
}

const HOST = /^(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|\[[0-9a-f:]+\])(:\d+)?$/i;

function nameOf(failure: Failure): string {
  return failure.reason === 'JOB_DEAD_LETTERED' ? 'job' : 'stream';
}

function safeMessage(error: unknown): string {
  return error instanceof TrueUpError ? messageOf(error) : 'internal error';
}

async function within<T>(limitMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new TrueUpError('DATABASE_UNAVAILABLE', `the database did not answer within ${limitMs} ms`));
    }, limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
    // Where it was late, its own end is of no more interest.
    work.catch(() => undefined);
  }
}
