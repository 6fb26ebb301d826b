// `trueup import book FILE`: bring a file into a book, all of it or none of it.
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import type { Readable } from 'node:stream';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { type Command, Option } from 'commander';
import { contract } from '../../client/index.ts';
import { positive, printMessage, remoteOptions, type RemoteOptions, time, withClient } from '../remote.ts';
import { factLines, painter, tableLines } from '../table.ts';
import { countWords, timeWords } from '../words.ts';
import { CommandError, EXIT, printLine, type Run, type World } from '../world.ts';

const CHUNK_BYTES = 256 * 1024;
const MAX_ERRORS_SHOWN = 20;
/** A file of some gigabytes takes its time. */
const DEFAULT_IMPORT_TIMEOUT_S = 3_600;
const FORMATS: Readonly<Record<string, 'csv' | 'jsonl'>> = { '.csv': 'csv', '.jsonl': 'jsonl', '.ndjson': 'jsonl' };

interface ImportOptions extends RemoteOptions {
  readonly book: string;
  readonly level: 'entries' | 'balances';
  readonly format?: 'csv' | 'jsonl';
  readonly completeThrough?: Date;
}

export function registerBooks(program: Command, world: World, run: Run): void {
  const command = program.command('import').description('bring in a file').command('book <file>');
  remoteOptions(command, world)
    .description('bring rows or balances into a book, all of them or none; - reads standard input')
    .option('--book <name>', 'which book', 'default')
    .addOption(new Option('--level <level>', 'what the rows are').choices(['entries', 'balances']).default('entries'))
    .addOption(
      new Option('--format <format>', 'how the file is written; by its ending otherwise').choices(['csv', 'jsonl']),
    )
    .option('--complete-through <time>', 'the book is complete up to here, such as 2026-01-31T12:00:00Z', time)
    .addHelpText(
      'after',
      `
Columns of entries:  key, account, asset, amount or amount_minor; row_id, sub_account, kind, counterparty, status, occurred_at, ledger, retracted
Columns of balances: account, asset, balance or balance_minor; as_of_ledger
Amounts are signed decimal strings: above 0 the account received, below 0 it paid.`,
    );
  command.options
    .find((option) => option.long === '--timeout')
    ?.default(DEFAULT_IMPORT_TIMEOUT_S)
    .argParser(positive(86_400));
  command.setOptionValue('timeout', DEFAULT_IMPORT_TIMEOUT_S);
  command.action((file: string, options: ImportOptions) => run(() => importBook(world, file, options)));
}

async function importBook(world: World, file: string, options: ImportOptions): Promise<number> {
  const format = options.format ?? FORMATS[extname(file).toLowerCase()];
  if (format === undefined) {
    throw new CommandError(
      'USAGE',
      `the ending of ${file} does not tell its format`,
      'say --format csv or --format jsonl',
      EXIT.usage,
    );
  }
  const { bytes, size } = await openFile(world, file);
  return await withClient(world, options, async (client) => {
    const header = {
      book: options.book,
      level: options.level === 'entries' ? contract.Level.ENTRIES : contract.Level.BALANCES,
      format: format === 'csv' ? contract.ImportFormat.CSV : contract.ImportFormat.JSONL,
      fileName: file === '-' ? '' : basename(file),
      requestId: randomUUID(),
      ...(options.completeThrough && { completeThrough: timestampFromDate(options.completeThrough) }),
      ...(size !== null && { fileSizeBytes: BigInt(size) }),
    };
    const timeoutMs = options.timeout * 1000;
    const response = await client.reconciliation.importEntries(messages(header, bytes), {
      signal: world.signal,
      timeoutMs,
    });
    const imported = response.import;
    if (imported === undefined) throw new Error('the server answered without an import');
    if (options.json) await printMessage(world, contract.ImportSchema, imported);
    else await printImport(world, imported);
    return imported.state === contract.ImportState.COMMITTED ? EXIT.ok : EXIT.failed;
  });
}

async function* messages<Header>(header: Header, bytes: Readable) {
  yield { message: { case: 'header' as const, value: header } };
  for await (const chunk of bytes as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length; at += CHUNK_BYTES) {
      yield { message: { case: 'chunk' as const, value: new Uint8Array(chunk.subarray(at, at + CHUNK_BYTES)) } };
    }
  }
}

async function openFile(world: World, file: string): Promise<{ bytes: Readable; size: number | null }> {
  if (file === '-') return { bytes: world.stdin, size: null };
  try {
    const found = await stat(file);
    if (!found.isFile()) throw new Error('it is not a file');
    return { bytes: createReadStream(file, { highWaterMark: CHUNK_BYTES }), size: found.size };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(
      'FILE_UNREADABLE',
      `${file} can't be read: ${why}`,
      'correct the path or the permissions',
      EXIT.failed,
    );
  }
}

async function printImport(world: World, imported: contract.Import): Promise<void> {
  const paint = painter(world);
  const committed = imported.state === contract.ImportState.COMMITTED;
  await printLine(
    world,
    `${committed ? paint('green', 'committed') : paint('red', 'failed, nothing was recorded')}  ${imported.fileName || 'standard input'} into ${imported.book}`,
  );
  const facts: [string, string][] = [
    ['lines', countWords(imported.lineCount)],
    ['new', countWords(imported.insertedCount)],
    ['revised', countWords(imported.revisedCount)],
    ['unchanged', countWords(imported.unchangedCount)],
    ['retracted', countWords(imported.retractedCount)],
    ['complete through', timeWords(imported.completeThrough)],
    ['import', imported.id],
  ];
  for (const line of factLines(facts)) await printLine(world, line);
  if (imported.errorCount === 0n) return;
  const rows = imported.errors
    .slice(0, MAX_ERRORS_SHOWN)
    .map(({ line, column, reason, message }) => [
      line === 0n ? 'file' : String(line),
      column || '–',
      contract.ErrorReason[reason] ?? 'unknown',
      message,
    ]);
  await printLine(world, `  ${countWords(imported.errorCount)} errors:`);
  for (const line of tableLines(
    [{ title: 'LINE', right: true }, { title: 'COLUMN' }, { title: 'REASON' }, { title: 'WHAT' }],
    rows,
  )) {
    await printLine(world, `  ${line}`);
  }
}
