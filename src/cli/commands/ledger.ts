// `trueup entries`, `balances`, `gaps`: what was read, what follows from it, and what is missing.
import { type Command, Option } from 'commander';
import { contract } from '../../client/index.ts';
import {
  ledgerNumber,
  pagesOf,
  positive,
  printMessage,
  remoteOptions,
  type RemoteOptions,
  several,
  withClient,
} from '../remote.ts';
import { tableLines } from '../table.ts';
import { amountWords, countWords, ledgerWords, NOTHING, shortener, timeWords, UNKNOWN } from '../words.ts';
import { CommandError, EXIT, printLine, type Run, type World } from '../world.ts';

const PAGE_SIZE = 200;
const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 1_000_000_000;

interface ListOptions extends RemoteOptions {
  readonly account?: string[];
  readonly asset?: string[];
  readonly kind?: string[];
  readonly from?: number;
  readonly to?: number;
  readonly book?: string;
  readonly layer?: 'operations' | 'token_events';
  readonly tx?: string;
  readonly limit: number;
  readonly all?: true;
}

export function registerLedger(program: Command, world: World, run: Run): void {
  const list = (name: string, about: string): Command =>
    remoteOptions(program.command(name).description(about), world)
      .addOption(new Option('--layer <layer>', 'reading of the ledger').choices(['operations', 'token_events']))
      .option('--from <ledger>', 'first ledger, inclusive', ledgerNumber)
      .option('--to <ledger>', 'last ledger, inclusive', ledgerNumber)
      .option('--limit <count>', 'most rows to print', positive(MAX_LIMIT), DEFAULT_LIMIT)
      .option('--all', 'every row, page by page');
  const sided = (command: Command): Command =>
    command
      .option('--account <id>', 'only this account; may be repeated', several)
      .option('--asset <asset>', 'only this asset; may be repeated', several)
      .option('--book <name>', "the book's side instead of the ledger's");

  sided(list('entries', 'movements on the ledger, or rows of a book, newest first'))
    .option('--kind <kind>', 'only this kind of movement; may be repeated', several)
    .option('--tx <hash>', 'only this transaction')
    .action((options: ListOptions) => run(() => printEntries(world, options)));
  sided(list('balances', 'balances by account and asset')).action((options: ListOptions) =>
    run(() => printBalances(world, options)),
  );
  list('gaps', 'ledgers that should be covered and are not').action((options: ListOptions) =>
    run(() => printGaps(world, options)),
  );
}

async function printEntries(world: World, options: ListOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const filter = {
      ...sideOf(options),
      kinds: options.kind ?? [],
      transactionHash: options.tx ?? '',
      range: rangeOf(options),
    };
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.reconciliation.listEntries(
        { ...filter, pageSize, pageToken },
        { signal: world.signal },
      );
      return { items: [...page.entries, ...page.bookRows], nextPageToken: page.nextPageToken };
    };
    const short = shortener(world.stdout.isTTY === true);
    for await (const items of pagesOf<contract.Entry | contract.BookRow>(read, limitOf(options), PAGE_SIZE)) {
      if (options.json) {
        for (const item of items) {
          if (item.$typeName === 'trueup.v1.Entry') await printMessage(world, contract.EntrySchema, item);
          else await printMessage(world, contract.BookRowSchema, item);
        }
        continue;
      }
      await printTable(
        world,
        ENTRY_TITLES,
        items.map((item) => (item.$typeName === 'trueup.v1.Entry' ? entryCells(item, short) : rowCells(item, short))),
      );
    }
    return EXIT.ok;
  });
}

const ENTRY_TITLES = [
  'LEDGER',
  'TIME',
  'ACCOUNT',
  'KIND',
  '>AMOUNT',
  'ASSET',
  'COUNTERPARTY',
  'SUB-ACCOUNT',
  'STATUS',
  'KEY',
];

function entryCells(entry: contract.Entry, short: (id: string) => string): string[] {
  return [
    String(entry.ledger),
    timeWords(entry.closeTime),
    short(entry.account),
    entry.kind,
    amountWords(entry),
    short(entry.asset),
    short(entry.counterparty) || NOTHING,
    entry.subAccount || NOTHING,
    entry.resultCode || statusWords(entry.status),
    short(entry.matchKey) || NOTHING,
  ];
}

function rowCells(row: contract.BookRow, short: (id: string) => string): string[] {
  const entry = row.entry;
  const amount = entry?.value.case === 'amount' ? entry.value.value : undefined;
  return [
    entry?.ledger ? String(entry.ledger) : NOTHING,
    timeWords(entry?.occurredAt),
    short(entry?.account ?? ''),
    entry?.kind || NOTHING,
    amountWords({ amount, amountMinor: row.amountMinor }),
    short(entry?.asset ?? ''),
    short(entry?.counterparty ?? '') || NOTHING,
    entry?.subAccount || NOTHING,
    entry?.status || NOTHING,
    short(entry?.key ?? '') || NOTHING,
  ];
}

