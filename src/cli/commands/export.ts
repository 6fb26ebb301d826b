// `trueup export`: rows as a file with evidence. Start one, follow it, fetch its bytes.
import { createHash, randomUUID } from 'node:crypto';
import { open, rename, stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { contract, type TrueUpClient } from '../../client/index.ts';
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
import { factLines, painter, tableLines } from '../table.ts';
import { watchToEnd } from '../watch.ts';
import { countWords, NOTHING, timeWords, UNKNOWN } from '../words.ts';
import { CommandError, EXIT, printLine, type Run, type World } from '../world.ts';
import { rangeOf } from './ledger.ts';

const KINDS = ['ENTRIES', 'DRIFTS', 'RUNS', 'SWEEP_ACTIONS', 'AUDIT', 'STATEMENT'] as const;
const FORMATS = ['CSV', 'JSONL', 'JSON'] as const;
const COMPRESSIONS = ['NONE', 'GZIP', 'ZSTD'] as const;
const STATES = ['PENDING', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED'] as const;
const PAGE_SIZE = 200;
const MAX_LIMIT = 1_000_000_000;

interface StartOptions extends RemoteOptions {
  readonly kind: [(typeof KINDS)[number]];
  readonly format: [(typeof FORMATS)[number]];
  readonly compression?: [(typeof COMPRESSIONS)[number]];
  readonly from?: number;
  readonly to?: number;
  readonly account?: string[];
  readonly asset?: string[];
  readonly policy?: string;
  readonly name?: string;
  readonly wait?: true;
  readonly output?: string;
}

interface ListOptions extends RemoteOptions {
  readonly state?: (typeof STATES)[number][];
  readonly kind?: (typeof KINDS)[number][];
  readonly requester?: string;
  readonly limit: number;
}

const words = (known: readonly string[]): string => known.join(', ').toLowerCase();

export function registerExport(program: Command, world: World, run: Run): void {
  const exports = program.command('export').description('rows as a file whose bytes can be proven later');
  const remote = (name: string, description: string): Command =>
    remoteOptions(exports.command(name).description(description), world);
  remote('start', 'start an export')
    .addOption(new Option('--kind <kind>', `what: ${words(KINDS)}`).argParser(wordsOf(KINDS)).makeOptionMandatory())
    .addOption(new Option('--format <format>', words(FORMATS)).argParser(wordsOf(FORMATS)).default(['CSV'], 'csv'))
    .option('--compression <how>', words(COMPRESSIONS), wordsOf(COMPRESSIONS))
    .option('--from <ledger>', 'first ledger, inclusive', ledgerNumber)
    .option('--to <ledger>', 'last ledger, inclusive', ledgerNumber)
    .option('--account <id>', 'only of this account; may be repeated', several)
    .option('--asset <asset>', 'only in this asset; may be repeated', several)
    .option('--policy <name>', 'only of this policy')
    .option('--name <file>', 'file name; otherwise made of kind, range and time')
    .option('--wait', 'wait until it is complete')
    .option('-o, --output <path>', 'wait, then fetch the file to here')
    .action((options: StartOptions) => run(() => start(world, options)));
  remote('list', 'exports, newest first')
    .option('--state <states>', words(STATES), wordsOf(STATES))
    .option('--kind <kinds>', words(KINDS), wordsOf(KINDS))
    .option('--requester <name>', 'only those that this token asked for')
    .option('--limit <count>', 'most exports to print', positive(MAX_LIMIT), 50)
    .action((options: ListOptions) => run(() => list(world, options)));
  remote('get <id>', 'one export').action((id: string, options: RemoteOptions) =>
    run(() =>
      withClient(world, options, async (client) =>
        show(world, options, (await client.manifest.getExport({ exportId: id }, { signal: world.signal })).export!),
      ),
    ),
  );
  remote('cancel <id>', 'stop an export')
    .option('--reason <text>', 'why', '')
    .action((id: string, options: RemoteOptions & { reason: string }) =>
      run(() =>
        withClient(world, options, async (client) => {
          const request = { exportId: id, reason: options.reason, requestId: randomUUID() };
          return show(world, options, (await client.manifest.cancelExport(request, { signal: world.signal })).export!);
        }),
      ),
    );
  remote('download <id>', "fetch a completed export's file; goes on where an interrupted one stopped")
    .option('-o, --output <path>', "where to; otherwise the file's own name, here")
    .action((id: string, options: RemoteOptions & { output?: string }) =>
      run(() =>
        withClient(world, options, async (client) => {
          const found = (await client.manifest.getExport({ exportId: id }, { signal: world.signal })).export!;
          return download(world, client, options, found, options.output);
        }),
      ),
    );
}

async function start(world: World, options: StartOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const range = rangeOf(options);
    const { export: started } = await client.manifest.startExport(
      {
        kind: contract.ExportKind[options.kind[0]],
        format: contract.ExportFormat[options.format[0]],
        compression: contract.ExportCompression[options.compression?.[0] ?? 'NONE'],
        filter: {
          ...(range && { range }),
          accounts: options.account ?? [],
          assets: options.asset ?? [],
          policy: options.policy ?? '',
        },
        fileName: options.name ?? '',
        requestId: randomUUID(),
      },
      { signal: world.signal },
    );
    if (options.wait !== true && options.output === undefined) {
      if (options.json) await printMessage(world, contract.ExportSchema, started!);
      else await printLine(world, `export ${started!.id} is pending; \`trueup export get ${started!.id}\` shows it`);
      return EXIT.ok;
    }
    const done = await follow(world, client, started!);
    if (done.state !== contract.ExportState.COMPLETED || options.output === undefined)
      return show(world, options, done);
    return download(world, client, options, done, options.output);
  });
}

