// `trueup alerts`: who was told what, and once more what did not arrive.
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { contract } from '../../client/index.ts';
import { pagesOf, positive, printMessage, remoteOptions, type RemoteOptions, withClient, wordsOf } from '../remote.ts';
import { type Paint, painter } from '../table.ts';
import { timeWords } from '../words.ts';
import { EXIT, printLine, type Run, type World } from '../world.ts';

const PAGE_SIZE = 200;
const MAX_LIMIT = 1_000_000_000;
const STATES = ['PENDING', 'DELIVERED', 'SUPPRESSED', 'DEAD_LETTERED'] as const;
const COLOURS = { PENDING: 'yellow', DELIVERED: 'green', SUPPRESSED: 'dim', DEAD_LETTERED: 'red' } as const;

interface AlertsOptions extends RemoteOptions {
  readonly policy?: string;
  readonly state?: (typeof STATES)[number][];
  readonly limit: number;
}

export function registerAlerts(program: Command, world: World, run: Run): void {
  const alerts = program.command('alerts').description('who was told what, newest first');
  // What follows a verb is the verb's own.
  remoteOptions(alerts.enablePositionalOptions(), world)
    .option('--policy <name>', 'only of this policy')
    .option('--state <states>', `only in these states: ${STATES.join(', ').toLowerCase()}`, wordsOf(STATES))
    .option('--limit <count>', 'most alerts to print', positive(MAX_LIMIT), 50)
    .action((options: AlertsOptions) => run(() => listAlerts(world, options)));
  remoteOptions(alerts.command('replay <id>').description('send an alert again'), world)
    .option('--reason <text>', 'why, for the audit log', '')
    .action((id: string, options: RemoteOptions & { readonly reason: string }) =>
      run(() => replay(world, id, options)),
    );
}

async function listAlerts(world: World, options: AlertsOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const filter = {
      policy: options.policy ?? '',
      states: (options.state ?? []).map((word) => contract.AlertState[word]),
    };
    const read = async (pageToken: string, pageSize: number) => {
      const page = await client.reconciliation.listAlerts({ ...filter, pageSize, pageToken }, { signal: world.signal });
      return { items: page.alerts, nextPageToken: page.nextPageToken };
    };
    const paint = painter(world);
    let printed = 0;
    for await (const page of pagesOf(read, options.limit, PAGE_SIZE)) {
      for (const alert of page) {
        printed++;
        if (options.json) await printMessage(world, contract.AlertSchema, alert);
        else for (const line of alertLines(alert, paint)) await printLine(world, line);
      }
    }
    if (printed === 0 && !options.json) await printLine(world, 'no alerts');
    return EXIT.ok;
  });
}

async function replay(world: World, id: string, options: RemoteOptions & { readonly reason: string }): Promise<number> {
  return await withClient(world, options, async (client) => {
    const { alert } = await client.reconciliation.replayAlert(
      { alertId: id, reason: options.reason, requestId: randomUUID() },
      { signal: world.signal },
    );
    if (alert === undefined) throw new Error('the server answered without an alert');
    if (options.json) await printMessage(world, contract.AlertSchema, alert);
    else await printLine(world, `alert ${alert.id} is to be sent again; \`trueup alerts\` shows what becomes of it`);
    return EXIT.ok;
  });
}

function alertLines(alert: contract.Alert, paint: Paint): string[] {
  const state = contract.AlertState[alert.state] as (typeof STATES)[number] | undefined;
  const word = state === undefined ? 'unknown' : paint(COLOURS[state], state.toLowerCase().replace('_', ' '));
  const last = alert.attempts.at(-1);
  const why = alert.suppressReason !== '' ? alert.suppressReason : (last?.failure?.message ?? '');
  const channel = alert.channel === '' ? '' : `, ${alert.channel}`;
  const attempts = alert.attempts.length === 1 ? '1 attempt' : `${alert.attempts.length} attempts`;
  return [
    `${timeWords(alert.createTime)}  ${word}  ${paint('bold', alert.title)}`,
    `  ${alert.id}${channel}, ${attempts}${why === '' ? '' : `: ${why}`}`,
  ];
}
