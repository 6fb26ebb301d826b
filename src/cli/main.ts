// The `trueup` command: reads the arguments, runs one verb, answers with an exit code.
import { Command, CommanderError } from 'commander';
import { registerBooks } from './commands/books.ts';
import { registerCoverage } from './commands/coverage.ts';
import { registerLedger } from './commands/ledger.ts';
import { registerLocal } from './commands/local.ts';
import { registerReconciliation } from './commands/reconciliation.ts';
import { registerStatus } from './commands/status.ts';
import { reportError } from './report.ts';
import { EXIT, type Run, type World } from './world.ts';

const EXIT_CODES = `
Exit codes:
  0  done, and nothing to complain about
  1  failed
  2  wrong usage
  3  reconcile --wait: drift was detected
  4  reconcile --wait: inconclusive, a side could not be read completely
  5  the server can't be reached
  130  interrupted

Environment:
  TRUEUP_SERVER  the server's address, default 127.0.0.1:50051
  TRUEUP_TOKEN   the token to send
  NO_COLOR       no colours, even on a terminal`;

/** Runs \`trueup ARGS\`; never throws, never ends the process. */
export async function main(args: readonly string[], world: World): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = createProgram(world, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Commander has already printed its help, or what is wrong with the arguments.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return await reportError(error, world, { json: args.includes('--json'), args });
  }
}

function createProgram(world: World, setExitCode: (code: number) => void): Command {
  const program = new Command('trueup')
    .description("Keeps a business's books true to the outside world.")
    .helpCommand('help [verb]', 'explain a verb')
    .addHelpText('after', EXIT_CODES)
    .showHelpAfterError('(trueup --help explains)')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => world.stdout.write(text),
      writeErr: (text) => world.stderr.write(text),
      getOutHelpWidth: () => 100,
      getErrHelpWidth: () => 100,
    });
  const run: Run = async (action) => setExitCode(await action());
  registerLocal(program, world, run);
  registerStatus(program, world, run);
  registerReconciliation(program, world, run);
  registerBooks(program, world, run);
  registerLedger(program, world, run);
  registerCoverage(program, world, run);
  return program;
}
