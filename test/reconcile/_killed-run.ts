// A run in a process of its own, killed by SIGKILL at a statement.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { toJson } from '../../src/store/json.ts';
import type { RunOrder } from './_run-child.ts';

const CHILD = fileURLToPath(new URL('./_run-child.ts', import.meta.url));

/** How many statements it sent, where it wasn't killed. */
export async function killedRun(
  order: RunOrder,
): Promise<{ statements: number | null; signal: NodeJS.Signals | null }> {
  const child = fork(CHILD, [toJson(order)]);
  let statements: number | null = null;
  child.once('message', (count) => (statements = count as number));
  const [, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  return { statements, signal };
}
