// A bound HTTP/1.1 server with every limit set, and how it stops.
import { readFileSync } from 'node:fs';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TrueUpError } from '../core/errors.ts';

export const HTTP_LIMITS = {
  maxConnections: 512,
  maxHeaderBytes: 16 * 1024,
  maxHeaders: 100,
  /** Time for the request's head to arrive. */
  headersTimeoutMs: 10_000,
  /** Time for the whole request to arrive; a client stream is one request. */
  requestTimeoutMs: 30 * 60_000,
  keepAliveTimeoutMs: 5_000,
  /** A connection on which nothing moved for so long, a stalled reader's too, is closed. */
  socketIdleTimeoutMs: 120_000,
} as const;

export interface Bind {
  readonly host: string;
  readonly port: number;
}

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  readonly clientCaFile: string | null;
}

export interface HttpListener {
  readonly address: Bind;
  /** Stops accepting, closes idle connections, resolves once the others have ended. */
  drain(): Promise<void>;
  destroy(): void;
}

/** @param variable the name of the setting, for the message when it can't be bound. */
export async function listenHttp(
  variable: string,
  bind: Bind,
  handler: RequestListener,
  tls: TlsFiles | null = null,
): Promise<HttpListener> {
  const server = makeServer(handler, tls);
  server.maxConnections = HTTP_LIMITS.maxConnections;
  server.maxHeadersCount = HTTP_LIMITS.maxHeaders;
  server.timeout = HTTP_LIMITS.socketIdleTimeoutMs;
  await bound(server, variable, bind);
  return {
    address: { host: bind.host, port: (server.address() as AddressInfo).port },
    drain: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
      }),
    destroy: () => server.closeAllConnections(),
  };
}

function makeServer(handler: RequestListener, tls: TlsFiles | null): Server {
  const options: ServerOptions = {
    maxHeaderSize: HTTP_LIMITS.maxHeaderBytes,
    headersTimeout: HTTP_LIMITS.headersTimeoutMs,
    requestTimeout: HTTP_LIMITS.requestTimeoutMs,
    keepAliveTimeout: HTTP_LIMITS.keepAliveTimeoutMs,
    connectionsCheckingInterval: 5_000,
  };
  if (tls === null) return createServer(options, handler);
  const clientCa =
    tls.clientCaFile === null
      ? {}
      : { ca: readFileSync(tls.clientCaFile), requestCert: true, rejectUnauthorized: true };
  const files = { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile), ...clientCa };
  return createTlsServer(
    { ...options, ...files, minVersion: 'TLSv1.2' },
    handler as (request: IncomingMessage, response: ServerResponse) => void,
  );
}

function bound(server: Server, variable: string, { host, port }: Bind): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new TrueUpError('INVALID_CONFIGURATION', `${variable} ${host}:${port} can't be bound: ${error.message}`, {
          cause: error,
          fix: 'choose a free port, or stop what listens there',
        }),
      );
    });
    server.listen(port, host, () => {
      server.removeAllListeners('error');
      resolve();
    });
  });
}
