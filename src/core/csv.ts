// CSV as exports write it: RFC 4180's quoting, lines that end in LF, and cells that no spreadsheet runs. The same text as
// PostgreSQL's COPY writes, which most exports come from.
import type { ExportColumn } from './export-columns.ts';

export type Cell = string | number | bigint | null;

/** First characters of a cell that a spreadsheet may take for a formula (OWASP, "CSV Injection"). */
const FORMULA = /^[=+\-@\t\r]/;

export function csvHeader(columns: readonly ExportColumn[]): string {
  return `${columns.map(({ name }) => name).join(',')}\n`;
}

/** One line; absent is empty, and an empty text is `""`. */
export function csvLine(columns: readonly ExportColumn[], cells: readonly Cell[]): string {
  return `${cells.map((cell, i) => csvCell(columns[i]!, cell)).join(',')}\n`;
}

function csvCell(column: ExportColumn, cell: Cell): string {
  if (cell === null) return '';
  const text = String(cell);
  const guarded = column.isFree === true && FORMULA.test(text) ? `'${text}` : text;
  return guarded === '' || /[",\r\n]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}
