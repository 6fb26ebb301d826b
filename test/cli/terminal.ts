// The world of a command under test: what it prints is kept, what it would ask of the process is told to it.
import { PassThrough } from 'node:stream';
import { stubGrpcServer, type StubHandlers } from './stub-server.ts';
import { main } from '../../src/cli/main.ts';
import type { World } from '../../src/cli/world.ts';

export interface Terminal extends World {
  readonly printed: () => string;
  readonly complained: () => string;
  readonly interrupt: (reason?: unknown) => void;
}

/** Streams that keep what was written; a terminal where asked for. */
export function terminal(
  options: { env?: NodeJS.ProcessEnv; isTTY?: boolean; input?: string; nowMs?: number } = {},
): Terminal {
  const aborted = new AbortController();
  const [out, err] = [collector(), collector()];
  const stdin = new PassThrough();
  stdin.end(options.input ?? '');
  return {
    env: options.env ?? {},
    stdin,
    stdout: Object.assign(out.stream, { isTTY: options.isTTY ?? false }),
    stderr: Object.assign(err.stream, { isTTY: options.isTTY ?? false }),
    now: () => options.nowMs ?? Date.parse('2026-11-22T12:00:00Z'),
    signal: aborted.signal,
    onInterrupt: () => {},
    printed: out.text,
    complained: err.text,
    interrupt: (reason = new Error('interrupted')) => aborted.abort(reason),
  };
}

/** Runs `trueup ARGS` and returns its exit code with what it printed. */
export async function trueup(
  args: readonly string[],
  world: Terminal = terminal(),
): Promise<{ code: number; out: string; err: string }> {
  const code = await main(args, world);
  return { code, out: world.printed(), err: world.complained() };
}

/** Runs a verb against a stub server. */
export async function ask(handlers: StubHandlers, args: readonly string[], world = terminal()) {
  await using server = await stubGrpcServer(handlers);
  return await trueup([...args, '--server', server.address], world);
}

/** Every line as the object that it is. */
export const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

function collector(): { stream: PassThrough; text: () => string } {
  const stream = new PassThrough();
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') };
}
