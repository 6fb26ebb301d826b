// The metrics port: /metrics for Prometheus, and the probes for whoever restarts and routes.
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { type Bind, type HttpListener, listenHttp } from './listener.ts';
import { health, livez, type ProbeAnswer, type ProbeSources, readyz } from './probes.ts';

export interface MetricsPortOptions {
  readonly bind: Bind;
  readonly probes: ProbeSources;
  /** The exposition, whole, with its content type. */
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
  /** Told when /metrics could not be put together. */
  readonly onMetricsFailed: (error: unknown) => void;
}

export function startMetricsPort(options: MetricsPortOptions): Promise<HttpListener> {
  const handler: RequestListener = (request, response) => void answer(options, request, response);
  return listenHttp('METRICS_BIND', options.bind, handler);
}

async function answer(options: MetricsPortOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    send(response, 405, 'text/plain; charset=utf-8', 'only GET and HEAD\n', { allow: 'GET, HEAD' });
    return;
  }
  switch (request.url?.split('?', 1)[0]) {
    case '/metrics':
      return sendMetrics(options, response);
    case '/livez':
      return sendProbe(response, livez());
    case '/readyz':
    case '/ready':
      return sendProbe(response, await readyz(options.probes));
    case '/health':
      return sendProbe(response, await health(options.probes));
    default:
      send(response, 404, 'text/plain; charset=utf-8', 'not found\n');
  }
}

/** All of it or none: half an exposition would read as samples that vanished. */
async function sendMetrics(options: MetricsPortOptions, response: ServerResponse): Promise<void> {
  let exposition;
  try {
    exposition = await options.metrics();
  } catch (error) {
    options.onMetricsFailed(error);
    send(response, 500, 'text/plain; charset=utf-8', 'the metrics could not be collected\n');
    return;
  }
  send(response, 200, exposition.contentType, exposition.body);
}

function sendProbe(response: ServerResponse, { status, body }: ProbeAnswer): void {
  send(response, status, 'application/json; charset=utf-8', `${JSON.stringify(body)}\n`);
}

function send(
  response: ServerResponse,
  status: number,
  contentType: string,
  body: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...headers,
  });
  // Node leaves the body out of an answer to HEAD.
  response.end(body);
}
