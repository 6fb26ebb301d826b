// Streams, their watches and how far the follower has come.
import type { EntityManager } from '@mikro-orm/postgresql';
import type { LedgerHeader } from '../core/ledger.ts';
import { watchFingerprint, type Watch } from '../core/watch.ts';
import { sqlCount, sql } from './database.ts';
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
}

/** Every stream that isn't retired, oldest first; a deployment has one, and an older epoch's after a reset. */
export async function listStreams(em: EntityManager): Promise<Stream[]> {
  return em.find(StreamEntity, { state: { $ne: 'retired' } }, { orderBy: { id: 'asc' } });
}

/** The network's newest epoch; null before anything was read of it. */
export async function currentStream(em: EntityManager, networkPassphrase: string): Promise<Stream | null> {
  return em.findOne(StreamEntity, { networkPassphrase, state: { $ne: 'retired' } }, { orderBy: { id: 'desc' } });
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

/** Whether a stream of this name is the built-in sandbox's. */
export async function isSandboxStream(em: EntityManager, name: string): Promise<boolean> {
  return (await em.count(StreamEntity, { name, sandbox: true })) > 0;
}
