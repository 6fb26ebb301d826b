// Goal: nobody does more than the contract's role option allows, by either door.
// Method: every method of every service of the contract is called with each token, with none and with a wrong one, over gRPC, Connect
// and gRPC-Web, in front of ports that have nothing; what is expected is read from the descriptors, not written here.
import type { DescMethod } from '@bufbuild/protobuf';
import { getOption } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BackfillService } from '../../gen/trueup/v1/backfill_service_pb.js';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { ManifestService } from '../../gen/trueup/v1/manifest_service_pb.js';
import { Role, role } from '../../gen/trueup/v1/options_pb.js';
import { ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { STATUS_CODES } from '../../src/rpc/error-table.ts';
import { describeMethod } from '../../src/rpc/methods.ts';
import { type AnyClient, connectClient, grpcClient } from '../_util/clients.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

const METHODS = [ReconciliationService, BackfillService, ManifestService, HealthService].flatMap(
  ({ methods }) => methods as DescMethod[],
);
const RANK = { read: 1, operate: 2, admin: 3 } as const;
const REFUSALS: number[] = [STATUS_CODES.UNAUTHENTICATED, STATUS_CODES.PERMISSION_DENIED];

let serving: Serving;
const clients: Record<string, AnyClient> = {};

beforeAll(async () => {
  serving = await startServing();
  clients['grpc'] = grpcClient(serving.grpcPort);
  clients['connect'] = connectClient(serving.httpUrl);
  clients['grpc-web'] = connectClient(serving.httpUrl, 'grpc-web');
});
afterAll(async () => {
  for (const client of Object.values(clients)) client.close();
  await serving.close(100);
});

describe.each(['grpc', 'connect', 'grpc-web'])('over %s', (protocol) => {
  it.each(METHODS.map((method) => [`${method.parent.name}/${method.name}`, method] as const))(
    '%s is open to its role and those above it only',
    async (_name, method) => {
      const needed = getOption(method, role) as number;
      expect(needed).toBeGreaterThan(Role.UNSPECIFIED);
      for (const [have, token] of Object.entries(TOKENS)) {
        const { code, reason } = await clients[protocol]!.call(method, {}, token);
        if (RANK[have as keyof typeof RANK] >= needed) {
          expect([have, REFUSALS.includes(code)]).toEqual([have, false]);
          expect([0, STATUS_CODES.NOT_FOUND, STATUS_CODES.INVALID_ARGUMENT, STATUS_CODES.UNIMPLEMENTED]).toContain(
            code,
          );
          if (code !== 0) expect(['RECONCILIATION_NOT_FOUND', 'INVALID_REQUEST', 'NOT_IMPLEMENTED']).toContain(reason);
        } else {
          expect([have, code, reason]).toEqual([have, STATUS_CODES.PERMISSION_DENIED, 'PERMISSION_DENIED']);
        }
      }
      for (const token of [undefined, 'some-other-token', '']) {
        const { code, reason } = await clients[protocol]!.call(method, {}, token);
        expect([code, reason]).toEqual([STATUS_CODES.UNAUTHENTICATED, 'UNAUTHENTICATED']);
      }
    },
  );
});

describe('roles', () => {
  it('refuses to serve a method that declares none', () => {
    const bare = { ...METHODS[0]!, proto: { ...METHODS[0]!.proto, options: undefined } } as unknown as DescMethod;
    expect(() => describeMethod(bare, false)).toThrow(/declares no role/);
  });

  it('lets orchestrators ask for health without a token', async () => {
    const { Health } = await import('../../gen/grpc/health/v1/health_pb.js');
    const { code, messages } = await clients['grpc']!.call(Health.method.check, { service: '' });
    expect([code, messages.length]).toEqual([0, 1]);
  });
});
