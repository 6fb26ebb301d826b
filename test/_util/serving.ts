// The doors alone: both bindings on free ports of this machine, in front of ports that the test fills.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TrueUpError } from '../../src/core/errors.ts';
import { type PageHandler, startHttpServer } from '../../src/http/server.ts';
import type { RpcHandled, RpcObserver } from '../../src/rpc/observer.ts';
import type { RpcPorts } from '../../src/rpc/ports.ts';
import type { Authenticator } from '../../src/rpc/roles.ts';
import { createRpc, type Rpc } from '../../src/rpc/rpc.ts';
import { anonymousOnLoopback, createTokensFile } from '../../src/rpc/tokens.ts';

export const TOKENS = {
  read: 'token-of-the-reader',
  operate: 'token-of-the-operator',
  admin: 'token-of-the-admin',
} as const;

export interface Serving extends AsyncDisposable {
  readonly rpc: Rpc;
  readonly grpcPort: number;
  /** `http://127.0.0.1:PORT` */
  readonly httpUrl: string;
  readonly httpPort: number;
  readonly handled: RpcHandled[];
  close(deadlineMs?: number): Promise<void>;
}

export interface ServingOptions {
  readonly ports?: { [P in keyof RpcPorts]?: Partial<RpcPorts[P]> };
  /** Default: tokens for each role; 'none': everybody on this machine. */
  readonly auth?: 'tokens' | 'none' | Authenticator;
  readonly page?: PageHandler;
  readonly observer?: RpcObserver;
}

export async function startServing(options: ServingOptions = {}): Promise<Serving> {
  const handled: RpcHandled[] = [];
  const observer: RpcObserver = options.observer ?? {
    started() {},
    handled: (event) => void handled.push(event),
    within: (_scope, work) => work(),
  };
  const auth = options.auth ?? 'tokens';
  const authenticator = auth === 'tokens' ? roleTokens() : auth === 'none' ? anonymousOnLoopback : auth;
  const rpc = createRpc({ ports: stubPorts(options.ports ?? {}), authenticator, observer });
  const grpc = await rpc.startGrpc({ bind: { host: '127.0.0.1', port: 0 }, tls: null });
  const http = await startHttpServer({
    bind: { host: '127.0.0.1', port: 0 },
    tls: null,
    connectHandler: (fallback) => rpc.connectHandler(fallback),
    page: options.page ?? null,
    hasTokens: auth !== 'none',
  });
  rpc.health.set('', true);
  let closing: Promise<void> | undefined;
  const close = (deadlineMs = 1_000): Promise<void> => (closing ??= rpc.close([grpc, http], deadlineMs));
  return {
    rpc,
    grpcPort: grpc.address.port,
    httpUrl: `http://127.0.0.1:${http.address.port}`,
    httpPort: http.address.port,
    handled,
    close,
    [Symbol.asyncDispose]: () => close(100),
  };
}

/** Ports that say they have nothing (every id unknown), but for those given. */
export function stubPorts(given: NonNullable<ServingOptions['ports']>): RpcPorts {
  const port = (overrides: object | undefined): unknown =>
    new Proxy(overrides ?? {}, {
      get: (target: Record<string, unknown>, name: string) => target[name] ?? nothingThere(name),
    });
  return new Proxy({} as RpcPorts, { get: (_target, noun) => port(given[noun as keyof RpcPorts]) });
}

function nothingThere(name: string): () => never {
  return () => {
    throw new TrueUpError('RECONCILIATION_NOT_FOUND', `the stub has no ${name}`);
  };
}

function roleTokens(): Authenticator {
  const dir = mkdtempSync(join(tmpdir(), 'trueup-tokens-'));
  const path = join(dir, 'tokens');
  writeFileSync(
    path,
    Object.entries(TOKENS)
      .map(([role, token]) => tokenLine(`${role}-name`, role, token))
      .join('\n'),
  );
  const authenticator = createTokensFile({ path, onReloadFailed: () => {}, now: () => 0 });
  rmSync(dir, { recursive: true });
  return authenticator;
}

export function tokenLine(name: string, role: string, token: string): string {
  return `${name} ${role} sha256:${createHash('sha256').update(token).digest('hex')}`;
}
