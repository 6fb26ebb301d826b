// One of the two servers that bench/rpc.ts compares, told by its argument; it ends when its parent lets go of it.
import { createHash } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { ListPoliciesResponseSchema, ReconciliationService } from '../gen/trueup/v1/reconciliation_service_pb.js';
import type { RpcPorts } from '../src/rpc/ports.ts';
import { createRpc } from '../src/rpc/rpc.ts';
import { createTokensFile } from '../src/rpc/tokens.ts';
import { createEvents } from '../src/telemetry/events.ts';
import { createLogger } from '../src/telemetry/logger.ts';
import { createMetrics } from '../src/telemetry/metrics.ts';

const TOKEN = 'bench-token';
const port = process.argv[2] === 'chain' ? await startChain() : await startBare();
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send!(user + system);
});
process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
process.send!({ port, token: TOKEN });

async function startChain(): Promise<number> {
  const path = join(mkdtempSync(join(tmpdir(), 'trueup-bench-')), 'tokens');
  const others = Array.from({ length: 9 }, (_, index) => tokenLine(`other${index}`, 'read', `other-${index}`));
  writeFileSync(path, [...others, tokenLine('bench', 'read', TOKEN)].join('\n'));
  const ports = {
    reconciliations: { listPolicies: async () => ({ items: [], next: null }) },
  } as unknown as RpcPorts;
  const authenticator = createTokensFile({ path, onReloadFailed: (error) => console.error(error) });
  const log = createLogger({ level: 'info', name: 'bench', secrets: [TOKEN] });
  const events = createEvents({ log, metrics: createMetrics() });
  const rpc = createRpc({ ports, authenticator, observer: events.rpcObserver });
  events.rpcMethodsKnown(rpc.methods);
  return (await rpc.startGrpc({ bind: { host: '127.0.0.1', port: 0 }, tls: null })).address.port;
}

function startBare(): Promise<number> {
  const bytes = Buffer.from(toBinary(ListPoliciesResponseSchema, create(ListPoliciesResponseSchema)));
  const identity = (each: Buffer): Buffer => each;
  const server = new Server();
  const path = `/${ReconciliationService.typeName}/ListPolicies`;
  server.register(
    path,
    (_call: unknown, done: (error: null, value: Buffer) => void) => done(null, bytes),
    identity,
    identity,
    'unary',
  );
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
}

function tokenLine(name: string, role: string, token: string): string {
  return `${name} ${role} sha256:${createHash('sha256').update(token).digest('hex')}`;
}