async function follow(world: World, client: TrueUpClient, started: contract.Export): Promise<contract.Export> {
  async function* open(sinceSequence: string) {
    const request = { exportId: started.id, sinceSequence };
    for await (const message of client.manifest.watchExport(request, { signal: world.signal }))
      yield { sequence: message.sequence, ...(message.export && { resource: message.export }) };
  }
  let last = started;
  const isTerminal = world.stderr.isTTY === true;
  for await (const state of watchToEnd(started, { open, isOver }, world.signal)) {
    last = state;
    if (isTerminal) world.stderr.write(`\r\u001b[K${progressWords(state)}`);
  }
  if (isTerminal) world.stderr.write('\r\u001b[K');
  return last;
}

function isOver({ state }: contract.Export): boolean {
  const { COMPLETED, FAILED, CANCELLED } = contract.ExportState;
  return [COMPLETED, FAILED, CANCELLED].includes(state);
}

async function list(world: World, options: ListOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    let total = 0n;
    const found: contract.Export[] = [];
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.manifest.listExports(
        {
          states: (options.state ?? []).map((word) => contract.ExportState[word]),
          kinds: (options.kind ?? []).map((word) => contract.ExportKind[word]),
          requester: options.requester ?? '',
          pageSize,
          pageToken,
        },
        { signal: world.signal },
      );
      total = page.totalSize;
      return { items: page.exports, nextPageToken: page.nextPageToken };
    };
    for await (const page of pagesOf(read, options.limit, PAGE_SIZE)) {
      if (!options.json) found.push(...page);
      else for (const each of page) await printMessage(world, contract.ExportSchema, each);
    }
    if (options.json) return EXIT.ok;
    if (found.length === 0) await printLine(world, 'no exports');
    else for (const line of tableLines(COLUMNS, found.map(rowOf))) await printLine(world, line);
    if (BigInt(found.length) < total) await printLine(world, `${found.length} of ${total}; --limit shows more`);
    return EXIT.ok;
  });
}

const COLUMNS = [
  { title: 'ID' },
  { title: 'KIND' },
  { title: 'STATE' },
  { title: 'ROWS', right: true },
  { title: 'REQUESTER' },
  { title: 'CREATED' },
];

function rowOf(each: contract.Export): string[] {
  return [
    each.id,
    contract.ExportKind[each.kind]?.toLowerCase() ?? UNKNOWN,
    stateWord(each),
    each.progress === undefined ? NOTHING : countWords(each.progress.processedRowCount),
    each.requester,
    timeWords(each.createTime),
  ];
}

