// What the verbs that talk to a server share: their options, a client, pages, and JSON lines.
import { toJson, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CLIENT_DEFAULTS, createTrueUpClient, serverUrl, type TrueUpClient } from '../client/index.ts';
import { printLine, type World } from './world.ts';

const MAX_TIMEOUT_S = 3_600;

export interface RemoteOptions {
  readonly server: string;
  readonly token?: string;
  /** Seconds. */
  readonly timeout: number;
  readonly json?: true;
}

/** Adds --server, --token, --timeout and --json to a verb. */
export function remoteOptions(command: Command, world: World): Command {
  const { env } = world;
  return command
    .addOption(
      new Option('--server <host:port>', 'server to ask (TRUEUP_SERVER)')
        .argParser(checkServer)
        .default(env['TRUEUP_SERVER'] || CLIENT_DEFAULTS.server),
    )
    .addOption(new Option('--token <token>', 'token to send (TRUEUP_TOKEN)'))
    .addOption(new Option('--timeout <seconds>', 'deadline of one call').argParser(positive(MAX_TIMEOUT_S)).default(10))
    .option('--json', 'one JSON object a line, as the contract has it');
}

/** Runs an action with a client that is closed afterwards. */
export async function withClient(
  world: World,
  options: RemoteOptions,
  action: (client: TrueUpClient) => Promise<number>,
): Promise<number> {
  world.onInterrupt();
  const token = options.token ?? world.env['TRUEUP_TOKEN'];
  using client = createTrueUpClient({ server: checkServer(options.server), token, timeoutMs: options.timeout * 1000 });
  return await action(client);
}

/** Items of all pages, one page at a time, at most `limit` of them. */
export async function* pagesOf<T>(
  read: (pageToken: string, pageSize: number) => Promise<{ items: readonly T[]; nextPageToken: string }>,
  limit: number,
  pageSize: number,
): AsyncGenerator<readonly T[]> {
  let pageToken = '';
  let left = limit;
  do {
    const page = await read(pageToken, Math.min(pageSize, left));
    const items = page.items.slice(0, left);
    left -= items.length;
    if (items.length > 0) yield items;
    pageToken = page.nextPageToken;
  } while (pageToken !== '' && left > 0);
}

/** One message as one line of the contract's own JSON. */
export async function printMessage<Desc extends DescMessage>(
  world: World,
  desc: Desc,
  message: MessageShape<Desc>,
): Promise<void> {
  await printLine(world, JSON.stringify(toJson(desc, message)));
}

/** A parser for whole numbers from 1 to `max`. */
export function positive(max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= 1 && value <= max)) throw new InvalidArgumentError(`Write a whole number from 1 to ${max}.`);
    return value;
  };
}

export const ledgerNumber = positive(4_294_967_295);

/** A parser for one or several words out of a list, separated by commas, in any case and with - for _. */
export function wordsOf(known: readonly string[]): (text: string, before?: readonly string[]) => string[] {
  return (text, before = []) => {
    const words = text
      .split(',')
      .map((word) => word.trim().toUpperCase().replaceAll('-', '_'))
      .filter(Boolean);
    const wrong = words.find((word) => !known.includes(word));
    if (wrong !== undefined || words.length === 0) {
      throw new InvalidArgumentError(`Write some of ${known.map((word) => word.toLowerCase()).join(', ')}.`);
    }
    return [...before, ...words];
  };
}

/** Collects an option that may be given several times. */
export function several(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** A parser for RFC 3339 times with an offset. */
export function time(text: string): Date {
  const date = new Date(text);
  if (
    Number.isNaN(date.getTime()) ||
    !/^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)$/.test(text)
  ) {
    throw new InvalidArgumentError('Write a time with an offset, such as 2026-01-31T12:00:00Z.');
  }
  return date;
}

function checkServer(text: string): string {
  try {
    serverUrl(text);
    return text;
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}
