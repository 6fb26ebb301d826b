// What is left of a backfill, shared among workers by leases: by the database's clock, with a token that is never given twice.
import type { EntityManager } from '@mikro-orm/postgresql';
import { WORKING_STATES } from '../core/backfill.ts';
import { leaseEnd } from '../core/backfill-pace.ts';
import { TrueUpError } from '../core/errors.ts';
import type { LedgerRange } from '../core/ledger.ts';
import { sql, sqlCount } from './database.ts';
import { findJob, FREE_WHEN_IDLE, type BackfillJob } from './backfills.ts';

export type ChunkKind = 'read' | 'verify';

/** A worker's share of a job, as long as its token is the row's. */
export interface HeldChunk {
  readonly id: string;
  readonly token: string;
  readonly kind: ChunkKind;
  readonly range: LedgerRange;
}

/** A write that takes longer is ended by the server, and the next one is half as large. */
const WRITE_TIMEOUT_MS = 20_000;

export async function addChunks(
  em: EntityManager,
  backfillId: string,
  kind: ChunkKind,
  ranges: readonly LedgerRange[],
): Promise<void> {
  await sqlCount(
    em,
    `insert into trueup.backfill_chunks (backfill_id, kind, from_ledger, to_ledger)
     select $1, $2, * from unnest($3::int[], $4::int[])`,
    [backfillId, kind, ranges.map((range) => range.from), ranges.map((range) => range.to)],
  );
}

/**
 * Takes the first free share of the job that has the fewest workers; a long row is cut, and its rest stays free. In a transaction of
 * its own: the job's row is locked first, so that its limit of workers is exact over all replicas.
 *
 * @param networks whose ledgers this process can read, by passphrase
 * @returns null where there is nothing to do, or somebody else is taking it at this very moment
 */
export async function claimChunk(
  em: EntityManager,
  networks: readonly string[],
  holder: string,
  leaseMs: number,
): Promise<{ job: BackfillJob; chunk: HeldChunk } | null> {
  return em.transactional(async (tx) => {
    const [candidate] = await sql<{ id: string }>(
      tx,
      `select b.id, ${FREE_WHEN_IDLE} from trueup.backfills b
       where b.completed_at is null and b.state = any($1::text[])
         and b.stream_id in (select id from trueup.streams where network_passphrase = any($2::text[]))
         and (b.retry_at is null or b.retry_at <= clock_timestamp())
         and exists (select 1 from trueup.backfill_chunks c where c.backfill_id = b.id and ${FREE})
       order by (select count(*) from trueup.backfill_chunks c where c.backfill_id = b.id and not ${FREE}), b.created_at
       limit 1 for no key update of b skip locked`,
      [WORKING_STATES, networks],
    );
    const job = candidate && (await findJob(tx, candidate.id));
    if (!job) return null;
    const [row] = await sql<{ id: string; kind: ChunkKind; from_ledger: number; to_ledger: number }>(
      tx,
      `select c.id::text, c.kind, c.from_ledger, c.to_ledger from trueup.backfill_chunks c
       where c.backfill_id = $1 and ${FREE}
         and ($2 = 0 or $2 > (select count(*) from trueup.backfill_chunks c where c.backfill_id = $1 and not ${FREE}))
       order by c.from_ledger limit 1 for update of c skip locked`,
      [job.id, job.limits.concurrency],
    );
    if (!row) return null;
    const left = { from: row.from_ledger, to: row.to_ledger };
    const range = { from: left.from, to: leaseEnd(left, job.pieceLedgers) };
    const [taken] = await sql<{ token: string }>(
      tx,
      `update trueup.backfill_chunks set to_ledger = $2, token = nextval('trueup.backfill_tokens'), holder = $3, phase = 'reading',
         lease_until = clock_timestamp() + $4 * interval '1 millisecond'
       where id = $1 returning token::text`,
      [row.id, range.to, holder, leaseMs],
    );
    if (range.to < left.to) await addChunks(tx, job.id, row.kind, [{ from: range.to, to: left.to }]);
    return { job, chunk: { id: row.id, token: taken!.token, kind: row.kind, range } };
  });
}

/** Free: never taken, given back, or its worker was not heard of in time. */
const FREE = `(c.lease_until is null or c.lease_until <= clock_timestamp())`;

/**
 * To be called first inside the transaction that writes: the row is then locked, so that nobody takes the share before the commit.
 * A worker that stops in the middle of its transaction is put out by the server after `leaseMs`, its rows with it.
 *
 * @throws TrueUpError LEASE_LOST: somebody else has the share, so nothing may be written.
 */
export async function holdChunk(em: EntityManager, chunk: HeldChunk, leaseMs: number): Promise<void> {
  const rows = await sql(
    em,
    `select set_config('idle_in_transaction_session_timeout', $3, true), set_config('statement_timeout', $4, true)
     from (select 1 from trueup.backfill_chunks where id = $1 and token = $2 for update) as held`,
    [chunk.id, chunk.token, String(leaseMs), String(WRITE_TIMEOUT_MS)],
  );
  if (rows.length === 1) return;
  throw new TrueUpError(
    'LEASE_LOST',
    'this share of the backfill was taken over by another worker; this one drops its work',
    {
      metadata: { lease: 'backfill' },
    },
  );
}

export interface PieceDone {
  /** The part of the chunk that is done; it begins where the chunk does. */
  readonly range: LedgerRange;
  readonly scannedLedgers: number;
  readonly quarantinedLedgers: number;
  readonly unavailableLedgers: number;
  readonly insertedEntries: number;
  readonly duplicateEntries: number;
  readonly conflict: boolean;
  readonly chunks: number;
  readonly retries: number;
  readonly requests: number;
  readonly bytes: number;
  readonly readMs: number;
  readonly decodeMs: number;
  /** Null: unchanged. */
  readonly pieceLedgers: number | null;
}

