// Backfills as they are shown: the row, what is left of it, and how fast it went, read in one statement.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { Backfill, BackfillFilter, BackfillState, SpanRates } from '../core/backfill.ts';
import { estimateEta, stallOf } from '../core/backfill-pace.ts';
import { REASONS, type Reason } from '../core/errors.ts';
import { isUuid } from '../core/ids.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { pageOf, type Page, type PageRequest } from '../core/page.ts';
import { sql, toDate, toDateOrNull } from './database.ts';
import { LAYER_OF_CODE } from './entries.ts';

/** Ranges of a kind that a report lists. */
const MAX_LISTED_RANGES = 1_000;
/** Rows a second that a commit writes, for the estimate of a dry run: what it doesn't do itself. */
const WRITE_ROWS_PER_SECOND = 20_000;

export async function viewBackfill(em: EntityManager, id: string): Promise<Backfill | null> {
  if (!isUuid(id)) return null;
  const rows = await sql<ViewRow>(em, `${VIEW_SQL} where b.id = $1`, [id]);
  return rows[0] ? toBackfill(rows[0]) : null;
}

/** Where a job has come, for those who look many times a second; null where there is none. */
export async function sequenceOf(em: EntityManager, id: string): Promise<bigint | null> {
  if (!isUuid(id)) return null;
  const rows = await sql<{ sequence: string }>(em, `select sequence::text from trueup.backfills where id = $1`, [id]);
  return rows[0] ? BigInt(rows[0].sequence) : null;
}

/** Newest first. */
export async function listBackfills(
  em: EntityManager,
  filter: BackfillFilter,
  page: PageRequest,
): Promise<Page<Backfill>> {
  const selected = `($1::text[] is null or b.state = any($1)) and ($2::text is null or s.name = $2) and ($3::boolean is null or b.dry_run = $3)
    and ($4::timestamptz is null or b.created_at >= $4) and ($5::timestamptz is null or b.created_at < $5)`;
  const values = [
    filter.states && filter.states.length > 0 ? filter.states : null,
    filter.stream ?? null,
    filter.dryRun ?? null,
    filter.createdFrom?.toISOString() ?? null,
    filter.createdTo?.toISOString() ?? null,
  ];
  const rows = await sql<ViewRow>(
    em,
    `${VIEW_SQL} where ${selected} and ($6::timestamptz is null or (b.created_at, b.id) < ($6, $7::uuid))
     order by b.created_at desc, b.id desc limit $8`,
    [...values, page.after?.['createdAt'] ?? null, page.after?.['id'] ?? null, page.size + 1],
  );
  const [total] = await sql<{ n: string }>(
    em,
    `select count(*) as n from trueup.backfills b join trueup.streams s on s.id = b.stream_id where ${selected}`,
    values,
  );
  return {
    ...pageOf(rows, page.size, (row) => ({ createdAt: row.created_at, id: row.id }), toBackfill),
    totalSize: Number(total!.n),
  };
}

const ranges = (column: string): string =>
  `array(select array[lower(r), upper(r)] from unnest(${column}) as r order by lower(r) limit ${MAX_LISTED_RANGES})`;
const sample = (fromMs: number, toMs: number): string =>
  `lateral (select extract(epoch from clock_timestamp() - at)::float8 as age, ledgers::float8 as ledgers, entries::float8 as entries
    from trueup.backfill_samples where backfill_id = b.id
      and at <= clock_timestamp() - interval '${fromMs} milliseconds' and at >= clock_timestamp() - interval '${toMs} milliseconds'
    order by at desc limit 1)`;

