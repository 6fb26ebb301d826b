// Streams, their watches and how far the follower has come.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { LedgerHeader } from '../core/ledger.ts';
import { watchFingerprint, type Watch } from '../core/watch.ts';
import { sqlCount, sql, toDate, toDateOrNull } from './database.ts';

export interface Stream {
  readonly id: number;
  readonly name: string;
  readonly networkPassphrase: string;
  readonly anchorLedger: number;
  readonly epoch: string;
  readonly sandbox: boolean;
  readonly state: 'active' | 'diverged' | 'retired';
  readonly createdAt: Date;
}

export interface FollowerRow {
  readonly streamId: number;
  readonly watchSetId: number;
  readonly startLedger: number;
  readonly nextLedger: number;
  /** Null after a range that could not be read: the chain can't be linked across it. */
  readonly lastHash: string | null;
  readonly lastClosedAt: Date | null;
  readonly processedLedgers: bigint;
  readonly tipLedger: number | null;
  readonly tipClosedAt: Date | null;
  readonly oldestLedger: number | null;
  readonly lastSuccessAt: Date | null;
  readonly lastErrorAt: Date | null;
  readonly lastErrorReason: string | null;
  readonly lastErrorMessage: string | null;
}

interface StreamRow {
  id: number;
  name: string;
  network_passphrase: string;
  anchor_ledger: number;
  epoch: string;
  sandbox: boolean;
  state: Stream['state'];
  created_at: Date | string;
}

/** Every stream that isn't retired, oldest first; a deployment has one, and an older epoch's after a reset. */
export async function listStreams(em: EntityManager): Promise<Stream[]> {
  const rows = await sql<StreamRow>(em, `select * from trueup.streams where state <> 'retired' order by id`);
  return rows.map(toStream);
}

/** The network's newest epoch; null before anything was read of it. */
export async function currentStream(em: EntityManager, networkPassphrase: string): Promise<Stream | null> {
  const rows = await sql<StreamRow>(
    em,
    `select * from trueup.streams where network_passphrase = $1 and state <> 'retired' order by id desc limit 1`,
    [networkPassphrase],
  );
  return rows[0] ? toStream(rows[0]) : null;
}

export interface StreamToOpen {
  readonly networkPassphrase: string;
  readonly anchor: Pick<LedgerHeader, 'sequence' | 'hash'>;
  readonly sandbox: boolean;
  readonly startLedger: number;
  readonly watchSet: (streamId: number) => Promise<number>;
}

/** Opens a stream with its follower at the start; inside the caller's transaction. */
export async function openStream(em: EntityManager, stream: StreamToOpen): Promise<Stream> {
  const name = `${streamLabel(stream.networkPassphrase)}-${stream.anchor.hash.slice(0, 8)}`;
  const rows = await sql<StreamRow>(
    em,
    `insert into trueup.streams (name, network_passphrase, anchor_ledger, epoch, sandbox) values ($1, $2, $3, $4, $5)
     returning *`,
    [name, stream.networkPassphrase, stream.anchor.sequence, stream.anchor.hash, stream.sandbox],
  );
  const opened = toStream(rows[0]!);
  const watchSetId = await stream.watchSet(opened.id);
  await sqlCount(
    em,
    `insert into trueup.followers (stream_id, watch_set_id, start_ledger, next_ledger) values ($1, $2, $3, $3)`,
    [opened.id, watchSetId, stream.startLedger],
  );
  return opened;
}

export async function setStreamState(em: EntityManager, streamId: number, state: Stream['state']): Promise<void> {
  await sqlCount(em, `update trueup.streams set state = $2 where id = $1 and state <> $2`, [streamId, state]);
}

/** The id of a watch within a stream, made when it is new. */
export async function ensureWatchSet(em: EntityManager, streamId: number, watch: Watch): Promise<number> {
  const params = [streamId, watch.everything, [...watch.accounts, ...watch.contracts], watchFingerprint(watch)];
  const rows = await sql<{ id: number }>(
    em,
    `insert into trueup.watch_sets (stream_id, everything, members, fingerprint) values ($1, $2, $3::text[], $4)
     on conflict (stream_id, fingerprint) do update set fingerprint = excluded.fingerprint
     returning id`,
    params,
  );
  return rows[0]!.id;
}

/** The id under which entries name the source that they were read from. */
export async function ensureSource(em: EntityManager, label: string): Promise<number> {
  const found = await sql<{ id: number }>(em, `select id from trueup.sources where label = $1`, [label]);
  if (found[0]) return found[0].id;
  const rows = await sql<{ id: number }>(
    em,
    `insert into trueup.sources (label) values ($1) on conflict (label) do update set label = excluded.label returning id`,
    [label],
  );
  return rows[0]!.id;
}

