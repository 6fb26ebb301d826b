// The process's own life.
import type { EventsDeps } from './events.ts';

export interface ServerStarted {
  readonly version: string;
  /** Addresses really bound, for example `127.0.0.1:50051`. */
  readonly grpc: string;
  readonly http: string;
  readonly metrics: string;
  readonly sandbox: boolean;
  readonly startMs: number;
}

export function serviceEvents({ log, metrics }: EventsDeps) {
  return {
    serverStarted(event: ServerStarted): void {
      metrics.buildInfo.set({ version: event.version, node: process.version }, 1);
      log.info({ event: 'server_started', ...event }, event.sandbox ? 'serving the SANDBOX' : 'serving');
    },
    /** `reason`: the signal or what went wrong. */
    serverStopping(event: { readonly reason: string }): void {
      log.info({ event: 'server_stopping', ...event }, 'stopping: no new work is taken');
    },
    serverStopped(event: { readonly drainMs: number; readonly clean: boolean }): void {
      const fields = { event: 'server_stopped', ...event };
      if (event.clean) log.info(fields, 'stopped');
      else log.warn(fields, 'stopped before all work in flight had ended');
    },
    configWarning(event: { readonly message: string }): void {
      log.warn({ event: 'config_warning' }, event.message);
    },
    /** Connections of this process: in use, idle, and callers that wait for one. */
    databaseConnections(event: { readonly used: number; readonly idle: number; readonly waiting: number }): void {
      for (const state of ['used', 'idle', 'waiting'] as const)
        metrics.databaseConnections.set({ state }, event[state]);
    },
    /** Something failed that nobody foresaw; whole error, once. */
    unexpectedError(event: { readonly where: string; readonly error: unknown }): void {
      log.error({ event: 'unexpected_error', where: event.where, err: event.error }, 'unexpected error');
    },
  };
}
