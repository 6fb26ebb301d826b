// `trueup backfill`: fill what is missing of the ledger, and follow, pause or stop the job that does it.
import { randomUUID } from 'node:crypto';
import { type Command, InvalidArgumentError } from 'commander';
import { contract, type TrueUpClient } from '../../client/index.ts';
import { backfillLines, isOver, progressWords, stateWords } from '../backfill-lines.ts';
import { progressBar } from '../progress-bar.ts';
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
import { painter, tableLines } from '../table.ts';
import { watchToEnd } from '../watch.ts';
import { countWords, timeWords } from '../words.ts';
import { CommandError, EXIT, printLine, type Run, type World } from '../world.ts';

const STATES = Object.keys(contract.BackfillState).filter((name) => /^[A-Z]+$/.test(name) && name !== 'UNSPECIFIED');
const PAGE_SIZE = 200;
const MAX_LIMIT = 1_000_000_000;
/** A server that is started anew is waited for about a minute. */
const MAX_BREAKS = 120;

interface StartOptions extends RemoteOptions {
  readonly stream?: string;
  readonly from?: number;
  readonly to?: number;
  readonly source?: string;
  readonly account?: string[];
  readonly dryRun?: true;
  readonly reread?: true;
  readonly plan?: string;
  readonly ledgersPerSecond?: number;
  readonly readsPerSecond?: number;
  readonly concurrency?: number;
  readonly batchSize?: number;
  readonly reason: string;
  readonly watch?: true;
}

interface WishOptions extends RemoteOptions {
  readonly reason: string;
}

export function registerBackfill(program: Command, world: World, run: Run): void {
  const group = program.command('backfill').description('read what is missing of the ledger');
  const verb = (name: string, description: string): Command =>
    remoteOptions(group.command(name).description(description), world);
  verb('start', 'start one; without a range: over all gaps that there are')
    .option('--from <ledger>', 'first ledger, inclusive', ledgerNumber)
    .option('--to <ledger>', 'last ledger, inclusive', ledgerNumber)
    .option('--stream <name>', 'which stream; the followed one otherwise')
    .option('--source <name>', 'read from this source, by its kind or name')
    .option('--account <id>', 'only of this watched account or contract; may be repeated', several)
    .option('--dry-run', 'only say what would be done')
    .option('--plan <id>', 'apply what this dry run found; refused where something else is missing by now')
    .option('--reread', 'read covered ledgers again and compare them')
    .option('--ledgers-per-second <count>', 'at most so fast', rate)
    .option('--reads-per-second <count>', 'at most so many reads of the source', rate)
    .option('--concurrency <count>', 'at most so many shares at once, over all replicas', positive(64))
    .option('--batch-size <ledgers>', 'at most so many ledgers a read', positive(500))
    .option('--reason <text>', 'why, for the record', '')
    .option('--watch', 'follow it to its end')
    .action((options: StartOptions) => run(() => start(world, options)));
  verb('list', 'backfills, newest first')
    .option('--state <states>', `only in these states: ${STATES.join(', ').toLowerCase()}`, wordsOf(STATES))
    .option('--limit <count>', 'most to print', positive(MAX_LIMIT), 20)
    .action((options: RemoteOptions & { state?: string[]; limit: number }) => run(() => list(world, options)));
  verb('get <id>', 'one backfill, with the changes of its state').action((id: string, options: RemoteOptions) =>
    run(() => get(world, id, options)),
  );
  verb('watch <id>', 'follow one to its end').action((id: string, options: RemoteOptions) =>
    run(() =>
      withClient(world, options, async (client) => {
        const { backfill } = await client.backfill.getBackfill({ backfillId: id }, { signal: world.signal });
        return await follow(world, client, backfill!, options);
      }),
    ),
  );
  for (const wish of ['pause', 'resume', 'cancel'] as const) {
    verb(`${wish} <id>`, WISHES[wish])
      .option('--reason <text>', 'why, for the record', '')
      .action((id: string, options: WishOptions) => run(() => ask(world, wish, id, options)));
  }
}

const WISHES = {
  pause: 'pause one; what is being written is finished',
  resume: 'let a paused one go on',
  cancel: 'stop one; what was read stays',
} as const;

async function start(world: World, options: StartOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const planned = options.plan === undefined ? null : await planOf(world, client, options.plan);
    const asked = planned ?? {
      ...(await rangeToFill(world, client, options)),
      stream: options.stream ?? '',
      source: options.source ?? '',
      watch: options.account ?? [],
      reread: options.reread ?? false,
    };
    const { backfill } = await client.backfill.startBackfill(
      {
        ...asked,
        dryRun: options.dryRun ?? false,
        limits: {
          ...(options.ledgersPerSecond !== undefined && { ledgersPerSecond: options.ledgersPerSecond }),
          ...(options.readsPerSecond !== undefined && { requestsPerSecond: options.readsPerSecond }),
          concurrency: options.concurrency ?? 0,
          batchSize: options.batchSize ?? 0,
        },
        reason: options.reason,
        requestId: randomUUID(),
      },
      { signal: world.signal },
    );
    if (options.watch) return await follow(world, client, backfill!, options);
    if (options.json) await printMessage(world, contract.BackfillSchema, backfill!);
    else
      await printLine(
        world,
        `backfill ${backfill!.id} of ledgers ${backfill!.fromLedger} to ${backfill!.toLedger} is ${stateWords(backfill!)}; \`trueup backfill watch ${backfill!.id}\` follows it`,
      );
    return EXIT.ok;
  });
}

