// Deadlines for unary calls, and retries of those that can't do anything twice.
import { setTimeout as sleep } from 'node:timers/promises';
import { MethodOptions_IdempotencyLevel } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type Transport } from '@connectrpc/connect';
import { RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';

export interface RetryRules {
  /** For a unary call, all attempts and waits included, milliseconds. */
  readonly timeoutMs: number;
  readonly maxAttempts: number;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  /** 0 (in) to 1 (out); a test gives its own. */
  readonly random?: () => number;
}

/** The same transport, with a deadline on every unary call and retries of those without side effects. */
export function withDeadlinesAndRetries(transport: Transport, rules: RetryRules): Transport {
  const random = rules.random ?? Math.random;
  return {
    stream: (...call) => transport.stream(...call),
    async unary(method, signal, timeoutMs = rules.timeoutMs, header, input, contextValues) {
      const deadlineMs = performance.now() + timeoutMs;
      const attempts = method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS ? rules.maxAttempts : 1;
      for (let attempt = 1; ; attempt++) {
        const leftMs = Math.max(1, Math.ceil(deadlineMs - performance.now()));
        try {
          return await transport.unary(method, signal, leftMs, header, input, contextValues);
        } catch (thrown) {
          const error = ConnectError.from(thrown);
          if (attempt >= attempts || error.code !== Code.Unavailable || signal?.aborted) throw error;
          const waitMs = Math.max(askedWaitMs(error), backoffMs(rules, attempt, random()));
          // A wait beyond the deadline would only turn a clear error into DEADLINE_EXCEEDED.
          if (performance.now() + waitMs >= deadlineMs) throw error;
          await sleep(waitMs, undefined, signal === undefined ? {} : { signal });
        }
      }
    },
  };
}

/** Half of it fixed, half of it random, so that many clients don't come back at once. */
function backoffMs(rules: RetryRules, attempt: number, chance: number): number {
  const whole = Math.min(rules.maxBackoffMs, rules.initialBackoffMs * 2 ** (attempt - 1));
  return whole / 2 + (whole / 2) * chance;
}

function askedWaitMs(error: ConnectError): number {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay ? Number(delay.seconds) * 1000 + delay.nanos / 1_000_000 : 0;
}