async function printBalances(world: World, options: ListOptions): Promise<number> {
  if (options.from !== undefined)
    throw new CommandError(
      'USAGE',
      'balances have no --from',
      '--to LEDGER asks for the balances at its close',
      EXIT.usage,
    );
  return await withClient(world, options, async (client) => {
    const filter = { ...sideOf(options), asOfLedger: options.to ?? 0 };
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.reconciliation.listBalances(
        { ...filter, pageSize, pageToken },
        { signal: world.signal },
      );
      return { items: page.balances, nextPageToken: page.nextPageToken };
    };
    const short = shortener(world.stdout.isTTY === true);
    for await (const balances of pagesOf(read, limitOf(options), PAGE_SIZE)) {
      if (options.json) {
        for (const balance of balances) await printMessage(world, contract.BalanceSchema, balance);
        continue;
      }
      const rows = balances.map((balance) => [
        short(balance.account),
        short(balance.balance?.asset ?? ''),
        balance.balance === undefined ? UNKNOWN : amountWords(balance.balance),
        balance.asOfLedger === undefined ? NOTHING : String(balance.asOfLedger),
        (contract.BalanceState[balance.state] ?? UNKNOWN).toLowerCase(),
        balance.stateReasons.join('; '),
      ]);
      await printTable(world, ['ACCOUNT', 'ASSET', '>BALANCE', '>AT LEDGER', 'STATE', 'WHY'], rows);
    }
    return EXIT.ok;
  });
}

async function printGaps(world: World, options: ListOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    let missing = 0n;
    let printed = false;
    const read = async (pageToken: string, pageSize: number) => {
      const filter = { layer: layerOf(options), range: rangeOf(options), pageSize, pageToken };
      const page = await client.backfill.listGaps(filter, { signal: world.signal });
      missing = page.missingLedgerCount;
      return { items: page.gaps, nextPageToken: page.nextPageToken };
    };
    for await (const gaps of pagesOf(read, limitOf(options), PAGE_SIZE)) {
      printed = true;
      if (options.json) {
        for (const gap of gaps) await printMessage(world, contract.GapSchema, gap);
        continue;
      }
      const rows = gaps.map((gap) => [
        gap.stream,
        contract.Layer[gap.layer]!.toLowerCase(),
        gap.watch,
        String(gap.fromLedger),
        String(gap.toLedger),
        countWords(gap.toLedger - gap.fromLedger + 1),
        gap.available === undefined ? UNKNOWN : gap.available ? 'yes' : 'no',
        gap.backfillId || NOTHING,
      ]);
      await printTable(
        world,
        ['STREAM', 'LAYER', 'WATCH', '>FROM', '>TO', '>LEDGERS', 'A SOURCE HAS IT', 'BACKFILL'],
        rows,
      );
    }
    if (!options.json) await printLine(world, printed ? `${ledgerWords(missing)} missing` : 'no gaps');
    return EXIT.ok;
  });
}

/** Titles that begin with > stand over right-aligned columns. */
export async function printTable(
  world: World,
  titles: readonly string[],
  rows: readonly (readonly string[])[],
): Promise<void> {
  const columns = titles.map((title) => ({ title: title.replace(/^>/, ''), right: title.startsWith('>') }));
  for (const line of tableLines(columns, rows)) await printLine(world, line);
}

function sideOf(options: ListOptions) {
  const { book, account, asset } = options;
  return {
    side: book === undefined ? contract.Side.LEDGER : contract.Side.BOOK,
    book: book ?? '',
    layer: layerOf(options),
    accounts: account ?? [],
    assets: asset ?? [],
  };
}

export function layerOf(options: Pick<ListOptions, 'layer'>): contract.Layer {
  if (options.layer === undefined) return contract.Layer.UNSPECIFIED;
  return options.layer === 'operations' ? contract.Layer.OPERATIONS : contract.Layer.TOKEN_EVENTS;
}

/** Both ends inclusive; one that isn't given is open. */
export function rangeOf(options: {
  readonly from?: number;
  readonly to?: number;
}): { fromLedger: number; toLedger: number } | undefined {
  const { from, to } = options;
  if (from === undefined && to === undefined) return undefined;
  if (from !== undefined && to !== undefined && from > to) {
    throw new CommandError(
      'USAGE',
      `--from ${from} is above --to ${to}`,
      'both ends are inclusive; write the smaller one first',
      EXIT.usage,
    );
  }
  return { fromLedger: from ?? 1, toLedger: to ?? 4_294_967_295 };
}

function limitOf(options: ListOptions): number {
  return options.all ? Infinity : options.limit;
}

function statusWords(status: contract.EntryStatus): string {
  return status === contract.EntryStatus.UNSPECIFIED ? NOTHING : contract.EntryStatus[status]!.toLowerCase();
}
