// Calls to far systems. `source` is a label without credentials: kind and host.
import type { EventsDeps } from './events.ts';

/** What the sources' HTTP client reports; the same shape as its own event type. */
export type HttpClientEvent =
  | {
      readonly type: 'attempt';
      readonly host: string;
      readonly status: number | null;
      readonly durationMs: number;
      readonly bytesRead: number;
    }
  | {
      readonly type: 'retry';
      readonly host: string;
      readonly reason: string;
      readonly attempt: number;
      readonly delayMs: number;
    }
  | { readonly type: 'breaker'; readonly host: string; readonly state: 'CLOSED' | 'HALF_OPEN' | 'OPEN' }
  | { readonly type: 'private_address_allowed'; readonly host: string };

const CIRCUIT_STATES = { CLOSED: 0, HALF_OPEN: 1, OPEN: 2 } as const;

export function httpEvents({ log, metrics }: EventsDeps) {
  return {
    httpClient(source: string, event: HttpClientEvent): void {
      const fields = { event: `http_${event.type}`, source, ...event };
      switch (event.type) {
        case 'attempt':
          metrics.httpRequests.inc({ source, outcome: outcomeOf(event.status) });
          metrics.httpSeconds.observe({ source }, event.durationMs / 1000);
          return log.trace(fields, 'request sent');
        case 'retry':
          metrics.httpRetries.inc({ source, reason: event.reason });
          return log.debug(fields, 'request is tried again');
        case 'breaker':
          metrics.circuitState.set({ source }, CIRCUIT_STATES[event.state]);
          if (event.state === 'OPEN') return log.warn(fields, 'circuit opened: the source is left alone for a while');
          return log.info(fields, `circuit is ${event.state.toLowerCase().replace('_', ' ')}`);
        case 'private_address_allowed':
          return log.warn(fields, 'a private address is called because the configuration names or allows it');
      }
    },
  };
}

/** Classes, not codes: a far system can't make up label values. Null is a call without an answer. */
function outcomeOf(status: number | null): string {
  if (status === null) return 'no_answer';
  if (status === 429) return 'rate_limited';
  return status >= 100 && status < 600 ? `${Math.floor(status / 100)}xx` : 'other';
}
