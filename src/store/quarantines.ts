// Poison ledgers as rows: why, how often they were tried, and the bytes that could not be decoded, until the ledgers are read after all.
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Layer } from '../core/entry.ts';
import type { LedgerRange } from '../core/ledger.ts';
import type { RawPayload } from '../core/raw-payload.ts';
import type { CoverageTarget } from './coverage-chunks.ts';
import { sql, sqlCount, toDate } from './database.ts';
import { LAYER_CODES, LAYER_OF_CODE } from './entries.ts';

export const QUARANTINE_LIMITS = {
  /** Bytes kept of one quarantine, before compression; a busy ledger's metadata is about so much. */
  maxPayloadBytes: 1024 * 1024,
  /** Quarantines of a stream that keep their bytes; a source that serves nothing but poison fills no disk. */
  maxPayloads: 200,
} as const;

const compress = promisify(gzip);
const decompress = promisify(gunzip);

export interface Poison {
  readonly reason: string;
  readonly detail: string;
  /** Reads that failed before the range was set apart. */
  readonly attempts: number;
  readonly payload: RawPayload | null;
}

/** One more time that a range could not be decoded; part of the transaction that sets it apart. */
export async function keepQuarantine(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  range: LedgerRange,
  poison: Poison,
): Promise<void> {
  const bytes = poison.payload?.bytes.subarray(0, QUARANTINE_LIMITS.maxPayloadBytes) ?? null;
  await sqlCount(
    em,
    `with kept as (select count(*) < $12 as has_room from trueup.quarantines
       where stream_id = $1 and raw is not null and (layer, watch_set_id, from_ledger) <> ($2, $3, $4))
     insert into trueup.quarantines as known (stream_id, layer, watch_set_id, from_ledger, to_ledger, source_id, reason, detail, attempts,
       format, size_bytes, kept_bytes, raw)
     select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, case when has_room then $13::int else 0 end, case when has_room then $14::bytea end
     from kept
     on conflict (stream_id, layer, watch_set_id, from_ledger) do update set to_ledger = excluded.to_ledger,
       source_id = excluded.source_id, reason = excluded.reason, detail = excluded.detail,
       attempts = known.attempts + excluded.attempts, last_at = excluded.last_at,
       format = coalesce(excluded.format, known.format), size_bytes = coalesce(excluded.size_bytes, known.size_bytes),
       kept_bytes = case when excluded.raw is null then known.kept_bytes else excluded.kept_bytes end,
       raw = coalesce(excluded.raw, known.raw)`,
    [
      ...keyOf(target, layer),
      range.from,
      range.to,
      target.sourceId,
      poison.reason,
      poison.detail,
      poison.attempts,
      poison.payload?.format ?? null,
      poison.payload?.bytes.length ?? null,
      QUARANTINE_LIMITS.maxPayloads,
      bytes?.length ?? 0,
      bytes === null ? null : await compress(bytes),
    ],
  );
}

/** Forgets what of a range is no longer quarantined; after its chunks were written, in their transaction. */
export async function forgetHealed(
  em: EntityManager,
  target: CoverageTarget,
  layer: Layer,
  range: LedgerRange,
): Promise<void> {
  await sqlCount(
    em,
    `delete from trueup.quarantines q
     where stream_id = $1 and layer = $2 and watch_set_id = $3 and from_ledger < $5 and to_ledger > $4 and not exists (
       select from trueup.coverage_chunks c where c.stream_id = $1 and c.layer = $2 and c.watch_set_id = $3
         and c.state = 'quarantined' and c.from_ledger < q.to_ledger and c.to_ledger > q.from_ledger)`,
    [...keyOf(target, layer), range.from, range.to],
  );
}

export interface QuarantineRow {
  readonly id: string;
  readonly layer: Layer;
  readonly range: LedgerRange;
  readonly source: string;
  readonly reason: string;
  readonly detail: string;
  readonly attempts: number;
  readonly firstAt: Date;
  readonly lastAt: Date;
  readonly format: string | null;
  readonly sizeBytes: number | null;
  readonly keptBytes: number;
}

export interface QuarantineQuery {
  readonly layers: readonly Layer[];
  readonly range: LedgerRange | null;
}

export interface QuarantinePosition {
  readonly ledger: number;
  readonly id: string;
}

/** In order of their first ledger, then of their making; at most `limit`. */
export async function listQuarantines(
  em: EntityManager,
  streamId: number,
  query: QuarantineQuery,
  after: QuarantinePosition | null,
  limit: number,
): Promise<QuarantineRow[]> {
  const rows = await sql<QuarantineRecord>(
    em,
    `select q.id::text, q.layer, q.from_ledger, q.to_ledger, s.label as source, q.reason, q.detail, q.attempts, q.first_at, q.last_at,
       q.format, q.size_bytes, q.kept_bytes
     from trueup.quarantines q join trueup.sources s on s.id = q.source_id
     where q.stream_id = $1 and q.layer = any($2::smallint[]) and ($3::int is null or q.to_ledger > $3)
       and ($4::int is null or q.from_ledger < $4) and ($5::int is null or (q.from_ledger, q.id) > ($5, $6::bigint))
     order by q.from_ledger, q.id limit $7`,
    [
      streamId,
      query.layers.map((layer) => LAYER_CODES[layer]),
      query.range?.from ?? null,
      query.range?.to ?? null,
      after?.ledger ?? null,
      after?.id ?? null,
      limit,
    ],
  );
  return rows.map((row) => ({
    id: row.id,
    layer: LAYER_OF_CODE[row.layer]!,
    range: { from: row.from_ledger, to: row.to_ledger },
    source: row.source,
    reason: row.reason,
    detail: row.detail,
    attempts: row.attempts,
    firstAt: toDate(row.first_at),
    lastAt: toDate(row.last_at),
    format: row.format,
    sizeBytes: row.size_bytes,
    keptBytes: row.kept_bytes,
  }));
}

/** The bytes as the source gave them, as many as are kept; null where none are. */
export async function payloadOfQuarantine(em: EntityManager, id: string): Promise<Buffer | null> {
  const [row] = await sql<{ raw: Buffer | null }>(em, `select raw from trueup.quarantines where id = $1`, [id]);
  return row?.raw ? await decompress(row.raw) : null;
}

interface QuarantineRecord {
  id: string;
  layer: number;
  from_ledger: number;
  to_ledger: number;
  source: string;
  reason: string;
  detail: string;
  attempts: number;
  first_at: string;
  last_at: string;
  format: string | null;
  size_bytes: number | null;
  kept_bytes: number;
}

function keyOf(target: CoverageTarget, layer: Layer): [number, number, number] {
  return [target.streamId, LAYER_CODES[layer], target.watchSetId];
}
