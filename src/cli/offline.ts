// `trueup verify` by itself: it loads nothing that could open a socket, and a third less memory than the whole command.
import { registerVerify } from './commands/verify.ts';
import { runProgram } from './program.ts';
import type { World } from './world.ts';

export async function main(args: readonly string[], world: World): Promise<number> {
  return await runProgram(args, world, [registerVerify], (thrown) => ({
    ...{ reason: 'INTERNAL', message: thrown instanceof Error ? thrown.message : String(thrown) },
    ...{ fix: null, fields: [], unreachable: false },
  }));
}