/**
 * Counts a piece and takes it off what is left, in one statement of the transaction that wrote it.
 *
 * @returns the job's state, for the caller to say that it runs again
 * @throws TrueUpError LEASE_LOST
 */
export async function finishPiece(
  em: EntityManager,
  backfillId: string,
  chunk: HeldChunk,
  piece: PieceDone,
): Promise<string> {
  const whole = piece.range.to === chunk.range.to;
  const taken = whole
    ? `delete from trueup.backfill_chunks where id = $2 and token = $3 returning backfill_id`
    : `update trueup.backfill_chunks set from_ledger = $4 where id = $2 and token = $3 returning backfill_id`;
  const rows = await sql<{ state: string }>(
    em,
    `with taken as (${taken})
     update trueup.backfills b set scanned_ledgers = scanned_ledgers + $5, quarantined_ledgers = quarantined_ledgers + $6,
       unavailable_ledgers = unavailable_ledgers + $7, inserted_entries = inserted_entries + $8,
       duplicate_entries = duplicate_entries + $9, done_chunks = done_chunks + $10, retries = retries + $11, requests = requests + $12,
       read_bytes = read_bytes + $13, read_ms = $14, decode_ms = $15, piece_ledgers = coalesce($16, piece_ledgers),
       percent = greatest(percent, 100.0 * (scanned_ledgers + quarantined_ledgers + unavailable_ledgers + $5 + $6 + $7)
         / greatest(planned_ledgers, 1)),
       unavailable_ranges = case when $7 > 0 then unavailable_ranges + int4multirange(int4range($17, $4)) else unavailable_ranges end,
       conflict_ranges = case when $18 then conflict_ranges + int4multirange(int4range($17, $4)) else conflict_ranges end,
       last_ledger = greatest(coalesce(last_ledger, 0), $4 - 1), failures = 0, retry_at = null, moved_at = clock_timestamp(),
       updated_at = clock_timestamp(), sequence = nextval('trueup.change_sequence')
     from taken where b.id = taken.backfill_id and b.id = $1 returning b.state`,
    [
      backfillId,
      chunk.id,
      chunk.token,
      piece.range.to,
      piece.scannedLedgers,
      piece.quarantinedLedgers,
      piece.unavailableLedgers,
      piece.insertedEntries,
      piece.duplicateEntries,
      piece.chunks,
      piece.retries,
      piece.requests,
      piece.bytes,
      piece.readMs,
      piece.decodeMs,
      piece.pieceLedgers,
      piece.range.from,
      piece.conflict,
    ],
  );
  if (rows[0] !== undefined) return rows[0].state;
  throw new TrueUpError('LEASE_LOST', 'this share of the backfill was taken over by another worker');
}

/** Gives a share back at once, for others to take. */
export async function releaseChunk(em: EntityManager, chunk: HeldChunk): Promise<void> {
  await sqlCount(
    em,
    `update trueup.backfill_chunks set lease_until = null, token = null, holder = null, phase = null where id = $1 and token = $2`,
    [chunk.id, chunk.token],
  );
}

/**
 * Keeps leases for another `leaseMs`; those whose rows a write of ours has locked need no keeping.
 *
 * @returns tokens that are no longer ours
 */
export async function keepChunks(
  em: EntityManager,
  chunks: readonly { readonly id: string; readonly token: string; readonly phase: string }[],
  leaseMs: number,
): Promise<string[]> {
  const rows = await sql<{ token: string }>(
    em,
    `with held as (select * from unnest($1::bigint[], $2::bigint[], $3::text[]) as held (id, token, phase)),
     mine as (select c.id from trueup.backfill_chunks c join held on held.id = c.id and held.token = c.token for update of c skip locked),
     kept as (update trueup.backfill_chunks c set lease_until = clock_timestamp() + $4 * interval '1 millisecond', phase = held.phase
       from mine join held on held.id = mine.id where c.id = mine.id)
     select held.token::text from held
     where not exists (select 1 from trueup.backfill_chunks c where c.id = held.id and c.token = held.token)`,
    [chunks.map((chunk) => chunk.id), chunks.map((chunk) => chunk.token), chunks.map((chunk) => chunk.phase), leaseMs],
  );
  return rows.map((row) => row.token);
}

/** The kinds of work that are left. */
export async function leftToDo(em: EntityManager, backfillId: string): Promise<ReadonlySet<ChunkKind>> {
  const rows = await sql<{ kind: ChunkKind }>(
    em,
    `select distinct kind from trueup.backfill_chunks where backfill_id = $1`,
    [backfillId],
  );
  return new Set(rows.map((row) => row.kind));
}

/**
 * Takes all tokens back where nobody works on the job any more: not a worker with a lease, nor one that is late and in the middle of
 * a write, whose row is locked.
 *
 * @returns false where somebody does; then nothing was changed
 */
export async function silenceChunks(em: EntityManager, backfillId: string): Promise<boolean> {
  const [row] = await sql<{ quiet: boolean }>(
    em,
    `with free as (select c.id from trueup.backfill_chunks c where c.backfill_id = $1 and ${FREE} for update of c skip locked)
     select (select count(*) from free) = (select count(*) from trueup.backfill_chunks where backfill_id = $1) as quiet`,
    [backfillId],
  );
  if (!row!.quiet) return false;
  await sqlCount(
    em,
    `update trueup.backfill_chunks set token = null, lease_until = null where backfill_id = $1 and token is not null`,
    [backfillId],
  );
  return true;
}
