// From rows to an artifact's bytes: COPY's own, or lines of ours, then JSON's brackets, then compression.
import { Readable, Transform, type Duplex } from 'node:stream';
import { constants, createGzip, createZstdCompress } from 'node:zlib';
import { csvHeader, csvLine, type Cell } from '../core/csv.ts';
import type { ExportColumn } from '../core/export-columns.ts';
import type { ExportCompression, ExportFormat } from '../core/export.ts';

/** Lines of rows that come as values, in the form in which COPY gives the others. */
export function linesOf(
  rows: AsyncIterable<readonly (readonly Cell[])[]>,
  columns: readonly ExportColumn[],
  format: ExportFormat,
  onRows: (count: number) => void,
): Readable {
  async function* lines(): AsyncGenerator<string> {
    if (format === 'csv') yield csvHeader(columns);
    for await (const page of rows) {
      onRows(page.length);
      yield page.map((cells) => (format === 'csv' ? csvLine(columns, cells) : jsonLine(columns, cells))).join('');
    }
  }
  return Readable.from(lines(), { objectMode: false });
}

function jsonLine(columns: readonly ExportColumn[], cells: readonly Cell[]): string {
  return `${JSON.stringify(Object.fromEntries(columns.map(({ name }, i) => [name, cells[i]])))}\n`;
}

/** What the lines go through on their way into the artifact, in order. */
export function stagesOf(format: ExportFormat, compression: ExportCompression): Duplex[] {
  const stages: Duplex[] = format === 'json' ? [new JsonArray()] : [];
  if (compression === 'gzip') stages.push(createGzip({ level: 6 }));
  if (compression === 'zstd') stages.push(createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } }));
  return stages;
}

const NEWLINE = 0x0a;
const OPENING = Buffer.from('[\n');
const SEPARATOR = Buffer.from(',\n');

/** Lines of JSON as one array of them. A line holds no newline of its own, so each newline ends a row. */
export class JsonArray extends Transform {
  #isEmpty = true;
  #afterRow = false;

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const pieces: Buffer[] = this.#isEmpty ? [OPENING] : [];
    this.#isEmpty = false;
    for (let from = 0; from < chunk.length;) {
      if (this.#afterRow) pieces.push(SEPARATOR);
      const end = chunk.indexOf(NEWLINE, from);
      this.#afterRow = end >= 0;
      pieces.push(chunk.subarray(from, end < 0 ? chunk.length : end));
      from = end < 0 ? chunk.length : end + 1;
    }
    this.push(Buffer.concat(pieces));
    done();
  }

  override _flush(done: (error?: Error | null) => void): void {
    this.push(this.#isEmpty ? '[]\n' : '\n]\n');
    done();
  }
}

/** Counts rows of COPY's lines as they pass, for progress alone; a quoted newline counts too, the end of COPY knows better. */
export class RowCounter extends Transform {
  rows = 0;

  override _transform(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (error?: Error | null, data?: Buffer) => void,
  ): void {
    for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, at + 1)) this.rows++;
    done(null, chunk);
  }
}
