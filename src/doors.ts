// The ports: gRPC, HTTP (Connect, gRPC-Web, the page) and metrics; how they open, what they say of health, how they close.
import type { RequestListener } from 'node:http';
import type { Config } from './config/config.ts';
import { consoleHandler } from './http/console.ts';
import { startMetricsPort } from './http/metrics-port.ts';
import { startHttpServer } from './http/server.ts';
import { streamHealthName } from './rpc/grpc-health.ts';
import type { RpcPorts } from './rpc/ports.ts';
import { createRpc, type Listener } from './rpc/rpc.ts';
import { anonymousOnLoopback, createTokensFile } from './rpc/tokens.ts';
import type { HealthService } from './services/health.ts';
import type { Events } from './telemetry/events.ts';
import type { Metrics } from './telemetry/metrics.ts';

export interface DoorsDeps {
  readonly config: Pick<Config, 'serving'>;
  readonly ports: RpcPorts;
  readonly health: HealthService;
  readonly metrics: Metrics;
  readonly events: Events;
}

export interface Addresses {
  readonly grpc: string;
  readonly http: string;
  readonly metrics: string;
}

export interface Doors {
  readonly addresses: Addresses;
  /** From now on calls are served. */
  serve(): void;
  /** Brings gRPC health up to date with the database. */
  showHealth(): Promise<void>;
  /** Says NOT_SERVING everywhere, while calls are still answered. */
  beginDrain(): void;
  close(deadlineMs: number): Promise<void>;
}

const STOPPING = { ready: false, problems: ['this process is stopping'] } as const;

export async function startDoors(context: DoorsDeps): Promise<Doors> {
  const { config, events, health } = context;
  const { serving } = config;
  const authenticator =
    serving.tokensFile === null
      ? anonymousOnLoopback
      : createTokensFile({
          path: serving.tokensFile,
          onReloadFailed: (error) => events.unexpectedError({ where: 'reading the tokens file again', error }),
        });
  let draining = false;
  const metrics = await startMetricsPort({
    bind: serving.metrics,
    probes: { readiness: async () => (draining ? STOPPING : health.readiness()), wellness: () => health.wellness() },
    metrics: () => context.metrics.render(),
    onMetricsFailed: (error) => events.unexpectedError({ where: 'collecting metrics', error }),
  });
  const rpc = createRpc({ ports: context.ports, authenticator, observer: events.rpcObserver });
  events.rpcMethodsKnown(rpc.methods);
  const listeners: Listener[] = [];
  const open = async <T extends Listener>(starting: Promise<T>): Promise<T> => {
    const listener = await starting;
    listeners.push(listener);
    return listener;
  };
  let grpc, http;
  try {
    const page = consoleHandler();
    grpc = await open(rpc.startGrpc({ bind: serving.grpc, tls: serving.tls }));
    const connectHandler = (fallback: RequestListener): RequestListener => rpc.connectHandler(fallback);
    http = await open(
      startHttpServer({
        bind: serving.http,
        tls: serving.tls,
        connectHandler,
        page,
        hasTokens: serving.tokensFile !== null,
      }),
    );
  } catch (error) {
    // One port that can't be bound must not leave the others open: they would keep the process from ending.
    for (const listener of [...listeners, metrics]) listener.destroy();
    await Promise.all([...listeners, metrics].map((listener) => listener.drain()));
    throw error;
  }
  let shown = new Set<string>();
  let serves = false;
  return {
    addresses: {
      grpc: text(grpc.address),
      http: text(http.address),
      metrics: text(metrics.address),
    },
    serve() {
      serves = true;
      rpc.health.set('', true);
    },
    async showHealth() {
      if (!serves) return;
      rpc.health.set('', (await health.readiness()).ready);
      const streams = await health.streamHealth().catch((error: unknown) => {
        // What can't be asked isn't well.
        for (const stream of shown) rpc.health.set(streamHealthName(stream), false);
        throw error;
      });
      for (const { stream, healthy } of streams) rpc.health.set(streamHealthName(stream), healthy);
      const names = new Set(streams.map(({ stream }) => stream));
      for (const gone of shown) if (!names.has(gone)) rpc.health.remove(streamHealthName(gone));
      shown = names;
    },
    beginDrain() {
      draining = true;
      rpc.health.drain();
    },
    async close(deadlineMs) {
      await rpc.close(listeners, deadlineMs);
      // Last, so that whoever scrapes and probes sees the drain.
      metrics.destroy();
      await metrics.drain();
    },
  };
}

function text({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
