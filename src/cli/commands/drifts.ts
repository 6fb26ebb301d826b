// `trueup drifts`: what differs, and what people say to it.
import { randomUUID } from 'node:crypto';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Command } from 'commander';
import { contract } from '../../client/index.ts';
import { driftLines } from '../drift-lines.ts';
import {
  ledgerNumber,
  pagesOf,
  positive,
  printMessage,
  remoteOptions,
  type RemoteOptions,
  several,
  time,
  withClient,
  wordsOf,
} from '../remote.ts';
import { painter } from '../table.ts';
import { shortener } from '../words.ts';
import { EXIT, printLine, type Run, type World } from '../world.ts';
import { rangeOf } from './ledger.ts';
import { levelOf, levelOption } from './reconciliation.ts';

const PAGE_SIZE = 200;
const MAX_LIMIT = 1_000_000_000;
const STATES = ['OPEN', 'ACKNOWLEDGED', 'RESOLVED', 'EXEMPT'] as const;
const KINDS = Object.keys(contract.DriftKind).filter((word) => word !== 'UNSPECIFIED' && Number.isNaN(Number(word)));

interface DriftsOptions extends RemoteOptions {
  readonly policy?: string;
  readonly level?: 'entries' | 'balances';
  readonly state?: (typeof STATES)[number][];
  readonly kind?: (keyof typeof contract.DriftKind)[];
  readonly account?: string[];
  readonly asset?: string[];
  readonly run?: string;
  readonly key?: string;
  readonly assignee?: string;
  readonly from?: number;
  readonly to?: number;
  readonly since?: Date;
  readonly until?: Date;
  readonly limit: number;
  readonly all?: true;
}

interface TransitionOptions extends RemoteOptions {
  readonly reason: string;
  readonly assignee?: string;
  readonly owner?: string;
  readonly until?: Date;
}

/** Each verb, what it does, and what it is in the contract. */
const VERBS = [
  ['ack', 'say that they are known', 'ACKNOWLEDGE', 'acknowledged'],
  ['assign', 'give them to somebody', 'ASSIGN', 'assigned'],
  ['resolve', 'say that they are over; a run that still sees them opens them again', 'RESOLVE', 'resolved'],
  ['exempt', 'accept them until a time, with an owner', 'EXEMPT', 'exempted'],
  ['reopen', 'open them again', 'REOPEN', 'reopened'],
] as const;

export function registerDrifts(program: Command, world: World, run: Run): void {
  const command = program.command('drifts').description('what differs: open and acknowledged drifts, newest first');
  // What follows a verb is the verb's own.
  remoteOptions(command.enablePositionalOptions(), world)
    .option('--policy <name>', 'only of this policy')
    .addOption(levelOption())
    .option('--state <states>', `only in these states: ${STATES.join(', ').toLowerCase()}`, wordsOf(STATES))
    .option('--kind <kinds>', 'only of these kinds, such as missing-in-db', wordsOf(KINDS))
    .option('--account <id>', 'only of this account; may be repeated', several)
    .option('--asset <asset>', 'only in this asset; may be repeated', several)
    .option('--run <id>', 'only those that this run saw first or last')
    .option('--key <key>', 'only with this match key')
    .option('--assignee <name>', 'only of this assignee')
    .option('--from <ledger>', 'first ledger, inclusive', ledgerNumber)
    .option('--to <ledger>', 'last ledger, inclusive', ledgerNumber)
    .option('--since <time>', 'first seen at or after this time', time)
    .option('--until <time>', 'first seen before this time', time)
    .option('--limit <count>', 'most drifts to print', positive(MAX_LIMIT), 100)
    .option('--all', 'in every state, without a limit, page by page')
    .action((options: DriftsOptions) => run(() => drifts(world, options)));
  for (const [verb, description, transition, done] of VERBS) {
    const each = remoteOptions(command.command(verb).description(description), world)
      .argument('<id...>', 'ids of drifts, all of them changed or none')
      .requiredOption('--reason <text>', 'why; kept with the drift and in the audit log');
    if (verb === 'assign') each.requiredOption('--assignee <name>', 'who works on them');
    if (verb === 'exempt')
      each
        .requiredOption('--owner <name>', 'who answers for it')
        .requiredOption('--until <time>', 'end of the exemption; then they are open again', time);
    each.action((ids: string[], options: TransitionOptions) =>
      run(() => transitionDrifts(world, ids, options, contract.DriftTransition[transition], done)),
    );
  }
}

async function transitionDrifts(
  world: World,
  ids: string[],
  options: TransitionOptions,
  transition: contract.DriftTransition,
  done: string,
): Promise<number> {
  return await withClient(world, options, async (client) => {
    const { drifts: changed } = await client.reconciliation.transitionDrifts(
      {
        driftIds: [...new Set(ids)],
        transition,
        reason: options.reason,
        assignee: options.assignee ?? '',
        owner: options.owner ?? '',
        ...(options.until && { exemptUntil: timestampFromDate(options.until) }),
        requestId: randomUUID(),
      },
      { signal: world.signal },
    );
    for (const drift of changed) if (options.json) await printMessage(world, contract.DriftSchema, drift);
    if (!options.json) await printLine(world, `${changed.length} ${changed.length === 1 ? 'drift' : 'drifts'} ${done}`);
    return EXIT.ok;
  });
}

async function drifts(world: World, options: DriftsOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const range = rangeOf(options);
    const named = options.state ?? (options.all ? STATES : []);
    const filter = {
      policy: options.policy ?? '',
      level: levelOf(options.level),
      states: named.map((word) => contract.DriftState[word]),
      accounts: options.account ?? [],
      assets: options.asset ?? [],
      kinds: (options.kind ?? []).map((word) => contract.DriftKind[word]),
      reconciliationId: options.run ?? '',
      matchKey: options.key ?? '',
      assignee: options.assignee ?? '',
      ...(range && { range }),
      ...(options.since && { startTime: timestampFromDate(options.since) }),
      ...(options.until && { endTime: timestampFromDate(options.until) }),
    };
    let total = 0n;
    let printed = 0;
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.reconciliation.listDrifts({ filter, pageSize, pageToken }, { signal: world.signal });
      // Counted with the first page.
      if (pageToken === '') total = page.totalSize;
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
