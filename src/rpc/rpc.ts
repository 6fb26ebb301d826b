// The wire, whole: services, chain and health behind both bindings, and how they stop.
import type { RequestListener } from 'node:http';
import { createConnectHandler } from './connect.ts';
import { Chain } from './chain.ts';
import { type GrpcServer, type GrpcServerOptions, startGrpcServer } from './grpc.ts';
import { createHealthRegistry, type HealthRegistry } from './grpc-health.ts';
import type { MethodLabels, ServiceRoutes } from './methods.ts';
import type { RpcObserver } from './observer.ts';
import type { RpcPorts } from './ports.ts';
import type { Authenticator } from './roles.ts';
import { createServices, SERVICE_NAMES } from './services.ts';
import { createRequestValidator } from './validate.ts';

export interface RpcOptions {
  readonly ports: RpcPorts;
  /** `createTokensFile(...)`, or `anonymousOnLoopback` where no tokens are configured. */
  readonly authenticator: Authenticator;
  readonly observer: RpcObserver;
}

export interface Rpc {
  /** Everything is NOT_SERVING until `health.set('', true)`. */
  readonly health: HealthRegistry;
  /** Every method served, for metrics that exist before the first call. */
  readonly methods: readonly MethodLabels[];
  readonly services: readonly ServiceRoutes[];
  startGrpc(options: Pick<GrpcServerOptions, 'bind' | 'tls'>): Promise<GrpcServer>;
  /** Connect and gRPC-Web for Node's http server; `fallback` gets every other request. */
  connectHandler(fallback: RequestListener): RequestListener;
  /** Calls under way, over both bindings. */
  readonly inFlight: number;
  /**
   * Stops within the deadline: NOT_SERVING first, then nothing new is accepted and Watch streams end, short calls may finish;
   * whatever is left at the deadline is ended with SHUTTING_DOWN, and what doesn't leave then is broken off.
   */
  close(listeners: readonly Listener[], deadlineMs: number): Promise<void>;
}

/** A bound server: the gRPC port, the HTTP port. */
export interface Listener {
  drain(): Promise<void>;
  destroy(): void;
}

/** How long a status that was sent at the deadline may take to leave. */
const FLUSH_MS = 250;

export function createRpc({ ports, authenticator, observer }: RpcOptions): Rpc {
  const validator = createRequestValidator();
  const chain = new Chain({ authenticator, observer, validator });
  const health = createHealthRegistry(SERVICE_NAMES);
  const services = createServices(ports);
  const all = [...services, health.routes];
  for (const { routes } of all) {
    for (const { method } of routes) validator.prepare(method.desc.input);
  }

  return {
    health,
    services,
    methods: all.flatMap(({ routes }) =>
      routes.map(({ method: { service, method, type } }) => ({ service, method, type })),
    ),
    startGrpc: ({ bind, tls }) => startGrpcServer({ bind, tls: tls ?? null, services: all, chain, observer }),
    connectHandler: (fallback) => createConnectHandler({ services, chain, observer, fallback }),
    get inFlight() {
      return chain.inFlight;
    },
    async close(listeners, deadlineMs) {
      health.drain();
      // Whoever watches health hears of it before the stream ends.
      await turnOfTheLoop();
      chain.beginDrain();
      const drained = Promise.all(listeners.map((listener) => listener.drain()));
      await within(drained, deadlineMs);
      chain.abortAll();
      await within(Promise.all([drained, chain.idle()]), FLUSH_MS);
      for (const listener of listeners) listener.destroy();
    },
  };
}

function turnOfTheLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function within(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
