// Streams, their watches and how far the follower has come.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { LedgerHeader } from '../core/ledger.ts';
import { makeWatch, WATCH_EVERYTHING, watchFingerprint, type Watch } from '../core/watch.ts';
import { sqlCount, sql, toDate } from './database.ts';
import { FollowerEntity, StreamEntity } from './entities.ts';

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
  /** When somebody asked for a restart. */
  readonly restartedAt: Date | null;
  /** An operator said that the network was reset, and that its new history may be opened as a new epoch. */
  readonly newEpochAllowed: boolean;
  /** The oldest ledger that the source kept when it was first asked; a source that forgets has moved on since. */
  readonly firstOldestLedger: number | null;
}

/** Every stream that isn't retired, oldest first; a deployment has one, and an older epoch's after a reset. */
export async function listStreams(em: EntityManager): Promise<Stream[]> {
  return em.find(StreamEntity, { state: { $ne: 'retired' } }, { orderBy: { id: 'asc' } });
}

/** The network's newest epoch; null before anything was read of it. Every call begins with it, so that it is asked without the ORM. */
export async function currentStream(em: EntityManager, networkPassphrase: string): Promise<Stream | null> {
  const [row] = await sql<Omit<Stream, 'createdAt'> & { readonly createdAt: unknown }>(
    em,
    `select id, name, network_passphrase as "networkPassphrase", anchor_ledger as "anchorLedger", epoch, sandbox, state,
       created_at as "createdAt"
     from trueup.streams where network_passphrase = $1 and state <> 'retired' order by id desc limit 1`,
    [networkPassphrase],
  );
  return row === undefined ? null : { ...row, createdAt: toDate(row.createdAt) };
}

/** @throws Error where there is no such stream: rows name only those that there are. */
export async function streamById(em: EntityManager, id: number): Promise<Stream> {
  return em.findOneOrFail(StreamEntity, id);
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
  const opened = em.create(StreamEntity, {
    name,
    networkPassphrase: stream.networkPassphrase,
    anchorLedger: stream.anchor.sequence,
    epoch: stream.anchor.hash,
    sandbox: stream.sandbox,
  });
  await em.persist(opened).flush();
  const watchSetId = await stream.watchSet(opened.id);
  const { startLedger } = stream;
  await em.insert(FollowerEntity, { streamId: opened.id, watchSetId, startLedger, nextLedger: startLedger });
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

/** A watch as it was kept. */
export async function readWatchSet(em: EntityManager, id: number): Promise<Watch> {
  const [row] = await sql<{ everything: boolean; members: string[] }>(
    em,
    `select everything, members from trueup.watch_sets where id = $1`,
    [id],
  );
  const members = row!.members;
  if (row!.everything) return WATCH_EVERYTHING;
  return makeWatch(
    members.filter((member) => member.startsWith('G')),
    members.filter((member) => !member.startsWith('G')),
  );
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
  return em.findOne(FollowerEntity, streamId);
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
       oldest_ledger = $4, first_oldest_ledger = coalesce(first_oldest_ledger, $4), last_success_at = now(), updated_at = now()
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

/** Notes that the follower is to begin again, and whether it may take a reset network's history for a new epoch. */
export async function noteRestart(em: EntityManager, streamId: number, newEpochAllowed: boolean): Promise<void> {
  await sqlCount(
    em,
    `update trueup.followers set restarted_at = clock_timestamp(), new_epoch_allowed = $2, updated_at = now() where stream_id = $1`,
    [streamId, newEpochAllowed],
  );
}

/** The permission for a new epoch is used up, or the source is the same again. */
export async function forbidNewEpoch(em: EntityManager, streamId: number): Promise<void> {
  await sqlCount(
    em,
    `update trueup.followers set new_epoch_allowed = false where stream_id = $1 and new_epoch_allowed`,
    [streamId],
  );
}

/** The newest ledger up to `through` (inclusive) whose hash is kept: where a chunk ends. Null where none is. */
export async function storedHashUpTo(
  em: EntityManager,
  streamId: number,
  through: number,
): Promise<{ readonly sequence: number; readonly hash: string } | null> {
  const rows = await sql<{ to_ledger: number; last_hash: string }>(
    em,
    `select chunk.* from trueup.watch_sets w cross join (values (0::smallint), (1::smallint)) as layers (layer)
     cross join lateral (
       select to_ledger, last_hash from trueup.coverage_chunks c
       where c.stream_id = $1 and c.layer = layers.layer and c.watch_set_id = w.id and c.from_ledger <= $2
         and c.to_ledger <= $2::int + 1 and c.state = 'done' and c.last_hash is not null
       order by c.from_ledger desc limit 1) as chunk
     where w.stream_id = $1 order by to_ledger desc limit 1`,
    [streamId, through],
  );
  return rows[0] ? { sequence: rows[0].to_ledger - 1, hash: rows[0].last_hash } : null;
}

/** The network in a word, for names that people read: `testnet`, `pubnet`, `sandbox` or the passphrase's first words. */
function streamLabel(passphrase: string): string {
  if (passphrase.startsWith('Public Global Stellar Network')) return 'pubnet';
  if (passphrase.startsWith('Test SDF Network')) return 'testnet';
  const words = passphrase.toLowerCase().match(/[a-z0-9]+/g) ?? ['network'];
  return words.includes('sandbox') ? 'sandbox' : words.slice(0, 2).join('-').slice(0, 24);
}

/** Whether a stream of this name is the built-in sandbox's. */
export async function isSandboxStream(em: EntityManager, name: string): Promise<boolean> {
  return (await em.count(StreamEntity, { name, sandbox: true })) > 0;
}
