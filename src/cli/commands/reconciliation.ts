// `trueup reconcile` and `trueup drifts`: compare now, and show what differs.
import { randomUUID } from 'node:crypto';
import { type Command, Option } from 'commander';
import { contract, type TrueUpClient } from '../../client/index.ts';
import { driftLines } from '../drift-lines.ts';
import {
  ledgerNumber,
  pagesOf,
  positive,
  printMessage,
  remoteOptions,
  type RemoteOptions,
  several,
  withClient,
  wordsOf,
} from '../remote.ts';
import { isFinished, runLines } from '../run-lines.ts';
import { painter } from '../table.ts';
import { shortener } from '../words.ts';
import { EXIT, printLine, type Run, type World } from '../world.ts';
import { watchRun } from '../watch-run.ts';
import { rangeOf } from './ledger.ts';

const PAGE_SIZE = 200;
const MAX_LIMIT = 1_000_000_000;
const STATES = ['OPEN', 'ACKNOWLEDGED', 'RESOLVED', 'EXEMPT'] as const;

interface ReconcileOptions extends RemoteOptions {
  readonly policy?: string;
  readonly level?: 'entries' | 'balances';
  readonly from?: number;
  readonly to?: number;
  readonly wait?: true;
}

interface DriftsOptions extends RemoteOptions {
  readonly policy?: string;
  readonly level?: 'entries' | 'balances';
  readonly state?: (typeof STATES)[number][];
  readonly account?: string[];
  readonly asset?: string[];
  readonly run?: string;
  readonly limit: number;
  readonly all?: true;
}

export function registerReconciliation(program: Command, world: World, run: Run): void {
  const level = (): Option => new Option('--level <level>', 'movements or balances').choices(['entries', 'balances']);
  remoteOptions(program.command('reconcile').description('compare the ledger with the book now'), world)
    .option('--policy <name>', 'which policy; not needed where there is one of the level')
    .addOption(level())
    .option('--from <ledger>', 'first ledger, inclusive; the window otherwise', ledgerNumber)
    .option('--to <ledger>', 'last ledger, inclusive', ledgerNumber)
    .option('--wait', 'wait for the verdict; exit 3 where drift was detected, 4 where it is inconclusive')
    .action((options: ReconcileOptions) => run(() => reconcile(world, options)));
  remoteOptions(
    program.command('drifts').description('what differs: open and acknowledged drifts, newest first'),
    world,
  )
    .option('--policy <name>', 'only of this policy')
    .addOption(level())
    .option('--state <states>', `only in these states: ${STATES.join(', ').toLowerCase()}`, wordsOf(STATES))
    .option('--account <id>', 'only of this account; may be repeated', several)
    .option('--asset <asset>', 'only in this asset; may be repeated', several)
    .option('--run <id>', 'only those that this run saw')
    .option('--limit <count>', 'most drifts to print', positive(MAX_LIMIT), 100)
    .option('--all', 'in every state, without a limit, page by page')
    .action((options: DriftsOptions) => run(() => drifts(world, options)));
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

async function drifts(world: World, options: DriftsOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const named = options.state ?? (options.all ? STATES : []);
    const filter = {
      policy: options.policy ?? '',
      level: levelOf(options.level),
      states: named.map((word) => contract.DriftState[word]),
      accounts: options.account ?? [],
      assets: options.asset ?? [],
      reconciliationId: options.run ?? '',
    };
    let total = 0n;
    let printed = 0;
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.reconciliation.listDrifts({ filter, pageSize, pageToken }, { signal: world.signal });
      total = page.totalSize;
      return { items: page.drifts, nextPageToken: page.nextPageToken };
    };
    const [paint, short] = [painter(world), shortener(world.stdout.isTTY === true)];
    for await (const page of pagesOf(read, options.all ? Infinity : options.limit, PAGE_SIZE)) {
      for (const drift of page) {
        printed++;
        if (options.json) await printMessage(world, contract.DriftSchema, drift);
        else for (const line of driftLines(drift, paint, short)) await printLine(world, line);
      }
    }
    if (options.json) return EXIT.ok;
    if (printed === 0) await printLine(world, named.length === 0 ? 'no open drifts' : 'no drifts');
    else if (BigInt(printed) < total) await printLine(world, `${printed} of ${total}; --limit or --all shows more`);
    return EXIT.ok;
  });
}

function levelOf(word: 'entries' | 'balances' | undefined): contract.Level {
  if (word === undefined) return contract.Level.UNSPECIFIED;
  return word === 'entries' ? contract.Level.ENTRIES : contract.Level.BALANCES;
}
