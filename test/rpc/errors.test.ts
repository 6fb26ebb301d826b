// Goal: a reason means the same in the code, in the contract, on the wire and on the page of errors.
// Method: the four lists are compared name by name; a thrown error of each reason is sent through a real call on each door and
// read back from the wire.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ErrorReasonSchema } from '../../gen/trueup/v1/error_reason_pb.js';
import { HealthService } from '../../gen/trueup/v1/health_service_pb.js';
import { ReconciliationService } from '../../gen/trueup/v1/reconciliation_service_pb.js';
import { type Reason, REASONS, TrueUpError } from '../../src/core/errors.ts';
import { ERROR_TABLE, STATUS_CODES, toWireStatus } from '../../src/rpc/error-table.ts';
import { type AnyClient, connectClient, grpcClient } from '../_util/clients.ts';
import { type Serving, startServing, TOKENS } from '../_util/serving.ts';

const reasons = Object.keys(REASONS) as Reason[];

describe('the list of reasons', () => {
  it("is the contract's enum, name for name", () => {
    const inContract = ErrorReasonSchema.values
      .map(({ name }) => name.replace('ERROR_REASON_', ''))
      .filter((name) => name !== 'UNSPECIFIED');
    expect([...inContract].sort()).toEqual([...reasons].sort());
  });

  it('has a status for each', () => {
    expect(Object.keys(ERROR_TABLE).sort()).toEqual([...reasons].sort());
  });

  it('is the page of errors, with the same status and the same word on trying again', () => {
    const page = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
    const sections = [...page.matchAll(/^### ([A-Z_0-9]+)\n([\s\S]*?)(?=^##|(?![\s\S]))/gm)].map(
      ([, name = '', text = '']) => ({
        name,
        status: /- Status: `([A-Z_]+)`/.exec(text)?.[1],
        retryable: /- Try again as it is: yes/.test(text),
        hasFix: /- Fix: \S/.test(text),
      }),
    );
    const expected = reasons.map((name) => ({
      name,
      status: ERROR_TABLE[name],
      retryable: REASONS[name].retryable,
      hasFix: true,
    }));
    expect(sections.sort(byName)).toEqual(expected.sort(byName));
  });

  it('never asks a client library to repeat what can not succeed', () => {
    const wrong = reasons.filter((reason) => ERROR_TABLE[reason] === 'UNAVAILABLE' && !REASONS[reason].retryable);
    expect(wrong).toEqual([]);
  });
});

describe('an error on the wire', () => {
  let serving: Serving;
  let thrown: unknown;
  const clients: Record<string, AnyClient> = {};

  beforeAll(async () => {
    const fail = (): never => {
      throw thrown;
    };
    serving = await startServing({
      ports: {
        reconciliations: { get: async () => fail() },
        health: {
          async *watch() {
            fail();
          },
        },
      },
    });
    clients['grpc'] = grpcClient(serving.grpcPort);
    clients['connect'] = connectClient(serving.httpUrl);
    clients['grpc-web'] = connectClient(serving.httpUrl, 'grpc-web');
  });
  afterAll(async () => {
    clients['grpc']!.close();
    await serving.close(100);
  });

  const unary = (protocol: string) =>
    clients[protocol]!.call(ReconciliationService.method.getReconciliation, { reconciliationId: 'x' }, TOKENS.read);
  const stream = (protocol: string) => clients[protocol]!.call(HealthService.method.watchStatus, {}, TOKENS.read);

  it.each(['grpc', 'connect', 'grpc-web'])(
    'carries code, reason, fix, fields, range and delay over %s',
    async (protocol) => {
      for (const reason of reasons) {
        thrown = new TrueUpError(reason, `it is ${reason} — «ü»`, {
          fix: 'do this',
          fields: [{ field: 'a.b[0]', description: 'is wrong' }],
          range: { from: 64, to: 128 },
          retryAfterMs: 1_500,
          metadata: { of: 'metadata' },
        });
        const outcome = await unary(protocol);
        expect(outcome).toMatchObject({
          code: STATUS_CODES[ERROR_TABLE[reason]],
          message: `it is ${reason} — «ü»`,
          reason,
          fields: ['a.b[0]'],
          retryDelayMs: 1_500,
          metadata: {
            fix: 'do this',
            of: 'metadata',
            from_ledger: '64',
            to_ledger: '127',
            retryable: String(REASONS[reason].retryable),
          },
        });
      }
    },
  );

  it.each(['grpc', 'connect', 'grpc-web'])('ends a stream in the same way over %s', async (protocol) => {
    thrown = new TrueUpError('SEQUENCE_EXPIRED', 'too long ago');
    expect(await stream(protocol)).toMatchObject({
      code: STATUS_CODES.OUT_OF_RANGE,
      reason: 'SEQUENCE_EXPIRED',
      messages: [],
    });
  });

  it.each(['grpc', 'connect', 'grpc-web'])('keeps what nobody foresaw to the log over %s', async (protocol) => {
    thrown = new Error('password=hunter2 in a message of some library');
    const outcome = await unary(protocol);
    expect(outcome).toMatchObject({ code: STATUS_CODES.INTERNAL, message: 'internal error', reason: 'INTERNAL' });
    expect(JSON.stringify(outcome.metadata)).not.toContain('hunter2');
    expect(outcome.requestId).toMatch(/^[0-9a-f]{32}$/);
    const logged = serving.handled.at(-1)!;
    expect([logged.error, logged.requestId, logged.code]).toEqual([thrown, outcome.requestId, 'INTERNAL']);
  });

  it('cuts what would not fit into trailers, and bears lone surrogates', () => {
    const { message, details } = toWireStatus(
      new TrueUpError('INVALID_REQUEST', `\ud800${'x'.repeat(100_000)}`, {
        fields: Array.from({ length: 5_000 }, (_, index) => ({ field: `f${index}`, description: 'y'.repeat(10_000) })),
      }),
    );
    expect(message.length).toBeLessThanOrEqual(1_000);
    expect(message.isWellFormed()).toBe(true);
    const size = JSON.stringify(details.map(({ value }) => value)).length;
    expect(size).toBeLessThan(8_000);
  });
});

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}
