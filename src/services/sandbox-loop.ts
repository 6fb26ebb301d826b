// The sandbox's book keeper in its loop: it begins once the follower has said where the stream starts.
import type { SandboxOptions } from '../sources/sandbox.ts';
import type { Database } from '../store/database.ts';
import { currentStream, readFollower } from '../store/streams.ts';
import {
  createSandboxBookKeeper,
  createSandboxBookWriter,
  sandboxBookIntervalMs,
  type SandboxBookKeeper,
} from './sandbox-book.ts';

export interface SandboxLoopDeps {
  readonly db: Database;
  readonly sandbox: SandboxOptions;
  readonly networkPassphrase: string;
}

/** How long to wait for a stream that isn't open yet. */
const FIRST_LOOK_MS = 200;

export function createSandboxLoop(deps: SandboxLoopDeps) {
  let keeper: SandboxBookKeeper | null = null;
  return {
    name: 'sandbox book keeper',
    get intervalMs(): number {
      return keeper === null ? FIRST_LOOK_MS : sandboxBookIntervalMs;
    },
    async run(signal: AbortSignal): Promise<void> {
      keeper ??= await open(deps);
      await keeper?.tick(signal);
    },
  };
}

async function open({ db, sandbox, networkPassphrase }: SandboxLoopDeps): Promise<SandboxBookKeeper | null> {
  const stream = await currentStream(db.em(), networkPassphrase);
  const follower = stream && (await readFollower(db.em(), stream.id));
  if (!follower) return null;
  return createSandboxBookKeeper({ sandbox, startLedger: follower.startLedger, writer: createSandboxBookWriter(db) });
}
