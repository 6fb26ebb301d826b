// `trueup verify`: evidence checked without a server, without a network, by the same rules as the service's own.
import { access } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Outcome } from '../../core/verify.ts';
import { painter } from '../table.ts';
import { verifyPath, type VerifyReport } from '../verify/verify-path.ts';
import { CommandError, EXIT, printLine, type Run, type World } from '../world.ts';

const EXIT_OF: Readonly<Record<Outcome, number>> = {
  match: EXIT.ok,
  altered: EXIT.altered,
  missing: EXIT.missing,
  gap: EXIT.gap,
  empty: EXIT.empty,
  unknown_key: EXIT.unknownKey,
  unverifiable: EXIT.unverifiable,
};

const EXIT_CODES = `
Exit codes, the worst of all that was checked, in this order:
  10  altered: bytes are not those that were signed
  14  unknown key: signed with a key that isn't known, was revoked, or was no longer in use
  11  missing: a file that the manifest names, or a manifest that the log names, isn't there
  12  gap: the ledgers were not all covered, or the log is not all there
  13  empty: there is no manifest, or its artifact has no row
  15  unverifiable: nothing is wrong, and something could not be checked, such as a manifest that isn't sealed yet
   0  match`;

interface VerifyFlags {
  readonly key?: string[];
  readonly evidence?: string;
  readonly json?: true;
}

export function registerVerify(program: Command, world: World, run: Run): void {
  program
    .command('verify')
    .description('check a folder of evidence, a manifest or an exported file; opens no socket')
    .argument('<path>', 'folder or file')
    .option('--key <file>', 'key to trust, PEM or keys.json; may be repeated', (file: string, all: string[] = []) => [
      ...all,
      file,
    ])
    .option('--evidence <folder>', 'where the evidence of a single file lies, if not beside it')
    .option('--json', 'one JSON object a line: each item, then the whole')
    .addHelpText('after', EXIT_CODES)
    .action((path: string, flags: VerifyFlags) => run(() => verify(world, path, flags)));
}

async function verify(world: World, path: string, flags: VerifyFlags): Promise<number> {
  world.onInterrupt();
  for (const each of [path, ...(flags.key ?? []), ...(flags.evidence === undefined ? [] : [flags.evidence])]) {
    await access(each).catch(() => {
      throw new CommandError('NOT_FOUND', `${each} can't be read`, 'check the path', EXIT.usage);
    });
  }
  const report = await verifyPath(path, {
    keyFiles: flags.key ?? [],
    evidence: flags.evidence ?? null,
    signal: world.signal,
  });
  await (flags.json ? printJson(world, report) : printReport(world, report));
  return EXIT_OF[report.outcome];
}

async function printJson(world: World, { items, outcome, trust }: VerifyReport): Promise<void> {
  for (const item of items) await printLine(world, JSON.stringify(item));
  await printLine(world, JSON.stringify({ outcome, exitCode: EXIT_OF[outcome], items: items.length, trust }));
}

async function printReport(world: World, { items, outcome, trust }: VerifyReport): Promise<void> {
  const paint = painter(world);
  const colourOf = (each: Outcome) => (each === 'match' ? 'green' : each === 'unverifiable' ? 'yellow' : 'red');
  for (const item of items) {
    const id = item.manifestId === null ? '' : `  manifest ${item.manifestId}`;
    await printLine(world, `${item.path}${id}`);
    for (const { name, outcome: each, message } of item.checks)
      await printLine(world, `  ${paint(colourOf(each), wordsOf(each).padEnd(12))}  ${name.padEnd(10)}  ${message}`);
  }
  await printLine(world, paint(colourOf(outcome), wordsOf(outcome)));
  if (trust === 'folder')
    await printLine(
      world,
      'The keys lay in the folder itself: compare them with those that you were given, or pass --key FILE.',
    );
}

function wordsOf(outcome: Outcome): string {
  return outcome.replace('_', ' ');
}
