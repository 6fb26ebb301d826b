// `trueup coverage`, `verify-range` and `follower restart`: what was read, whether it is still so, and the follower begun again.
import { randomUUID } from 'node:crypto';
import { type Command, Option } from 'commander';
import { contract } from '../../client/index.ts';
import {
  ledgerNumber,
  pagesOf,
  positive,
  printMessage,
  remoteOptions,
  type RemoteOptions,
  withClient,
} from '../remote.ts';
import { countWords, ledgerWords, NOTHING, timeWords } from '../words.ts';
import { EXIT, printLine, type Run, type World } from '../world.ts';
import { layerOf, printTable, rangeOf } from './ledger.ts';

const PAGE_SIZE = 200;
const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 1_000_000_000;
const MAX_RESCAN_LEDGERS = 1_000_000;

interface CoverageOptions extends RemoteOptions {
  readonly layer?: 'operations' | 'token_events';
  readonly from?: number;
  readonly to?: number;
  readonly limit: number;
  readonly all?: true;
  readonly chunks?: true;
}

interface VerifyOptions extends RemoteOptions {
  readonly layer?: 'operations' | 'token_events';
  readonly from: number;
  readonly to: number;
  readonly reread?: true;
  readonly source?: string;
}

interface RestartOptions extends RemoteOptions {
  readonly reason: string;
  readonly openNewEpoch?: true;
}

interface RescanOptions extends RemoteOptions {
  readonly layer?: 'operations' | 'token_events';
  readonly ledgers: number;
  readonly reason: string;
}

export function registerCoverage(program: Command, world: World, run: Run): void {
  const layer = (): Option =>
    new Option('--layer <layer>', 'reading of the ledger').choices(['operations', 'token_events']);
  remoteOptions(program.command('coverage').description('which ledgers were read, and how well'), world)
    .addOption(layer())
    .option('--from <ledger>', 'first ledger, inclusive', ledgerNumber)
    .option('--to <ledger>', 'last ledger, inclusive', ledgerNumber)
    .option('--chunks', 'single chunks of 64 ledgers, with their digests')
    .option('--limit <count>', 'most rows to print', positive(MAX_LIMIT), DEFAULT_LIMIT)
    .option('--all', 'every row, page by page')
    .action((options: CoverageOptions) => run(() => printCoverage(world, options)));
  remoteOptions(
    program.command('verify-range').description('check stored ledgers against their digests, or against the source'),
    world,
  )
    .addOption(layer())
    .requiredOption('--from <ledger>', 'first ledger, inclusive', ledgerNumber)
    .requiredOption('--to <ledger>', 'last ledger, inclusive', ledgerNumber)
    .option('--reread', 'read them from the source again and compare; at most 4,096')
    .option('--source <name>', 'source to read again from')
    .action((options: VerifyOptions) => run(() => verifyRange(world, options)));
  const follower = program.command('follower').description('the process that follows the ledger, wherever it runs');
  remoteOptions(follower.command('restart').description('begin again from the checkpoint'), world)
    .requiredOption('--reason <text>', 'why; kept in the audit log')
    .option('--open-new-epoch', 'the network was reset: open its new history as a stream of its own')
    .action((options: RestartOptions) => run(() => restartFollower(world, options)));
  remoteOptions(
    follower.command('rescan').description('read the last ledgers again and compare them with what is stored'),
    world,
  )
    .addOption(layer())
    .option('--ledgers <count>', 'how many below the checkpoint', positive(MAX_RESCAN_LEDGERS), 128)
    .requiredOption('--reason <text>', 'why; kept in the audit log')
    .action((options: RescanOptions) => run(() => rescan(world, options)));
}

