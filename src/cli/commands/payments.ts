// `trueup ledger-health`: which of a marketplace's payments stand still.
import type { Command } from 'commander';
import { contract } from '../../client/index.ts';
import { positive, printMessage, remoteOptions, type RemoteOptions, withClient } from '../remote.ts';
import { countWords, durationWords, NOTHING, protoDurationMs, timeWords, UNKNOWN } from '../words.ts';
import { EXIT, printLine, type Run, type World } from '../world.ts';
import { printTable } from './ledger.ts';

const MAX_ROWS = 200;

interface HealthOptions extends RemoteOptions {
  readonly name?: string;
  readonly rows?: number;
}

export function registerPayments(program: Command, world: World, run: Run): void {
  remoteOptions(program.command('ledger-health').description("which of a marketplace's payments stand still"), world)
    .option('--name <gauge>', 'only this gauge, such as ledger_orphan_refund_rows')
    .option('--rows <count>', 'rows to show of each gauge, at most 200', positive(MAX_ROWS))
    .action((options: HealthOptions) => run(() => printHealth(world, options)));
}

async function printHealth(world: World, options: HealthOptions): Promise<number> {
  return await withClient(world, options, async (client) => {
    const request = { name: options.name ?? '', rowsLimit: options.rows ?? 0 };
    const { gauges } = await client.health.listLedgerHealth(request, { signal: world.signal });
    if (options.json) for (const gauge of gauges) await printMessage(world, contract.LedgerHealthSchema, gauge);
    else if (gauges.length === 0)
      await printLine(world, 'no marketplace is configured (MARKETPLACE_DATABASE_URL), or no such gauge');
    else await printGauges(world, gauges);
    return EXIT.ok;
  });
}

async function printGauges(world: World, gauges: readonly contract.LedgerHealth[]): Promise<void> {
  const lines = gauges.map((gauge) => {
    const ageMs = protoDurationMs(gauge.ageThreshold);
    return [
      gauge.name,
      contract.GaugeState[gauge.state]!.toLowerCase(),
      gauge.count === undefined ? UNKNOWN : countWords(gauge.count),
      ageMs === null ? NOTHING : durationWords(ageMs),
      gauge.sampleTime === undefined ? NOTHING : timeWords(gauge.sampleTime),
      gauge.failure?.message ?? '',
    ];
  });
  await printTable(world, ['GAUGE', 'STATE', '>ROWS', '>OLDER THAN', 'SAMPLED', 'WHY'], lines);
  for (const { name, rows } of gauges.filter((gauge) => gauge.rows.length > 0)) {
    await printLine(world, '');
    await printLine(world, name);
    const cells = rows.map((row) => [
      row.rowId,
      row.state,
      row.providerId || NOTHING,
      row.amountMinor === '' ? NOTHING : `${row.amountMinor} ${row.currency}`.trimEnd(),
      row.sinceTime === undefined ? UNKNOWN : timeWords(row.sinceTime),
    ]);
    await printTable(world, ['ROW', 'STATE', 'PROVIDER ID', '>MINOR UNITS', 'SINCE'], cells);
  }
}
