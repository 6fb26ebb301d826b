// What `trueup doctor book` found: the rows as they are understood, then what to fix.
import { painter, tableLines } from './table.ts';
import { shortener } from './words.ts';
import { EXIT, printLine, type World } from './world.ts';

/** The parts of the doctor's report that are shown; the whole of it is the JSON. */
export interface BookReport {
  readonly book: string;
  readonly level: string | null;
  readonly rows: readonly { readonly columns: Readonly<Record<string, string>>; readonly problem: string | null }[];
  readonly join: { readonly join: string | null; readonly reason: string } | null;
  readonly overlap: { readonly sampled: number; readonly found: number } | null;
  readonly fixes: readonly string[];
  readonly notes: readonly string[];
}

/** Prints the report; exit 0 where nothing has to be fixed. */
export async function printDoctorBook(world: World, report: BookReport, json: boolean): Promise<number> {
  const exitCode = report.fixes.length === 0 ? EXIT.ok : EXIT.failed;
  if (json) {
    await printLine(
      world,
      JSON.stringify(report, (_name, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
    );
    return exitCode;
  }
  for (const line of reportLines(world, report)) await printLine(world, line);
  return exitCode;
}

function reportLines(world: World, report: BookReport): string[] {
  const { rows, join, overlap, fixes, notes } = report;
  const paint = painter(world);
  const lines = [
    `${fixes.length === 0 ? paint('green', 'ready') : paint('red', 'not ready')}  ${report.book}${report.level === null ? '' : `, ${report.level}`}`,
  ];
  const titles = [...new Set(rows.flatMap((row) => Object.keys(row.columns)))];
  if (titles.length > 0) {
    const short = shortener(world.stdout.isTTY === true);
    const cells = rows.map(({ columns, problem }) => [
      ...titles.map((title) => short(columns[title] ?? '')),
      problem ?? 'ok',
    ]);
    lines.push(
      '',
      ...tableLines([...titles.map((title) => ({ title: title.toUpperCase() })), { title: 'UNDERSTOOD' }], cells),
      '',
    );
  }
  if (join !== null) lines.push(`join: ${join.join ?? 'none'}; ${join.reason}`);
  if (overlap !== null) lines.push(`keys: ${overlap.found} of ${overlap.sampled} sampled keys are on the ledger`);
  for (const note of notes) lines.push(`note: ${note}`);
  for (const fix of fixes) lines.push(`${paint('red', 'fix')}: ${fix}`);
  return lines;
}
