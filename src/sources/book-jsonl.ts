// JSON lines: one object a line.
import type { FileFormat, RecordSink } from './book-file.ts';

const NEWLINE = 10;
const MONEY_COLUMNS = ['amount', 'amount_minor', 'balance', 'balance_minor'];
/** Sets of columns found right are remembered, so that only the first line of each kind is checked. */
const MAX_KNOWN_SHAPES = 1_000;

/** Feeds records to the sink as their bytes come in. */
export function createJsonLinesFormat(sink: RecordSink): FileFormat {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const knownShapes = new Set<string>();
  let rest: Uint8Array[] = [];
  let restBytes = 0;
  let line = 0;
  let broken = false;

  const takeLine = (bytes: Uint8Array) => {
    line++;
    let text: string;
    try {
      text = decoder.decode(bytes).trim();
    } catch {
      sink.countLine();
      return sink.report(line, '', 'ENCODING_INVALID', 'is not UTF-8: save the file as UTF-8');
    }
    if (text === '') return;
    sink.countLine();
    const record = parseObject(text);
    if (typeof record === 'string') return sink.report(line, '', 'ENCODING_INVALID', record);
    if (checkShape(record)) sink.takeRecord(line, record);
  };
  const checkShape = (record: Record<string, unknown>): boolean => {
    const columns = Object.keys(record);
    const shape = JSON.stringify(columns);
    if (knownShapes.has(shape)) return true;
    if (columns.length > sink.limits.maxColumns) {
      sink.report(line, '', 'VALUE_TOO_LONG', `has more than ${sink.limits.maxColumns} columns`);
      return false;
    }
    // A column may be left out of a line where it is empty; what must be filled is missed by the row itself.
    const problems = sink.takeColumns(columns).filter((problem) => problem.code === 'COLUMN_UNKNOWN');
    if (!sink.isLevelKnown()) problems.push(...sink.takeColumns(columns));
    for (const problem of problems) sink.report(line, problem.field, problem.code, problem.description);
    if (problems.length === 0 && knownShapes.size < MAX_KNOWN_SHAPES) knownShapes.add(shape);
    return problems.length === 0;
  };

  return {
    async write(bytes) {
      let from = 0;
      for (let at = bytes.indexOf(NEWLINE); at >= 0 && !broken; at = bytes.indexOf(NEWLINE, from)) {
        takeLine(restBytes === 0 ? bytes.subarray(from, at) : Buffer.concat([...rest, bytes.subarray(from, at)]));
        [rest, restBytes] = [[], 0];
        from = at + 1;
      }
      if (from < bytes.length) rest.push(bytes.slice(from));
      restBytes += bytes.length - from;
      if (restBytes > sink.limits.maxLineBytes) {
        sink.breakOff(
          line + 1,
          'VALUE_TOO_LONG',
          `a line is longer than ${sink.limits.maxLineBytes} bytes; write one object a line`,
        );
        broken = true;
      }
    },
    async end() {
      if (restBytes > 0) takeLine(Buffer.concat(rest));
    },
  };
}

/** The object of a line, its money kept digit by digit; or what is wrong with it. */
function parseObject(text: string): Record<string, unknown> | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'is no JSON: write one object a line';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is no JSON object';
  const record = value as Record<string, unknown>;
  for (const column of MONEY_COLUMNS) {
    // A number above 2^53 would already have lost digits: an integer is taken from the text itself.
    if (typeof record[column] === 'number') record[column] = exactNumber(text, column) ?? record[column];
  }
  return record;
}

type Reviver = (this: unknown, key: string, value: unknown, context: { source?: string }) => unknown;

function exactNumber(text: string, column: string): string | number | null {
  let found: string | number | null = null;
  const reviver: Reviver = (key, value, context) => {
    if (key === column && typeof value === 'number' && context.source !== undefined) {
      // NaN is refused like every other float: 100.0 or 1e2 was computed in floating point somewhere.
      found = /^-?\d+$/.test(context.source) ? context.source : value % 1 === 0 ? Number.NaN : value;
    }
    return value;
  };
  JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
  return found;
}