const VIEW_SQL = `
  select b.id, s.name as stream, b.layers, b.from_ledger, b.to_ledger, b.source, b.watch, b.dry_run, b.reread, b.ledgers_per_second,
    b.requests_per_second, b.concurrency, b.batch_size, b.sandbox, b.reason, b.actor, b.request_id, b.state, b.state_at, b.error_reason,
    b.error_message, b.error_fix, b.error_at, b.source_asked, b.missing_ledgers::float8 as missing_ledgers,
    b.planned_ledgers::float8 as planned_ledgers, b.scanned_ledgers::float8 as scanned_ledgers,
    b.quarantined_ledgers::float8 as quarantined_ledgers, b.unavailable_ledgers::float8 as unavailable_ledgers,
    b.inserted_entries::text as inserted_entries, b.duplicate_entries::text as duplicate_entries,
    b.total_chunks::float8 as total_chunks, b.done_chunks::float8 as done_chunks, b.percent, b.retries::text as retries,
    b.requests::float8 as requests, b.read_bytes::text as read_bytes, b.last_ledger, b.read_ms, b.decode_ms, b.digest,
    ${ranges('b.missing_ranges')} as missing_ranges, (select count(*)::int from unnest(b.missing_ranges)) as missing_range_count,
    ${ranges('b.unavailable_ranges')} as unavailable_ranges, ${ranges('b.conflict_ranges')} as conflict_ranges,
    (select coalesce(sum(upper(r) - lower(r)), 0)::float8 from unnest(b.conflict_ranges) as r) as conflict_ledgers,
    b.running_ms + case when b.state in ('running', 'throttled', 'verifying')
      then least(5000, extract(epoch from clock_timestamp() - coalesce(b.sampled_at, b.started_at)) * 1000) else 0 end as running_ms,
    b.sequence::text as sequence, b.created_at, b.started_at, b.moved_at, b.updated_at, b.completed_at, clock_timestamp() as now,
    left_over.next_ledger, left_over.workers, left_over.writing, f.oldest_ledger,
    s10.age as age10, s10.ledgers as ledgers10, s10.entries as entries10, s60.age as age60, s60.ledgers as ledgers60, s60.entries as entries60
  from trueup.backfills b join trueup.streams s on s.id = b.stream_id
  left join trueup.followers f on f.stream_id = b.stream_id
  cross join lateral (select min(from_ledger) filter (where kind = 'read') as next_ledger,
      count(*) filter (where lease_until > clock_timestamp())::int as workers,
      coalesce(bool_or(phase = 'writing') filter (where lease_until > clock_timestamp()), false) as writing
    from trueup.backfill_chunks where backfill_id = b.id) as left_over
  left join ${sample(8_000, 15_000)} as s10 on true
  left join ${sample(50_000, 90_000)} as s60 on true`;

interface ViewRow {
  id: string;
  stream: string;
  layers: number[];
  from_ledger: number;
  to_ledger: number;
  source: string | null;
  watch: string[] | null;
  dry_run: boolean;
  reread: boolean;
  ledgers_per_second: number | null;
  requests_per_second: number | null;
  concurrency: number;
  batch_size: number;
  sandbox: boolean;
  reason: string | null;
  actor: string;
  request_id: string | null;
  state: BackfillState;
  state_at: string;
  error_reason: string | null;
  error_message: string | null;
  error_fix: string | null;
  error_at: string | null;
  source_asked: boolean;
  missing_ledgers: number;
  planned_ledgers: number;
  scanned_ledgers: number;
  quarantined_ledgers: number;
  unavailable_ledgers: number;
  inserted_entries: string;
  duplicate_entries: string;
  total_chunks: number;
  done_chunks: number;
  percent: number;
  retries: string;
  requests: number;
  read_bytes: string;
  last_ledger: number | null;
  read_ms: number;
  decode_ms: number;
  digest: string | null;
  missing_ranges: [number, number][];
  missing_range_count: number;
  unavailable_ranges: [number, number][];
  conflict_ranges: [number, number][];
  conflict_ledgers: number;
  running_ms: number | null;
  sequence: string;
  created_at: string;
  started_at: string | null;
  moved_at: string | null;
  updated_at: string;
  completed_at: string | null;
  now: string;
  next_ledger: number | null;
  workers: number;
  writing: boolean;
  oldest_ledger: number | null;
  age10: number | null;
  ledgers10: number | null;
  entries10: number | null;
  age60: number | null;
  ledgers60: number | null;
  entries60: number | null;
}

function toBackfill(row: ViewRow): Backfill {
  const createdAt = toDate(row.created_at);
  const isPlanned = row.state !== 'planned' && (row.planned_ledgers > 0 || row.started_at !== null);
  return {
    id: row.id,
    stream: row.stream,
    layer: row.layers.length === 1 ? LAYER_OF_CODE[row.layers[0]!]! : null,
    range: { from: row.from_ledger, to: row.to_ledger },
    source: row.source,
    watch: row.watch,
    dryRun: row.dry_run,
    reread: row.reread,
    limits: {
      ledgersPerSecond: row.ledgers_per_second,
      requestsPerSecond: row.requests_per_second,
      concurrency: row.concurrency,
      batchSize: row.batch_size,
    },
    state: row.state,
    progress: progressOf(row, isPlanned),
    report: row.dry_run && row.state === 'succeeded' ? reportOf(row) : null,
    error: errorOf(row),
    digest: row.digest,
    reason: row.reason,
    requester: row.actor,
    requestId: row.request_id,
    sandbox: row.sandbox,
    createdAt,
    startedAt: toDateOrNull(row.started_at),
    updatedAt: toDate(row.updated_at),
    completedAt: toDateOrNull(row.completed_at),
  };
}

