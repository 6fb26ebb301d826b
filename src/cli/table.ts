// Aligned columns and a little colour, for people.
import type { World } from './world.ts';

export interface Column {
  readonly title: string;
  readonly right?: boolean;
}

/** Lines of a table: a header, then the rows, two blanks between columns, nothing trailing. */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...rows.map((row) => visibleLength(row[index] ?? ''))),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => pad(cell, widths[index]!, columns[index]?.right ?? false))
      .join('  ')
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)];
}

/** `label  value` lines with the values under one another. */
export function factLines(facts: readonly (readonly [label: string, value: string])[]): string[] {
  const width = Math.max(...facts.map(([label]) => label.length));
  return facts.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`.trimEnd());
}

export type Colour = 'red' | 'green' | 'yellow' | 'dim' | 'bold';
export type Paint = (colour: Colour, text: string) => string;

const CODES: Readonly<Record<Colour, number>> = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 };

/** Colours only on a terminal, and not where NO_COLOR asks for none. */
export function painter(world: Pick<World, 'env' | 'stdout'>): Paint {
  const on = world.stdout.isTTY === true && !world.env['NO_COLOR'] && world.env['TERM'] !== 'dumb';
  return (colour, text) => (on && text !== '' ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text);
}

function pad(cell: string, width: number, right: boolean): string {
  const blanks = ' '.repeat(Math.max(0, width - visibleLength(cell)));
  return right ? blanks + cell : cell + blanks;
}

function visibleLength(text: string): number {
  return text.replace(/\u001b\[\d+m/g, '').length;
}
