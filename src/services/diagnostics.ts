// Everything one needs to look into a fault, without secrets: the process, its settings, the database, streams, jobs and runs.
import type { EntityManager } from '@mikro-orm/postgresql';
import { TrueUpError } from '../core/errors.ts';
import type { Page, PageRequest } from '../core/page.ts';
import { failureOf } from '../core/status.ts';
import type {
  AuditEntry,
  AuditFilter,
  ConfigEntry,
  DatabaseDiagnostics,
  DeadLetter,
  DeploymentStatus,
  Diagnostics,
  RuntimeInfo,
  Schedule,
} from '../core/status.ts';
import { listAudit } from '../store/audit.ts';
import type { Database } from '../store/database.ts';
import { newestRunIds, readPool, readServerFacts } from '../store/feed.ts';
import { countDeadLetters, listDeadLetters } from '../store/job-health.ts';
import type { Queue } from '../store/queue.ts';
import { getRun, type StoredRun } from '../store/runs.ts';
import { listSchedules } from '../store/schedules.ts';

export interface DiagnosticsOptions {
  readonly db: Database;
  readonly status: () => Promise<DeploymentStatus>;
  readonly runtime: () => RuntimeInfo;
  /** As config/describe-config.ts allows them. */
  readonly configEntries: readonly ConfigEntry[];
  readonly disabledFeatures: readonly string[];
  readonly embedded: boolean;
  /** Null: nobody can tell how many runs are under way. */
  readonly queue: Pick<Queue, 'inFlight'> | null;
}

export interface DiagnosticsService {
  /** Answers also without a database: then with the failure in its place, and empty lists. */
  diagnostics(traceId: string): Promise<Diagnostics>;
  /** By name. */
  listSchedules(page: PageRequest): Promise<Page<Schedule>>;
  /** Newest first. */
  listDeadLetters(filter: { readonly job: string | null }, page: PageRequest): Promise<Page<DeadLetter>>;
  /** Newest first. */
  listAudit(filter: AuditFilter, page: PageRequest): Promise<Page<AuditEntry>>;
}

/** Policies whose last run is shown. */
const MAX_LAST_RUNS = 200;

export function createDiagnostics(options: DiagnosticsOptions): DiagnosticsService {
  const { db } = options;
  return {
    async diagnostics(traceId) {
      const at = new Date();
      const process = {
        at,
        traceId,
        runtime: options.runtime(),
        config: options.configEntries,
        disabledFeatures: options.disabledFeatures,
      };
      const database = await databaseDiagnostics(db, options.embedded);
      if (!database.reachable)
        return { ...process, database, streams: [], schedules: [], deadLetterCount: 0, lastRuns: [] };
      const em = db.em();
      return {
        ...process,
        database,
        streams: (await options.status()).streams,
        schedules: await schedulesOf(em, options.queue),
        deadLetterCount: await countDeadLetters(em),
        lastRuns: await lastRuns(em),
      };
    },
    async listSchedules(page) {
      const after = page.after === null ? null : page.after['n'];
      if (after !== null && typeof after !== 'string') {
        throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
      }
      const all = await schedulesOf(db.em(), options.queue);
      const rest = after === null ? all : all.filter((schedule) => schedule.name > after);
      const items = rest.slice(0, page.size);
      return { items, next: rest.length > page.size ? { n: items.at(-1)!.name } : null, totalSize: all.length };
    },
    async listDeadLetters({ job }, page) {
      const em = db.em();
      const filter = job === null ? {} : { job };
      return { ...(await listDeadLetters(em, page, filter)), totalSize: await countDeadLetters(em, filter) };
    },
    listAudit: (filter, page) => listAudit(db.em(), page, filter),
  };
}

/** Every schedule, in the order of code points: the page position is compared the same way. */
export async function schedulesOf(em: EntityManager, queue: Pick<Queue, 'inFlight'> | null): Promise<Schedule[]> {
  const inFlight = queue === null ? new Map<string, number>() : await queue.inFlight(em);
  const schedules = await listSchedules(em, inFlight);
  return schedules.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

async function lastRuns(em: EntityManager): Promise<StoredRun[]> {
  const runs: StoredRun[] = [];
  for (const id of await newestRunIds(em, 'finished', MAX_LAST_RUNS)) {
    const run = await getRun(em, id);
    if (run !== null) runs.push(run);
  }
  return runs;
}

async function databaseDiagnostics(db: Database, embedded: boolean): Promise<DatabaseDiagnostics> {
  const em = db.em();
  const startedMs = performance.now();
  try {
    await db.ping();
    const latencyMs = performance.now() - startedMs;
    const [facts, pool] = [await readServerFacts(em), await readPool(em)];
    return {
      reachable: true,
      embedded,
      ...facts,
      latencyMs,
      usedConnections: pool.used,
      idleConnections: pool.idle,
      waitingCallers: pool.waiting,
      maxConnections: pool.max,
      failure: null,
    };
  } catch (error) {
    return {
      reachable: false,
      embedded,
      serverVersion: null,
      schemaVersion: null,
      latencyMs: null,
      usedConnections: 0,
      idleConnections: 0,
      waitingCallers: 0,
      maxConnections: 0,
      failure: failureOf(error, new Date()),
    };
  }
}
