// What other services import: typed clients of TrueUp's four services over gRPC, with deadlines and careful retries.
import { createClient, type Client, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { BackfillService } from '../../gen/trueup/v1/backfill_service_pb.js';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { ManifestService } from '../../gen/trueup/v1/manifest_service_pb.js';
import { ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { withDeadlinesAndRetries } from './retry.ts';

export const CLIENT_DEFAULTS = {
  server: '127.0.0.1:50051',
  /** For a unary call, retries included. A stream has no deadline unless its caller gives one. */
  timeoutMs: 10_000,
  maxAttempts: 3,
  initialBackoffMs: 100,
  maxBackoffMs: 2_000,
  maxMessageBytes: 4 * 1024 * 1024,
  /** A connection that doesn't answer a ping is given up. */
  pingIntervalMs: 20_000,
  pingTimeoutMs: 10_000,
} as const;

export interface TrueUpClientOptions {
  /** host:port for cleartext HTTP/2, or a URL: http://host:port, https://host:port. Default 127.0.0.1:50051. */
  readonly server?: string;
  /** Sent as `authorization: Bearer TOKEN`. */
  readonly token?: string | undefined;
  /** Deadline of a unary call, milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
  /** Attempts of a unary call that has no side effects; 1: no retry. Default 3. */
  readonly maxAttempts?: number;
  /** Added after the client's own, for tracing and the like. */
  readonly interceptors?: readonly Interceptor[];
}

export interface TrueUpClient extends Disposable {
  readonly reconciliation: Client<typeof ReconciliationService>;
  readonly backfill: Client<typeof BackfillService>;
  readonly manifest: Client<typeof ManifestService>;
  readonly health: Client<typeof HealthService>;
  /** Ends the connection; calls under way fail. */
  close(): void;
}

/**
 * Connects on the first call. Calls throw ConnectError; `describeError` of errors.ts says what it means. Only methods
 * that the contract declares free of side effects are tried again, on UNAVAILABLE, within the deadline.
 *
 * @throws TypeError for a server that is no address.
 */
export function createTrueUpClient(options: TrueUpClientOptions = {}): TrueUpClient {
  const { timeoutMs = CLIENT_DEFAULTS.timeoutMs, maxAttempts = CLIENT_DEFAULTS.maxAttempts, token } = options;
  const baseUrl = serverUrl(options.server ?? CLIENT_DEFAULTS.server);
  const sessionManager = new Http2SessionManager(baseUrl, {
    pingIntervalMs: CLIENT_DEFAULTS.pingIntervalMs,
    pingTimeoutMs: CLIENT_DEFAULTS.pingTimeoutMs,
  });
  const authorize: Interceptor = (next) => (request) => {
    if (token !== undefined && token !== '') request.header.set('authorization', `Bearer ${token}`);
    return next(request);
  };
  const transport = withDeadlinesAndRetries(
    createGrpcTransport({
      baseUrl,
      sessionManager,
      interceptors: [authorize, ...(options.interceptors ?? [])],
      readMaxBytes: CLIENT_DEFAULTS.maxMessageBytes,
      writeMaxBytes: CLIENT_DEFAULTS.maxMessageBytes,
    }),
    {
      timeoutMs,
      maxAttempts,
      initialBackoffMs: CLIENT_DEFAULTS.initialBackoffMs,
      maxBackoffMs: CLIENT_DEFAULTS.maxBackoffMs,
    },
  );
  const close = (): void => sessionManager.abort();
  return {
    reconciliation: createClient(ReconciliationService, transport),
    backfill: createClient(BackfillService, transport),
    manifest: createClient(ManifestService, transport),
    health: createClient(HealthService, transport),
    close,
    [Symbol.dispose]: close,
  };
}

/** The base URL of a server as people write it. */
export function serverUrl(server: string): string {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(server) ? server : `http://${server}`;
  const url = URL.parse(text);
  const plain = url !== null && (url.protocol === 'http:' || url.protocol === 'https:') && url.hostname !== '';
  if (!plain || url.username !== '' || url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw new TypeError(
      `${JSON.stringify(server)} is no server: write host:port, http://host:port or https://host:port`,
    );
  }
  return url.origin;
}
