// The gRPC server's metrics under the names that dashboards of grpc-prometheus expect.
import { Counter, Histogram } from 'prom-client';
import type { Registry } from 'prom-client';

export type RpcType = 'unary' | 'client_stream' | 'server_stream' | 'bidi_stream';

export interface RpcMethod {
  /** With its package: `trueup.v1.HealthService`. */
  readonly service: string;
  readonly method: string;
  readonly type: RpcType;
}

/** gRPC's status codes, and how grpc-prometheus spells them. */
export const RPC_CODE_NAMES = {
  OK: 'OK',
  CANCELLED: 'Canceled',
  UNKNOWN: 'Unknown',
  INVALID_ARGUMENT: 'InvalidArgument',
  DEADLINE_EXCEEDED: 'DeadlineExceeded',
  NOT_FOUND: 'NotFound',
  ALREADY_EXISTS: 'AlreadyExists',
  PERMISSION_DENIED: 'PermissionDenied',
  RESOURCE_EXHAUSTED: 'ResourceExhausted',
  FAILED_PRECONDITION: 'FailedPrecondition',
  ABORTED: 'Aborted',
  OUT_OF_RANGE: 'OutOfRange',
  UNIMPLEMENTED: 'Unimplemented',
  INTERNAL: 'Internal',
  UNAVAILABLE: 'Unavailable',
  DATA_LOSS: 'DataLoss',
  UNAUTHENTICATED: 'Unauthenticated',
} as const;
export type RpcStatusName = keyof typeof RPC_CODE_NAMES;
export type RpcCode = (typeof RPC_CODE_NAMES)[RpcStatusName];

export interface RpcMetrics {
  /** Gives every method its samples at 0, so that rates exist before the first call. Methods not named here are `unknown`. */
  preRegister(methods: readonly RpcMethod[]): void;
  rpcStarted(method: RpcMethod): void;
  rpcHandled(method: RpcMethod, code: RpcCode, seconds: number): void;
  rpcMessages(method: RpcMethod, counts: { readonly received: number; readonly sent: number }): void;
}

type Labels = 'grpc_type' | 'grpc_service' | 'grpc_method';

const BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const LABELS: Labels[] = ['grpc_type', 'grpc_service', 'grpc_method'];
/** One label for all paths that strangers make up. */
const UNKNOWN: Record<Labels, string> = { grpc_type: 'unknown', grpc_service: 'unknown', grpc_method: 'unknown' };

export function createRpcMetrics(registry: Registry): RpcMetrics {
  const registers = [registry];
  const counter = (name: string, help: string) => new Counter({ name, help, labelNames: LABELS, registers });
  const started = counter('grpc_server_started_total', 'RPCs started on the server.');
  const received = counter('grpc_server_msg_received_total', 'Messages received by the server.');
  const sent = counter('grpc_server_msg_sent_total', 'Messages sent by the server.');
  const handled = new Counter({
    name: 'grpc_server_handled_total',
    help: 'RPCs completed on the server, whatever their success.',
    labelNames: [...LABELS, 'grpc_code'],
    registers,
  });
  const seconds = new Histogram({
    name: 'grpc_server_handling_seconds',
    help: 'Time that the server took to handle an RPC.',
    labelNames: LABELS,
    buckets: BUCKETS,
    registers,
  });
  const known = new Map<string, Record<Labels, string>>();
  const labelsOf = ({ service, method }: RpcMethod) => known.get(`${service}/${method}`) ?? UNKNOWN;

  return {
    preRegister(methods) {
      for (const { service, method, type } of methods) {
        const labels = { grpc_type: type, grpc_service: service, grpc_method: method };
        known.set(`${service}/${method}`, labels);
        started.inc(labels, 0);
        received.inc(labels, 0);
        sent.inc(labels, 0);
        for (const code of Object.values(RPC_CODE_NAMES)) handled.inc({ ...labels, grpc_code: code }, 0);
        seconds.zero(labels);
      }
    },
    rpcStarted: (method) => started.inc(labelsOf(method)),
    rpcHandled(method, code, duration) {
      const labels = labelsOf(method);
      handled.inc({ ...labels, grpc_code: code });
      seconds.observe(labels, duration);
    },
    rpcMessages(method, counts) {
      const labels = labelsOf(method);
      received.inc(labels, counts.received);
      sent.inc(labels, counts.sent);
    },
  };
}
