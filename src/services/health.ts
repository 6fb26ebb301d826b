// How the deployment is: put together from rows, so that every replica answers the same.
import type { Layer } from '../core/entry.ts';
import { messageOf, TrueUpError } from '../core/errors.ts';
import { failureOf, type DeploymentStatus, type Failure, type StreamStatus } from '../core/status.ts';
import type { Database } from '../store/database.ts';
import { listJobHealth } from '../store/job-health.ts';
import { requireCurrentSchema } from '../store/migrate.ts';
import { databaseNow } from '../store/status.ts';
import { currentStream, listStreams } from '../store/streams.ts';
import { keptFailure } from './kept-failure.ts';
import { createStreamStatusReader, statusBeforeStream } from './stream-status.ts';

/** A source as it is configured; nothing in it is a secret. */
export interface SourceInfo {
  readonly name: string;
  readonly kind: string;
  /** Without credentials, path or query; empty when there is none. */
  readonly host: string;
  readonly networkPassphrase: string;
  /** The layers it shows: those that the follower covers. */
  readonly layers: readonly Layer[];
  readonly breaker: () => 'CLOSED' | 'OPEN' | 'HALF_OPEN' | null;
}

export interface HealthOptions {
  readonly db: Database;
  readonly source: SourceInfo;
  readonly sandbox: boolean;
  /** Inclusive; null: no end. */
  readonly endLedger: number | null;
  readonly version: string;
  readonly startedAt: Date;
  readonly clock?: { now(): Date };
  /** A follower that has got no answer for this long is degraded, whoever runs it. */
  readonly staleAfterMs?: number;
  readonly pingTimeoutMs?: number;
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
}

const DEFAULT_STALE_AFTER_MS = 120_000;
const DEFAULT_PING_TIMEOUT_MS = 2_000;

export function createHealthService(options: HealthOptions): HealthService {
  const { db, source } = options;
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
    if (current === null) statuses.push(statusBeforeStream(source, options, inProcess, at));
    return statuses.sort((a, b) => (a.stream < b.stream ? -1 : 1));
  }

  const service: HealthService = {
    async status(name) {
      const all = await streams();
      const shown = name === null || name === '' ? all : all.filter((each) => each.stream === name);
      if (shown.length === 0) {
        throw new TrueUpError('STREAM_NOT_FOUND', `there is no stream ${JSON.stringify(name)}`, { fix: 'GetStatus without a name lists them' });
      }
      const unhealthy = [...all.flatMap((each) => each.degraded), ...(await degradedJobs())];
      return {
        streams: shown,
        healthy: unhealthy.length === 0,
        unhealthy,
        version: options.version,
        startedAt: options.startedAt,
        uptimeMs: Math.max(0, now().getTime() - options.startedAt.getTime()),
        sandbox: options.sandbox,
      };
    },
    async followed() {
      const em = db.em();
      const [stream, at] = [await currentStream(em, source.networkPassphrase), await databaseNow(em)];
      const inProcess = { failure: noted, followerSince };
      return stream === null ? statusBeforeStream(source, options, inProcess, at) : read(em, stream, inProcess, at);
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
        await within(limitMs, db.ping().then(() => requireCurrentSchema(db)));
        return { ready: true, problems: [] };
      } catch (error) {
        return { ready: false, problems: [safeMessage(error)] };
      }
    },
    async wellness() {
      try {
        const { healthy, unhealthy } = await service.status(null);
        return { healthy, degraded: unhealthy.map((each) => ({ name: nameOf(each), reason: each.reason, message: each.message })) };
      } catch (error) {
        return { healthy: false, degraded: [{ name: 'database', reason: failureOf(error, null).reason, message: safeMessage(error) }] };
      }
    },
  };

  async function degradedJobs(): Promise<Failure[]> {
    const jobs = await listJobHealth(db.em());
    return jobs
      .filter((job) => job.health === 'degraded')
      .map((job) => {
        const last = job.lastError === null ? '' : `: ${job.lastError.message}`;
        const fix = `see GetDiagnostics for ${job.name}, mend the cause; its next success makes it healthy`;
        return keptFailure('JOB_DEAD_LETTERED', `job ${job.name} was given up ${job.deadLettered} times, the last ones in a row${last}`, job.lastFailureAt, fix);
      });
  }

  return service;
}

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
