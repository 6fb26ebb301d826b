// `trueup reconcile`: compare now.
import { randomUUID } from 'node:crypto';
import { type Command, Option } from 'commander';
import { contract, type TrueUpClient } from '../../client/index.ts';
import { ledgerNumber, printMessage, remoteOptions, type RemoteOptions, withClient } from '../remote.ts';
import { isFinished, runLines } from '../run-lines.ts';
import { painter } from '../table.ts';
import { EXIT, printLine, type Run, type World } from '../world.ts';
import { watchRun } from '../watch-run.ts';
import { rangeOf } from './ledger.ts';

interface ReconcileOptions extends RemoteOptions {
  readonly policy?: string;
  readonly level?: 'entries' | 'balances';
  readonly from?: number;
  readonly to?: number;
  readonly wait?: true;
}

export function registerReconciliation(program: Command, world: World, run: Run): void {
  remoteOptions(program.command('reconcile').description('compare the ledger with the book now'), world)
    .option('--policy <name>', 'which policy; not needed where there is one of the level')
    .addOption(levelOption())
    .option('--from <ledger>', 'first ledger, inclusive; the window otherwise', ledgerNumber)
    .option('--to <ledger>', 'last ledger, inclusive', ledgerNumber)
    .option('--wait', 'wait for the verdict; exit 3 where drift was detected, 4 where it is inconclusive')
    .action((options: ReconcileOptions) => run(() => reconcile(world, options)));
}

async function reconcile(world: World, options: ReconcileOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const range = rangeOf(options);
    const { reconciliation } = await client.reconciliation.startReconciliation(
      { policy: options.policy ?? '', level: levelOf(options.level), ...(range && { range }), requestId: randomUUID() },
      { signal: world.signal },
    );
    if (reconciliation === undefined) throw new Error('the server answered without a run');
    if (!options.wait) {
      if (options.json) await printMessage(world, contract.ReconciliationSchema, reconciliation);
      else
        await printLine(
          world,
          `run ${reconciliation.id} of ${reconciliation.policy} is queued; \`trueup reconcile --wait\` waits for a verdict`,
        );
      return EXIT.ok;
    }
    return await waitForVerdict(world, client, reconciliation, options);
  });
}

async function waitForVerdict(
  world: World,
  client: TrueUpClient,
  started: contract.Reconciliation,
  options: ReconcileOptions,
): Promise<number> {
  let phase = '';
  let run = started;
  for await (const state of watchRun(client, started, world.signal)) {
    run = state;
    const now = state.progress?.phase ?? '';
    if (!options.json && world.stderr.isTTY && now !== phase && now !== '') world.stderr.write(`${now}…\n`);
    phase = now;
  }
  if (options.json) await printMessage(world, contract.ReconciliationSchema, run);
  else for (const line of runLines(run, painter(world))) await printLine(world, line);
  const open = Number(run.counts?.driftedCount ?? 0n);
  if (!options.json && open > 0) await printLine(world, `  next: trueup drifts --policy ${run.policy}`);
  return exitCodeOf(run);
}

/** Of a finished run: its verdict, or that it has none. */
function exitCodeOf(run: contract.Reconciliation): number {
  if (!isFinished(run) || run.state !== contract.ReconciliationState.SUCCEEDED) return EXIT.failed;
  if (run.verdict === contract.Verdict.CLEAN) return EXIT.ok;
  return run.verdict === contract.Verdict.DRIFT_DETECTED ? EXIT.drift : EXIT.inconclusive;
}

export function levelOf(word: 'entries' | 'balances' | undefined): contract.Level {
  if (word === undefined) return contract.Level.UNSPECIFIED;
  return word === 'entries' ? contract.Level.ENTRIES : contract.Level.BALANCES;
}

export function levelOption(): Option {
  return new Option('--level <level>', 'movements or balances').choices(['entries', 'balances']);
}