/** Everything that a dry run was asked for, for the same to be applied. */
async function planOf(world: World, client: TrueUpClient, id: string) {
  const { backfill } = await client.backfill.getBackfill({ backfillId: id }, { signal: world.signal });
  const { stream, layer, fromLedger, toLedger, source, watch, reread } = backfill!;
  return { stream, layer, fromLedger, toLedger, source, watch, reread, planOf: id };
}

/** The range asked for; else from the first gap to the last one. */
async function rangeToFill(
  world: World,
  client: TrueUpClient,
  options: StartOptions,
): Promise<{ fromLedger: number; toLedger: number }> {
  if (options.from !== undefined && options.to !== undefined) return { fromLedger: options.from, toLedger: options.to };
  let [first, last] = [Infinity, 0];
  const read = async (pageToken: string, pageSize: number) => {
    const request = { stream: options.stream ?? '', pageToken, pageSize };
    const page = await client.backfill.listGaps(request, { signal: world.signal });
    return { items: page.gaps, nextPageToken: page.nextPageToken };
  };
  for await (const gaps of pagesOf(read, Infinity, PAGE_SIZE)) {
    for (const gap of gaps) [first, last] = [Math.min(first, gap.fromLedger), Math.max(last, gap.toLedger)];
  }
  const range = { fromLedger: options.from ?? first, toLedger: options.to ?? last };
  if (Number.isFinite(range.fromLedger) && range.toLedger > 0) return range;
  throw new CommandError(
    'COVERAGE_GAP',
    'there is no gap to fill',
    'name a range with --from and --to to read it anyway',
  );
}

async function follow(
  world: World,
  client: TrueUpClient,
  started: contract.Backfill,
  options: RemoteOptions,
): Promise<number> {
  async function* open(sinceSequence: string) {
    const request = { backfillId: started.id, sinceSequence };
    for await (const message of client.backfill.watchBackfill(request, { signal: world.signal }))
      yield { sequence: message.sequence, ...(message.backfill && { resource: message.backfill }) };
  }
  const bar = progressBar(world);
  let backfill = started;
  try {
    const watched = { open, isOver, maxBreaks: MAX_BREAKS };
    for await (const state of watchToEnd(started, watched, world.signal)) {
      backfill = state;
      if (!options.json) bar.show(state.progress?.percent ?? 0, progressWords(state));
    }
  } finally {
    bar.end();
  }
  await print(world, backfill, options);
  return backfill.state === contract.BackfillState.SUCCEEDED ? EXIT.ok : EXIT.failed;
}

async function list(world: World, options: RemoteOptions & { state?: string[]; limit: number }): Promise<number> {
  return await withClient(world, options, async (client) => {
    const states = (options.state ?? []).map(
      (word) => contract.BackfillState[word as keyof typeof contract.BackfillState],
    );
    const rows: string[][] = [];
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.backfill.listBackfills({ states, pageToken, pageSize }, { signal: world.signal });
      return { items: page.backfills, nextPageToken: page.nextPageToken };
    };
    for await (const page of pagesOf(read, options.limit, PAGE_SIZE)) {
      for (const backfill of page) {
        if (options.json) await printMessage(world, contract.BackfillSchema, backfill);
        else rows.push(rowOf(backfill));
      }
    }
    if (options.json) return EXIT.ok;
    const columns = ['ID', 'STATE', '>FROM', '>TO', '>DONE', '>ENTRIES', 'CREATED', 'BY'].map((title) => ({
      title: title.replace('>', ''),
      right: title.startsWith('>'),
    }));
    for (const line of rows.length === 0 ? ['no backfills'] : tableLines(columns, rows)) await printLine(world, line);
    return EXIT.ok;
  });
}

function rowOf(backfill: contract.Backfill): string[] {
  return [
    backfill.id,
    `${stateWords(backfill)}${backfill.dryRun ? ' (dry run)' : ''}`,
    String(backfill.fromLedger),
    String(backfill.toLedger),
    `${(backfill.progress?.percent ?? 0).toFixed(1)} %`,
    countWords(backfill.progress?.insertedEntryCount),
    timeWords(backfill.createTime),
    backfill.requester,
  ];
}

async function get(world: World, id: string, options: RemoteOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const { backfill, transitions } = await client.backfill.getBackfill({ backfillId: id }, { signal: world.signal });
    await print(world, backfill!, options);
    if (options.json) return EXIT.ok;
    for (const { transitionTime, toState, actor, reason, errorReason } of transitions) {
      const why = [reason, errorReason === 0 ? '' : contract.ErrorReason[errorReason]].filter(Boolean).join(', ');
      const state = contract.BackfillState[toState]!.toLowerCase();
      await printLine(world, `  ${timeWords(transitionTime)}  ${state} by ${actor}${why === '' ? '' : `: ${why}`}`);
    }
    return EXIT.ok;
  });
}

async function ask(world: World, wish: keyof typeof WISHES, id: string, options: WishOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const request = { backfillId: id, reason: options.reason, requestId: randomUUID() };
    const { backfill } = await client.backfill[`${wish}Backfill`](request, { signal: world.signal });
    await print(world, backfill!, options);
    return EXIT.ok;
  });
}

async function print(world: World, backfill: contract.Backfill, options: RemoteOptions): Promise<void> {
  if (options.json) return printMessage(world, contract.BackfillSchema, backfill);
  for (const line of backfillLines(backfill, painter(world))) await printLine(world, line);
}

function rate(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError('Write a number above 0.');
  return value;
}
