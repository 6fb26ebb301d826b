// Calls that we serve: the access log and grpc-prometheus' metrics.
import type { EventsDeps } from './events.ts';
import { RPC_CODES } from './rpc-metrics.ts';
import type { RpcCode, RpcMethod } from './rpc-metrics.ts';

export interface RpcHandled extends RpcMethod {
  /** gRPC's status code, 0 to 16. */
  readonly code: number;
  readonly seconds: number;
  readonly requestId: string;
  readonly traceId: string;
  /** The token's name; null when the caller isn't known. */
  readonly actor: string | null;
  readonly peer?: string;
  /** Reason of the error. */
  readonly reason?: string;
  /** The error itself where it is a fault of ours; logged whole. */
  readonly error?: unknown;
}

/** Asked for every few seconds by machines; a line each would bury the rest. */
const QUIET_SERVICES = /^grpc\./;
/** Codes that are a fault of the service, not of the call. */
const FAULTS: readonly RpcCode[] = ['Unknown', 'Internal', 'DataLoss'];

export function rpcEvents({ log, metrics }: EventsDeps) {
  return {
    rpcMethodsKnown: (methods: readonly RpcMethod[]): void => metrics.preRegister(methods),
    rpcStarted: (method: RpcMethod): void => metrics.rpcStarted(method),
    rpcMessage: (method: RpcMethod, direction: 'received' | 'sent'): void => metrics.rpcMessage(method, direction),
    rpcHandled({ service, method, type, code: number, requestId, traceId, actor, error, ...rest }: RpcHandled): void {
      const code = RPC_CODES[number] ?? 'Unknown';
      metrics.rpcHandled({ service, method, type }, code, rest.seconds);
      const fields = { event: 'rpc_handled', rpc: `${service}/${method}`, code, request_id: requestId, trace_id: traceId, actor, ...rest };
      if (FAULTS.includes(code)) log.error({ ...fields, err: error }, 'call failed inside');
      else if (QUIET_SERVICES.test(service) && code === 'OK') log.debug(fields, 'call handled');
      else log.info(fields, 'call handled');
    },
  };
}
