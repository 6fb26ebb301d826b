// Calls that we serve: the access log and grpc-prometheus' metrics.
import type { EventsDeps } from './events.ts';
import type { RpcMethod } from './rpc-metrics.ts';
import { RPC_CODE_NAMES } from './rpc-metrics.ts';
import type { RpcStatusName } from './rpc-metrics.ts';
import { withRequest } from './tracing.ts';
import type { RequestContext } from './tracing.ts';

export interface RpcHandled extends RpcMethod {
  readonly protocol: string;
  readonly code: RpcStatusName;
  /** Undefined when the call went well. */
  readonly reason: string | undefined;
  readonly durationMs: number;
  readonly requestId: string;
  readonly traceId: string;
  /** The token's name; empty where the caller isn't known. */
  readonly actor: string;
  readonly peer: string;
  /** Messages in each direction. */
  readonly received: number;
  readonly sent: number;
  /** What was thrown; logged whole where it is a fault of ours. */
  readonly error: unknown;
}

/** Asked for every few seconds by machines; a line each would bury the rest. */
const QUIET_SERVICES = /^grpc\./;
/** Codes that are a fault of the service, not of the call. */
const FAULTS: readonly RpcStatusName[] = ['UNKNOWN', 'INTERNAL', 'DATA_LOSS'];

export function rpcEvents({ log, metrics }: EventsDeps) {
  const rpcStarted = (method: RpcMethod): void => metrics.rpcStarted(method);

  function rpcHandled({ service, method, type, requestId, traceId, error, ...rest }: RpcHandled): void {
    const { code, durationMs } = rest;
    metrics.rpcHandled({ service, method, type }, RPC_CODE_NAMES[code], durationMs / 1000);
    metrics.rpcMessages({ service, method, type }, rest);
    const fields = {
      event: 'rpc_handled',
      rpc: `${service}/${method}`,
      request_id: requestId,
      trace_id: traceId,
      ...rest,
    };
    if (FAULTS.includes(code)) log.error({ ...fields, err: error }, 'call failed inside');
    else if (QUIET_SERVICES.test(service) && code === 'OK') log.debug(fields, 'call handled');
    else log.info(fields, 'call handled');
  }

  return {
    rpcMethodsKnown: (methods: readonly RpcMethod[]): void => metrics.preRegister(methods),
    rpcStarted,
    rpcHandled,
    /** What the chain of the doors reports to. */
    rpcObserver: {
      started: rpcStarted,
      handled: rpcHandled,
      within: <T>(scope: RequestContext, work: () => T): T => withRequest(scope, work),
    },
  };
}
