// CSV (RFC 4180) with a header line: byte-order mark, quoted line breaks, line ends of either kind.
import { Parser } from 'csv-parse';
import { messageOf } from '../core/errors.ts';
import type { FileFormat, RecordSink } from './book-file.ts';

const NEWLINE = 10;

/** Feeds records to the sink as their bytes come in. */
export function createCsvFormat(sink: RecordSink): FileFormat {
  const { maxLineBytes, maxColumns } = sink.limits;
  let header: readonly string[] | null = null;
  let bytesSinceRecord = 0;
  const newlines = createNewlineCounter();
  let broken = false;

  const breakOff = (...problem: Parameters<RecordSink['breakOff']>) => {
    if (!broken) sink.breakOff(...problem);
    broken = true;
  };
  const takeHeader = (line: number, cells: readonly string[]) => {
    header = cells.map((cell) => cell.trim().toLowerCase());
    if (header.length > maxColumns)
      return breakOff(line, 'VALUE_TOO_LONG', `the header has more than ${maxColumns} columns`);
    if (header.length === 1 && /[;\t|]/.test(header[0]!)) {
      return breakOff(line, 'COLUMN_MISSING', 'the header has one cell: separate cells by commas');
    }
    const problems = sink.takeColumns(header);
    for (const problem of problems) sink.report(line, problem.field, problem.code, problem.description);
    // Every line would only say the same again.
    if (problems.length > 0) breakOff(0, 'COLUMN_MISSING', 'no line was read because of the header');
  };
  const takeRecord = (cells: readonly string[], endByte: number) => {
    bytesSinceRecord = 0;
    // A record ends on a known line; a quoted line break puts its beginning further up.
    const line = newlines.lineOf(endByte - 1) - cells.reduce((sum, cell) => sum + countNewlines(cell), 0);
    if (broken || (cells.length === 1 && cells[0]!.trim() === '')) return;
    if (header === null) return takeHeader(line, cells);
    sink.countLine();
    if (cells.length !== header.length) {
      const message = `has ${cells.length} cells where the header has ${header.length}; quote a cell that holds a comma`;
      return sink.report(line, '', 'VALUE_INVALID', message);
    }
    const record: Record<string, string> = {};
    for (let index = 0; index < header.length; index++) record[header[index]!] = cells[index]!;
    sink.takeRecord(line, record);
  };

  const parser = new Parser({
    bom: true,
    record_delimiter: ['\r\n', '\n'],
    relax_column_count: true,
    max_record_size: maxLineBytes,
    skip_records_with_error: true,
    on_skip: (error) => {
      bytesSinceRecord = 0;
      const line = newlines.lineOf(Number(error?.['bytes'] ?? 0));
      if (error?.code === 'CSV_MAX_RECORD_SIZE') {
        tooLong(line);
        return undefined;
      }
      if (error?.code === 'CSV_QUOTE_NOT_CLOSED' || header === null) {
        breakOff(line, 'ENCODING_INVALID', 'has a quote that never closes; what follows could not be read');
        return undefined;
      }
      const message =
        'has a quote in the middle of a cell: put the whole cell in quotes, and write a quote inside it twice';
      sink.report(line, '', 'ENCODING_INVALID', message);
      sink.countLine();
      return undefined;
    },
    on_record: (record: string[], context) => {
      takeRecord(record, context.bytes);
      return null;
    },
  });
  const tooLong = (line: number) => {
    breakOff(line, 'VALUE_TOO_LONG', `a line is longer than ${maxLineBytes} bytes; look for a quote that never closes`);
  };
  parser.resume();

  return {
    async write(bytes) {
      // The parser measures cells; a line of nothing but commas has none.
      bytesSinceRecord += bytes.length;
      newlines.add(bytes);
      await settle(parser, sink, (done) => parser.write(bytes, done));
      if (bytesSinceRecord > 2 * maxLineBytes + bytes.length)
        tooLong(newlines.lineOf(newlines.bytes - bytesSinceRecord));
    },
    end: () => settle(parser, sink, (done) => parser.end(done)),
  };
}

/** Tells the line of a byte, for bytes that are asked about in order. */
function createNewlineCounter(): {
  add(bytes: Uint8Array): void;
  lineOf(byte: number): number;
  readonly bytes: number;
} {
  let offsets: number[] = [];
  let [passed, bytesSeen, line] = [0, 0, 1];
  return {
    get bytes() {
      return bytesSeen;
    },
    add(bytes) {
      offsets = offsets.slice(passed);
      passed = 0;
      for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) offsets.push(bytesSeen + at);
      bytesSeen += bytes.length;
    },
    lineOf(byte) {
      while (passed < offsets.length && offsets[passed]! < byte) [passed, line] = [passed + 1, line + 1];
      return line;
    },
  };
}

function countNewlines(cell: string): number {
  let count = 0;
  for (let at = cell.indexOf('\n'); at >= 0; at = cell.indexOf('\n', at + 1)) count++;
  return count;
}

/** Runs one step of the parser; its failure is a problem of the file, not of the process. */
function settle(parser: Parser, sink: RecordSink, step: (done: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const fail = (error: Error) => {
      sink.breakOff(0, 'ENCODING_INVALID', `can't be read as CSV: ${messageOf(error)}`);
      resolve();
    };
    parser.once('error', fail);
    step((error) => {
      parser.off('error', fail);
      if (error) fail(error);
      else resolve();
    });
  });
}
