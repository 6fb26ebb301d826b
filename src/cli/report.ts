// A failure in words: reason, message, and what to type next.
import { CommandError, EXIT, type World } from './world.ts';

/** Where the server says nothing better, what to type next. */
const NEXT_COMMANDS: Readonly<Record<string, string>> = {
  BACKFILL_NOT_FOUND: 'trueup backfill list',
  POLICY_NOT_FOUND: 'trueup policies',
  RECONCILIATION_NOT_FOUND: 'trueup reconcile --wait',
  NO_SCHEDULED_RUN_YET: 'trueup reconcile --wait',
  DRIFT_NOT_FOUND: 'trueup drifts --all',
  BOOK_NOT_FOUND: 'trueup import book FILE',
  BOOK_STALE: 'trueup import book FILE --complete-through TIME',
  BOOK_UNREADABLE: 'trueup doctor book',
  KEYS_DISJOINT: 'trueup doctor book',
  STREAM_NOT_FOUND: 'trueup status',
  UNAUTHENTICATED: 'set TRUEUP_TOKEN, or pass --token',
  PERMISSION_DENIED: 'use a token with a higher role; `trueup token NAME ROLE` makes one',
};

/** What a failure says that neither a verb nor the domain threw: a call's, or nobody's. */
export type Describe = (thrown: unknown) => {
  readonly reason: string;
  readonly message: string;
  readonly fix: string | null;
  readonly fields: Failure['fields'];
  readonly unreachable: boolean;
};

/** Prints why a verb failed and returns the exit code for it. */
export async function reportError(
  thrown: unknown,
  world: World,
  how: { json: boolean; describe: Describe },
): Promise<number> {
  if (world.signal.aborted) return isBrokenPipe(world.signal.reason) ? EXIT.ok : EXIT.interrupted;
  const { exitCode, ...failure } = understand(thrown, world, how.describe);
  if (how.json) {
    world.stderr.write(`${JSON.stringify({ error: failure })}\n`);
    return exitCode;
  }
  const lines = [`trueup: ${failure.reason}: ${failure.message}`];
  for (const { field, description } of failure.fields) lines.push(`  ${field}: ${description}`);
  if (failure.fix !== null) lines.push(`  fix: ${failure.fix}`);
  if (failure.next !== null) lines.push(`  next: ${failure.next}`);
  world.stderr.write(`${lines.join('\n')}\n`);
  return exitCode;
}

interface Failure {
  readonly reason: string;
  readonly message: string;
  readonly fix: string | null;
  readonly next: string | null;
  readonly fields: readonly { readonly field: string; readonly description: string }[];
  readonly exitCode: number;
}

function understand(thrown: unknown, world: World, describe: Describe): Failure {
  if (thrown instanceof CommandError) {
    const { reason, message, fix, exitCode } = thrown;
    return { reason, message, fix, next: null, fields: [], exitCode };
  }
  // A domain error of a verb that runs in this process has the same parts.
  if (isDomainError(thrown)) {
    const { reason, message, details } = thrown;
    return {
      reason,
      message,
      fix: details.fix ?? null,
      next: NEXT_COMMANDS[reason] ?? null,
      fields: details.fields ?? [],
      exitCode: EXIT.failed,
    };
  }
  const { reason, message, fix, fields, unreachable } = describe(thrown);
  if (unreachable) {
    const server = world.env['TRUEUP_SERVER'];
    return {
      reason: 'UNREACHABLE',
      message: message || 'the server does not answer',
      fix: `start one with \`trueup serve\`, or say where it is with --server HOST:PORT${server ? ` (TRUEUP_SERVER is ${server})` : ''}`,
      next: null,
      fields: [],
      exitCode: EXIT.unreachable,
    };
  }
  return { reason, message, fix, next: NEXT_COMMANDS[reason] ?? null, fields, exitCode: EXIT.failed };
}

interface DomainError extends Error {
  readonly reason: string;
  readonly details: { readonly fix?: string; readonly fields?: Failure['fields'] };
}

function isDomainError(thrown: unknown): thrown is DomainError {
  return thrown instanceof Error && thrown.name === 'TrueUpError' && 'reason' in thrown && 'details' in thrown;
}

function isBrokenPipe(reason: unknown): boolean {
  return reason instanceof Error && 'code' in reason && reason.code === 'EPIPE';
}
