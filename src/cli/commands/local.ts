// The verbs that ask no server: `serve` is one, `token` makes a secret, `doctor book` looks at the book by itself.
import { createHash, randomBytes } from 'node:crypto';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import { EXIT, printLine, type Run, type World } from '../world.ts';
import { printDoctorBook } from '../doctor-lines.ts';

const TOKEN_BYTES = 32;
const ROLES = ['read', 'operate', 'admin'] as const;
/** As the tokens file has it. */
const TOKEN_NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
const RESERVED_NAMES = ['anonymous', 'trueup'];

export function registerLocal(program: Command, world: World, run: Run): void {
  program
    .command('serve')
    .description('run the service; without any configuration it follows the built-in sandbox')
    .action(() =>
      run(async () => {
        const { serve } = await import('../../main.ts');
        return await serve(world.env);
      }),
    );
  program
    .command('token')
    .description('make a token: the secret is shown once, the line goes into TRUEUP_TOKENS_FILE')
    .argument('<name>', 'who will use it', checkName)
    .addArgument(new Argument('<role>', 'what it may do').choices(ROLES))
    .option('--json', 'one JSON object')
    .action((name: string, role: string, options: { json?: true }) => run(() => makeToken(world, name, role, options)));
  program
    .command('doctor')
    .description('find out what is wrong with a configuration')
    .command('book')
    .description('read the configured book as a run would: five mapped rows, the key overlap, and what to fix')
    .option('--json', 'one JSON object')
    .action((options: { json?: true }) => run(() => doctor(world, options)));
}

async function makeToken(world: World, name: string, role: string, options: { json?: true }): Promise<number> {
  const token = `tu_${randomBytes(TOKEN_BYTES).toString('base64url')}`;
  const line = `${name} ${role} sha256:${createHash('sha256').update(token).digest('hex')}`;
  if (options.json) {
    await printLine(world, JSON.stringify({ token, line }));
    return EXIT.ok;
  }
  await printLine(world, `token, shown only now:\n  ${token}\nline for the tokens file:\n  ${line}`);
  return EXIT.ok;
}

async function doctor(world: World, options: { json?: true }): Promise<number> {
  const { doctorBook } = await import('../../main.ts');
  world.onInterrupt();
  const report = await doctorBook(world.env, world.signal);
  return await printDoctorBook(world, report, options.json === true);
}

function checkName(name: string): string {
  if (!TOKEN_NAME.test(name)) throw new InvalidArgumentError('Write letters, digits and . _ @ -, at most 64.');
  if (RESERVED_NAMES.includes(name)) throw new InvalidArgumentError(`${name} is taken by the service itself.`);
  return name;
}
