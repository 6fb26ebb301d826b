// Methods as the contract's descriptors declare them, and the handlers that fill them.
import {
  type DescMessage,
  type DescMethod,
  type DescMethodClientStreaming,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
  getOption,
  hasOption,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { role as roleOption, Role } from '../../gen/trueup/v1/options_pb.js';
import type { CallContext } from './call.ts';
import { RPC_LIMITS } from './limits.ts';
import type { AccessRole } from './roles.ts';

export type MethodKind = 'unary' | 'server_stream' | 'client_stream';

/** What metrics and log lines call a method; low cardinality by construction. */
export interface MethodLabels {
  readonly service: string;
  readonly method: string;
  readonly type: MethodKind;
}

export interface RpcMethod extends MethodLabels {
  readonly desc: DescMethod;
  /** `/package.Service/Method` */
  readonly path: string;
  /** `exempt`: anybody may call it (health). */
  readonly role: AccessRole | 'exempt';
  /** A stream without an end of its own; it is ended at drain, before anything else. */
  readonly watch: boolean;
  readonly maxMs: number;
}

type Awaitable<T> = T | Promise<T>;

export type Handler<M extends DescMethod> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, call: CallContext) => Awaitable<MessageInitShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, call: CallContext) => AsyncIterable<MessageInitShape<O>>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageShape<I>>, call: CallContext) => Awaitable<MessageInitShape<O>>
        : never;

/** The handlers of one service; a method left out answers NOT_IMPLEMENTED. */
export type ServiceHandlers<S extends DescService> = { [P in keyof S['method']]?: Handler<S['method'][P]> };

export type AnyHandler =
  | ((request: Message, call: CallContext) => Awaitable<MessageInitShape<DescMessage>>)
  | ((request: Message, call: CallContext) => AsyncIterable<MessageInitShape<DescMessage>>)
  | ((requests: AsyncIterable<Message>, call: CallContext) => Awaitable<MessageInitShape<DescMessage>>);

export interface Route {
  readonly method: RpcMethod;
  /** Undefined: not filled by this release. */
  readonly handler: AnyHandler | undefined;
}

export interface ServiceRoutes {
  readonly desc: DescService;
  readonly routes: readonly Route[];
}

export function serve<S extends DescService>(
  desc: S,
  handlers: ServiceHandlers<S>,
  options: { readonly exempt?: boolean } = {},
): ServiceRoutes {
  const routes = desc.methods.map((method) => ({
    method: describeMethod(method, options.exempt ?? false),
    handler: (handlers as Record<string, AnyHandler | undefined>)[method.localName],
  }));
  return { desc, routes };
}

/** @throws Error where the contract forgot the method's role: such a server must not start. */
export function describeMethod(desc: DescMethod, exempt: boolean): RpcMethod {
  const type = kindOf(desc);
  const watch = type === 'server_stream' && desc.name.startsWith('Watch');
  return {
    desc,
    service: desc.parent.typeName,
    method: desc.name,
    path: `/${desc.parent.typeName}/${desc.name}`,
    type,
    role: exempt ? 'exempt' : roleOf(desc),
    watch,
    maxMs: watch ? RPC_LIMITS.watchMaxMs : MAX_MS[type],
  };
}

const MAX_MS: Record<MethodKind, number> = {
  unary: RPC_LIMITS.unaryMaxMs,
  server_stream: RPC_LIMITS.serverStreamMaxMs,
  client_stream: RPC_LIMITS.clientStreamMaxMs,
};

function kindOf(desc: DescMethod): MethodKind {
  switch (desc.methodKind) {
    case 'unary':
      return 'unary';
    case 'server_streaming':
      return 'server_stream';
    case 'client_streaming':
      return 'client_stream';
    case 'bidi_streaming':
      throw new Error(`${desc.parent.typeName}/${desc.name} streams both ways, which browsers can't do`);
  }
}

function roleOf(desc: DescMethod): AccessRole {
  const declared = hasOption(desc, roleOption) ? getOption(desc, roleOption) : Role.UNSPECIFIED;
  switch (declared) {
    case Role.READ:
      return 'read';
    case Role.OPERATE:
      return 'operate';
    case Role.ADMIN:
      return 'admin';
    default:
      throw new Error(`${desc.parent.typeName}/${desc.name} declares no role: add option (trueup.v1.role)`);
  }
}
