// grpc.health.v1: what load balancers and orchestrators ask. `""` is whether this process can serve; each of our services
// follows it; and one name a stream (`trueup.stream/NAME`) says whether that stream is well.
import { TrueUpError } from '../core/errors.ts';
import { serve, type ServiceRoutes } from './methods.ts';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '../../gen/grpc/health/v1/health_pb.js';

export const HEALTH_LIMITS = { maxListedServices: 1_000 } as const;

export interface HealthRegistry {
  /** Sets a name's status and tells whoever watches it. */
  set(name: string, serving: boolean): void;
  /** Forgets a name: a retired stream is unknown, not ill. */
  remove(name: string): void;
  /** Everything is NOT_SERVING from now on, whatever is set later. */
  drain(): void;
  readonly routes: ServiceRoutes;
}

/** The name under which a stream's health is asked for. */
export function streamHealthName(stream: string): string {
  return `trueup.stream/${stream}`;
}

/** @param services names that follow `""`. */
export function createHealthRegistry(services: readonly string[]): HealthRegistry {
  const statuses = new Map<string, ServingStatus>();
  const watchers = new Set<() => void>();
  let draining = false;
  for (const name of ['', ...services]) statuses.set(name, ServingStatus.NOT_SERVING);

  function wakeWatchers(): void {
    for (const wake of watchers) wake();
  }

  function changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        watchers.delete(wake);
        signal.removeEventListener('abort', onAbort);
        finish();
      };
      const wake = (): void => settle(resolve);
      const onAbort = (): void => settle(() => reject(signal.reason as Error));
      signal.throwIfAborted();
      watchers.add(wake);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  const routes = serve(
    Health,
    {
      check({ service }) {
        const status = statuses.get(service);
        if (status !== undefined) return { status };
        throw new TrueUpError(
          'STREAM_NOT_FOUND',
          `nothing is known of a service ${JSON.stringify(service.slice(0, 100))}`,
          {
            fix: 'ask List for the names',
          },
        );
      },
      list() {
        if (statuses.size > HEALTH_LIMITS.maxListedServices)
          throw new TrueUpError('OVERLOADED', 'too many services to list');
        return { statuses: Object.fromEntries([...statuses].map(([name, status]) => [name, { status }])) };
      },
      // Only the latest status counts, so a slow watcher misses states and never piles them up.
      async *watch({ service }, call) {
        let last: ServingStatus | undefined;
        for (;;) {
          const status = statuses.get(service) ?? ServingStatus.SERVICE_UNKNOWN;
          if (status === last) await changed(call.signal);
          else {
            last = status;
            yield { status };
          }
        }
      },
    },
    { exempt: true },
  );

  return {
    routes,
    set(name, serving) {
      const status = serving && !draining ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
      for (const each of name === '' ? ['', ...services] : [name]) statuses.set(each, status);
      wakeWatchers();
    },
    remove(name) {
      statuses.delete(name);
      wakeWatchers();
    },
    drain() {
      draining = true;
      for (const name of statuses.keys()) statuses.set(name, ServingStatus.NOT_SERVING);
      wakeWatchers();
    },
  };
}
