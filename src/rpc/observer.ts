// What the doors tell the intercom: one call begun, one call ended.
import type { Reason } from '../core/errors.ts';
import type { Protocol } from './call.ts';
import type { StatusName } from './error-table.ts';
import type { MethodLabels } from './methods.ts';

/** Ids that every log line written on behalf of a call carries. */
export interface CallScope {
  readonly requestId: string;
  readonly traceId: string;
  /** `package.Service/Method` */
  readonly method: string;
  readonly actor: string;
}

export interface RpcHandled extends MethodLabels {
  readonly protocol: Protocol;
  readonly code: StatusName;
  /** Undefined when the call went well. */
  readonly reason: Reason | undefined;
  readonly durationMs: number;
  readonly requestId: string;
  readonly traceId: string;
  /** The token's name; empty where the caller isn't known. */
  readonly actor: string;
  readonly peer: string;
  /** Messages in each direction. */
  readonly received: number;
  readonly sent: number;
  /** What was thrown, whole; for the log only. */
  readonly error: unknown;
}

/** Telemetry's `events.rpcObserver` is one. */
export interface RpcObserver {
  started(method: MethodLabels): void;
  handled(event: RpcHandled): void;
  /** Runs `work`, and whatever it awaits, inside the call's scope. */
  within<T>(scope: CallScope, work: () => T): T;
}

/** Methods that don't exist share one label, or callers could make up label values without end. */
export const UNKNOWN_METHOD: MethodLabels = { service: 'unknown', method: 'unknown', type: 'unary' };

export const silentObserver: RpcObserver = {
  started() {},
  handled() {},
  within: (_scope, work) => work(),
};