async function printCoverage(world: World, options: CoverageOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const filter = { layer: layerOf(options), range: rangeOf(options), chunks: options.chunks ?? false };
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.backfill.listCoverage({ ...filter, pageSize, pageToken }, { signal: world.signal });
      return { items: page.ranges, nextPageToken: page.nextPageToken };
    };
    for await (const ranges of pagesOf(read, options.all ? Infinity : options.limit, PAGE_SIZE)) {
      if (options.json) {
        for (const range of ranges) await printMessage(world, contract.CoverageRangeSchema, range);
        continue;
      }
      const rows = ranges.map((range) => [
        contract.Layer[range.layer]!.toLowerCase(),
        String(range.fromLedger),
        String(range.toLedger),
        contract.CoverageState[range.state]!.toLowerCase(),
        range.trust === contract.CoverageTrust.UNSPECIFIED
          ? NOTHING
          : contract.CoverageTrust[range.trust]!.toLowerCase().replace('_', '-'),
        countWords(Number(range.entryCount)),
        range.source?.source || NOTHING,
        timeWords(range.updateTime),
        range.digest || range.failure?.message || NOTHING,
      ]);
      await printTable(
        world,
        ['LAYER', '>FROM', '>TO', 'STATE', 'TRUST', '>ENTRIES', 'SOURCE', 'CHANGED', 'DIGEST OR WHY'],
        rows,
      );
    }
    return EXIT.ok;
  });
}

/** Exit code 1 for whatever isn't verified, so that a script may rely on it. */
async function verifyRange(world: World, options: VerifyOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const checked = await client.backfill.verifyRange(
      {
        layer: layerOf(options),
        fromLedger: options.from,
        toLedger: options.to,
        reread: options.reread ?? false,
        source: options.source ?? '',
      },
      { signal: world.signal },
    );
    const ok = checked.verdict === contract.RangeVerdict.VERIFIED;
    if (options.json) await printMessage(world, contract.VerifyRangeResponseSchema, checked);
    else {
      const words = contract.RangeVerdict[checked.verdict]!.toLowerCase();
      const entries = countWords(Number(checked.checkedEntryCount));
      await printLine(world, `${words}: ${ledgerWords(checked.checkedLedgerCount)} and ${entries} entries checked`);
      if (checked.digest !== '') await printLine(world, `digest ${checked.digest}`);
      for (const finding of checked.findings) await printLine(world, `  ${findingWords(finding)}`);
      const unlisted = Number(checked.findingCount) - checked.findings.length;
      if (unlisted > 0) await printLine(world, `  and ${countWords(unlisted)} more`);
    }
    return ok ? EXIT.ok : EXIT.failed;
  });
}

function findingWords({ failure, fromLedger, toLedger }: contract.RangeFinding): string {
  const reason = failure === undefined ? '' : contract.ErrorReason[failure.reason];
  return `${fromLedger}-${toLedger}  ${reason}  ${failure?.message ?? ''}`;
}

async function restartFollower(world: World, options: RestartOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const answer = await client.backfill.restartFollower(
      // One id for all tries of this call, so that a lost answer restarts nothing twice.
      { reason: options.reason, openNewEpoch: options.openNewEpoch ?? false, requestId: randomUUID() },
      { signal: world.signal },
    );
    if (options.json) await printMessage(world, contract.RestartFollowerResponseSchema, answer);
    else await printLine(world, `the follower of ${answer.stream?.stream ?? ''} begins again from its checkpoint`);
    return EXIT.ok;
  });
}

async function rescan(world: World, options: RescanOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const { backfill } = await client.backfill.rescanFromCheckpoint(
      { layer: layerOf(options), ledgerCount: options.ledgers, reason: options.reason, requestId: randomUUID() },
      { signal: world.signal },
    );
    if (options.json) await printMessage(world, contract.BackfillSchema, backfill!);
    else
      await printLine(
        world,
        `backfill ${backfill?.id} reads ledgers ${backfill?.fromLedger}-${backfill?.toLedger} again: trueup backfill watch ${backfill?.id}`,
      );
    return EXIT.ok;
  });
}
