// One run of the command: its arguments are read, one verb is run, and what went wrong is said.
import { Command, CommanderError } from 'commander';
import { type Describe, reportError } from './report.ts';
import { EXIT, type Run, type World } from './world.ts';

export type Register = (program: Command, world: World, run: Run) => void;

const EXIT_CODES = `
Exit codes:
  0  done, and nothing to complain about
  1  failed
  2  wrong usage
  3  reconcile --wait: drift was detected
  4  reconcile --wait: inconclusive, a side could not be read completely
  5  the server can't be reached
  10 to 15  verify: see \`trueup verify --help\`
  130  interrupted

Environment:
  TRUEUP_SERVER  the server's address, default 127.0.0.1:50051
  TRUEUP_TOKEN   the token to send
  NO_COLOR       no colours, even on a terminal`;

/** Never throws, never ends the process. @returns the exit code */
export async function runProgram(
  args: readonly string[],
  world: World,
  verbs: readonly Register[],
  describe: Describe,
): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = createProgram(world);
  const run: Run = async (action) => {
    exitCode = await action();
  };
  for (const register of verbs) register(program, world, run);
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    // Commander has already printed its help, or what is wrong with the arguments.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return await reportError(error, world, { json: args.includes('--json'), describe });
  }
}

function createProgram(world: World): Command {
  return (
    new Command('trueup')
      .description("Keeps a business's books true to the outside world.")
      .helpCommand('help [verb]', 'explain a verb')
      .addHelpText('after', EXIT_CODES)
      .showHelpAfterError('(trueup --help explains)')
      // A verb's options are its own, also where it has verbs of its own.
      .enablePositionalOptions()
      .exitOverride()
      .configureOutput({
        writeOut: (text) => world.stdout.write(text),
        writeErr: (text) => world.stderr.write(text),
        getOutHelpWidth: () => 100,
        getErrHelpWidth: () => 100,
      })
  );
}
