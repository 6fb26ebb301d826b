// What could not be decoded, for an operator to look at: why, how often it was tried, and the bytes.
import type { Layer } from '../core/entry.ts';
import { TrueUpError } from '../core/errors.ts';
import { pageOf, type Page, type PagePosition, type PageRequest } from '../core/page.ts';
import type { Quarantine, QuarantineFilter } from '../core/quarantine.ts';
import type { Database } from '../store/database.ts';
import { LAYER_CODES } from '../store/entries.ts';
import {
  listQuarantines,
  payloadOfQuarantine,
  type QuarantinePosition,
  type QuarantineRow,
} from '../store/quarantines.ts';
import type { Stream } from '../store/streams.ts';
import { unreadableFailure } from './coverage.ts';
import { requireRange } from './gaps.ts';
import { chooseStream, provenanceOf } from './stream-choice.ts';

interface QuarantineDeps {
  readonly db: Database;
  readonly networkPassphrase: string;
}

/** In order of ledgers. @throws TrueUpError STREAM_NOT_FOUND, INVALID_LEDGER_RANGE, INVALID_PAGE_TOKEN */
export async function quarantinePage(
  { db, networkPassphrase }: QuarantineDeps,
  filter: QuarantineFilter,
  page: PageRequest,
): Promise<Page<Quarantine>> {
  requireRange(filter.range);
  const em = db.em();
  const stream = await chooseStream(em, filter.stream, networkPassphrase);
  const query = { layers: layersOf(filter.layer), range: filter.range ?? null };
  const after = page.after === null ? null : readPosition(page.after);
  const rows = await listQuarantines(em, stream.id, query, after, page.size + 1);
  return pageOf(
    rows,
    page.size,
    (row) => ({ f: row.range.from, i: row.id }),
    (row) => toQuarantine(stream, row),
  );
}

/**
 * The one that holds a ledger, with the bytes that are kept; null bytes where none are.
 *
 * @throws TrueUpError STREAM_NOT_FOUND, QUARANTINE_NOT_FOUND
 */
export async function quarantineAt(
  { db, networkPassphrase }: QuarantineDeps,
  at: { readonly stream: string | null; readonly layer?: Layer; readonly ledger: number },
): Promise<{ readonly quarantine: Quarantine; readonly bytes: Buffer | null }> {
  const em = db.em();
  const stream = await chooseStream(em, at.stream, networkPassphrase);
  const query = { layers: layersOf(at.layer), range: { from: at.ledger, to: at.ledger + 1 } };
  const [row] = await listQuarantines(em, stream.id, query, null, 1);
  if (row === undefined) {
    throw new TrueUpError('QUARANTINE_NOT_FOUND', `ledger ${at.ledger} is not set apart as undecodable`, {
      fix: 'trueup quarantine lists those that are; one that could be read after all is forgotten',
    });
  }
  return { quarantine: toQuarantine(stream, row), bytes: await payloadOfQuarantine(em, row.id) };
}

function layersOf(layer: Layer | undefined): readonly Layer[] {
  return layer === undefined ? (Object.keys(LAYER_CODES) as Layer[]) : [layer];
}

function toQuarantine(stream: Stream, row: QuarantineRow): Quarantine {
  const { layer, range, reason, detail, attempts, firstAt, lastAt, format, sizeBytes, keptBytes } = row;
  return {
    stream: stream.name,
    layer,
    range,
    source: provenanceOf(row.source, lastAt),
    failure: unreadableFailure(range, 'quarantined', reason, detail, lastAt),
    attempts,
    firstAt,
    lastAt,
    payload: format === null || sizeBytes === null ? null : { format, sizeBytes, keptBytes },
  };
}

function readPosition({ f: ledger, i: id }: PagePosition): QuarantinePosition {
  if (Number.isSafeInteger(ledger) && typeof id === 'string' && /^\d{1,18}$/.test(id))
    return { ledger: ledger as number, id };
  throw new TrueUpError('INVALID_PAGE_TOKEN', 'this page token is not one of this list; start again without one');
}