async function show(world: World, options: RemoteOptions, found: contract.Export): Promise<number> {
  const { COMPLETED, FAILED } = contract.ExportState;
  if (options.json) await printMessage(world, contract.ExportSchema, found);
  else for (const line of exportLines(world, found)) await printLine(world, line);
  if (!options.json && found.state === COMPLETED)
    await printLine(
      world,
      `  next: trueup export download ${found.id}, trueup manifests bundle ${found.manifestId} FOLDER`,
    );
  return found.state === FAILED ? EXIT.failed : EXIT.ok;
}

function exportLines(world: World, found: contract.Export): string[] {
  const paint = painter(world);
  const mark = found.sandbox ? `  ${paint('yellow', 'SANDBOX')}` : '';
  const lines = [
    `${stateWord(found)}  ${contract.ExportKind[found.kind]!.toLowerCase()}${mark}`,
    ...factLines([
      ['export', found.id],
      ['format', contract.ExportFormat[found.format]!.toLowerCase()],
      ['progress', progressWords(found)],
      ['manifest', found.manifestId === '' ? NOTHING : found.manifestId],
      ['requester', found.requester],
      ['created', timeWords(found.createTime)],
      ['completed', timeWords(found.completeTime)],
    ]),
  ];
  if (found.error !== undefined) {
    lines.push(`  ${paint('red', contract.ErrorReason[found.error.reason] ?? UNKNOWN)}: ${found.error.message}`);
    if (found.error.fix !== '') lines.push(`    fix: ${found.error.fix}`);
  }
  return lines;
}

function stateWord({ state }: contract.Export): string {
  return contract.ExportState[state]?.toLowerCase() ?? UNKNOWN;
}

function progressWords({ progress, state }: contract.Export): string {
  if (progress === undefined) return contract.ExportState[state]!.toLowerCase();
  const rows = countWords(progress.processedRowCount);
  const of = progress.totalRowCount === undefined ? '' : ` of ${countWords(progress.totalRowCount)}`;
  return `${rows}${of} rows, ${countWords(progress.writtenBytes)} bytes`;
}

/** Into a draft beside the file, which takes its place only when its hash is the artifact's. */
async function download(
  world: World,
  client: TrueUpClient,
  options: RemoteOptions,
  found: contract.Export,
  output: string | undefined,
): Promise<number> {
  if (found.artifactId === '') {
    const fix = `see \`trueup export get ${found.id}\``;
    throw new CommandError('EXPORT_INCOMPLETE', `export ${found.id} is ${stateWord(found)}`, fix);
  }
  const draft = `${output ?? found.artifactId}.part`;
  const resumeAt = await stat(draft).then(
    ({ size }) => size,
    () => 0,
  );
  const file = await open(draft, 'a+', 0o640);
  let artifact: contract.Artifact | undefined;
  try {
    const request = { artifactId: found.artifactId, offsetBytes: BigInt(resumeAt) };
    for await (const message of client.manifest.downloadArtifact(request, { signal: world.signal })) {
      artifact ??= message.artifact;
      if (message.chunk.length > 0) await file.write(message.chunk);
    }
    const actual = await hashOf(file);
    if (artifact === undefined || actual !== artifact.sha256) {
      throw new CommandError(
        'CHECKSUM_MISMATCH',
        `the bytes in ${draft} are not the artifact's: their SHA-256 is ${actual}`,
        `delete ${draft} and fetch it again`,
      );
    }
  } finally {
    await file.close();
  }
  const path = output ?? artifact.fileName;
  await rename(draft, path);
  if (options.json) await printMessage(world, contract.ArtifactSchema, artifact);
  else await printLine(world, `${path}: ${countWords(artifact.sizeBytes)} bytes, SHA-256 ${artifact.sha256}`);
  return EXIT.ok;
}

async function hashOf(file: Awaited<ReturnType<typeof open>>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of file.createReadStream({ start: 0, autoClose: false })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
