// `trueup quarantine`: ledgers that could not be decoded, the bytes of one, and another try at all of them.
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { contract, type TrueUpClient } from '../../client/index.ts';
import {
  ledgerNumber,
  pagesOf,
  positive,
  printMessage,
  remoteOptions,
  type RemoteOptions,
  withClient,
} from '../remote.ts';
import { countWords, NOTHING, timeWords } from '../words.ts';
import { EXIT, printLine, type Run, type World } from '../world.ts';
import { printTable, rangeOf } from './ledger.ts';

const PAGE_SIZE = 200;
const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 1_000_000;
/** Backfills that one retry starts; what is left is found by the next one. */
const MAX_RETRIED_RANGES = 100;

interface ListOptions extends RemoteOptions {
  readonly from?: number;
  readonly to?: number;
  readonly limit: number;
}

interface ShowOptions extends RemoteOptions {
  readonly ledger: number;
  readonly out?: string;
}

export function registerQuarantine(program: Command, world: World, run: Run): void {
  const quarantine = program.command('quarantine').description('ledgers that could not be decoded, and their bytes');
  const ranged = (command: Command): Command =>
    remoteOptions(command, world)
      .option('--from <ledger>', 'first ledger, inclusive', ledgerNumber)
      .option('--to <ledger>', 'last ledger, inclusive', ledgerNumber);
  ranged(
    quarantine.command('list', { isDefault: true }).description('which they are, why, and how often they were tried'),
  )
    .option('--limit <count>', 'most rows to print', positive(MAX_LIMIT), DEFAULT_LIMIT)
    .action((options: ListOptions) => run(() => list(world, options)));
  remoteOptions(quarantine.command('show').description('one of them; with --out, its bytes into a file'), world)
    .requiredOption('--ledger <ledger>', 'a ledger that it holds', ledgerNumber)
    .option('--out <file>', 'where the raw payload goes; a file that is there is not overwritten')
    .action((options: ShowOptions) => run(() => show(world, options)));
  ranged(quarantine.command('retry').description('read them again, after an upgrade or from a repaired source')).action(
    (options: Omit<ListOptions, 'limit'>) => run(() => retry(world, { ...options, limit: MAX_LIMIT })),
  );
}

async function list(world: World, options: ListOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    for await (const page of quarantines(world, options, client)) {
      if (options.json) {
        for (const each of page) await printMessage(world, contract.QuarantineSchema, each);
        continue;
      }
      const rows = page.map((each) => [
        contract.Layer[each.layer]!.toLowerCase(),
        String(each.fromLedger),
        String(each.toLedger),
        countWords(each.attemptCount),
        timeWords(each.lastTime),
        each.payloadKeptBytes === 0n ? NOTHING : `${countWords(Number(each.payloadKeptBytes))} B`,
        each.failure?.message ?? NOTHING,
      ]);
      await printTable(world, ['LAYER', '>FROM', '>TO', '>TRIES', 'LAST', '>KEPT', 'WHY'], rows);
    }
    return EXIT.ok;
  });
}

async function show(world: World, options: ShowOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const answer = await client.backfill.getQuarantine({ ledger: options.ledger }, { signal: world.signal });
    const { quarantine, payload } = answer;
    if (options.out !== undefined) await writeFile(options.out, payload, { flag: 'wx' });
    if (options.json) await printMessage(world, contract.QuarantineSchema, quarantine!);
    else {
      const { failure, attemptCount, payloadFormat, payloadSizeBytes, payloadKeptBytes } = quarantine!;
      await printLine(world, failure!.message);
      await printLine(world, `read ${attemptCount} times, last ${timeWords(quarantine!.lastTime)}`);
      if (payloadKeptBytes === 0n) await printLine(world, 'no bytes are kept of it');
      else await printLine(world, `${payloadFormat}: ${payloadKeptBytes} of ${payloadSizeBytes} bytes are kept`);
      await printLine(world, failure!.fix);
    }
    return EXIT.ok;
  });
}

async function retry(world: World, options: ListOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const ranges: { fromLedger: number; toLedger: number }[] = [];
    for await (const page of quarantines(world, options, client)) {
      for (const { fromLedger, toLedger } of page) {
        const last = ranges.at(-1);
        if (last !== undefined && fromLedger <= last.toLedger + 1) last.toLedger = Math.max(last.toLedger, toLedger);
        else ranges.push({ fromLedger, toLedger });
      }
    }
    if (ranges.length === 0 && !options.json) await printLine(world, 'no ledgers are set apart as undecodable');
    for (const range of ranges.slice(0, MAX_RETRIED_RANGES)) {
      const call = { ...range, reason: 'trueup quarantine retry', requestId: randomUUID() };
      const { backfill } = await client.backfill.startBackfill(call, { signal: world.signal });
      if (options.json) await printMessage(world, contract.BackfillSchema, backfill!);
      else
        await printLine(
          world,
          `backfill ${backfill?.id} reads ledgers ${range.fromLedger}-${range.toLedger} again: trueup backfill watch ${backfill?.id}`,
        );
    }
    const left = ranges.length - MAX_RETRIED_RANGES;
    if (left > 0 && !options.json) await printLine(world, `${countWords(left)} ranges are left for the next retry`);
    return EXIT.ok;
  });
}

function quarantines(world: World, options: ListOptions, client: TrueUpClient) {
  const range = rangeOf(options);
  const read = async (pageToken: string, pageSize: number) => {
    const page = await client.backfill.listQuarantines({ range, pageSize, pageToken }, { signal: world.signal });
    return { items: page.quarantines, nextPageToken: page.nextPageToken };
  };
  return pagesOf(read, options.limit, PAGE_SIZE);
}
