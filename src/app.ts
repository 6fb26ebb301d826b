// The process as a whole: opens everything in order, closes it in reverse under one deadline.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from './config/config.ts';
import { secretValues } from './config/secret-values.ts';
import type { Overrides } from './base.ts';
import { createContext, type Context } from './context.ts';
import { messageOf, TrueUpError } from './core/errors.ts';
import { startDoors, type Addresses, type Doors } from './doors.ts';
import { runFollower } from './services/follower.ts';
import { startEmbedded, type EmbeddedServer } from './store/embedded.ts';
import { openDatabase, type Database } from './store/database.ts';
import { migrate } from './store/migrate.ts';
import { runLoop } from './scheduler/loop.ts';
import { createScheduler, type Scheduler } from './scheduler/scheduler.ts';
import { createTimetable } from './store/timetable.ts';
import { createEvents, type Events } from './telemetry/events.ts';
import { createLogger, type Logger } from './telemetry/logger.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { VERSION } from './version.ts';

/** Between two looks of the loops that belong to this process alone. */
const GAUGES_INTERVAL_MS = 5_000;

/** A part that is still busy at the deadline gets this long to break off. */
const MIN_STOP_MS = 500;

export interface App {
  /** Resolves when everything serves. */
  start(): Promise<Addresses>;
  /** Stops in reverse order; safe to call twice and before `start` has finished. */
  close(reason: string): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Something that was opened; closed in reverse order, told how much of the deadline is left. */
interface Part {
  readonly name: string;
  close(leftMs: () => number): Promise<void> | void;
}

export function createApp(config: Config, overrides: Overrides = {}): App {
  const log =
    overrides.log ??
    createLogger({
      level: config.telemetry.logLevel,
      name: config.service.name,
      secrets: secretValues(config.secrets),
      ...(overrides.logDestination && { destination: overrides.logDestination }),
    });
  const metrics = createMetrics({ paymentsPrefix: config.telemetry.paymentsPrefix });
  const events = createEvents({ log, metrics });
  const opened: Part[] = [];
  let starting: Promise<Addresses> | undefined;
  let closing: Promise<void> | undefined;

  async function start(): Promise<Addresses> {
    const startedMs = performance.now();
    const startedAt = new Date();
    // Asked to stop while starting: what is open by now is closed, and nothing more is opened.
    const goOn = (): void => {
      if (closing !== undefined)
        throw new TrueUpError('SHUTTING_DOWN', 'this process was asked to stop while it started');
    };
    for (const message of config.warnings) events.configWarning({ message });
    const db = await openStore(config, log, opened);
    goOn();
    const context = await createContext(
      { config, log, metrics, events, db, startedAt, replica: `${hostname()}-${randomUUID().slice(0, 8)}` },
      overrides,
    );
    opened.push({ name: 'source', close: () => context.close() });
    await context.checkSource(AbortSignal.timeout(config.service.drainTimeoutMs));
    goOn();
    await context.queue.start();
    opened.push({ name: 'queue', close: (leftMs) => context.queue.stop({ timeoutMs: leftMs() }) });
    goOn();
    const doors = await startDoors(context);
    opened.push({ name: 'doors', close: (leftMs) => doors.close(leftMs()) });
    goOn();
    await startWork(context, db, events, doors);
    // Before everything else is stopped, so that nobody is sent here any more.
    opened.push({ name: 'health', close: () => doors.beginDrain() });
    doors.serve();
    events.serverStarted({
      version: VERSION,
      ...doors.addresses,
      sandbox: config.source.kind === 'sandbox',
      startMs: performance.now() - startedMs,
    });
    return doors.addresses;
  }

  /** The clock's side: the scheduler, the follower, and the loops of this process. */
  async function startWork(context: Context, db: Database, workEvents: Events, doors: Doors): Promise<void> {
    const scheduler: Scheduler = createScheduler({
      timetable: createTimetable(db, context.queue),
      queue: context.queue,
      jobs: context.jobs,
      log,
    });
    await scheduler.start();
    opened.push({ name: 'scheduler', close: () => scheduler.stop() });
    const stop = new AbortController();
    const onError = (where: string) => (error: unknown) => workEvents.unexpectedError({ where, error });
    const loops = [
      runFollower(context.follower, stop.signal),
      context.backfilling(stop.signal),
      runLoop(
        () => GAUGES_INTERVAL_MS,
        stop.signal,
        async () => {
          // First, for it must also be shown when the gauges can't be read.
          await doors.showHealth();
          await context.gauges.refresh();
        },
        onError('gauges'),
      ),
      ...context.loops.map((loop) =>
        runLoop(
          () => loop.intervalMs,
          stop.signal,
          (signal) => loop.run(signal),
          onError(loop.name),
        ),
      ),
    ];
    opened.push({
      name: 'loops',
      close: async () => {
        stop.abort(new TrueUpError('SHUTTING_DOWN', 'this process is shutting down'));
        await Promise.allSettled(loops);
      },
    });
  }

  async function closeAll(reason: string): Promise<void> {
    await starting?.catch(() => undefined);
    const startedMs = performance.now();
    // One deadline for all parts; whatever has used it up leaves the next ones what it takes to break off.
    const leftMs = (): number => Math.max(MIN_STOP_MS, config.service.drainTimeoutMs - (performance.now() - startedMs));
    events.serverStopping({ reason });
    let clean = true;
    for (const part of opened.splice(0).reverse()) {
      try {
        await part.close(leftMs);
      } catch (error) {
        clean = false;
        log.error({ part: part.name, err: error }, `${part.name} did not close: ${messageOf(error)}`);
      }
    }
    events.serverStopped({ drainMs: performance.now() - startedMs, clean });
  }

  const close = (reason: string): Promise<void> => (closing ??= closeAll(reason));
  return {
    async start() {
      try {
        return await (starting = start());
      } catch (error) {
        await close('start failed');
        throw error;
      }
    },
    close,
    [Symbol.asyncDispose]: () => close('disposed'),
  };
}

async function openStore(config: Config, log: Logger, opened: Part[]): Promise<Database> {
  let url = config.secrets.databaseUrl;
  if (url === null) {
    const embedded: EmbeddedServer = await startEmbedded({ dataDir: config.service.dataDir, log });
    opened.push({ name: 'embedded PostgreSQL', close: () => embedded.close() });
    url = embedded.url;
  }
  const db = await openDatabase({
    url,
    poolMax: config.database.maxPoolConnections,
    applicationName: config.service.name,
    log,
  });
  opened.push({ name: 'database', close: () => db.close() });
  await migrate(db);
  return db;
}
