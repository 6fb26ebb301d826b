// The ports: gRPC, HTTP (Connect, gRPC-Web, the page) and metrics; how they open, what they say of health, how they close.
import type { Context } from './context.ts';
import { consoleHandler } from './http/console.ts';
import { startMetricsPort } from './http/metrics-port.ts';
import { startHttpServer } from './http/server.ts';
import { streamHealthName } from './rpc/grpc-health.ts';
import { createRpc } from './rpc/rpc.ts';
import { anonymousOnLoopback, createTokensFile } from './rpc/tokens.ts';

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
  close(deadlineMs: number): Promise<void>;
}

export async function startDoors(context: Context): Promise<Doors> {
  const { config, events, health } = context;
  const { serving } = config;
  const authenticator =
    serving.tokensFile === null
      ? anonymousOnLoopback
      : createTokensFile({
          path: serving.tokensFile,
          onReloadFailed: (error) => events.unexpectedError({ where: 'reading the tokens file again', error }),
        });
  const metrics = await startMetricsPort({
    bind: serving.metrics,
    probes: { readiness: () => health.readiness(), wellness: () => health.wellness() },
    metrics: () => context.metrics.render(),
    onMetricsFailed: (error) => events.unexpectedError({ where: 'collecting metrics', error }),
  });
  const rpc = createRpc({ ports: context.ports, authenticator, observer: events.rpcObserver });
  events.rpcMethodsKnown(rpc.methods);
  const grpc = await rpc.startGrpc({ bind: serving.grpc, tls: serving.tls });
  const http = await startHttpServer({
    bind: serving.http,
    tls: serving.tls,
    connectHandler: (fallback) => rpc.connectHandler(fallback),
    page: consoleHandler(),
    hasTokens: serving.tokensFile !== null,
  });
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
      const streams = await health.streamHealth();
      for (const { stream, healthy } of streams) rpc.health.set(streamHealthName(stream), healthy);
      const names = new Set(streams.map(({ stream }) => stream));
      for (const gone of shown) if (!names.has(gone)) rpc.health.remove(streamHealthName(gone));
      shown = names;
    },
    async close(deadlineMs) {
      await rpc.close([grpc, http], deadlineMs);
      // Last, so that whoever scrapes and probes sees the drain.
      metrics.destroy();
      await metrics.drain();
    },
  };
}

function text({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
