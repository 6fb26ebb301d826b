// `trueup status` and `trueup policies`: how the deployment is, and what it compares.
import type { Command } from 'commander';
import { contract } from '../../client/index.ts';
import { pagesOf, printMessage, remoteOptions, type RemoteOptions, withClient } from '../remote.ts';
import { factLines, type Paint, painter, tableLines } from '../table.ts';
import { agoWords, countWords, durationWords, ledgerWords, NOTHING, protoDurationMs, UNKNOWN } from '../words.ts';
import { EXIT, printLine, type Run, type World } from '../world.ts';

const PAGE_SIZE = 200;

export function registerStatus(program: Command, world: World, run: Run): void {
  remoteOptions(
    program.command('status').description('how every stream is: covered through, tip, lag, last error'),
    world,
  ).action((options: RemoteOptions) =>
    run(() =>
      withClient(world, options, async (client) => {
        const status = await client.health.getStatus({}, { signal: world.signal });
        if (options.json) await printMessage(world, contract.GetStatusResponseSchema, status);
        else await printStatus(world, status);
        return EXIT.ok;
      }),
    ),
  );
  remoteOptions(program.command('policies').description('what is compared with what, and how often'), world).action(
    (options: RemoteOptions) =>
      run(() =>
        withClient(world, options, async (client) => {
          const read = async (pageToken: string, pageSize: number) => {
            const { policies, nextPageToken } = await client.reconciliation.listPolicies(
              { pageSize, pageToken },
              { signal: world.signal },
            );
            return { items: policies, nextPageToken };
          };
          for await (const policies of pagesOf(read, Infinity, PAGE_SIZE)) {
            if (options.json) for (const policy of policies) await printMessage(world, contract.PolicySchema, policy);
            else await printPolicies(world, policies);
          }
          return EXIT.ok;
        }),
      ),
  );
}

async function printStatus(world: World, status: contract.GetStatusResponse): Promise<void> {
  const paint = painter(world);
  const health = status.healthy ? paint('green', 'healthy') : paint('red', 'unhealthy');
  const uptime = protoDurationMs(status.uptime);
  const mark = status.sandbox ? `  ${paint('yellow', 'SANDBOX')}` : '';
  await printLine(
    world,
    `trueup ${status.version}  ${health}  up ${uptime === null ? UNKNOWN : durationWords(uptime)}${mark}`,
  );
  for (const failure of status.unhealthyReasons) await printFailure(world, failure);
  for (const stream of status.streams) {
    await printLine(world);
    for (const line of streamLines(stream, world.now(), paint)) await printLine(world, line);
    for (const failure of stream.degradedReasons) await printFailure(world, failure);
  }
  if (status.streams.length === 0) await printLine(world, '\nno stream yet: nothing has been read from a source');
}

function streamLines(stream: contract.StreamStatus, nowMs: number, paint: Paint): string[] {
  const colour = { 3: 'green', 4: 'red' } as const;
  const sync = contract.SyncStatus[stream.syncStatus]?.toLowerCase() ?? UNKNOWN;
  const painted = stream.syncStatus === 3 || stream.syncStatus === 4 ? paint(colour[stream.syncStatus], sync) : sync;
  const layers = stream.layers.map((layer): [string, string] => {
    const ledgers =
      layer.contiguousThrough === undefined
        ? 'nothing yet'
        : `${countWords(layer.contiguousFrom)} to ${countWords(layer.contiguousThrough)} without a gap`;
    const missing = layer.missingLedgerCount === undefined ? '' : `, ${countWords(layer.missingLedgerCount)} missing`;
    return [
      contract.Layer[layer.layer]!.toLowerCase(),
      `${ledgers}${missing}, ${countWords(layer.entryCount)} entries`,
    ];
  });
  return [
    `${paint('bold', stream.stream)}  ${painted}`,
    ...factLines([
      ...layers,
      ['tip', `${countWords(stream.tipLedger)}, closed ${agoWords(stream.tipCloseTime, nowMs)} ago`],
      ['lag', stream.lagLedgers === undefined ? UNKNOWN : ledgerWords(stream.lagLedgers)],
      ['source', `${stream.source} (${stream.sourceKind})`],
      [
        'last success',
        stream.lastSuccessTime === undefined ? 'never' : `${agoWords(stream.lastSuccessTime, nowMs)} ago`,
      ],
      [
        'last error',
        stream.lastError === undefined
          ? NOTHING
          : `${stream.lastError.message} (${agoWords(stream.lastError.failTime, nowMs)} ago)`,
      ],
    ]),
  ];
}

async function printFailure(world: World, failure: contract.Failure): Promise<void> {
  await printLine(
    world,
    `  ${painter(world)('red', contract.ErrorReason[failure.reason] ?? UNKNOWN)}: ${failure.message}`,
  );
  if (failure.fix !== '') await printLine(world, `    fix: ${failure.fix}`);
}

async function printPolicies(world: World, policies: readonly contract.Policy[]): Promise<void> {
  const rows = policies.map((policy) => [
    policy.name,
    contract.Level[policy.level]!.toLowerCase(),
    policy.stream || NOTHING,
    `${policy.book} (${policy.bookKind})`,
    contract.Layer[policy.layer]!.toLowerCase(),
    policy.join === 0 ? 'inferred' : contract.Join[policy.join]!.toLowerCase(),
    words(policy.window),
    policy.scheduleEnabled ? `every ${words(policy.scheduleInterval)}` : 'off',
    policy.failure === undefined ? '' : policy.failure.message,
  ]);
  const titles = ['POLICY', 'LEVEL', 'STREAM', 'BOOK', 'LAYER', 'JOIN', 'WINDOW', 'SCHEDULE', 'PROBLEM'];
  for (const line of tableLines(
    titles.map((title) => ({ title })),
    rows,
  ))
    await printLine(world, line);
}

function words(duration: Parameters<typeof protoDurationMs>[0]): string {
  const ms = protoDurationMs(duration);
  return ms === null ? UNKNOWN : durationWords(ms);
}
