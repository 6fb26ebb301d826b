// Real clients for both ports, able to call any method of a descriptor.
import {
  create,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type Message,
  type MessageInitShape,
  toBinary,
} from '@bufbuild/protobuf';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient, type Transport } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import * as grpc from '@grpc/grpc-js';
import { ErrorInfoSchema, BadRequestSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../../gen/google/rpc/status_pb.js';

/** How a call ended, whichever way it went. */
export interface Outcome {
  readonly code: number;
  readonly message: string;
  readonly reason: string | undefined;
  readonly metadata: Record<string, string>;
  readonly fields: readonly string[];
  readonly retryDelayMs: number | undefined;
  readonly messages: readonly Message[];
  readonly requestId: string | undefined;
}

export interface AnyClient {
  call(
    method: DescMethod,
    request: MessageInitShape<DescMessage> | MessageInitShape<DescMessage>[],
    token?: string,
  ): Promise<Outcome>;
  close(): void;
}

export function grpcClient(port: number, options: grpc.ClientOptions = {}): AnyClient & { readonly raw: grpc.Client } {
  const raw = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), options);
  return {
    raw,
    close: () => raw.close(),
    call: (method, request, token) => callGrpc(raw, method, [request].flat(), token),
  };
}

export function metadataOf(token?: string): grpc.Metadata {
  const metadata = new grpc.Metadata();
  if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}

export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

export function encode(method: DescMethod): (message: MessageInitShape<DescMessage>) => Buffer {
  return (message) => Buffer.from(toBinary(method.input, create(method.input, message)));
}

export function decode(method: DescMethod): (bytes: Buffer) => Message {
  return (bytes) => fromBinary(method.output, bytes);
}

function callGrpc(
  client: grpc.Client,
  method: DescMethod,
  requests: MessageInitShape<DescMessage>[],
  token?: string,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const messages: Message[] = [];
    const path = pathOf(method);
    const metadata = metadataOf(token);
    const [first = {}] = requests;
    let call:
      | grpc.ClientUnaryCall
      | grpc.ClientReadableStream<Message>
      | grpc.ClientWritableStream<MessageInitShape<DescMessage>>;
    const onValue = (_error: unknown, value?: Message): void => {
      if (value) messages.push(value);
    };
    switch (method.methodKind) {
      case 'unary':
        call = client.makeUnaryRequest(path, encode(method), decode(method), first, metadata, onValue);
        break;
      case 'server_streaming': {
        const stream = client.makeServerStreamRequest(path, encode(method), decode(method), first, metadata);
        stream.on('data', (message: Message) => messages.push(message)).on('error', () => {});
        call = stream;
        break;
      }
      default: {
        const stream = client.makeClientStreamRequest(path, encode(method), decode(method), metadata, onValue);
        stream.on('error', () => {});
        for (const request of requests) stream.write(request);
        stream.end();
        call = stream;
      }
    }
    call.on('status', (status: grpc.StatusObject) => resolve(outcomeOfGrpc(status, messages)));
  });
}

export function outcomeOfGrpc(status: grpc.StatusObject, messages: readonly Message[] = []): Outcome {
  const [binary] = status.metadata.get('grpc-status-details-bin');
  const details = binary === undefined ? [] : fromBinary(StatusSchema, binary as Buffer).details;
  const find = <D extends DescMessage>(desc: D) =>
    details.map((any) => anyUnpack(any, desc)).find((each) => each !== undefined);
  const info = find(ErrorInfoSchema);
  const delay = find(RetryInfoSchema)?.retryDelay;
  return {
    code: status.code,
    message: status.details,
    reason: info?.reason,
    metadata: info?.metadata ?? {},
    fields: find(BadRequestSchema)?.fieldViolations.map(({ field }) => field) ?? [],
    retryDelayMs: delay && Number(delay.seconds) * 1_000 + delay.nanos / 1e6,
    messages,
    requestId: status.metadata.get('x-request-id')[0]?.toString(),
  };
}

export function connectTransport(url: string, protocol: 'connect' | 'grpc-web' = 'connect', token?: string): Transport {
  const options = {
    baseUrl: url,
    httpVersion: '1.1' as const,
    interceptors: token === undefined ? [] : [bearer(token)],
  };
  return protocol === 'connect' ? createConnectTransport(options) : createGrpcWebTransport(options);
}

function bearer(token: string): NonNullable<Parameters<typeof createConnectTransport>[0]['interceptors']>[number] {
  return (next) => (request) => {
    request.header.set('authorization', `Bearer ${token}`);
    return next(request);
  };
}

export function connectClient(url: string, protocol: 'connect' | 'grpc-web' = 'connect'): AnyClient {
  return {
    close: () => {},
    call: (method, request, token) => callConnect(connectTransport(url, protocol, token), method, [request].flat()),
  };
}

async function callConnect(
  transport: Transport,
  method: DescMethod,
  requests: MessageInitShape<DescMessage>[],
): Promise<Outcome> {
  const client = createClient(method.parent as DescService, transport) as Record<string, (input: unknown) => unknown>;
  const messages: Message[] = [];
  const [first = {}] = requests;
  try {
    const invoke = client[method.localName]!;
    if (method.methodKind === 'server_streaming') {
      for await (const message of invoke(first) as AsyncIterable<Message>) messages.push(message);
    } else {
      const input = method.methodKind === 'unary' ? first : streamOf(requests);
      messages.push((await invoke(input)) as Message);
    }
    return {
      code: 0,
      message: '',
      reason: undefined,
      metadata: {},
      fields: [],
      retryDelayMs: undefined,
      messages,
      requestId: undefined,
    };
  } catch (thrown) {
    const error = ConnectError.from(thrown, Code.Unknown);
    const info = error.findDetails(ErrorInfoSchema)[0];
    const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    return {
      code: error.code,
      message: error.rawMessage,
      reason: info?.reason,
      metadata: info?.metadata ?? {},
      fields: error.findDetails(BadRequestSchema)[0]?.fieldViolations.map(({ field }) => field) ?? [],
      retryDelayMs: delay && Number(delay.seconds) * 1_000 + delay.nanos / 1e6,
      messages,
      requestId: error.metadata.get('x-request-id') ?? undefined,
    };
  }
}

async function* streamOf<T>(items: readonly T[]): AsyncGenerator<T, void, void> {
  yield* items;
}
