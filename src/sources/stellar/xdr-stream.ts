// Record marking (RFC 5531): each record of an archive file or a stream is its length, high bit set, then its bytes.
import { corrupt } from './wire.ts';
import type { LedgerRange } from '../../core/ledger.ts';

const headerBytes = 4;
const LAST_FRAGMENT = 0x8000_0000;

/**
 * The records of a file, as views of its bytes (nothing is copied).
 *
 * @param range the ledgers that the file holds: where the framing is broken, none of them can be trusted.
 * @throws TrueUpError SOURCE_CORRUPT
 */
export function splitRecords(file: Buffer, what: string, range: LedgerRange): Buffer[] {
  const records: Buffer[] = [];
  let at = 0;
  while (at < file.length) {
    if (file.length - at < headerBytes) throw corrupt(range, `${what} ends inside a record's length`);
    const mark = file.readUInt32BE(at);
    if ((mark & LAST_FRAGMENT) === 0) throw corrupt(range, `${what} has a record without its end mark at byte ${at}`);
    const length = mark & ~LAST_FRAGMENT;
    const start = at + headerBytes;
    if (length > file.length - start) throw corrupt(range, `${what} ends inside a record of ${length} bytes`);
    records.push(file.subarray(start, start + length));
    at = start + length;
  }
  return records;
}