export async function readFollower(em: EntityManager, streamId: number): Promise<FollowerRow | null> {
  const rows = await sql<{
    stream_id: number;
    watch_set_id: number;
    start_ledger: number;
    next_ledger: number;
    last_hash: string | null;
    last_closed_at: Date | string | null;
    processed_ledgers: string;
    tip_ledger: number | null;
    tip_closed_at: Date | string | null;
    oldest_ledger: number | null;
    last_success_at: Date | string | null;
    last_error_at: Date | string | null;
    last_error_reason: string | null;
    last_error_message: string | null;
  }>(em, `select * from trueup.followers where stream_id = $1`, [streamId]);
  const row = rows[0];
  if (!row) return null;
  return {
    streamId: row.stream_id,
    watchSetId: row.watch_set_id,
    startLedger: row.start_ledger,
    nextLedger: row.next_ledger,
    lastHash: row.last_hash,
    lastClosedAt: toDateOrNull(row.last_closed_at),
    processedLedgers: BigInt(row.processed_ledgers),
    tipLedger: row.tip_ledger,
    tipClosedAt: toDateOrNull(row.tip_closed_at),
    oldestLedger: row.oldest_ledger,
    lastSuccessAt: toDateOrNull(row.last_success_at),
    lastErrorAt: toDateOrNull(row.last_error_at),
    lastErrorReason: row.last_error_reason,
    lastErrorMessage: row.last_error_message,
  };
}

export interface Advance {
  readonly nextLedger: number;
  /** Null where the last range could not be read. */
  readonly last: Pick<LedgerHeader, 'hash' | 'closeTime'> | null;
  readonly newLedgers: number;
  readonly watchSetId: number;
}

/** Moves the checkpoint; part of the transaction that writes the rows. */
export async function advanceFollower(em: EntityManager, streamId: number, advance: Advance): Promise<void> {
  await sqlCount(
    em,
    `update trueup.followers set next_ledger = $2, last_hash = $3,
       last_closed_at = coalesce(to_timestamp($4::bigint), last_closed_at),
       processed_ledgers = processed_ledgers + $5, watch_set_id = $6, last_success_at = now(), updated_at = now()
     where stream_id = $1`,
    [
      streamId,
      advance.nextLedger,
      advance.last?.hash ?? null,
      advance.last?.closeTime ?? null,
      advance.newLedgers,
      advance.watchSetId,
    ],
  );
}

/** What the source last said of its own end; an answer counts as a success. The tip never goes back. */
export async function saveTip(
  em: EntityManager,
  streamId: number,
  tip: { readonly sequence: number; readonly closeTime: number; readonly oldest: number },
): Promise<void> {
  await sqlCount(
    em,
    `update trueup.followers set tip_ledger = greatest(coalesce(tip_ledger, 0), $2::int),
       tip_closed_at = greatest(coalesce(tip_closed_at, '-infinity'), to_timestamp($3::bigint)),
       oldest_ledger = $4, last_success_at = now(), updated_at = now()
     where stream_id = $1`,
    [streamId, tip.sequence, tip.closeTime, tip.oldest],
  );
}

export async function saveFollowerError(
  em: EntityManager,
  streamId: number,
  error: { readonly reason: string; readonly message: string },
): Promise<void> {
  await sqlCount(
    em,
    `update trueup.followers set last_error_at = now(), last_error_reason = $2, last_error_message = $3, updated_at = now()
     where stream_id = $1`,
    [streamId, error.reason, error.message],
  );
}

/** The network in a word, for names that people read: `testnet`, `pubnet`, `sandbox` or the passphrase's first words. */
function streamLabel(passphrase: string): string {
  if (passphrase.startsWith('Public Global Stellar Network')) return 'pubnet';
  if (passphrase.startsWith('Test SDF Network')) return 'testnet';
  const words = passphrase.toLowerCase().match(/[a-z0-9]+/g) ?? ['network'];
  return words.includes('sandbox') ? 'sandbox' : words.slice(0, 2).join('-').slice(0, 24);
}

function toStream(row: StreamRow): Stream {
  return {
    id: row.id,
    name: row.name,
    networkPassphrase: row.network_passphrase,
    anchorLedger: row.anchor_ledger,
    epoch: row.epoch,
    sandbox: row.sandbox,
    state: row.state,
    createdAt: toDate(row.created_at),
  };
}
