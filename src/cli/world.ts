// What a command sees of the outside: streams, environment, clock, and the wish to stop.
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

export interface World {
  readonly env: NodeJS.ProcessEnv;
  readonly stdin: Readable;
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Aborted by Ctrl-C and by a reader that went away. */
  readonly signal: AbortSignal;
  /** Called by commands that end at once when interrupted; `serve` has its own way of ending. */
  readonly onInterrupt: () => void;
}

/** Runs a verb's action, whose result becomes the exit code. */
export type Run = (action: () => Promise<number>) => Promise<void>;

/** Exit codes, as `trueup --help` documents them. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  drift: 3,
  inconclusive: 4,
  unreachable: 5,
  altered: 10,
  missing: 11,
  gap: 12,
  empty: 13,
  unknownKey: 14,
  unverifiable: 15,
  interrupted: 130,
} as const;

/** A refusal in words, where no server was asked or its answer means a failure. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: number;
  readonly fix: string | null;
  readonly reason: string;

  constructor(reason: string, message: string, fix: string | null = null, exitCode: number = EXIT.failed) {
    super(message);
    this.reason = reason;
    this.fix = fix;
    this.exitCode = exitCode;
  }
}

/** Writes, and waits while the reader is slower than we are. */
export async function write(stream: Writable, text: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (stream.write(text)) return;
  await once(stream, 'drain', { signal });
}

export async function printLine(world: World, text = ''): Promise<void> {
  await write(world.stdout, `${text}\n`, world.signal);
}
