// Asking grpc.health.v1.Health with grpc-js alone, as a load balancer does.
import { createRequire } from 'node:module';
import {
  type ClientReadableStream,
  credentials,
  makeClientConstructor,
  Metadata,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

export type ServingWord = 'UNKNOWN' | 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

interface HealthClient {
  Check(
    request: { service: string },
    metadata: Metadata,
    options: { deadline: number },
    done: (error: ServiceError | null, answer?: { status: ServingWord }) => void,
  ): void;
  Watch(request: { service: string }): ClientReadableStream<{ status: ServingWord }>;
  close(): void;
}

const CALL_TIMEOUT_MS = 5_000;
const proto = createRequire(import.meta.url).resolve('grpc-health-check/proto/health/v1/health.proto');
const Health = makeClientConstructor(
  loadSync(proto, { enums: String })['grpc.health.v1.Health'] as ServiceDefinition,
  'Health',
) as unknown as new (address: string, channel: ReturnType<typeof credentials.createInsecure>) => HealthClient;

/** The status of a service name; the gRPC error's own words where there was no answer. */
export async function checkHealth(address: string, service = ''): Promise<string> {
  const client = new Health(address, credentials.createInsecure());
  try {
    return await new Promise((resolve) => {
      client.Check({ service }, new Metadata(), { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, answer) =>
        resolve(answer?.status ?? String(error?.message)),
      );
    });
  } finally {
    client.close();
  }
}

/** Every status a watcher hears until the stream ends; the last word is how it ended. */
export function watchHealth(
  address: string,
  service = '',
): { readonly heard: string[]; readonly ended: Promise<void>; close(): void } {
  const client = new Health(address, credentials.createInsecure());
  const heard: string[] = [];
  const stream = client.Watch({ service });
  stream.on('data', ({ status }: { status: ServingWord }) => heard.push(status));
  const ended = new Promise<void>((resolve) => {
    stream.on('error', (error: ServiceError) => {
      heard.push(`ended: ${error.details}`);
      resolve();
    });
    stream.on('end', () => resolve());
  });
  return { heard, ended, close: () => client.close() };
}