function progressOf(row: ViewRow, isPlanned: boolean): Backfill['progress'] {
  const total = row.to_ledger - row.from_ledger;
  const entries = Number(row.inserted_entries) + Number(row.duplicate_entries);
  const ledgerRates = ratesOf(row, row.scanned_ledgers, row.ledgers10, row.ledgers60);
  const done = row.scanned_ledgers + row.quarantined_ledgers + row.unavailable_ledgers;
  const remaining = Math.max(0, row.planned_ledgers - done);
  const moving = row.state === 'running' || row.state === 'throttled';
  const eta = moving ? estimateEta(remaining, ledgerRates) : null;
  // What was covered before counts as done from the start of the range.
  const next = row.next_ledger ?? (isPlanned ? row.to_ledger : row.from_ledger);
  return {
    sequence: BigInt(row.sequence),
    totalLedgers: total,
    missingLedgers: row.missing_ledgers,
    scannedLedgers: row.scanned_ledgers,
    skippedLedgers: isPlanned ? Math.max(0, total - row.planned_ledgers) : 0,
    quarantinedLedgers: row.quarantined_ledgers,
    unavailableLedgers: row.unavailable_ledgers,
    insertedEntries: BigInt(row.inserted_entries),
    duplicateEntries: BigInt(row.duplicate_entries),
    contiguousThrough: next > row.from_ledger ? next - 1 : null,
    lastLedger: row.last_ledger,
    totalChunks: row.total_chunks,
    doneChunks: Math.min(row.done_chunks, row.total_chunks),
    percent: row.state === 'succeeded' ? 100 : Math.min(100, row.percent),
    ledgerRates,
    entryRates: ratesOf(row, entries, row.entries10, row.entries60),
    retries: BigInt(row.retries),
    stall: stallOf({
      state: row.state,
      now: toDate(row.now),
      stateSince: toDate(row.state_at),
      movedAt: toDateOrNull(row.moved_at),
      workers: row.workers,
      writing: row.writing,
      decodeShare: row.decode_ms / Math.max(1, row.read_ms),
      sourceAsked: row.source_asked,
    }),
    etaMs: eta?.etaMs ?? null,
    etaUncertaintyMs: eta?.uncertaintyMs ?? null,
    workers: row.workers,
    retentionMarginLedgers:
      row.next_ledger === null || row.oldest_ledger === null ? null : row.next_ledger - row.oldest_ledger,
    updatedAt: toDate(row.updated_at),
  };
}

function ratesOf(row: ViewRow, count: number, before10: number | null, before60: number | null): SpanRates {
  const over = (before: number | null, age: number | null): number | null =>
    before === null || age === null || age <= 0 ? null : (count - before) / age;
  const life = row.running_ms !== null && row.running_ms >= 1 ? count / (row.running_ms / 1_000) : null;
  return { last10s: over(before10, row.age10), last1m: over(before60, row.age60), life: count > 0 ? life : null };
}

function reportOf(row: ViewRow): Backfill['report'] {
  const writingMs = (Number(row.inserted_entries) / WRITE_ROWS_PER_SECOND) * 1_000;
  return {
    missingRanges: toRanges(row.missing_ranges),
    missingRangeCount: row.missing_range_count,
    unavailableRanges: toRanges(row.unavailable_ranges),
    conflictRanges: toRanges(row.conflict_ranges),
    chunks: row.total_chunks,
    readLedgers: row.scanned_ledgers,
    insertEntries: BigInt(row.inserted_entries),
    duplicateEntries: BigInt(row.duplicate_entries),
    conflictLedgers: row.conflict_ledgers,
    requests: row.requests,
    bytes: BigInt(row.read_bytes),
    estimatedDurationMs: row.running_ms === null ? null : row.running_ms + writingMs,
  };
}

function toRanges(pairs: readonly [number, number][]): LedgerRange[] {
  return pairs.map(([from, to]) => ({ from, to }));
}

function errorOf(row: ViewRow): Backfill['error'] {
  if (row.error_reason === null) return null;
  const reason: Reason = Object.hasOwn(REASONS, row.error_reason) ? (row.error_reason as Reason) : 'INTERNAL';
  return {
    reason,
    message: row.error_message ?? '',
    fix: row.error_fix ?? '',
    retryable: REASONS[reason].retryable,
    at: toDateOrNull(row.error_at),
  };
}
